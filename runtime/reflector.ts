/**
 * Keeps a store equal to what the API server has: a first list (streamed, or paged where
 * the server can't stream), then a watch from there, again and again. What it saw last is
 * where it resumes; when that is too old it lists anew and the store tells differences only.
 */
import type { KubeObject } from "../api/meta.ts";
import { type Clock, sleep } from "../ports/clock.ts";
import type { Logger } from "../ports/log.ts";
import type { Random } from "../ports/random.ts";
import { ApiError, isApiError } from "./client.ts";
import { abortable } from "./deadline.ts";
import type { MemoryStore } from "./memory-store.ts";
import { keyOf } from "./store.ts";
import { INITIAL_EVENTS_END, type WatchEvent, type WatchSource } from "./watch-source.ts";

export interface ReflectorOptions<T extends KubeObject> {
  source: WatchSource;
  store: MemoryStore<T>;
  /** Keeps only what is needed of an object; `managedFields` are always dropped. May change its argument. */
  transform?: (object: T) => T;
  clock: Clock;
  random: Random;
  log: Logger;
  onRelist?: () => void;
  onRestart?: () => void;
}

const PAGE = 500;
/** Bookmarks come about once a minute: this long without a sign the connection is dead. */
const SILENCE = 90_000;
/** While the initial events come there are no pauses; a proxy that drops the parameters sends no end of them. */
const INITIAL_SILENCE = 30_000;
/** Seconds that a watch lasts: 4 to 8 minutes, so that reconnects spread over API servers (client-go has 5 to 10). */
const WATCH_SECONDS = { least: 240, spread: 240 } as const;
/** Decorrelated jitter: each delay is drawn from BASE to three times the last one. */
const BACKOFF_BASE = 200;
const BACKOFF_CAP = 30_000;
/** A watch that ends cleanly sooner than this is not asked for again at once. */
const SHORT_WATCH = 1000;

/** Runs until `signal` aborts; never throws. */
export async function reflect<T extends KubeObject>(
  options: ReflectorOptions<T>,
  signal: AbortSignal,
): Promise<void> {
  await new Reflector(options).run(signal);
}

class Reflector<T extends KubeObject> {
  readonly #options: ReflectorOptions<T>;
  /** Where the watch goes on; undefined: list first. */
  #position: string | undefined;
  /** False once the server refused to stream the initial events. */
  #streams = true;
  /** The last attempt to stream the initial events broke off: list pages this time. */
  #listNext = false;
  #delay = BACKOFF_BASE;

  constructor(options: ReflectorOptions<T>) {
    this.#options = options;
  }

  async run(signal: AbortSignal): Promise<void> {
    const { clock, random, log, onRestart, onRelist } = this.#options;
    for (let first = true; !signal.aborted; first = false) {
      if (!first) onRestart?.();
      const began = clock.monotonic();
      try {
        await this.#session(signal);
        if (clock.monotonic() - began >= SHORT_WATCH) continue;
      } catch (error) {
        if (signal.aborted) return;
        const again = this.#position !== undefined && isRefused(error);
        if (again) {
          this.#position = undefined;
          onRelist?.();
        }
        log.info(again ? "the watch can't be resumed, listing anew" : "the watch broke off", {
          cause: messageOf(error),
        });
      }
      this.#delay = Math.min(BACKOFF_CAP, BACKOFF_BASE + random.next() * (this.#delay * 3 - BACKOFF_BASE));
      await sleep(clock, this.#delay, signal).catch(() => {});
    }
  }

  /** One list if needed, and one watch to its end. */
  async #session(signal: AbortSignal): Promise<void> {
    const { source, random } = this.#options;
    if (this.#position === undefined && (!this.#streams || this.#listNext)) {
      this.#listNext = false;
      await this.#list(signal);
    }
    let initial: Map<string, T> | undefined = this.#position === undefined ? new Map() : undefined;
    const stop = new AbortController();
    const onAbort = (): void => stop.abort(signal.reason);
    signal.addEventListener("abort", onAbort);
    if (signal.aborted) onAbort();
    const watchdog = this.#watchdog(() => (initial === undefined ? SILENCE : INITIAL_SILENCE), stop);
    const events = source.watch({
      resourceVersion: this.#position,
      timeoutSeconds: WATCH_SECONDS.least + Math.floor(random.next() * WATCH_SECONDS.spread),
      signal: stop.signal,
    });
    const iterator = events[Symbol.asyncIterator]();
    try {
      for (;;) {
        const next = await abortable(iterator.next(), stop.signal);
        if (next.done === true) break;
        watchdog.seen();
        if (initial !== undefined) initial = this.#collect(initial, next.value);
        else this.#apply(next.value);
      }
      if (initial !== undefined) {
        throw new ApiError("Unavailable", "The watch ended before all initial events had come");
      }
    } catch (error) {
      if (initial !== undefined) {
        this.#listNext = true;
        if (isApiError(error, "Invalid")) this.#streams = false;
      }
      throw error;
    } finally {
      watchdog.cancel();
      signal.removeEventListener("abort", onAbort);
      stop.abort();
      iterator.return?.().catch(() => {});
    }
  }

  async #list(signal: AbortSignal): Promise<void> {
    const { source, store } = this.#options;
    const items: T[] = [];
    let token: string | undefined;
    for (;;) {
      const page = await abortable(source.list({ limit: PAGE, continue: token, signal }), signal);
      for (const item of page.items) items.push(this.#prune(item));
      token = page.continue;
      if (token !== undefined) continue;
      store.replace(items, page.resourceVersion);
      this.#progress(page.resourceVersion);
      return;
    }
  }

  /** One of the initial events; undefined when it was the last. */
  #collect(initial: Map<string, T>, { type, object }: WatchEvent): Map<string, T> | undefined {
    if (type === "DELETED") initial.delete(keyOf(object));
    else if (type !== "BOOKMARK") initial.set(keyOf(object), this.#prune(object));
    else if (object.metadata.annotations?.[INITIAL_EVENTS_END] === "true") {
      const version = object.metadata.resourceVersion ?? "";
      this.#options.store.replace(initial.values(), version);
      this.#progress(version);
      return undefined;
    }
    return initial;
  }

  #apply({ type, object }: WatchEvent): void {
    const { store } = this.#options;
    const version = object.metadata.resourceVersion ?? "";
    // A server may send again what it had sent before the connection broke.
    if (this.#position !== undefined && !isNewer(version, this.#position)) return;
    if (type === "BOOKMARK") store.advance(version);
    else if (type === "DELETED") store.remove(keyOf(object), version);
    else store.put(this.#prune(object));
    this.#progress(version);
  }

  #progress(version: string): void {
    this.#position = version;
    this.#delay = BACKOFF_BASE;
  }

  #prune(object: KubeObject): T {
    const { transform } = this.#options;
    delete (object.metadata as { managedFields?: unknown }).managedFields;
    return transform === undefined ? (object as T) : transform(object as T);
  }

  #watchdog(limit: () => number, stop: AbortController): { seen(): void; cancel(): void } {
    const { clock } = this.#options;
    let last = clock.monotonic();
    const check = (): void => {
      const left = last + limit() - clock.monotonic();
      if (left > 0) cancel = clock.after(left, check);
      else stop.abort(new ApiError("Timeout", "The watch has been silent for too long"));
    };
    let cancel = clock.after(limit(), check);
    return {
      seen: () => {
        last = clock.monotonic();
      },
      cancel: () => cancel(),
    };
  }
}

/**
 * Whether resource version `a` is newer than `b`. Both are decimal numbers that may be
 * compared (KEP-5504); what is none counts as newer, so that nothing is ever dropped wrongly.
 */
export function isNewer(a: string, b: string): boolean {
  if (!/^[1-9]\d*$/.test(a) || !/^[1-9]\d*$/.test(b)) return true;
  return a.length === b.length ? a > b : a.length > b.length;
}

/**
 * Whether the server answered that it can't go on from where we are: too old (410), too
 * new (504 after etcd was restored from a snapshot), or something else that a repetition
 * won't mend.
 */
function isRefused(error: unknown): boolean {
  if (!isApiError(error) || error.status === 0) return false;
  if (error.causes.some((cause) => cause.startsWith("ResourceVersionTooLarge"))) return true;
  return error.status < 500 && error.status !== 429;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
