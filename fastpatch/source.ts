/** Where images come from, as a port. `http-source.ts` is the real one. */

export interface ByteRange {
  /** In bytes; `length` is at least 1. */
  offset: number;
  length: number;
  /** Size that the whole object should have: a source that sees another one says so at once. */
  total: number;
}

/**
 * What went wrong with one attempt:
 * `status` - the server answered with an error; `tooShort` - it ended early, or its object is too small;
 * `tooLong` - it sent more than asked, or its object is too large; `stalled` - it was too slow for too long;
 * `rangeIgnored` - it sends whole objects only; `refused` - it never serves this (another address, another encoding).
 */
export type SourceErrorKind =
  | "status"
  | "tooShort"
  | "tooLong"
  | "stalled"
  | "rangeIgnored"
  | "refused"
  | "network";

export class SourceError extends Error {
  override readonly name = "SourceError";
  readonly kind: SourceErrorKind;
  constructor(kind: SourceErrorKind, message: string, options?: ErrorOptions) {
    super(message, options);
    this.kind = kind;
  }
}

export interface Source {
  /**
   * Exactly the bytes of `range`, in order, or a SourceError. Ends early when the consumer
   * returns. `rangeIgnored` is thrown only for an offset above 0.
   */
  fetch(url: string, range: ByteRange, signal: AbortSignal): AsyncIterable<Uint8Array>;
}
