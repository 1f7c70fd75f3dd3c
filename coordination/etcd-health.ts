/** Whether etcd answers this process, and in one sentence why not. */
import { type Clock, sleep } from "../ports/clock.ts";
import type { Logger } from "../ports/log.ts";
import type { EtcdPort } from "./etcd.ts";

/** Without an answer for so long it is asked, ms: a manager that does not lead asks nothing by itself. */
const PERIOD = 5_000;
/** Without an answer for so long, and with a failure since, it counts as away, ms: as long as a gate is valid. */
const AWAY_AFTER = 30_000;

export interface EtcdHealthOptions {
  etcd: Pick<EtcdPort, "read">;
  clock: Clock;
  log: Logger;
  /** Called once for each time that it is away, with the sentence. */
  onAway?: (message: string) => void;
}

export class EtcdHealth {
  readonly #options: EtcdHealthOptions;
  readonly #began: number;
  /** Monotonic, ms. */
  #answeredAt: number | undefined;
  #cause: string | undefined;
  #told = false;

  constructor(options: EtcdHealthOptions) {
    this.#options = options;
    this.#began = options.clock.monotonic();
  }

  /** What is wrong; undefined while it answers, and for the first seconds of a failure. */
  get wrong(): string | undefined {
    const { clock } = this.#options;
    if (this.#answeredAt === undefined) return this.#cause ?? "etcd has not been asked yet.";
    if (this.#cause === undefined || clock.monotonic() - this.#answeredAt < AWAY_AFTER) return undefined;
    return this.#cause;
  }

  /** Asks until `signal` aborts. Writes one line when it goes away, and one when it is back. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.#ask();
      await sleep(this.#options.clock, PERIOD, signal).catch(() => {});
    }
  }

  async #ask(): Promise<void> {
    const { etcd, clock, log, onAway } = this.#options;
    try {
      await etcd.read([]);
      const now = clock.monotonic();
      const awayForMs = Math.round(now - (this.#answeredAt ?? this.#began));
      if (this.#told) log.info("etcd answers again", { awayForMs });
      this.#answeredAt = now;
      this.#told = false;
      this.#cause = undefined;
    } catch (error) {
      this.#cause = error instanceof Error ? error.message : String(error);
      const { wrong } = this;
      if (wrong === undefined || this.#told) return;
      this.#told = true;
      log.error("etcd does not answer", error);
      onAway?.(wrong);
    }
  }
}
