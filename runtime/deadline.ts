/** Bounds on waiting: every wait of the runtime goes through one of these. */
import type { Clock } from "../ports/clock.ts";

/** A signal that aborts by itself after a time, or with its parent. */
export interface Deadline {
  readonly signal: AbortSignal;
  /** Milliseconds left; 0 when it has passed. */
  remaining(): number;
  /** Ends the timer and lets go of the parent: call it when the work is done. */
  cancel(): void;
}

/** Starts a deadline of `milliseconds`; `reason()` is what the signal then aborts with. */
export function startDeadline(
  clock: Clock,
  milliseconds: number,
  reason: () => Error,
  parent?: AbortSignal,
): Deadline {
  const controller = new AbortController();
  const end = clock.monotonic() + milliseconds;
  const onParent = (): void => controller.abort(parent?.reason);
  const cancelTimer = clock.after(milliseconds, () => controller.abort(reason()));
  if (parent?.aborted) onParent();
  else parent?.addEventListener("abort", onParent, { once: true });
  return {
    signal: controller.signal,
    remaining: () => Math.max(0, end - clock.monotonic()),
    cancel() {
      cancelTimer();
      parent?.removeEventListener("abort", onParent);
    },
  };
}

/** `work`, or a rejection with the signal's reason, whichever comes first. The work itself goes on. */
export function abortable<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason);
    if (signal.aborted) onAbort();
    else signal.addEventListener("abort", onAbort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", onAbort));
  });
}
