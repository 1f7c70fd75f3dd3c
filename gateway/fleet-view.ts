/**
 * What etcd says of the fleet, read again whenever something may have changed. One watch
 * and at most one read at a time for all sessions of a gateway; between two reads it rests
 * in proportion to what the last one cost, so a busy fleet can't starve the sessions.
 */
import type { Coordination, FleetSnapshot } from "../coordination/coordination.ts";
import type { Cancel, Clock } from "../ports/clock.ts";
import type { Logger } from "../ports/log.ts";

/** Changes come in bursts: this long after a hint the read starts, ms. */
const DEBOUNCE = 30;
/** A watch may die silently: a read happens at least this often, ms. */
const PERIOD = 15_000;
/** The rest after a read, in times of how long it took. */
const REST = 4;
/** First and longest pause after a read that failed, ms. */
const RETRY = [500, 10_000] as const;

export interface FleetRead {
  /** Rises with each read that was started. */
  number: number;
  fleet: Pick<
    FleetSnapshot,
    | "incarnation"
    | "groupGates"
    | "budgetGates"
    | "budgets"
    | "offers"
    | "tallies"
    | "desired"
    | "grants"
    | "sessions"
    | "present"
  >;
}

export interface FleetViewOptions {
  coordination: Pick<Coordination, "readFleet" | "watchFleet">;
  clock: Clock;
  log: Logger;
  unavailable: () => void;
  onRead: (read: FleetRead) => void;
}

export class FleetView {
  readonly #options: FleetViewOptions;
  #watch: { close(): void } | undefined;
  #started = 0;
  #reading = false;
  #wanted = false;
  #failures = 0;
  #notBefore = -Infinity;
  #cancel: Cancel | undefined;
  #cancelPeriod: Cancel | undefined;
  #stopped = false;

  constructor(options: FleetViewOptions) {
    this.#options = options;
  }

  start(): void {
    this.#watch = this.#options.coordination.watchFleet(() => {
      this.refresh();
    });
    this.#period();
    this.refresh();
  }

  /** Asks for a read; gives the number of the first one that starts after this call. */
  refresh(): number {
    this.#wanted = true;
    this.#schedule();
    return this.#started + 1;
  }

  stop(): void {
    this.#stopped = true;
    this.#watch?.close();
    this.#cancel?.();
    this.#cancelPeriod?.();
  }

  #period(): void {
    this.#cancelPeriod = this.#options.clock.after(PERIOD, () => {
      this.refresh();
      this.#period();
    });
  }

  #schedule(): void {
    if (this.#stopped || this.#reading || this.#cancel !== undefined || !this.#wanted) return;
    const wait = Math.max(DEBOUNCE, this.#notBefore - this.#options.clock.monotonic());
    this.#cancel = this.#options.clock.after(wait, () => {
      this.#cancel = undefined;
      void this.#read();
    });
  }

  async #read(): Promise<void> {
    const { clock } = this.#options;
    this.#wanted = false;
    this.#reading = true;
    this.#started += 1;
    const number = this.#started;
    const began = clock.monotonic();
    try {
      const fleet = await this.#options.coordination.readFleet();
      this.#failures = 0;
      if (!this.#stopped) this.#options.onRead({ number, fleet });
      this.#notBefore = clock.monotonic() + REST * (clock.monotonic() - began);
    } catch (error) {
      this.#options.unavailable();
      this.#options.log.error("can't read the fleet from etcd", error);
      const pause = Math.min(RETRY[1], RETRY[0] * 2 ** Math.min(this.#failures, 10));
      this.#failures += 1;
      this.#notBefore = clock.monotonic() + pause;
      this.#wanted = true;
    } finally {
      this.#reading = false;
      this.#schedule();
    }
  }
}
