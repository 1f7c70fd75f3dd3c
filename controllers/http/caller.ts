/** HTTP calls to what a group names: Prometheus, hooks, webhooks. A port, so that a test can answer. */
import type { Clock } from "../../ports/clock.ts";
import { startDeadline } from "../../runtime/deadline.ts";

export interface HttpRequest {
  method: "GET" | "POST";
  url: string;
  headers?: Readonly<Record<string, string>>;
  body?: string;
  /** Milliseconds until the whole answer must be here. */
  deadline: number;
  /** Bytes of the answer that are read; a longer one is cut off there. */
  limit: number;
  /** For an answer that is parsed: a longer one is an error. */
  whole?: true;
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

/** Follows no redirect. Rejects with one sentence where no answer came, or not all of it that is to be read. */
export type HttpCaller = (request: HttpRequest, signal: AbortSignal) => Promise<HttpAnswer>;

export function httpCaller(clock: Clock): HttpCaller {
  return async ({ method, url, headers = {}, body, deadline, limit, whole }, signal) => {
    const reason = () => new Error(`no answer within ${Math.round(deadline / 1000)} s`);
    const limited = startDeadline(clock, deadline, reason, signal);
    try {
      const answer = await fetch(url, {
        method,
        headers: { ...headers },
        ...(body === undefined ? {} : { body }),
        redirect: "manual",
        signal: limited.signal,
      });
      return { status: answer.status, body: await readAtMost(answer, limit, whole) };
    } catch (error) {
      signal.throwIfAborted();
      throw new Error(inOneSentence(error).replaceAll(url, withoutQuery(url)), { cause: error });
    } finally {
      limited.cancel();
    }
  };
}

/** Leaving the loop cancels what is still to come. */
async function readAtMost(answer: Response, limit: number, whole: true | undefined): Promise<string> {
  const parts: Uint8Array[] = [];
  let size = 0;
  for await (const part of answer.body ?? []) {
    parts.push(part);
    size += part.byteLength;
    if (size <= limit) continue;
    if (whole) throw new Error(`the answer is larger than ${limit} bytes`);
    break;
  }
  return Buffer.concat(parts).subarray(0, limit).toString("utf8");
}

/** fetch says "fetch failed", and its cause says why. */
function inOneSentence(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { cause } = error;
  const told = cause instanceof Error && cause.message !== "" ? cause.message : error.message;
  return told.replaceAll(/\s+/g, " ").slice(0, 300);
}
