/** A clock that a test moves. Wall and monotonic time are set apart, so that a jump of one shows. */
import type { Cancel, Clock } from "../ports/clock.ts";

interface Timer {
  at: number;
  fn: () => void;
}

export class VirtualClock implements Clock {
  /** Monotonic milliseconds. */
  #time = 0;
  /** Wall time less monotonic time. A test may make the wall clock jump. */
  offset: number;
  readonly #timers = new Set<Timer>();

  constructor(wall: number = Date.UTC(2026, 0, 1)) {
    this.offset = wall;
  }

  now(): number {
    return this.#time + this.offset;
  }

  monotonic(): number {
    return this.#time;
  }

  after(milliseconds: number, fn: () => void): Cancel {
    const timer = { at: this.#time + Math.max(0, milliseconds), fn };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  }

  /** Timers that have not run. */
  get pending(): number {
    return this.#timers.size;
  }

  /** Moves time on; timers run at their time, in order, and what they cause runs in between. */
  async advance(milliseconds: number): Promise<void> {
    const end = this.#time + milliseconds;
    await settle();
    for (let next = this.#next(end); next !== undefined; next = this.#next(end)) {
      this.#timers.delete(next);
      this.#time = Math.max(this.#time, next.at);
      next.fn();
      await settle();
    }
    this.#time = end;
  }

  #next(end: number): Timer | undefined {
    let first: Timer | undefined;
    for (const timer of this.#timers) {
      if (timer.at <= end && (first === undefined || timer.at < first.at)) first = timer;
    }
    return first;
  }
}

/** Lets everything run that waits for nothing but promises. */
export function settle(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}
