/**
 * Work that only the newest value matters for: at most one run at a time, at most one
 * value waiting, starts at least `spacing` apart, and when `allowed` says so.
 */
import type { Cancel, Clock } from "../../ports/clock.ts";

/** Longest pause between tries of work that fails, ms. */
const MAX_PAUSE = 10_000;

export class Newest<T> {
  readonly #clock: Clock;
  readonly #spacing: number;
  readonly #allowed: (value: T) => number;
  readonly #run: (value: T) => Promise<"done" | "again">;
  #waiting: { value: T } | undefined;
  #busy = false;
  #failures = 0;
  #notBefore = -Infinity;
  #cancel: Cancel | undefined;
  #stopped = false;

  /** `allowed`: ms until the value may be run. `run` never rejects; "again" offers its value anew, unless a newer one waits. */
  constructor(
    clock: Clock,
    spacing: number,
    allowed: (value: T) => number,
    run: (value: T) => Promise<"done" | "again">,
  ) {
    this.#clock = clock;
    this.#spacing = spacing;
    this.#allowed = allowed;
    this.#run = run;
  }

  offer(value: T): void {
    this.#waiting = { value };
    this.#next();
  }

  /** Nothing starts after this; what runs ends by itself. Gives back the value that waited. */
  stop(): T | undefined {
    this.#stopped = true;
    this.#cancel?.();
    const value = this.#waiting?.value;
    this.#waiting = undefined;
    return value;
  }

  #next(): void {
    if (this.#stopped || this.#busy || this.#cancel !== undefined || this.#waiting === undefined) return;
    const { value } = this.#waiting;
    const wait = Math.max(this.#notBefore - this.#clock.monotonic(), this.#allowed(value));
    if (wait > 0) {
      this.#cancel = this.#clock.after(wait, () => {
        this.#cancel = undefined;
        this.#next();
      });
      return;
    }
    this.#waiting = undefined;
    void this.#start(value);
  }

  async #start(value: T): Promise<void> {
    this.#busy = true;
    const started = this.#clock.monotonic();
    const outcome = await this.#run(value);
    this.#busy = false;
    this.#failures = outcome === "again" ? this.#failures + 1 : 0;
    const pause = this.#failures === 0 ? 0 : Math.min(MAX_PAUSE, 500 * 2 ** Math.min(this.#failures, 10));
    this.#notBefore = started + Math.max(this.#spacing, pause);
    if (outcome === "again" && !this.#stopped) this.#waiting ??= { value };
    this.#next();
  }
}
