/**
 * Simulated time: a heap of timers and nothing else. Time stands still while code runs, and
 * jumps to the next timer when nothing is left to do.
 */
import type { Cancel, Clock } from "../../ports/clock.ts";

/** 2026-11-02 00:00 UTC, a Monday. */
const EPOCH = Date.UTC(2026, 10, 2);

interface Timer {
  at: number;
  /** Breaks ties: the timer that was set first runs first. */
  order: number;
  fn: (() => void) | undefined;
}

export class SimClock {
  #time = 0;
  #order = 0;
  readonly #heap: Timer[] = [];

  /** Milliseconds since the simulation began. */
  get time(): number {
    return this.#time;
  }

  /** The right wall time, ms. */
  get wall(): number {
    return EPOCH + this.#time;
  }

  /** A clock of one process: its wall time may be off by `skew` ms, and it can be frozen. */
  process(skew = 0): ProcessClock {
    return new ProcessClock(this, skew);
  }

  at(milliseconds: number, fn: () => void): Cancel {
    const timer: Timer = { at: this.#time + Math.max(0, Math.ceil(milliseconds)), order: this.#order++, fn };
    this.#heap.push(timer);
    this.#up(this.#heap.length - 1);
    return () => {
      timer.fn = undefined;
    };
  }

  /** Time of the next timer; undefined if there is none. */
  next(): number | undefined {
    while (this.#heap.length > 0 && this.#heap[0]?.fn === undefined) this.#pop();
    return this.#heap[0]?.at;
  }

  /** Runs the next timer. */
  step(): void {
    const timer = this.#pop();
    if (timer?.fn === undefined) return;
    this.#time = timer.at;
    timer.fn();
  }

  #pop(): Timer | undefined {
    const top = this.#heap[0];
    const last = this.#heap.pop();
    if (top === undefined || last === undefined || this.#heap.length === 0) return top;
    this.#heap[0] = last;
    this.#down(0);
    return top;
  }

  #before(a: number, b: number): boolean {
    const [x, y] = [this.#heap[a] as Timer, this.#heap[b] as Timer];
    return x.at < y.at || (x.at === y.at && x.order < y.order);
  }

  #swap(a: number, b: number): void {
    [this.#heap[a], this.#heap[b]] = [this.#heap[b] as Timer, this.#heap[a] as Timer];
  }

  #up(index: number): void {
    for (let at = index; at > 0; ) {
      const parent = (at - 1) >> 1;
      if (!this.#before(at, parent)) return;
      this.#swap(at, parent);
      at = parent;
    }
  }

  #down(index: number): void {
    for (let at = index; ; ) {
      let least = at;
      for (const child of [2 * at + 1, 2 * at + 2]) {
        if (child < this.#heap.length && this.#before(child, least)) least = child;
      }
      if (least === at) return;
      this.#swap(at, least);
      at = least;
    }
  }
}

/** The clock that one simulated process sees. Frozen (SIGSTOP): its timers wait, time goes on. Dead: they never run. */
export class ProcessClock implements Clock {
  readonly #sim: SimClock;
  skew: number;
  #state: "running" | "frozen" | "dead" = "running";
  #waiting: (() => void)[] = [];

  constructor(sim: SimClock, skew: number) {
    this.#sim = sim;
    this.skew = skew;
  }

  now(): number {
    return EPOCH + this.#sim.time + this.skew;
  }

  monotonic(): number {
    return this.#sim.time;
  }

  after(milliseconds: number, fn: () => void): Cancel {
    let cancelled = false;
    const run = (): void => {
      if (cancelled || this.#state === "dead") return;
      if (this.#state === "frozen") this.#waiting.push(run);
      else fn();
    };
    const cancel = this.#sim.at(milliseconds, run);
    return () => {
      cancelled = true;
      cancel();
    };
  }

  get alive(): boolean {
    return this.#state !== "dead";
  }

  get frozen(): boolean {
    return this.#state === "frozen";
  }

  freeze(): void {
    if (this.#state === "running") this.#state = "frozen";
  }

  thaw(): void {
    if (this.#state !== "frozen") return;
    this.#state = "running";
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const run of waiting) run();
  }

  /** The process is gone: nothing of it ever runs again. */
  kill(): void {
    this.#state = "dead";
    this.#waiting = [];
  }
}
