/**
 * etcd as a port. `etcd3-port.ts` is the real one; the simulation has another, and one
 * suite of tests holds for both. Revisions are numbers: they stay below 2^53.
 */

export interface KeyValue {
  key: string;
  value: string;
  createRevision: number;
  modRevision: number;
  /** Lease of the key, decimal; undefined without one. */
  lease: string | undefined;
}

/** One key, or every key that starts with `prefix`; with a `limit` the first of those that come after the key `after`. */
export type Range = { key: string } | { prefix: string; after?: string; limit?: number };

/** A key was written, or removed: then it has no value. */
export interface Change {
  key: string;
  revision: number;
  value: string | undefined;
}

/** Who is told of changes. */
export interface Follower {
  /** In the order of revisions. One may be told twice, and none is left out before `lost`. */
  changed(changes: readonly Change[]): void;
  /** All up to `revision` was told, by the member that is asked. */
  reached(revision: number): void;
  /** What came next is forgotten: read everything, and follow anew. Nothing more is told. */
  lost(): void;
}

export type Compare =
  | { key: string; target: "mod" | "create"; is: "equal" | "greater" | "less"; revision: number }
  | { key: string; target: "value"; is: "equal"; value: string };

export type Operation =
  | { put: string; value: string; lease?: string | undefined }
  | { delete: string }
  | { deletePrefix: string };

/**
 * - committed: every compare held, the operations happened, `revision` is theirs.
 * - refused: a compare did not hold; nothing happened.
 * - unknown: no answer. It may have happened, or may still happen: read back a nonce.
 */
export type TxnResult =
  | { outcome: "committed"; revision: number }
  | { outcome: "refused" }
  | { outcome: "unknown"; cause: string };

export interface ReadResult {
  /** Revision of the store that all ranges were read at. */
  revision: number;
  /** Per range, in its order; keys ascend. */
  results: KeyValue[][];
}

/** Where only values matter. */
export interface Reader {
  read(ranges: readonly Range[]): Promise<Pick<ReadResult, "results">>;
}

/** A lease that is kept alive until `close`, loss, or its deadline. */
export interface LeaseSession {
  /** Decimal lease id, for `Operation.lease`. */
  readonly id: string;
  /**
   * Aborts when the lease can no longer be trusted: `ttl` less a margin of own monotonic
   * time after the last acknowledged renewal, or when the server says that it is gone.
   */
  readonly lost: AbortSignal;
  /** Stops renewing and revokes; ends quietly where etcd can't be reached. */
  close(): Promise<void>;
}

/** Thrown by `read`, `lease` and `compact` when etcd gives no answer in time. A read has no effect. */
export class EtcdUnavailable extends Error {
  constructor(message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = "EtcdUnavailable";
  }
}

/** A snapshot was restored under a running process: holders must be rebuilt under a new incarnation. */
export class EtcdRewound extends EtcdUnavailable {
  constructor(from: number, to: number) {
    super(`etcd went back from revision ${from} to ${to}: it was restored; a leader must rebuild holders`);
    this.name = "EtcdRewound";
  }
}

/** Compares, and operations, in one transaction: etcd's `--max-txn-ops` by default. */
export const MAX_OPERATIONS = 128;

export interface EtcdPort {
  /** Linearizable read of several ranges at one revision. */
  read(ranges: readonly Range[]): Promise<ReadResult>;
  /**
   * One transaction, tried once: its own retries are off. At most `MAX_OPERATIONS` compares
   * and as many operations. A lease that does not exist refuses. Throws where the request
   * itself is wrong (limits, a key put twice, permissions): nothing happened then.
   */
  txn(compares: readonly Compare[], operations: readonly Operation[]): Promise<TxnResult>;
  /** Grants a lease of `ttlSeconds` and keeps it alive. */
  lease(ttlSeconds: number): Promise<LeaseSession>;
  /** Grants a lease that nobody renews: what hangs on it ends after `ttlSeconds`. */
  leaseOnce(ttlSeconds: number): Promise<string>;
  /**
   * Calls `hint` when something under `prefix` may have changed: right after (re)connecting
   * and after each change, possibly more often, never less. Reads tell what changed.
   */
  watch(prefix: string, hint: () => void): { close(): void };
  /** Tells every change under `prefix` after `revision`. After `ask` it tells how far that is, unless the stream is dead. */
  follow(prefix: string, revision: number, follower: Follower): { ask(): void; close(): void };
  /**
   * Forgets what keys were before `revision`; what they are stays, and a watch that lags behind
   * begins anew. Nothing happens where that was done already, or the store is not so far.
   */
  compact(revision: number): Promise<void>;
  close(): Promise<void>;
}
