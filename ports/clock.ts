/**
 * Time as a port. Nothing outside this file and `main` files may call `Date.now`,
 * `setTimeout` or `process.hrtime`: the simulator drives every wait through here.
 */
import { readFileSync } from "node:fs";

/** Cancels a timer; calling it twice, or after the timer ran, does nothing. */
export type Cancel = () => void;

export interface Clock {
  /** Wall time, milliseconds since the Unix epoch. May jump in either direction. */
  now(): number;
  /**
   * Milliseconds on a clock that never jumps and that runs through suspend
   * (Linux CLOCK_BOOTTIME). Only differences mean something.
   */
  monotonic(): number;
  /** Runs `fn` once, after at least `milliseconds` of monotonic time. */
  after(milliseconds: number, fn: () => void): Cancel;
}

/**
 * Waits `milliseconds` on `clock`. An abort ends the wait at once and rejects with
 * the signal's reason.
 */
export function sleep(clock: Clock, milliseconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      reject(signal.reason);
      return;
    }
    const onAbort = (): void => {
      cancel();
      reject(signal?.reason);
    };
    const cancel = clock.after(milliseconds, () => {
      signal?.removeEventListener("abort", onAbort);
      resolve();
    });
    signal?.addEventListener("abort", onAbort, { once: true });
  });
}

/**
 * Milliseconds, finer than the 10 of `monotonic` and cheap to ask, but standing still in suspend: for how long something
 * took, where only a metric tells of it.
 */
export function stopwatch(): number {
  return performance.now();
}

/** The machine's own clock. `monotonic` reads /proc/uptime, which is CLOCK_BOOTTIME (proc(5)). */
export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => bootTime(),
  after(milliseconds, fn) {
    const timer = setTimeout(fn, milliseconds);
    return () => clearTimeout(timer);
  },
};

function bootTime(): number {
  try {
    return Number.parseFloat(readFileSync("/proc/uptime", "latin1")) * 1000;
  } catch {
    return performance.now();
  }
}
