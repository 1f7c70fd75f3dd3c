/** The contract between a controller and the decision that it carries out. */

/** Done; look again after `requeueAfter` milliseconds, if given. */
export interface Result {
  requeueAfter?: number;
}

/**
 * Brings one object to where it should be. Called with the key alone, at any time, any
 * number of times, never twice at once for one key. A thrown error is retried with
 * back-off; a `TerminalError` is not, until the object changes; an `ApiError` of kind
 * Conflict is retried quietly. `signal` aborts at the deadline or when leadership is lost.
 */
export interface Reconciler {
  reconcile(key: string, signal: AbortSignal): Promise<Result>;
}

/** An error that trying again won't mend. */
export class TerminalError extends Error {
  constructor(message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = "TerminalError";
  }
}
