/** HTTP calls to what a group names: Prometheus, hooks, webhooks. A port, so that a test can answer. */
import type { Clock } from "../../ports/clock.ts";

export interface HttpRequest {
  method: "GET" | "POST";
  url: string;
  headers?: Readonly<Record<string, string>>;
  body?: string;
  /** Milliseconds until the whole answer must be here. */
  deadline: number;
  /** Bytes of the answer at most. */
  limit: number;
}

export interface HttpAnswer {
  status: number;
  body: string;
}

/** `url` as a status, an event or a log may have it: what follows a "?" may be a secret. */
export function withoutQuery(url: string): string {
  const end = url.search(/[?#]/);
  return end < 0 ? url : url.slice(0, end);
}

/** Follows no redirect. Rejects with one sentence where no whole answer came. */
export type HttpCaller = (request: HttpRequest, signal: AbortSignal) => Promise<HttpAnswer>;

export function httpCaller(clock: Clock): HttpCaller {
  return async ({ method, url, headers = {}, body, deadline, limit }, signal) => {
    const late = new AbortController();
    const cancel = clock.after(deadline, () =>
      late.abort(new Error(`no answer within ${Math.round(deadline / 1000)} s`)),
    );
    try {
      const answer = await fetch(url, {
        method,
        headers: { ...headers },
        ...(body === undefined ? {} : { body }),
        redirect: "manual",
        signal: AbortSignal.any([late.signal, signal]),
      });
      return { status: answer.status, body: await readAtMost(answer, limit) };
    } catch (error) {
      signal.throwIfAborted();
      throw new Error(inOneSentence(error).replaceAll(url, withoutQuery(url)), { cause: error });
    } finally {
      cancel();
    }
  };
}

async function readAtMost(answer: Response, limit: number): Promise<string> {
  const parts: Uint8Array[] = [];
  let size = 0;
  for await (const part of answer.body ?? []) {
    size += part.byteLength;
    if (size > limit) throw new Error(`the answer is larger than ${limit} bytes`);
    parts.push(part);
  }
  return Buffer.concat(parts).toString("utf8");
}

/** fetch says "fetch failed", and its cause says why. */
function inOneSentence(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { cause } = error;
  const told = cause instanceof Error && cause.message !== "" ? cause.message : error.message;
  return told.replaceAll(/\s+/g, " ").slice(0, 300);
}
