/**
 * Images over HTTP(S). By node:http, which every Node.js has in its memory already: an agent
 * that loads a client of its own, or the one behind `fetch`, is 20 MiB larger ever after.
 */
import { Agent, type ClientRequest, get, type IncomingMessage, type RequestOptions } from "node:http";
import { get as getSecure, Agent as SecureAgent } from "node:https";
import { type Cancel, type Clock, systemClock } from "../ports/clock.ts";
import { type ByteRange, type Source, SourceError } from "./source.ts";

/** Redirects followed per request. */
const MAX_REDIRECTS = 5;
/** One install fetches from one server at a time, and gives up at most a few. */
const CONNECTIONS = 4;
/** A server must send this much in each period of waiting for it, or it counts as stalled. */
const MIN_PROGRESS = 32 * 1024;

export interface HttpSourceOptions {
  clock?: Clock;
  /** More headers of the request to `url`, which may be one that a server redirected to. */
  headers?: (url: string) => Readonly<Record<string, string>>;
  /** At once to one server; more wait, and their waiting counts as the server's. */
  connections?: number;
  /** PEM of the issuers to trust in place of the system's. */
  ca?: string;
  /** Longest wait for an answer, and for each 32 KiB of it. Milliseconds. */
  stallTimeout?: number;
  /** How long a connection without a request is kept: the next install may be weeks away. Milliseconds. */
  idleTimeout?: number;
}

export interface HttpSource extends Source {
  close(): void;
}

export function httpSource(options: HttpSourceOptions = {}): HttpSource {
  const {
    clock = systemClock,
    ca,
    headers = () => ({}),
    connections = CONNECTIONS,
    stallTimeout = 30_000,
    idleTimeout = 10_000,
  } = options;
  const kept = { keepAlive: true, maxSockets: connections, timeout: idleTimeout };
  const plain = new Agent(kept);
  const secure = new SecureAgent({ ...kept, ...(ca === undefined ? {} : { ca }) });
  const send = (url: string, options: RequestOptions): Promise<IncomingMessage> =>
    answerOf((onAnswer) =>
      url.startsWith("https:")
        ? getSecure(url, { ...options, agent: secure }, onAnswer)
        : get(url, { ...options, agent: plain }, onAnswer),
    );
  return {
    fetch: (url, range, signal) => fetchRange({ send, clock, headers, stallTimeout }, url, range, signal),
    close: () => {
      plain.destroy();
      secure.destroy();
    },
  };
}

type Get = (onAnswer: (response: IncomingMessage) => void) => ClientRequest;

/** A server may end a connection that it kept at the very moment in which we use it again: then once more. */
async function answerOf(begin: Get): Promise<IncomingMessage> {
  for (;;) {
    const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
    const request = begin(resolve).on("error", reject);
    try {
      return await promise;
    } catch (error) {
      if (!request.reusedSocket || (error as NodeJS.ErrnoException).code !== "ECONNRESET") throw error;
    }
  }
}

interface Context {
  send: (url: string, options: RequestOptions) => Promise<IncomingMessage>;
  clock: Clock;
  headers: (url: string) => Readonly<Record<string, string>>;
  stallTimeout: number;
}

async function* fetchRange(
  context: Context,
  url: string,
  range: ByteRange,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  signal.throwIfAborted();
  const abort = new AbortController();
  const onAbort = (): void => abort.abort(signal.reason);
  signal.addEventListener("abort", onAbort, { once: true });
  const patience = new Patience(context.clock, context.stallTimeout, () => {
    abort.abort(new SourceError("stalled", `no progress for ${context.stallTimeout / 1000} s`));
  });
  try {
    const response = await patience.during(() => follow(context, url, range, abort.signal));
    const chunks = response[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
    let left = range.length;
    for (;;) {
      const { done, value } = await patience.during(() => chunks.next());
      if (done) break;
      patience.got(value.length);
      if (value.length > left) {
        // A whole object in answer to a range from its start goes on behind the range.
        if (response.statusCode === 206)
          throw new SourceError("tooLong", `it sent more than ${range.length} bytes`);
        if (left > 0) yield value.subarray(0, left);
        left = 0;
        return;
      }
      left -= value.length;
      yield value;
      if (left === 0 && response.statusCode === 200 && range.length < range.total) return;
    }
    if (left > 0) throw new SourceError("tooShort", `it ended ${left} bytes early`);
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof SourceError) throw error;
    if (abort.signal.reason instanceof SourceError) throw abort.signal.reason;
    throw networkError(error);
  } finally {
    patience.end();
    signal.removeEventListener("abort", onAbort);
    abort.abort();
  }
}

/** A body that ends before its declared length is the server's doing, like a reset connection. */
function networkError(error: unknown): SourceError {
  const { code, message } = error as { code?: string; message?: string };
  // Node.js says "aborted" of a body that ends before its length.
  const said = message === "aborted" ? "the connection was closed early" : message;
  return new SourceError("network", said || code || String(error), { cause: error });
}

async function follow(
  { send, headers }: Context,
  url: string,
  range: ByteRange,
  signal: AbortSignal,
): Promise<IncomingMessage> {
  let at = url;
  for (let hops = 0; hops <= MAX_REDIRECTS; hops++) {
    const last = range.offset + range.length - 1;
    const whole = range.offset === 0 && range.length === range.total;
    const response = await send(at, {
      signal,
      headers: {
        "accept-encoding": "identity",
        ...headers(at),
        ...(whole ? {} : { range: `bytes=${range.offset}-${last}` }),
      },
    });
    if (![301, 302, 303, 307, 308].includes(response.statusCode ?? 0)) {
      const fault = faultOf(response, range);
      if (fault === undefined) return response;
      response.destroy();
      throw fault;
    }
    response.destroy();
    at = redirected(at, response.headers.location);
  }
  throw new SourceError("status", `it redirected more than ${MAX_REDIRECTS} times`);
}

function redirected(from: string, location: string | undefined): string {
  if (location === undefined || !URL.canParse(location, from)) {
    throw new SourceError("status", "it redirected to nowhere");
  }
  const to = new URL(location, from);
  const plain = to.protocol === "http:" && !from.startsWith("https:");
  if (to.protocol !== "https:" && !plain)
    throw new SourceError("refused", `it redirected to ${to.protocol}//${to.host}`);
  return to.href;
}

/** What is wrong with the status line and headers of an answer. */
function faultOf(response: IncomingMessage, range: ByteRange): SourceError | undefined {
  const { statusCode, headers } = response;
  if (statusCode !== 200 && statusCode !== 206) return new SourceError("status", `it answered ${statusCode}`);
  const encoding = headers["content-encoding"];
  if (encoding !== undefined && encoding !== "identity") {
    return new SourceError("refused", "it sends the object in another encoding");
  }
  let total: number | undefined;
  if (statusCode === 200) {
    if (range.offset > 0) return new SourceError("rangeIgnored", "it ignores byte ranges");
    const length = headers["content-length"];
    if (typeof length === "string") total = Number(length);
  } else {
    const match = /^bytes (\d+)-(\d+)\/(\d+|\*)$/.exec(String(headers["content-range"]));
    if (match === null || Number(match[1]) !== range.offset) {
      return new SourceError("refused", "it answered with another byte range");
    }
    if (match[3] !== "*") total = Number(match[3]);
  }
  if (total === undefined || total === range.total) return undefined;
  const kind = total < range.total ? "tooShort" : "tooLong";
  return new SourceError(kind, `its object has ${total} bytes, not ${range.total}`);
}

/** How often a fetch is looked at, per stall timeout. */
const LOOKS = 8;

/**
 * Counts only the time in which we wait for the server: a slow disk or a rate limit is not
 * its fault. It samples, because a look at the clock for each chunk would cost more than the chunk.
 */
class Patience {
  readonly #onStall: () => void;
  #waiting = false;
  #bytes = 0;
  #strikes = 0;
  #cancel: Cancel = () => {};

  constructor(clock: Clock, limit: number, onStall: () => void) {
    this.#onStall = onStall;
    const look = (): void => {
      this.#look();
      this.#cancel = clock.after(limit / LOOKS, look);
    };
    this.#cancel = clock.after(limit / LOOKS, look);
  }

  async during<T>(wait: () => Promise<T>): Promise<T> {
    this.#waiting = true;
    try {
      return await wait();
    } finally {
      this.#waiting = false;
    }
  }

  got(bytes: number): void {
    this.#bytes += bytes;
  }

  #look(): void {
    if (this.#bytes >= MIN_PROGRESS) {
      this.#bytes = 0;
      this.#strikes = 0;
    } else if (this.#waiting && ++this.#strikes >= LOOKS) this.#onStall();
  }

  end(): void {
    this.#cancel();
  }
}
