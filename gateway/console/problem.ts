/** Answers of the JSON API. */
import type { Problem } from "../../console/contract.ts";
import { EtcdUnavailable } from "../../coordination/etcd.ts";
import { ApiError } from "../../runtime/client.ts";
import type { EdgeAnswer } from "../edge/server.ts";
import { WriteError } from "../objects/write.ts";

const STATUS: Record<Problem["error"], number> = {
  SignInNeeded: 401,
  Forbidden: 403,
  NotFound: 404,
  Invalid: 400,
  Owned: 409,
  Conflict: 409,
  TooMany: 429,
  Unavailable: 503,
};

/** A request that is refused. `message` is a sentence for the person. */
export class Refused extends Error {
  readonly problem: Problem;
  readonly headers: Readonly<Record<string, string>>;

  constructor(
    error: Problem["error"],
    message: string,
    headers: Readonly<Record<string, string>> = {},
    owned: Pick<Problem, "owner" | "field"> = {},
  ) {
    super(message);
    this.name = "Refused";
    this.problem = { error, message, ...owned };
    this.headers = headers;
  }
}

export function json(
  value: unknown,
  status = 200,
  headers: Readonly<Record<string, string | readonly string[]>> = {},
): EdgeAnswer {
  return { status, type: "application/json", headers, body: `${JSON.stringify(value)}\n` };
}

/** Undefined for what is no refusal, but a fault of ours. */
export function problemAnswer(error: unknown): EdgeAnswer | undefined {
  if (error instanceof Refused) {
    const { problem, headers } = error;
    return json(problem, STATUS[problem.error], headers);
  }
  if (error instanceof WriteError) {
    const { kind, message, owner, field, status } = error;
    const owned = owner === undefined || field === undefined ? {} : { owner, field };
    return json({ error: kind, message, ...owned } satisfies Problem, status);
  }
  if (error instanceof EtcdUnavailable) {
    const message = "etcd gives no answer: try again.";
    return json({ error: "Unavailable", message } satisfies Problem, 503);
  }
  if (error instanceof ApiError) {
    const message = "The Kubernetes API gives no answer, and nobody else knows who may do this: try again.";
    return json({ error: "Unavailable", message } satisfies Problem, 503);
  }
  return undefined;
}
