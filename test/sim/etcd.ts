/**
 * etcd in memory, for simulations: revisions, leases, transactions and watches over the
 * Clock port, and a link per client that decides what becomes of each request. It is held
 * to the same suite as the real port (coordination/etcd-suite.ts). Nobody can read its past, so
 * that a compaction only makes watches begin anew.
 */
import {
  type Compare,
  type EtcdPort,
  EtcdUnavailable,
  type Follower,
  type KeyValue,
  type LeaseSession,
  MAX_OPERATIONS,
  type Operation,
  type Range,
  type ReadResult,
  type TxnResult,
} from "../../coordination/etcd.ts";
import type { Cancel, Clock } from "../../ports/clock.ts";
import { SimLease } from "./etcd-lease.ts";
import { SimFollow, SimLog } from "./etcd-log.ts";

/**
 * What becomes of a request. `lost`: it never arrives. `unanswered`: it happens, the answer
 * is lost. `late`: there is no answer, and it happens when the link's `later` says so.
 */
export type Fate = "ok" | "lost" | "unanswered" | "late";

export type RequestKind = "read" | "txn" | "lease" | "compact";

/** The way between one client and etcd. Everything is optional: without it all goes well. */
export interface SimLink {
  /** Awaited before a request arrives. */
  send?(kind: RequestKind): Promise<Fate> | Fate;
  /** Awaited before an answer arrives. */
  receive?(kind: RequestKind): Promise<void> | void;
  /** Awaited before a `late` transaction happens. */
  later?(): Promise<void>;
}

interface Lease {
  ttl: number;
  /** Monotonic ms. */
  expires: number;
  cancel: Cancel;
}

/** The changed keys, and whose transaction changed them: nobody's where a lease ended. */
export type Observer = (changed: readonly string[], by: EtcdPort | undefined) => void;

/** All data at one moment, as `etcdctl snapshot save` takes it. */
export interface SimSnapshot {
  readonly revision: number;
  readonly records: ReadonlyMap<string, KeyValue>;
  /** Id to ttl in seconds. */
  readonly leases: ReadonlyMap<string, number>;
}

export class SimEtcd {
  readonly #clock: Clock;
  #records = new Map<string, KeyValue>();
  #leases = new Map<string, Lease>();
  #revision = 1;
  #compacted = 0;
  readonly log = new SimLog();
  #nextLease = 7_000_000_000_000_001n;
  readonly #clients = new Set<SimClient>();
  readonly #observers = new Set<Observer>();
  /** All keys in order; undefined after one came or went. */
  #ascending: string[] | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get revision(): number {
    return this.#revision;
  }

  /** A client with its own connection, on the clock of its process. */
  connect(link: SimLink = {}, clock: Clock = this.#clock): SimClient {
    const client = new SimClient(this, clock, link, () => this.#clients.delete(client));
    this.#clients.add(client);
    return client;
  }

  /** Calls `observer` after each revision, before anybody else can act. */
  observe(observer: Observer): () => void {
    this.#observers.add(observer);
    return () => void this.#observers.delete(observer);
  }

  /** The records as they are, for observers and assertions. */
  get records(): ReadonlyMap<string, KeyValue> {
    return this.#records;
  }

  snapshot(): SimSnapshot {
    const leases = new Map([...this.#leases].map(([id, lease]) => [id, lease.ttl] as const));
    return { revision: this.#revision, records: new Map(this.#records), leases };
  }

  /** Goes back to a snapshot; leases start anew, as they do in a restored etcd. */
  restore(snapshot: SimSnapshot): void {
    for (const lease of this.#leases.values()) lease.cancel();
    this.#leases = new Map();
    this.#records = new Map(snapshot.records);
    this.#ascending = undefined;
    this.#revision = snapshot.revision;
    this.#compacted = Math.min(this.#compacted, snapshot.revision);
    this.log.restart(snapshot.revision);
    for (const [id, ttl] of snapshot.leases) this.#arm(id, ttl);
    for (const client of this.#clients) client.notify(undefined);
  }

  /** All data is lost. */
  wipe(): void {
    this.restore({ revision: 1, records: new Map(), leases: new Map() });
  }

  read(ranges: readonly Range[]): ReadResult {
    const results = ranges.map((range) => {
      if ("prefix" in range) {
        const { prefix, after = "", limit } = range;
        const found = this.#keysUnder(prefix).filter((key) => key > after);
        return found.slice(0, limit).map((key) => this.#records.get(key) as KeyValue);
      }
      const found = this.#records.get(range.key);
      return found === undefined ? [] : [found];
    });
    return { revision: this.#revision, results };
  }

  txn(compares: readonly Compare[], operations: readonly Operation[], by: EtcdPort): TxnResult {
    refuseOverlaps(operations);
    if (!compares.every((compare) => this.#holds(compare))) return { outcome: "refused" };
    for (const operation of operations) {
      if ("put" in operation && operation.lease !== undefined && !this.#leases.has(operation.lease)) {
        return { outcome: "refused" };
      }
    }
    const deleted = operations.flatMap((operation) => this.#deletes(operation));
    const puts = operations.filter((operation) => "put" in operation);
    if (deleted.length > 0 || puts.length > 0) {
      const revision = ++this.#revision;
      for (const key of deleted) this.#records.delete(key);
      for (const { put: key, value, lease } of puts) {
        const createRevision = this.#records.get(key)?.createRevision ?? revision;
        this.#records.set(key, { key, value, createRevision, modRevision: revision, lease });
      }
      this.#changed([...deleted, ...puts.map(({ put }) => put)], by);
    }
    return { outcome: "committed", revision: this.#revision };
  }

  compact(revision: number): void {
    if (revision <= this.#compacted || revision > this.#revision) return;
    this.#compacted = revision;
    this.log.forget(revision);
    for (const client of this.#clients) client.notify(undefined);
  }

  grantLease(ttl: number): string {
    const id = String(this.#nextLease++);
    this.#arm(id, ttl);
    return id;
  }

  /** False if the lease is gone. */
  renewLease(id: string): boolean {
    const lease = this.#leases.get(id);
    if (lease === undefined) return false;
    lease.cancel();
    this.#arm(id, lease.ttl);
    return true;
  }

  revokeLease(id: string): void {
    this.#leases.get(id)?.cancel();
    if (!this.#leases.delete(id)) return;
    const keys = [...this.#records.values()].filter((kv) => kv.lease === id).map((kv) => kv.key);
    if (keys.length === 0) return;
    this.#revision++;
    for (const key of keys) this.#records.delete(key);
    this.#changed(keys, undefined);
  }

  #arm(id: string, ttl: number): void {
    const cancel = this.#clock.after(ttl * 1000, () => this.revokeLease(id));
    this.#leases.set(id, { ttl, expires: this.#clock.monotonic() + ttl * 1000, cancel });
  }

  #changed(keys: readonly string[], by: EtcdPort | undefined): void {
    this.#ascending = undefined;
    const revision = this.#revision;
    this.log.add(keys.map((key) => ({ key, revision, value: this.#records.get(key)?.value })));
    for (const observer of this.#observers) observer(keys, by);
    for (const client of this.#clients) client.notify(keys);
  }

  /** Keys that start with `prefix`, ascending: found by bisection. */
  #keysUnder(prefix: string): string[] {
    const keys = (this.#ascending ??= [...this.#records.keys()].sort());
    let [low, high] = [0, keys.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((keys[middle] as string) < prefix) low = middle + 1;
      else high = middle;
    }
    const end = keys.findIndex((key, index) => index >= low && !key.startsWith(prefix));
    return keys.slice(low, end < 0 ? undefined : end);
  }

  #deletes(operation: Operation): string[] {
    if ("delete" in operation) return this.#records.has(operation.delete) ? [operation.delete] : [];
    if (!("deletePrefix" in operation)) return [];
    return this.#keysUnder(operation.deletePrefix);
  }

  #holds(compare: Compare): boolean {
    const found = this.#records.get(compare.key);
    if (compare.target === "value") return found?.value === compare.value;
    const revision = (compare.target === "mod" ? found?.modRevision : found?.createRevision) ?? 0;
    if (compare.is === "equal") return revision === compare.revision;
    return compare.is === "greater" ? revision > compare.revision : revision < compare.revision;
  }
}

/** etcd refuses a transaction that puts a key twice or puts what it deletes. */
function refuseOverlaps(operations: readonly Operation[]): void {
  const puts = operations.flatMap((operation) => ("put" in operation ? [operation.put] : []));
  const twice =
    new Set(puts).size !== puts.length ||
    operations.some(
      (operation) =>
        ("delete" in operation && puts.includes(operation.delete)) ||
        ("deletePrefix" in operation && puts.some((key) => key.startsWith(operation.deletePrefix))),
    );
  if (twice) throw new Error("etcdserver: duplicate key given in txn request");
}

interface Watch {
  prefix: string;
  hint: () => void;
  due: Cancel | undefined;
}

/** One client of a simulated etcd. */
export class SimClient implements EtcdPort {
  readonly #etcd: SimEtcd;
  readonly #clock: Clock;
  readonly #link: SimLink;
  readonly #forget: () => void;
  readonly #watches = new Set<Watch>();
  readonly #follows = new Set<SimFollow>();
  readonly #sessions = new Set<SimLease>();
  #down = false;
  #closed = false;

  constructor(etcd: SimEtcd, clock: Clock, link: SimLink, forget: () => void) {
    this.#etcd = etcd;
    this.#clock = clock;
    this.#link = link;
    this.#forget = forget;
  }

  /** No request arrives and no hint comes, until `reconnect`. */
  disconnect(): void {
    this.#down = true;
  }

  reconnect(): void {
    this.#down = false;
    this.notify(undefined);
  }

  /** Its process died: it is forgotten, and nobody is told. */
  abandon(): void {
    this.#down = true;
    this.#unwatch();
    this.#forget();
  }

  async read(ranges: readonly Range[]): Promise<ReadResult> {
    const result = await this.#call("read", () => this.#etcd.read(ranges));
    if (result === undefined) throw new EtcdUnavailable("etcd gave no answer to a read");
    return result;
  }

  async txn(compares: readonly Compare[], operations: readonly Operation[]): Promise<TxnResult> {
    if (compares.length > MAX_OPERATIONS || operations.length > MAX_OPERATIONS) {
      throw new RangeError(`a transaction has at most ${MAX_OPERATIONS} compares and operations`);
    }
    const result = await this.#call("txn", () => this.#etcd.txn(compares, operations, this));
    return result ?? { outcome: "unknown", cause: "etcd gave no answer to a transaction" };
  }

  async lease(ttlSeconds: number): Promise<LeaseSession> {
    const id = await this.leaseOnce(ttlSeconds);
    const session = new SimLease(id, ttlSeconds, this.#clock, {
      renew: () => this.#call("lease", () => this.#etcd.renewLease(id)),
      end: async () => {
        this.#sessions.delete(session);
        await this.#call("lease", () => this.#etcd.revokeLease(id));
      },
    });
    this.#sessions.add(session);
    return session;
  }

  async leaseOnce(ttlSeconds: number): Promise<string> {
    const id = await this.#call("lease", () => this.#etcd.grantLease(ttlSeconds));
    if (id === undefined) throw new EtcdUnavailable("etcd gave no answer to a lease grant");
    return id;
  }

  watch(prefix: string, hint: () => void): { close(): void } {
    const watch: Watch = { prefix, hint, due: undefined };
    this.#watches.add(watch);
    this.#schedule(watch);
    return {
      close: () => {
        watch.due?.();
        this.#watches.delete(watch);
      },
    };
  }

  follow(prefix: string, revision: number, follower: Follower): { ask(): void; close(): void } {
    const newest = (): number | undefined => (this.#down ? undefined : this.#etcd.revision);
    const follow = new SimFollow(this.#etcd.log, newest, prefix, revision, this.#clock, follower);
    this.#follows.add(follow);
    return {
      ask: () => follow.ask(),
      close: () => {
        this.#follows.delete(follow);
        follow.close();
      },
    };
  }

  async compact(revision: number): Promise<void> {
    const done = await this.#call("compact", () => {
      this.#etcd.compact(revision);
      return true;
    });
    if (done === undefined) throw new EtcdUnavailable("etcd gave no answer to a compaction");
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#unwatch();
    for (const session of this.#sessions) session.lose("the client was closed");
    this.#sessions.clear();
    this.#forget();
  }

  /** Something changed: these keys, or perhaps everything. */
  notify(keys: readonly string[] | undefined): void {
    for (const follow of this.#follows) follow.schedule();
    for (const watch of this.#watches) {
      if (keys === undefined || keys.some((key) => key.startsWith(watch.prefix))) this.#schedule(watch);
    }
  }

  #unwatch(): void {
    for (const watch of this.#watches) watch.due?.();
    this.#watches.clear();
    for (const follow of this.#follows) follow.close();
    this.#follows.clear();
  }

  /** A hint comes a moment later, one for many changes; while disconnected none does. */
  #schedule(watch: Watch): void {
    watch.due ??= this.#clock.after(1, () => {
      watch.due = undefined;
      if (!this.#down) watch.hint();
    });
  }

  /** Undefined where no answer comes. */
  async #call<T>(kind: RequestKind, happen: () => T): Promise<T | undefined> {
    const fate = (await this.#link.send?.(kind)) ?? "ok";
    if (this.#closed || this.#down || fate === "lost") return undefined;
    if (fate === "late") {
      void this.#link.later?.().then(() => (kind === "txn" ? happen() : undefined));
      return undefined;
    }
    const result = happen();
    await this.#link.receive?.(kind);
    return fate === "unanswered" || this.#down ? undefined : result;
  }
}
