/** Who waits in the lines of machines without our agent, of whom no object tells: read once for all who look. */
import type { Coordination, WaitingMachine } from "../../coordination/coordination.ts";
import { type Clock, sleep } from "../../ports/clock.ts";
import type { Logger } from "../../ports/log.ts";

/** As seldom as everything is that is counted over all machines, ms. */
const PERIOD = 1000;
/** The rest after a read, in times of how long it took: ten thousand may wait in each group. */
const REST = 4;

export interface LinesOptions {
  coordination: Pick<Coordination, "readWaiting">;
  clock: Clock;
  log: Logger;
  /** Whether any group has such machines: else etcd is not asked. */
  served: () => boolean;
  onRead: (waiting: readonly WaitingMachine[]) => void;
}

export class Lines {
  readonly #options: LinesOptions;
  #asOf: number | undefined;
  #failing = false;

  constructor(options: LinesOptions) {
    this.#options = options;
  }

  /** Wall clock, ms: of what was told last. Undefined where nothing is to be known. */
  get asOf(): number | undefined {
    return this.#asOf;
  }

  async run(signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    while (!signal.aborted) {
      const began = clock.monotonic();
      await this.look();
      await sleep(clock, Math.max(PERIOD, REST * (clock.monotonic() - began)), signal).catch(() => {});
    }
  }

  /** What is told stays as it is while etcd gives no answer. */
  async look(): Promise<void> {
    const { coordination, clock, log, served, onRead } = this.#options;
    if (!served()) {
      if (this.#asOf !== undefined) onRead([]);
      this.#asOf = undefined;
      return;
    }
    const now = clock.now();
    try {
      onRead(await coordination.readWaiting());
      this.#asOf = now;
      this.#failing = false;
    } catch (error) {
      this.#asOf ??= now;
      if (!this.#failing) log.error("can't read who waits for a slot", error);
      this.#failing = true;
    }
  }
}
