/**
 * Fetches parts of an object from several mirrors: each is tried in order, a slow or broken
 * one again after the others, one that sends wrong bytes never. Bounded memory and attempts.
 */
import { type Clock, sleep } from "../ports/clock.ts";
import { FastPatchError } from "./errors.ts";
import { type Source, SourceError } from "./source.ts";
import type { BlobRef } from "./statement.ts";

/** Attempts per mirror; what brought `GOOD_PROGRESS` bytes doesn't count. */
const ATTEMPTS = 4;
const GOOD_PROGRESS = 16 * 1024 * 1024;
/** First pause before a mirror is tried again; it doubles. Milliseconds. */
const PAUSE = 1_000;
/** Unwanted bytes between two parts up to which one request for both costs less than two. */
const GAP = 16 * 1024;
/** Parts that are being consumed at once. */
const IN_FLIGHT = 6;

/** A stretch of the object; parts don't overlap, are in order, and fit into memory. */
export interface Part {
  offset: number;
  length: number;
}

/** Thrown by a consumer: the bytes are not those that the object has. */
export class WrongBytes extends Error {
  override readonly name = "WrongBytes";
}

export interface FetchOptions<P extends Part> {
  source: Source;
  clock: Clock;
  blob: Pick<BlobRef, "urls" | "size">;
  parts: readonly P[];
  signal: AbortSignal;
  /** Bytes per second; 0 is no limit. */
  rateLimit: number;
  /**
   * Called for several parts at once; throws WrongBytes to drop the mirror. A part is given
   * again until it resolved. `bytes` are the consumer's until then; later they are overwritten.
   */
  consume(part: P, bytes: Buffer): Promise<void>;
  /** Bytes that arrived, wanted or not. */
  onBytes?: (bytes: number) => void;
}

interface Mirror {
  url: string;
  failures: number;
  /** It sent wrong bytes. */
  dropped: boolean;
  /** Whether it serves ranges, as far as is known. */
  ranges: boolean;
  said: string;
}

/** Resolves when every part was consumed; rejects with `SourcesFailed`, the signal's reason, or an error of the consumer. */
export async function fetchParts<P extends Part>(options: FetchOptions<P>): Promise<void> {
  const { blob, clock, signal } = options;
  const mirrors = blob.urls.map(
    (url): Mirror => ({ url, failures: 0, dropped: false, ranges: true, said: "" }),
  );
  const pace = pacer(clock, options.rateLimit, signal);
  let left: readonly P[] = options.parts;
  while (left.length > 0) {
    const usable = mirrors.filter((mirror) => !mirror.dropped && mirror.failures < ATTEMPTS);
    const mirror = usable.sort((a, b) => a.failures - b.failures)[0];
    if (mirror === undefined) {
      const said = mirrors.map(({ url, said }) => `${withoutSecrets(url)}: ${said}`).join("; ");
      throw new FastPatchError("SourcesFailed", `no mirror gave the image (${said})`);
    }
    if (mirror.failures > 0) await sleep(clock, PAUSE * 2 ** (mirror.failures - 1), signal);
    const before = sum(left);
    const attempt = await attemptFrom(mirror, left, options, pace);
    left = attempt.left;
    if (attempt.error === undefined) continue;
    if (before - sum(left) >= GOOD_PROGRESS) mirror.failures = 0;
    judge(mirror, attempt.error);
  }
}

const sum = (parts: readonly Part[]): number => parts.reduce((total, part) => total + part.length, 0);

/** Queries carry tokens, and messages end up in statuses. */
function withoutSecrets(url: string): string {
  return url.replace(/[?#].*$/s, "").replace(/\/\/[^/@]*@/, "//");
}

function judge(mirror: Mirror, error: unknown): void {
  if (error instanceof WrongBytes) {
    mirror.dropped = true;
    mirror.said = error.message;
  } else if (error instanceof SourceError) {
    mirror.said = error.message;
    if (error.kind === "rangeIgnored" && mirror.ranges) mirror.ranges = false;
    else if (error.kind === "tooLong" || error.kind === "refused") mirror.dropped = true;
    else mirror.failures++;
  } else throw error;
}

async function attemptFrom<P extends Part>(
  mirror: Mirror,
  parts: readonly P[],
  options: FetchOptions<P>,
  pace: (bytes: number) => Promise<void>,
): Promise<{ left: readonly P[]; error?: unknown }> {
  const done = new Set<P>();
  const flight = new Set<Promise<void>>();
  let failure: { error: unknown } | undefined;
  const buffers = new PartBuffers(parts);
  const take = async (part: P, bytes: Buffer): Promise<void> => {
    try {
      await options.consume(part, bytes);
      done.add(part);
      buffers.give(bytes);
    } catch (error) {
      failure ??= { error };
    }
  };
  const give = async (part: P, bytes: Buffer): Promise<void> => {
    while (flight.size >= IN_FLIGHT) await Promise.race(flight);
    if (failure !== undefined) throw failure.error;
    const work = take(part, bytes);
    flight.add(work);
    void work.finally(() => flight.delete(work));
  };
  try {
    for (const group of groups(parts, mirror.ranges)) {
      await stream(mirror.url, group, options, pace, buffers, give);
    }
  } catch (error) {
    failure ??= { error };
  }
  await Promise.all(flight);
  options.signal.throwIfAborted();
  const left = parts.filter((part) => !done.has(part));
  return failure === undefined ? { left } : { left, error: failure.error };
}

interface Group<P> {
  offset: number;
  end: number;
  parts: P[];
}

/** What is asked for in one request. */
function groups<P extends Part>(parts: readonly P[], ranges: boolean): Group<P>[] {
  const found: Group<P>[] = [];
  let last: Group<P> | undefined;
  for (const part of parts) {
    const end = part.offset + part.length;
    if (last !== undefined && (!ranges || part.offset - last.end <= GAP)) {
      last.parts.push(part);
      last.end = end;
    } else {
      last = { offset: ranges ? part.offset : 0, end, parts: [part] };
      found.push(last);
    }
  }
  return found;
}

async function stream<P extends Part>(
  url: string,
  group: Group<P>,
  options: FetchOptions<P>,
  pace: (bytes: number) => Promise<void>,
  buffers: PartBuffers,
  give: (part: P, bytes: Buffer) => Promise<void>,
): Promise<void> {
  const range = { offset: group.offset, length: group.end - group.offset, total: options.blob.size };
  const parts = group.parts.values();
  let part = parts.next().value;
  let bytes = buffers.take(part);
  let at = group.offset;
  for await (const chunk of options.source.fetch(url, range, options.signal)) {
    options.onBytes?.(chunk.length);
    const end = at + chunk.length;
    while (part !== undefined && end > part.offset) {
      const from = Math.max(at, part.offset);
      const upTo = Math.min(end, part.offset + part.length);
      bytes.set(chunk.subarray(from - at, upTo - at), from - part.offset);
      if (upTo < part.offset + part.length) break;
      await give(part, bytes);
      part = parts.next().value;
      bytes = buffers.take(part);
      // The rest of the chunk belongs to the next part.
    }
    at = end;
    await pace(chunk.length);
  }
  if (part !== undefined) throw new SourceError("tooShort", "it ended early");
}

/** Buffers for parts, used again and again: a gibibyte of garbage would be collected too late. */
class PartBuffers {
  readonly #size: number;
  readonly #free: ArrayBufferLike[] = [];

  constructor(parts: readonly Part[]) {
    this.#size = parts.reduce((largest, part) => Math.max(largest, part.length), 0);
  }

  take(part: Part | undefined): Buffer {
    if (part === undefined) return Buffer.alloc(0);
    return Buffer.from(this.#free.pop() ?? new ArrayBuffer(this.#size), 0, part.length);
  }

  give(buffer: Buffer): void {
    if (this.#free.length < IN_FLIGHT) this.#free.push(buffer.buffer);
  }
}

/** A token bucket that may run into debt by one chunk and holds a quarter of a second. */
function pacer(clock: Clock, rateLimit: number, signal: AbortSignal): (bytes: number) => Promise<void> {
  if (rateLimit <= 0) return async () => {};
  let free = clock.monotonic();
  return async (bytes) => {
    const now = clock.monotonic();
    free = Math.max(free, now - 250) + (bytes / rateLimit) * 1000;
    if (free > now) await sleep(clock, free - now, signal);
  };
}
