/**
 * The etcd lease of one gateway. The presence of each of its agents hangs on it: when the
 * gateway dies or is cut off, all of them end by themselves.
 */
import type { EtcdPort, LeaseSession } from "../coordination/etcd.ts";
import type { Cancel, Clock } from "../ports/clock.ts";
import type { Logger } from "../ports/log.ts";
import type { Random } from "../ports/random.ts";

/** Seconds after which the agents of a dead gateway count as gone. */
const TTL_SECONDS = 15;
/** First and longest pause between tries to get a lease, ms. */
const RETRY = [500, 5_000] as const;

export interface PresenceOptions {
  etcd: Pick<EtcdPort, "lease">;
  clock: Clock;
  random: Random;
  log: Logger;
  unavailable: () => void;
  /** The lease is gone, and every presence key with it. */
  lost: () => void;
}

export class Presence {
  readonly #options: PresenceOptions;
  #session: LeaseSession | undefined;
  #failures = 0;
  #cancel: Cancel | undefined;
  #stopped = false;

  constructor(options: PresenceOptions) {
    this.#options = options;
  }

  /** Id of the living lease. */
  get lease(): string | undefined {
    return this.#session?.id;
  }

  start(): void {
    void this.#acquire();
  }

  /** Revokes the lease: the presence of agents that are still here ends. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#cancel?.();
    const session = this.#session;
    this.#session = undefined;
    await session?.close();
  }

  async #acquire(): Promise<void> {
    const { etcd, clock, random, log } = this.#options;
    let session: LeaseSession;
    try {
      session = await etcd.lease(TTL_SECONDS);
    } catch (error) {
      this.#options.unavailable();
      log.error("can't get a lease from etcd", error);
      const pause = Math.min(RETRY[1], RETRY[0] * 2 ** Math.min(this.#failures, 10));
      this.#failures += 1;
      if (this.#stopped) return;
      this.#cancel = clock.after(pause * (0.5 + random.next() / 2), () => void this.#acquire());
      return;
    }
    this.#failures = 0;
    if (this.#stopped) {
      await session.close();
      return;
    }
    this.#session = session;
    log.info("got a lease for presence", { lease: session.id });
    const onLost = (): void => {
      if (this.#session !== session) return;
      this.#session = undefined;
      log.info("lost the lease of presence", { lease: session.id });
      this.#options.lost();
      void session.close();
      void this.#acquire();
    };
    if (session.lost.aborted) onLost();
    else session.lost.addEventListener("abort", onLost, { once: true });
  }
}
