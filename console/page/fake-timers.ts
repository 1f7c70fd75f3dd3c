/** Time that a test moves. */
import type { Timers } from "./timers.ts";

export class FakeTimers implements Timers {
  #now = 1_000_000;
  #due: { at: number; run: () => void }[] = [];
  #frames: (() => void)[] = [];

  now(): number {
    return this.#now;
  }

  after(ms: number, run: () => void): () => void {
    const entry = { at: this.#now + ms, run };
    this.#due.push(entry);
    return () => {
      this.#due = this.#due.filter((other) => other !== entry);
    };
  }

  frame(run: () => void): void {
    this.#frames.push(run);
  }

  /** Draws one frame. */
  paint(): void {
    for (const run of this.#frames.splice(0)) run();
  }

  /** Moves on by `ms`; what comes due runs in its order. */
  pass(ms: number): void {
    const end = this.#now + ms;
    for (;;) {
      const next = this.#due.filter(({ at }) => at <= end).toSorted((a, b) => a.at - b.at)[0];
      if (next === undefined) break;
      this.#due = this.#due.filter((other) => other !== next);
      this.#now = next.at;
      next.run();
    }
    this.#now = end;
  }
}
