/** Waiting for conditions of real processes. Every wait has a deadline and names what it waits for. */

export interface WaitOptions {
  /** What is waited for, as in "etcd answers /health". */
  what: string;
  /** Milliseconds until the wait fails. */
  deadline: number;
  /** Milliseconds between two looks. */
  interval?: number;
  /** Ends the wait early: a returned text is the reason why it can't succeed any more. */
  hopeless?: () => string | undefined;
}

/**
 * Looks again and again until `condition` returns true. What it throws counts as false; the
 * last error is part of the message when the deadline has passed.
 */
export async function waitUntil(
  condition: () => boolean | Promise<boolean>,
  options: WaitOptions,
): Promise<void> {
  const start = performance.now();
  let last: string | undefined;
  for (;;) {
    try {
      if (await condition()) return;
    } catch (error) {
      last = error instanceof Error ? error.message : String(error);
    }
    const reason = options.hopeless?.();
    if (reason !== undefined) throw new Error(`${options.what}: ${reason}`);
    if (performance.now() - start > options.deadline) {
      const detail = last === undefined ? "" : ` (last error: ${last})`;
      throw new Error(`${options.what}: not within ${options.deadline / 1000} s${detail}`);
    }
    await pause(options.interval ?? 25);
  }
}

export function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

/** Settles like `promise`, or rejects after `deadline` milliseconds. */
export async function within<T>(deadline: number, what: string, promise: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: not within ${deadline / 1000} s`)), deadline);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
