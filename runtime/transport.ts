/**
 * One HTTP call to the API server: credentials, rate limit, deadline, typed errors, and
 * the few retries that can't do harm.
 */
import { type Agent, type Dispatcher, errors } from "undici";
import { type Clock, sleep } from "../ports/clock.ts";
import type { Random } from "../ports/random.ts";
import { ApiError, type ApiErrorKind } from "./client.ts";
import { abortable, startDeadline } from "./deadline.ts";
import type { ApiConfig } from "./kubeconfig.ts";
import { type Lane, Pool } from "./pool.ts";
import { TokenBucket } from "./token-bucket.ts";

export interface Call {
  method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  path: string;
  query?: Record<string, string | number | boolean | undefined>;
  body?: unknown;
  /** Of the body; application/json if absent. */
  contentType?: string;
  /** Milliseconds until the call ends with Timeout, waiting and retries included; 30 s if absent. */
  deadline?: number;
  /** An answer is an answer: 429 and 503 too are for the caller to judge, who asks again by itself. */
  once?: boolean;
  /** Does not wait for our own rate limit: a Lease must be renewed, whatever else there is to do. */
  urgent?: boolean;
  signal?: AbortSignal | undefined;
}

export interface TransportOptions {
  clock: Clock;
  random: Random;
  /** Calls a second and how many at once after a quiet time. controller-runtime has 20 and 30; a rollout's drain needs more. */
  rate?: number;
  burst?: number;
  userAgent?: string;
  /** Told of each answer: status, or 0 where none came. */
  onAnswer?: (method: string, status: number) => void;
}

export interface Transport {
  /** The answer's JSON. Throws `ApiError` only. */
  call<T>(call: Call): Promise<T>;
  /** The answer's lines, as they come, until the server ends it. Throws `ApiError` only. */
  lines(call: Call): AsyncGenerator<string, void, undefined>;
  close(): Promise<void>;
}

const CALL_DEADLINE = 30_000;
/** How long a watch may take to be accepted. */
const ACCEPT_DEADLINE = 30_000;
/** client-go tries a refused request up to ten times; with our deadline fewer fit anyway. */
const MAX_RETRIES = 4;
/** Where a 429 names no time: what client-go waits. */
const REFUSED_DELAY = 1000;
/** Longest line of a watch: etcd takes 1.5 MiB, JSON is a few times longer. */
const MAX_LINE = 16 * 1024 * 1024;

/** `metav1.Status`, as far as we read it. */
interface Status {
  kind?: string;
  message?: string;
  reason?: string;
  code?: number;
  details?: {
    retryAfterSeconds?: number;
    causes?: { reason?: string; field?: string; message?: string }[];
  };
}

export function createTransport(config: ApiConfig, options: TransportOptions): Transport {
  const { clock, random, onAnswer, userAgent = "slipway" } = options;
  const pool = new Pool(clock);
  const bucket = new TokenBucket(clock, { rate: options.rate ?? 50, burst: options.burst ?? 100 });

  /** Sends once and gives back the answer's head; throws `ApiError` for every status of 400 and above. */
  const send = async (
    lane: Lane,
    call: Call,
    signal: AbortSignal,
  ): Promise<[Dispatcher.ResponseData, Agent]> => {
    if (call.urgent !== true) await bucket.take(signal);
    const credentials = await abortable(config.credentials(), signal);
    const agent = pool.agent(lane, credentials);
    const url = new URL(credentials.server + call.path);
    for (const [name, value] of Object.entries(call.query ?? {})) {
      if (value !== undefined) url.searchParams.set(name, String(value));
    }
    try {
      const response = await agent.request({
        origin: url.origin,
        path: url.pathname + url.search,
        method: call.method,
        headers: {
          accept: "application/json",
          "user-agent": userAgent,
          ...(call.body === undefined ? {} : { "content-type": call.contentType ?? "application/json" }),
          ...credentials.headers,
        },
        body: call.body === undefined ? null : JSON.stringify(call.body),
        headersTimeout: 0,
        signal,
      });
      onAnswer?.(call.method, response.statusCode);
      if (response.statusCode < 400) return [response, agent];
      const error = refusal(response, await response.body.text(), clock.now());
      if (response.statusCode === 401) config.refuse();
      throw error;
    } catch (error) {
      if (error instanceof ApiError && error.status !== 0) throw error;
      onAnswer?.(call.method, 0);
      throw noAnswer(error, call, signal, () => pool.suspect(agent));
    }
  };

  return {
    async call<T>(call: Call): Promise<T> {
      const limit = startDeadline(clock, call.deadline ?? CALL_DEADLINE, () => timedOut(call), call.signal);
      try {
        for (let attempt = 0; ; attempt++) {
          try {
            const [response, agent] = await send("calls", call, limit.signal);
            try {
              return (await response.body.json()) as T;
            } catch (error) {
              throw noAnswer(error, call, limit.signal, () => pool.suspect(agent));
            }
          } catch (error) {
            const wait = retryDelay(error, call, attempt);
            if (wait === undefined || wait >= limit.remaining() || limit.signal.aborted) throw error;
            // Up to a quarter more, so that those who were refused together don't come back together.
            await sleep(clock, wait * (1 + random.next() / 4), limit.signal);
          }
        }
      } catch (error) {
        throw error instanceof ApiError ? error : noAnswer(error, call, limit.signal, () => {});
      } finally {
        limit.cancel();
      }
    },

    async *lines(call) {
      // Only the acceptance has a deadline here; who reads the lines watches for silence.
      const accept = startDeadline(clock, ACCEPT_DEADLINE, () => timedOut(call));
      const stop = new AbortController();
      const onAbort = (): void => stop.abort(call.signal?.reason);
      const onLate = (): void => stop.abort(accept.signal.reason);
      accept.signal.addEventListener("abort", onLate);
      if (call.signal?.aborted) onAbort();
      call.signal?.addEventListener("abort", onAbort);
      let agent: Agent | undefined;
      try {
        const [response, used] = await send("watches", call, stop.signal);
        agent = used;
        accept.cancel();
        yield* splitLines(response.body);
      } catch (error) {
        throw error instanceof ApiError && error.status !== 0
          ? error
          : noAnswer(error, call, stop.signal, () => {
              if (agent !== undefined) pool.suspect(agent);
            });
      } finally {
        accept.cancel();
        call.signal?.removeEventListener("abort", onAbort);
        stop.abort();
      }
    },

    close: () => pool.close(),
  };
}

async function* splitLines(body: AsyncIterable<Buffer>): AsyncGenerator<string, void, undefined> {
  let parts: Buffer[] = [];
  let size = 0;
  for await (const chunk of body) {
    let from = 0;
    for (let end = chunk.indexOf(10); end !== -1; end = chunk.indexOf(10, from)) {
      parts.push(chunk.subarray(from, end));
      from = end + 1;
      const line = Buffer.concat(parts).toString("utf8");
      parts = [];
      size = 0;
      if (line !== "") yield line;
    }
    parts.push(chunk.subarray(from));
    size += chunk.length - from;
    if (size > MAX_LINE) throw new ApiError("Unavailable", `A line of the watch exceeds ${MAX_LINE} bytes`);
  }
}

/** Milliseconds to wait before the same request may be sent again; undefined: never. */
function retryDelay(error: unknown, call: Call, attempt: number): number | undefined {
  if (!(error instanceof ApiError) || attempt >= MAX_RETRIES) return undefined;
  // A connection that broke says nothing about a write; a read may simply be repeated.
  if (error.status === 0) {
    return call.method === "GET" && error.kind === "Unavailable" && attempt === 0 ? 0 : undefined;
  }
  if (error.status === 401) return attempt === 0 ? 0 : undefined;
  // Both mean, with Retry-After, that the server has not begun (client-go repeats on the same terms).
  if (call.once === true || (error.status !== 429 && error.status !== 503)) return undefined;
  if (isDisruptionBudget(error)) return undefined;
  return error.retryAfter ?? (error.status === 429 ? REFUSED_DELAY : undefined);
}

/** Whether an eviction was refused by a PodDisruptionBudget: a result, not a fault of the call. */
export function isDisruptionBudget(error: ApiError): boolean {
  return error.status === 429 && error.causes.some((cause) => cause.startsWith("DisruptionBudget: "));
}

const KINDS: Record<number, ApiErrorKind> = {
  401: "Forbidden",
  403: "Forbidden",
  404: "NotFound",
  408: "Timeout",
  409: "Conflict",
  410: "Gone",
  429: "TooManyRequests",
  504: "Timeout",
};

/** The `ApiError` for a `metav1.Status`, from an answer or from a watch's ERROR event. */
export function statusError(code: number, status: Status, retryAfter?: number): ApiError {
  let kind = KINDS[code] ?? (code >= 500 ? "Unavailable" : "Invalid");
  if (code === 409 && status.reason === "AlreadyExists") kind = "AlreadyExists";
  const causes = (status.details?.causes ?? []).map(
    ({ field, reason, message }) => `${field ?? reason ?? ""}: ${message ?? ""}`,
  );
  const seconds = status.details?.retryAfterSeconds;
  return new ApiError(kind, status.message ?? `The API server answered ${code}`, {
    status: code,
    retryAfter: retryAfter ?? (seconds === undefined ? undefined : seconds * 1000),
    causes,
  });
}

function refusal(response: Dispatcher.ResponseData, text: string, now: number): ApiError {
  const header = response.headers["retry-after"];
  const retryAfter = typeof header === "string" ? parseRetryAfter(header, now) : undefined;
  let status: Status = {};
  try {
    status = JSON.parse(text) as Status;
  } catch {
    // A proxy's page: the first line says enough.
    status.message = `${response.statusCode}: ${text.split("\n", 1)[0]?.slice(0, 200) ?? ""}`;
  }
  return statusError(response.statusCode, status, retryAfter);
}

/** Retry-After: seconds or a date (RFC 9110, 10.2.3), as milliseconds. */
function parseRetryAfter(header: string, now: number): number | undefined {
  if (/^\d+$/.test(header)) return Number(header) * 1000;
  const date = Date.parse(header);
  return Number.isNaN(date) ? undefined : Math.max(0, date - now);
}

function timedOut(call: Call): ApiError {
  return new ApiError("Timeout", `${call.method} ${call.path}: no answer in time`);
}

/** The error for a call that got no (whole) answer. A passed deadline casts doubt on the connection. */
function noAnswer(error: unknown, call: Call, signal: AbortSignal, suspect: () => void): ApiError {
  if (error instanceof ApiError && error !== signal.reason) return error;
  if (signal.aborted) {
    const reason: unknown = signal.reason;
    if (!(reason instanceof ApiError)) {
      return new ApiError("Timeout", `${call.method} ${call.path}: stopped by the caller`, { cause: reason });
    }
    if (reason.kind === "Timeout") suspect();
    return reason;
  }
  const detail = error instanceof Error ? error.message : String(error);
  const code = error instanceof errors.UndiciError || hasCode(error) ? ` (${error.code})` : "";
  return new ApiError("Unavailable", `${call.method} ${call.path}: ${detail}${code}`, { cause: error });
}

function hasCode(error: unknown): error is { code: string } {
  return error instanceof Error && "code" in error && typeof error.code === "string";
}
