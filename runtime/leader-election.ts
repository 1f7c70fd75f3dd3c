/**
 * One leader at a time, by a Lease (coordination.k8s.io), with client-go's protocol and
 * times. Own time is only ever measured on the monotonic clock: a leader stops at its
 * renew deadline, counted from *before* it sent its last good renewal; a follower waits
 * the whole lease duration from *after* it saw that renewal. So two signals are never
 * live at once while monotonic clocks run at the same rate, whatever they show. What a
 * machine does in the moment in which it wakes from a suspension is fenced in etcd.
 */
import { timestamp } from "../api/meta.ts";
import { type Clock, sleep } from "../ports/clock.ts";
import type { Logger } from "../ports/log.ts";
import type { Random } from "../ports/random.ts";
import { ApiError, isApiError, type KubeClient } from "./client.ts";
import { LEASES, type Lease } from "./core.ts";
import { abortable, startDeadline } from "./deadline.ts";

export interface LeaderElectionOptions {
  client: KubeClient;
  clock: Clock;
  random: Random;
  log: Logger;
  name: string;
  namespace: string;
  /** Unique per process, not per Pod name: e.g. `<host>_<uuid>`. */
  identity: string;
  /** Milliseconds: client-go's 15 s, 10 s, 2 s. Each must be smaller than the one before. */
  leaseDuration?: number;
  renewDeadline?: number;
  retryPeriod?: number;
  /** Runs before each attempt to write our name into the Lease; if it throws, the attempt is not made (rule 2: the epoch is read here). */
  beforeAcquire?: () => Promise<void>;
}

/** Leadership from its acquisition to its end. */
export interface Tenure {
  /** Aborts when we can no longer be sure to lead, before anyone else can; or on `release`. */
  readonly signal: AbortSignal;
  /** The Lease's annotations as last written or read. */
  readonly annotations: Readonly<Record<string, string>>;
  /**
   * Writes annotations into the Lease, at once; others are kept. Returns when they are
   * stored; throws if leadership ended first.
   */
  annotate(annotations: Record<string, string>): Promise<void>;
  /** Ends leadership and lets the next one have the Lease at once. Call it when all work has stopped. */
  release(): Promise<void>;
}

/** Thrown (as the signal's reason) when leadership ended without being released. */
export class LeadershipLost extends Error {
  constructor(message: string) {
    super(message);
    this.name = "LeadershipLost";
  }
}

/** client-go spreads attempts by up to this factor on top (JitterFactor). */
const JITTER = 1.2;

/** The Lease as we last saw it, and when on our monotonic clock we saw it change. */
interface Sight {
  lease: Lease;
  at: number;
}

/** Waits until this process leads. Rejects only when `signal` aborts. */
export async function acquireLeadership(
  options: LeaderElectionOptions,
  signal: AbortSignal,
): Promise<Tenure> {
  const { clock, random, log, name, identity } = options;
  const retryPeriod = options.retryPeriod ?? 2000;
  const renewDeadline = options.renewDeadline ?? 10_000;
  const leaseDuration = options.leaseDuration ?? 15_000;
  if (!(leaseDuration > renewDeadline && renewDeadline > retryPeriod * JITTER)) {
    throw new Error("leaseDuration must exceed renewDeadline, and that 1.2 times retryPeriod");
  }
  let sight: Sight | undefined;
  for (;;) {
    signal.throwIfAborted();
    const limit = startDeadline(clock, renewDeadline, noAnswer, signal);
    try {
      sight = await look(options, sight, limit.signal);
      if (isFree(sight, identity, leaseDuration, clock.monotonic())) {
        if (options.beforeAcquire !== undefined) await abortable(options.beforeAcquire(), limit.signal);
        const began = clock.monotonic();
        const lease = await write(options, claim(options, sight?.lease, leaseDuration), limit.signal);
        // An answer that took so long is worth nothing: the next look finds our own name.
        if (clock.monotonic() - began < renewDeadline) {
          log.info("became the leader", { lease: name, identity });
          return new Holder(options, lease, began, { leaseDuration, renewDeadline, retryPeriod });
        }
      }
    } catch (error) {
      if (signal.aborted) throw error;
      if (!isApiError(error, "Conflict", "AlreadyExists"))
        log.error("can't acquire the Lease", error, { lease: name });
    } finally {
      limit.cancel();
    }
    await sleep(clock, retryPeriod * (1 + random.next() * (JITTER - 1)), signal);
  }
}

function noAnswer(): ApiError {
  return new ApiError("Timeout", "The Lease could not be read or written in time");
}

async function look(
  { client, clock, name, namespace }: LeaderElectionOptions,
  before: Sight | undefined,
  signal: AbortSignal,
): Promise<Sight | undefined> {
  try {
    const lease = await abortable(client.get<Lease>(LEASES, { name, namespace }, { signal }), signal);
    const unchanged = before?.lease.metadata.resourceVersion === lease.metadata.resourceVersion;
    return unchanged && before !== undefined ? before : { lease, at: clock.monotonic() };
  } catch (error) {
    if (isApiError(error, "NotFound")) return undefined;
    throw error;
  }
}

/** Whether we may write our name: nobody holds it, we do (an answer was lost), or its holder's time is up. */
function isFree(sight: Sight | undefined, identity: string, leaseDuration: number, now: number): boolean {
  const spec = sight?.lease.spec;
  if (sight === undefined || !spec?.holderIdentity || spec.holderIdentity === identity) return true;
  // The holder counts with its own duration; should ours be longer, ours counts.
  return now > sight.at + Math.max((spec.leaseDurationSeconds ?? 0) * 1000, leaseDuration);
}

function claim(
  { clock, name, namespace, identity }: LeaderElectionOptions,
  found: Lease | undefined,
  leaseDuration: number,
): Lease {
  const now = microTime(clock.now());
  return {
    apiVersion: "coordination.k8s.io/v1",
    kind: "Lease",
    metadata: { ...found?.metadata, name, namespace },
    spec: {
      holderIdentity: identity,
      leaseDurationSeconds: Math.ceil(leaseDuration / 1000),
      acquireTime: now,
      renewTime: now,
      leaseTransitions: found === undefined ? 0 : (found.spec?.leaseTransitions ?? 0) + 1,
    },
  };
}

function write({ client }: LeaderElectionOptions, lease: Lease, signal: AbortSignal): Promise<Lease> {
  const made = lease.metadata.resourceVersion === undefined;
  const call = made ? client.create(LEASES, lease, { signal }) : client.replace(LEASES, lease, { signal });
  return abortable(call, signal);
}

/** `metav1.MicroTime`: six digits after the point. */
function microTime(milliseconds: number): string {
  return `${timestamp(milliseconds).slice(0, -1)}.${String(Math.floor(milliseconds) % 1000).padStart(3, "0")}000Z`;
}

class Holder implements Tenure {
  readonly #options: LeaderElectionOptions;
  readonly #times: { leaseDuration: number; renewDeadline: number; retryPeriod: number };
  readonly #ended = new AbortController();
  /** Ends the renewals: on release, and when leadership is lost. */
  readonly #released = new AbortController();
  #lease: Lease;
  /** When the last good renewal was sent (monotonic). */
  #renewedAt: number;
  #cancelDeadline: () => void = () => {};
  /** Renewals, annotations and the release happen one after the other. */
  #writing: Promise<unknown> = Promise.resolve();
  readonly #renewing: Promise<void>;

  constructor(
    options: LeaderElectionOptions,
    lease: Lease,
    renewedAt: number,
    times: { leaseDuration: number; renewDeadline: number; retryPeriod: number },
  ) {
    this.#options = options;
    this.#lease = lease;
    this.#renewedAt = renewedAt;
    this.#times = times;
    this.#armDeadline();
    this.#renewing = this.#keepRenewing();
  }

  get signal(): AbortSignal {
    return this.#ended.signal;
  }

  get annotations(): Readonly<Record<string, string>> {
    return this.#lease.metadata.annotations ?? {};
  }

  async annotate(annotations: Record<string, string>): Promise<void> {
    for (;;) {
      this.signal.throwIfAborted();
      if (await this.#renew(annotations)) return;
      await sleep(this.#options.clock, this.#times.retryPeriod, this.signal);
    }
  }

  async release(): Promise<void> {
    // A renewal under way ends first: its answer has the resourceVersion to compare with.
    this.#released.abort();
    await this.#renewing;
    await this.#writing;
    if (this.signal.aborted) return;
    this.#cancelDeadline();
    this.#ended.abort(new Error("Leadership was released"));
    const { clock, log, name } = this.#options;
    const limit = startDeadline(clock, this.#times.renewDeadline / 2, noAnswer);
    const spec = { ...this.#lease.spec, holderIdentity: "", leaseDurationSeconds: 1 };
    try {
      await write(this.#options, { ...this.#lease, spec }, limit.signal);
      log.info("released the Lease", { lease: name });
    } catch (error) {
      // The next leader waits until it expires, that is all.
      log.error("can't release the Lease", error, { lease: name });
    } finally {
      limit.cancel();
    }
  }

  async #keepRenewing(): Promise<void> {
    const { clock } = this.#options;
    for (;;) {
      try {
        await sleep(clock, this.#times.retryPeriod, this.#released.signal);
      } catch {
        return;
      }
      await this.#renew({});
    }
  }

  /** Renews once, with `annotations` on top; false if it could not. */
  #renew(annotations: Record<string, string>): Promise<boolean> {
    const turn = this.#writing.then(() => this.#renewNow(annotations));
    this.#writing = turn;
    return turn;
  }

  async #renewNow(annotations: Record<string, string>): Promise<boolean> {
    // Timers stand still while a machine is suspended: the clock tells.
    this.#armDeadline();
    if (this.signal.aborted) return false;
    const { clock, log, name } = this.#options;
    const limit = startDeadline(clock, this.#times.renewDeadline / 2, noAnswer, this.signal);
    try {
      const began = clock.monotonic();
      const { metadata, spec } = this.#lease;
      const lease: Lease = {
        ...this.#lease,
        metadata: { ...metadata, annotations: { ...metadata.annotations, ...annotations } },
        spec: { ...spec, renewTime: microTime(clock.now()) },
      };
      this.#lease = await write(this.#options, lease, limit.signal);
      if (this.signal.aborted) return false;
      this.#renewedAt = began;
      this.#armDeadline();
      return true;
    } catch (error) {
      if (this.signal.aborted) return false;
      if (isApiError(error, "Conflict", "NotFound")) await this.#reread(limit.signal);
      else log.error("can't renew the Lease", error, { lease: name });
      return false;
    } finally {
      limit.cancel();
    }
  }

  /** Someone else wrote: a person's annotation, an answer of ours that was lost, or another leader. */
  async #reread(signal: AbortSignal): Promise<void> {
    const { client, log, name, namespace, identity } = this.#options;
    try {
      const lease = await abortable(client.get<Lease>(LEASES, { name, namespace }, { signal }), signal);
      if (lease.spec?.holderIdentity === identity) this.#lease = lease;
      else this.#lose(`the Lease is held by ${lease.spec?.holderIdentity || "nobody"}`);
    } catch (error) {
      if (isApiError(error, "NotFound")) this.#lose("the Lease was deleted");
      else if (!this.signal.aborted) log.error("can't read the Lease", error, { lease: name });
    }
  }

  #armDeadline(): void {
    const { clock } = this.#options;
    if (this.signal.aborted) return;
    this.#cancelDeadline();
    const left = this.#renewedAt + this.#times.renewDeadline - clock.monotonic();
    const end = (): void => this.#lose(`it was not renewed for ${this.#times.renewDeadline} ms`);
    if (left <= 0) end();
    else this.#cancelDeadline = clock.after(left, end);
  }

  #lose(why: string): void {
    this.#cancelDeadline();
    this.#released.abort();
    this.#ended.abort(new LeadershipLost(`Leadership was lost: ${why}`));
  }
}
