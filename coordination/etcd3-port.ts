/**
 * The etcd port over npm `etcd3`, the only file that runs its code. Of that library only the
 * gRPC plumbing is used (connections, authentication, message types): its retries, circuit
 * breaker, watch manager, lease manager and builders are passed by, because they retry
 * transactions, lose events on reconnecting and notice a lost lease too late.
 */
import { isIP } from "node:net";
import {
  Etcd3,
  EtcdAuthenticationFailedError,
  EtcdLeaseInvalidError,
  EtcdPermissionDeniedError,
  GRPCInvalidArgumentError,
  GRPCOutOfRangeError,
  type IOptions,
  type IRequestOp,
} from "etcd3";
import type { Clock } from "../ports/clock.ts";
import type { Random } from "../ports/random.ts";
import {
  type Compare,
  type EtcdPort,
  EtcdUnavailable,
  type Follower,
  type LeaseSession,
  MAX_OPERATIONS,
  type Operation,
  type Range,
  type ReadResult,
  type TxnResult,
} from "./etcd.ts";
import { causeInWords } from "./etcd-cause.ts";
import { FollowWatch } from "./etcd3-follow.ts";
import { KeptLease } from "./etcd3-lease.ts";
import { compareRequest, keyValue, operationRequest, rangeRequest } from "./etcd3-messages.ts";
import type { WatchSource } from "./etcd3-streams.ts";
import { HintWatch } from "./etcd3-watch.ts";

/** PEM. */
export interface EtcdTls {
  ca: string;
  certificate?: string;
  key?: string;
  /** Name in the members' certificates, where the endpoint is an IP address. */
  serverName?: string;
}

export interface EtcdOptions {
  /** URLs of the members, `http://` or `https://`, not mixed. */
  endpoints: readonly string[];
  /** Called for each new client of a member, and after a failure, so that rotated files are seen. */
  tls?: () => EtcdTls;
  /** Certificates are better: with a password a stream's token is renewed only by other calls. */
  auth?: { username: string; password: string };
  clock: Clock;
  random: Random;
  /** Ms that one call may take; a read may take as many calls as there are members, at least 2. */
  callTimeout?: number;
}

const CALL_TIMEOUT = 5_000;
/** The call's own deadline comes first; this one ends a call that ignores it, ms later. */
const HUNG_AFTER = 500;
/** A member's client is made anew after so many failures in a row. */
const STUCK_AFTER = 3;
/** Largest answer, bytes: all records of a large fleet in one read. */
const MAX_ANSWER = 256 << 20;

export function connectEtcd(options: EtcdOptions): EtcdPort {
  if (options.endpoints.length === 0) throw new RangeError("etcd needs at least one endpoint");
  for (const endpoint of options.endpoints) {
    const { protocol, hostname } = new URL(endpoint);
    if (protocol !== "http:" && protocol !== "https:") {
      throw new RangeError(`etcd endpoint ${endpoint}: write http://HOST:PORT or https://HOST:PORT`);
    }
    // grpc-js sends the host as the TLS server name, and Node.js refuses an address there (RFC 6066).
    const address = isIP(hostname.replace(/^\[|\]$/g, "")) > 0;
    if (protocol === "https:" && address && options.tls?.().serverName === undefined) {
      throw new RangeError(`etcd endpoint ${endpoint} is an address: name the host, or give tls.serverName`);
    }
  }
  return new Etcd3Port(options);
}

/** In place of the library's retry and circuit breaker: runs what it is given, once. */
const once: NonNullable<NonNullable<IOptions["faultHandling"]>["global"]> = {
  _altReturn: undefined as never,
  onSuccess: () => ({ dispose: () => {} }),
  onFailure: () => ({ dispose: () => {} }),
  execute: async (fn) => fn({ signal: new AbortController().signal }),
};

/** One endpoint and the client for it, made anew when it seems stuck. */
class Member {
  readonly endpoint: string;
  readonly #options: EtcdOptions;
  readonly #timeout: number;
  #client: Etcd3 | undefined;
  /** With which `#client` was made. */
  #tls: EtcdTls | undefined;
  #failures = 0;

  constructor(endpoint: string, options: EtcdOptions, timeout: number) {
    this.endpoint = endpoint;
    this.#options = options;
    this.#timeout = timeout;
  }

  get client(): Etcd3 {
    if (this.#failures > 0 && this.#isRotated()) this.close();
    this.#client ??= this.#connect();
    return this.#client;
  }

  /** The library's client keeps the certificates that it was made with, for each of its connections. */
  #isRotated(): boolean {
    try {
      return JSON.stringify(this.#options.tls?.()) !== JSON.stringify(this.#tls);
    } catch {
      return false; // A file that is being replaced: the next failure looks again.
    }
  }

  succeeded(): void {
    this.#failures = 0;
  }

  failed(hung: boolean): void {
    this.#failures++;
    if (hung || this.#failures >= STUCK_AFTER) this.close();
  }

  close(): void {
    this.#failures = 0;
    this.#client?.close();
    this.#client = undefined;
  }

  #connect(): Etcd3 {
    const { clock, auth } = this.#options;
    const tls = this.#options.tls?.();
    this.#tls = tls;
    return new Etcd3({
      hosts: [this.endpoint],
      ...(tls && {
        credentials: {
          rootCertificate: Buffer.from(tls.ca),
          ...(tls.key !== undefined && { privateKey: Buffer.from(tls.key) }),
          ...(tls.certificate !== undefined && { certChain: Buffer.from(tls.certificate) }),
        },
      }),
      ...(auth && { auth }),
      faultHandling: { host: () => once, global: once },
      defaultCallOptions: (call) => (call.isStream ? {} : { deadline: clock.now() + this.#timeout }),
      grpcOptions: {
        ...(tls?.serverName !== undefined && { "grpc.ssl_target_name_override": tls.serverName }),
        "grpc.keepalive_time_ms": 10_000,
        "grpc.keepalive_timeout_ms": 5_000,
        "grpc.keepalive_permit_without_calls": 1,
        "grpc.enable_retries": 0,
        // A new channel is a new connection, not the shared one that may hang.
        "grpc.use_local_subchannel_pool": 1,
        "grpc.initial_reconnect_backoff_ms": 200,
        "grpc.max_reconnect_backoff_ms": 5_000,
        "grpc.max_receive_message_length": MAX_ANSWER,
      },
    });
  }
}

class Etcd3Port implements EtcdPort {
  readonly #clock: Clock;
  readonly #timeout: number;
  readonly #members: Member[];
  #current: number;
  #closed = false;
  readonly #watches = new Set<HintWatch | FollowWatch>();
  readonly #leases = new Set<KeptLease>();
  readonly #calls = new Set<(error: Error) => void>();

  constructor(options: EtcdOptions) {
    this.#clock = options.clock;
    this.#timeout = options.callTimeout ?? CALL_TIMEOUT;
    this.#members = options.endpoints.map((endpoint) => new Member(endpoint, options, this.#timeout));
    this.#current = Math.floor(options.random.next() * this.#members.length);
  }

  async read(ranges: readonly Range[]): Promise<ReadResult> {
    const success = ranges.map((range): IRequestOp => ({ request_range: rangeRequest(range) }));
    // A transaction of ranges only is linearizable, as none of them asks to be serializable.
    // Without any it would be answered locally, so that one harmless range goes along.
    if (success.length === 0) success.push({ request_range: rangeRequest({ key: "\0" }) });
    const response = await this.#anywhere("read", (client) =>
      client.kv.txn({ compare: [], success, failure: [] }),
    );
    return {
      revision: Number(response.header.revision),
      results: ranges.map((_, i) => (response.responses[i]?.response_range.kvs ?? []).map(keyValue)),
    };
  }

  async txn(compares: readonly Compare[], operations: readonly Operation[]): Promise<TxnResult> {
    if (compares.length > MAX_OPERATIONS || operations.length > MAX_OPERATIONS) {
      throw new RangeError(
        `a transaction has at most ${MAX_OPERATIONS} compares and operations, not ${compares.length} and ${operations.length}`,
      );
    }
    const request = {
      compare: compares.map(compareRequest),
      success: operations.map(operationRequest),
      failure: [],
    };
    try {
      const response = await this.#call(this.#member(), (client) => client.kv.txn(request));
      return response.succeeded
        ? { outcome: "committed", revision: Number(response.header.revision) }
        : { outcome: "refused" };
    } catch (error) {
      if (error instanceof EtcdLeaseInvalidError) return { outcome: "refused" };
      if (isWrong(error)) throw error;
      return { outcome: "unknown", cause: text(error) };
    }
  }

  async lease(ttlSeconds: number): Promise<LeaseSession> {
    const askedAt = this.#clock.monotonic();
    const { ID: id, TTL: granted } = await this.#grant(ttlSeconds);
    const stop = (): void => void this.#leases.delete(kept);
    const kept = new KeptLease({
      id,
      ttlSeconds: Math.min(ttlSeconds, Number(granted)),
      clock: this.#clock,
      askedAt,
      open: async () => this.#member().client.leaseClient.leaseKeepAlive(),
      failed: () => this.#rotate(),
      revoke: async () => {
        stop();
        // Where this fails the lease ends by its ttl.
        await this.#anywhere("revoke", (client) => client.leaseClient.leaseRevoke({ ID: id })).catch(
          () => {},
        );
      },
    });
    kept.lost.addEventListener("abort", stop, { once: true });
    this.#leases.add(kept);
    return kept;
  }

  async leaseOnce(ttlSeconds: number): Promise<string> {
    return (await this.#grant(ttlSeconds)).ID;
  }

  watch(prefix: string, hint: () => void): { close(): void } {
    if (this.#closed) throw new EtcdUnavailable("the etcd client is closed");
    return { close: this.#keep(new HintWatch(this.#watchOf(prefix), hint)) };
  }

  follow(prefix: string, revision: number, follower: Follower): { ask(): void; close(): void } {
    if (this.#closed) throw new EtcdUnavailable("the etcd client is closed");
    const watch = new FollowWatch(this.#watchOf(prefix), revision, follower);
    return { ask: () => watch.ask(), close: this.#keep(watch) };
  }

  #watchOf(prefix: string): WatchSource {
    return {
      open: async () => this.#member().client.watchClient.watch(),
      failed: () => this.#rotate(),
      prefix,
      clock: this.#clock,
    };
  }

  /** Gives what closes it. */
  #keep(watch: HintWatch | FollowWatch): () => void {
    this.#watches.add(watch);
    return () => {
      this.#watches.delete(watch);
      watch.close();
    };
  }

  async compact(revision: number): Promise<void> {
    await this.#anywhere("compact", (client) =>
      client.kv.compact({ revision }).catch((error: unknown) => {
        // It was compacted as far, or is not yet there.
        if (!(error instanceof GRPCOutOfRangeError)) throw error;
      }),
    );
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const watch of this.#watches) watch.close();
    this.#watches.clear();
    for (const lease of this.#leases) lease.lose("the etcd client was closed");
    this.#leases.clear();
    for (const fail of this.#calls) fail(new EtcdUnavailable("the etcd client was closed"));
    for (const member of this.#members) member.close();
  }

  /** Asked for anew after a lost answer, a lease that nobody knows ends by its ttl. */
  #grant(ttlSeconds: number): Promise<{ ID: string; TTL: string }> {
    if (!(ttlSeconds >= 1)) throw new RangeError(`a lease lasts at least 1 s, not ${ttlSeconds}`);
    const ttl = Math.ceil(ttlSeconds);
    return this.#anywhere("lease grant", (client) => client.leaseClient.leaseGrant({ TTL: ttl }));
  }

  #member(): Member {
    if (this.#closed) throw new EtcdUnavailable("the etcd client is closed");
    const member = this.#members[this.#current];
    if (member === undefined) throw new RangeError("etcd needs at least one endpoint");
    return member;
  }

  #rotate(): void {
    this.#current = (this.#current + 1) % this.#members.length;
  }

  /** For calls that may happen twice: one member after the other, each at least once. */
  async #anywhere<T>(what: string, send: (client: Etcd3) => Promise<T>): Promise<T> {
    let last: unknown;
    for (let attempt = 0; attempt < Math.max(2, this.#members.length); attempt++) {
      const member = this.#member();
      try {
        return await this.#call(member, send);
      } catch (error) {
        last = error;
        if (isWrong(error)) break;
      }
    }
    throw new EtcdUnavailable(`etcd gave no answer to a ${what}: ${text(last)}`, last);
  }

  async #call<T>(member: Member, send: (client: Etcd3) => Promise<T>): Promise<T> {
    const { promise: ended, reject } = Promise.withResolvers<never>();
    let hung = false;
    const cancel = this.#clock.after(this.#timeout + HUNG_AFTER, () => {
      hung = true;
      reject(new EtcdUnavailable(`no answer within ${this.#timeout} ms`));
    });
    this.#calls.add(reject);
    try {
      const answer = await Promise.race([send(member.client), ended]);
      member.succeeded();
      return answer;
    } catch (error) {
      if (!isAnswer(error)) {
        member.failed(hung);
        if (this.#members[this.#current] === member) this.#rotate();
      }
      throw isAnswer(error) ? error : new Unanswered(member.endpoint, error);
    } finally {
      cancel();
      this.#calls.delete(reject);
    }
  }
}

/** A call that a member did not answer. */
class Unanswered extends Error {
  constructor(endpoint: string, cause: unknown) {
    super(`${endpoint}: ${causeInWords(text(cause))}`, { cause });
  }
}

/** The request itself is wrong: nothing happened, and asking again is no use. */
function isWrong(error: unknown): boolean {
  return (
    error instanceof GRPCInvalidArgumentError ||
    error instanceof EtcdPermissionDeniedError ||
    error instanceof EtcdAuthenticationFailedError
  );
}

/** The member answered, if with an error: its connection is well. */
function isAnswer(error: unknown): boolean {
  return isWrong(error) || error instanceof EtcdLeaseInvalidError;
}

function text(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
