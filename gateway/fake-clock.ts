/** A clock that only moves when a test says so, and draws that never vary. */
import type { Clock } from "../ports/clock.ts";
import type { Random } from "../ports/random.ts";

interface Timer {
  at: number;
  fn: () => void;
}

export class FakeClock implements Clock {
  #now = 1_800_000_000_000;
  #timers: Timer[] = [];

  now(): number {
    return this.#now;
  }

  monotonic(): number {
    return this.#now;
  }

  after(milliseconds: number, fn: () => void): () => void {
    const timer = { at: this.#now + milliseconds, fn };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer);
    };
  }

  /** Timers that wait. */
  get pending(): number {
    return this.#timers.length;
  }

  /** Moves on, runs what falls due in its order, and lets promises settle after each. */
  async advance(milliseconds: number): Promise<void> {
    const end = this.#now + milliseconds;
    await settle();
    for (;;) {
      const due = this.#timers.filter((timer) => timer.at <= end).sort((a, b) => a.at - b.at)[0];
      if (due === undefined) break;
      this.#timers = this.#timers.filter((timer) => timer !== due);
      this.#now = Math.max(this.#now, due.at);
      due.fn();
      await settle();
    }
    this.#now = end;
  }
}

/** Lets every promise that can settle without I/O do so. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await Promise.resolve();
}

export function fakeRandom(): Random {
  let count = 0;
  return {
    next: () => 0.5,
    uuid: () => `00000000-0000-4000-8000-${String(++count).padStart(12, "0")}`,
  };
}
