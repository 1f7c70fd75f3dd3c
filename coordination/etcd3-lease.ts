/**
 * A lease that is kept alive, with a deadline of its own: it is trusted until its ttl, less a
 * margin, after the *sending* of the last renewal that was acknowledged, whatever the client
 * library or the connection believes.
 */
import type { Cancel, Clock } from "../ports/clock.ts";
import { EtcdUnavailable, type LeaseSession } from "./etcd.ts";

/** What is used of etcd's bidirectional LeaseKeepAlive stream. */
export interface KeepAliveStream {
  write(request: { ID: string }): unknown;
  cancel(): void;
  on(event: "data", fn: (response: { TTL: string }) => void): unknown;
  on(event: "error", fn: (error: Error) => void): unknown;
  on(event: "end", fn: () => void): unknown;
}

/** Renewals per ttl, as etcd's Go client does it. */
const RENEWALS = 3;
/** Part of the ttl that is not trusted: timers are late and clocks run unequally. */
const MARGIN = 0.1;

export interface KeptLeaseOptions {
  id: string;
  ttlSeconds: number;
  clock: Clock;
  /** Monotonic ms when the grant was asked for. */
  askedAt: number;
  open: () => Promise<KeepAliveStream>;
  /** Told of each stream that gave no answer, so that the next one is opened elsewhere. */
  failed: () => void;
  revoke: () => Promise<void>;
}

export class KeptLease implements LeaseSession {
  readonly #options: KeptLeaseOptions;
  readonly #lost = new AbortController();
  readonly #ttl: number;
  #stream: KeepAliveStream | undefined;
  #generation = 0;
  /** Monotonic ms of the renewal that no answer has come to. */
  #sentAt: number | undefined;
  #deadline: Cancel = () => {};
  #tick: Cancel = () => {};

  constructor(options: KeptLeaseOptions) {
    this.#options = options;
    this.#ttl = options.ttlSeconds * 1000;
    this.#trustSince(options.askedAt);
    this.#renew();
  }

  get id(): string {
    return this.#options.id;
  }

  get lost(): AbortSignal {
    return this.#lost.signal;
  }

  async close(): Promise<void> {
    this.#stop();
    await this.#options.revoke();
  }

  /** Ends it without a word to etcd. */
  lose(why: string): void {
    this.#stop();
    this.#lost.abort(new EtcdUnavailable(`lease ${this.id}: ${why}`));
  }

  #stop(): void {
    this.#deadline();
    this.#tick();
    this.#drop();
  }

  #drop(): void {
    this.#generation++;
    this.#sentAt = undefined;
    this.#stream?.cancel();
    this.#stream = undefined;
  }

  #trustSince(moment: number): void {
    const { clock } = this.#options;
    this.#deadline();
    const left = moment + this.#ttl * (1 - MARGIN) - clock.monotonic();
    this.#deadline = clock.after(Math.max(0, left), () => this.lose("not renewed in time"));
  }

  /** Sends a renewal, on a new stream if the last one was not answered. */
  #renew(): void {
    const { clock, id, failed } = this.#options;
    this.#tick = clock.after(this.#ttl / RENEWALS, () => this.#renew());
    if (this.#sentAt !== undefined) {
      this.#drop();
      failed();
    }
    this.#sentAt = clock.monotonic();
    if (this.#stream === undefined) this.#open();
    else this.#stream.write({ ID: id });
  }

  #open(): void {
    const { failed, clock } = this.#options;
    const generation = ++this.#generation;
    const current = (): boolean => generation === this.#generation;
    const broken = (): void => {
      if (!current()) return;
      this.#drop();
      failed();
      this.#tick();
      this.#tick = clock.after(this.#ttl / RENEWALS / 4, () => this.#renew());
    };
    this.#use(current, broken).catch(broken);
  }

  async #use(current: () => boolean, broken: () => void): Promise<void> {
    const stream = await this.#options.open();
    // The listener stays: a stream without one that fails ends the process.
    stream.on("error", broken);
    stream.on("end", broken);
    if (!current()) {
      stream.cancel();
      return;
    }
    this.#stream = stream;
    stream.on("data", (response) => {
      if (!current()) return;
      if (response.TTL === "0") {
        this.lose("etcd says that it has expired");
      } else if (this.#sentAt !== undefined) {
        this.#trustSince(this.#sentAt);
        this.#sentAt = undefined;
      }
    });
    stream.write({ ID: this.id });
  }
}
