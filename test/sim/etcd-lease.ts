/** A lease session of a client of the simulated etcd. */
import { EtcdUnavailable, type LeaseSession } from "../../coordination/etcd.ts";
import type { Cancel, Clock } from "../../ports/clock.ts";

/** Renews at a third of the ttl; not to be trusted after the ttl less a tenth without an answer. */
export class SimLease implements LeaseSession {
  readonly id: string;
  readonly #ttl: number;
  readonly #clock: Clock;
  readonly #calls: { renew: () => Promise<boolean | undefined>; end: () => Promise<void> };
  readonly #lost = new AbortController();
  #deadline: Cancel = () => {};
  #tick: Cancel = () => {};

  constructor(
    id: string,
    ttl: number,
    clock: Clock,
    calls: { renew: () => Promise<boolean | undefined>; end: () => Promise<void> },
  ) {
    this.id = id;
    this.#ttl = ttl * 1000;
    this.#clock = clock;
    this.#calls = calls;
    this.#trust();
    this.#next();
  }

  get lost(): AbortSignal {
    return this.#lost.signal;
  }

  lose(why: string): void {
    this.#stop();
    this.#lost.abort(new EtcdUnavailable(`lease ${this.id}: ${why}`));
  }

  async close(): Promise<void> {
    this.#stop();
    await this.#calls.end();
  }

  #stop(): void {
    this.#deadline();
    this.#tick();
  }

  #trust(): void {
    this.#deadline();
    this.#deadline = this.#clock.after(this.#ttl * 0.9, () => this.lose("not renewed in time"));
  }

  #next(): void {
    this.#tick = this.#clock.after(this.#ttl / 3, () => {
      void this.#calls.renew().then((alive) => {
        if (this.#lost.signal.aborted) return;
        if (alive === false) this.lose("expired");
        else {
          if (alive === true) this.#trust();
          this.#next();
        }
      });
    });
  }
}
