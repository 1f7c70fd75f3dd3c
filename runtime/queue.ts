/**
 * A queue of keys with the semantics of client-go's workqueue: a key stands in it once,
 * is never given to two workers at a time, and if it is added while being worked on, it
 * comes again afterwards.
 */
import type { Cancel, Clock } from "../ports/clock.ts";
import type { QueueMetrics } from "./metrics.ts";

/** Back-off of one key, ms: client-go's DefaultControllerRateLimiter (5 ms, doubling, 1000 s). */
const BACKOFF_BASE = 5;
const BACKOFF_CAP = 1_000_000;
/** Longest `addAfter`: Node's timers end at 24.8 days, and a look a day costs nothing. */
const MAX_DELAY = 86_400_000;
/** Keys in all. There are as many as objects; more means that something makes keys up. */
const LIMIT = 200_000;

export interface QueueOptions {
  clock: Clock;
  metrics: QueueMetrics;
  limit?: number;
}

export class WorkQueue {
  readonly #clock: Clock;
  readonly #metrics: QueueMetrics;
  readonly #limit: number;
  /** Ready keys in order, with the time when they became ready. Invariant: a subset of #dirty, disjoint from #processing. */
  readonly #ready = new Map<string, number>();
  /** Keys that need work. */
  readonly #dirty = new Set<string>();
  /** Keys that a worker has, with the time when it took them. */
  readonly #processing = new Map<string, number>();
  /** Keys that become dirty at a time. */
  readonly #waiting = new Map<string, { at: number; cancel: Cancel }>();
  readonly #failures = new Map<string, number>();
  readonly #takers: ((key: string | undefined) => void)[] = [];
  #closed = false;

  constructor({ clock, metrics, limit = LIMIT }: QueueOptions) {
    this.#clock = clock;
    this.#metrics = metrics;
    this.#limit = limit;
  }

  /** Keys that are ready for a worker. */
  get length(): number {
    return this.#ready.size;
  }

  /** Keys that workers have, and since when (monotonic ms). */
  get processing(): ReadonlyMap<string, number> {
    return this.#processing;
  }

  /** False if the queue is full or closed: then the key is not in it. */
  add(key: string): boolean {
    if (this.#closed) return false;
    if (this.#dirty.has(key)) return true;
    if (this.#dirty.size >= this.#limit) return false;
    this.#metrics.added();
    this.#dirty.add(key);
    if (!this.#processing.has(key)) this.#push(key);
    return true;
  }

  /** Adds after `milliseconds`; of two times for one key the earlier one counts. */
  addAfter(key: string, milliseconds: number): boolean {
    if (!(milliseconds > 0)) return this.add(key);
    if (this.#closed) return false;
    const delay = Math.min(milliseconds, MAX_DELAY);
    const at = this.#clock.monotonic() + delay;
    const known = this.#waiting.get(key);
    if (known !== undefined && known.at <= at) return true;
    if (known === undefined && this.#waiting.size >= this.#limit) return false;
    known?.cancel();
    const cancel = this.#clock.after(delay, () => {
      this.#waiting.delete(key);
      this.add(key);
    });
    this.#waiting.set(key, { at, cancel });
    return true;
  }

  /** Adds after the key's back-off, which doubles until `forget`. */
  retry(key: string): void {
    const failures = this.#failures.get(key) ?? 0;
    if (this.#failures.size < this.#limit) this.#failures.set(key, Math.min(failures + 1, 64));
    this.#metrics.retried();
    this.addAfter(key, Math.min(BACKOFF_CAP, BACKOFF_BASE * 2 ** failures));
  }

  /** The key did well: its next back-off starts anew. */
  forget(key: string): void {
    this.#failures.delete(key);
  }

  /** The next key; waits for one. Undefined once the queue is closed. Each key taken must be given to `done`. */
  take(): Promise<string | undefined> {
    if (this.#closed) return Promise.resolve(undefined);
    for (const [key, since] of this.#ready) {
      this.#ready.delete(key);
      this.#hand(key, since);
      return Promise.resolve(key);
    }
    return new Promise((resolve) => this.#takers.push(resolve));
  }

  /** A worker is done with the key. If it was added meanwhile, it is ready again. */
  done(key: string): void {
    const since = this.#processing.get(key);
    if (since === undefined) return;
    this.#processing.delete(key);
    this.#metrics.worked((this.#clock.monotonic() - since) / 1000);
    if (this.#dirty.has(key) && !this.#closed) this.#push(key);
  }

  /** Gives nothing more out; keys in work may still be given to `done`. */
  close(): void {
    this.#closed = true;
    for (const { cancel } of this.#waiting.values()) cancel();
    this.#waiting.clear();
    this.#ready.clear();
    this.#dirty.clear();
    this.#metrics.depth(0);
    for (const taker of this.#takers.splice(0)) taker(undefined);
  }

  #push(key: string): void {
    const now = this.#clock.monotonic();
    const taker = this.#takers.shift();
    if (taker !== undefined) {
      this.#hand(key, now);
      taker(key);
      return;
    }
    this.#ready.set(key, now);
    this.#metrics.depth(this.#ready.size);
  }

  #hand(key: string, since: number): void {
    const now = this.#clock.monotonic();
    this.#dirty.delete(key);
    this.#processing.set(key, now);
    this.#metrics.depth(this.#ready.size);
    this.#metrics.queued((now - since) / 1000);
  }
}
