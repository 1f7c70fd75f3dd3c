/** Errors as Google's API clients read them (googleapi.CheckResponse): updateservicectl prints the message. */

import type { EdgeAnswer } from "../edge/server.ts";
import { WriteError } from "../objects/write.ts";

export class Problem extends Error {
  readonly status: number;
  readonly reason: string;

  constructor(status: 400 | 401 | 403 | 404 | 409 | 501 | 503, message: string) {
    super(message);
    this.name = "Problem";
    this.status = status;
    this.reason = REASONS[status];
  }
}

const REASONS = {
  ...{ 400: "invalid", 401: "required", 403: "forbidden", 404: "notFound", 409: "conflict" },
  ...{ 501: "notImplemented", 503: "backendError" },
};

export const JSON_TYPE = "application/json; charset=UTF-8";

export function json(value: unknown, status = 200): EdgeAnswer {
  return { status, type: JSON_TYPE, body: `${JSON.stringify(value)}\n` };
}

/** Undefined for an error that is none of a person's. */
export function problemAnswer(error: unknown): EdgeAnswer | undefined {
  const known =
    error instanceof Problem
      ? error
      : error instanceof WriteError
        ? { status: error.status, message: error.message, reason: error.kind }
        : undefined;
  if (known === undefined) return undefined;
  const { status, message, reason } = known;
  return json({ error: { code: status, message, errors: [{ domain: "global", reason, message }] } }, status);
}
