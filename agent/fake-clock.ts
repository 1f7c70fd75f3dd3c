/** Test support: a clock that moves only when told; everything that can run does so before the next timer. */
import type { Clock } from "../ports/clock.ts";

interface Timer {
  at: number;
  fn: () => void;
}

export class FakeClock implements Clock {
  #now = 0;
  /** Of the wall clock alone. */
  #offset = 0;
  readonly #timers = new Set<Timer>();

  now(): number {
    return 1_700_000_000_000 + this.#now + this.#offset;
  }

  monotonic(): number {
    return this.#now;
  }

  after(milliseconds: number, fn: () => void): () => void {
    const timer = { at: this.#now + Math.max(0, milliseconds), fn };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  }

  /** The wall clock is set. */
  jump(milliseconds: number): void {
    this.#offset += milliseconds;
  }

  /** Time passes and no timer runs: the process was frozen. */
  freeze(milliseconds: number): void {
    this.#now += milliseconds;
  }

  /** Runs timers in order, for `milliseconds`, or until `done`. */
  async advance(milliseconds: number, done: () => boolean = () => false): Promise<void> {
    const end = this.#now + milliseconds;
    await settle();
    while (!done()) {
      let next: Timer | undefined;
      for (const timer of this.#timers) if (next === undefined || timer.at < next.at) next = timer;
      if (next === undefined || next.at > end) break;
      this.#timers.delete(next);
      this.#now = Math.max(this.#now, next.at);
      next.fn();
      await settle();
    }
    if (!done()) this.#now = Math.max(this.#now, end);
  }
}

/** Lets every promise chain run to its end; no real I/O is under way in these tests. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 3; turn++) await new Promise((resolve) => setImmediate(resolve));
}
