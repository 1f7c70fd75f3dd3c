/** Tells the manager, by way of etcd, how many machines each group has that serves some. */
import type { Coordination } from "../../coordination/coordination.ts";
import { totalsOf } from "../../coordination/machine-totals.ts";
import type { MachineView } from "../../coordination/machine-view.ts";
import type { GroupGate } from "../../coordination/records.ts";
import type { Cancel, Clock } from "../../ports/clock.ts";
import type { Logger } from "../../ports/log.ts";

/** Between two looks, ms: a status that changes more often tells nobody more. */
const PERIOD = 30_000;

export interface TotalsOptions {
  coordination: Pick<Coordination, "putMachineTotals">;
  machines: Pick<MachineView, "fresh" | "counts">;
  /** As they were read last. */
  gates: () => ReadonlyMap<string, GroupGate> | undefined;
  clock: Clock;
  log: Logger;
}

export class Totals {
  readonly #options: TotalsOptions;
  #timer: Cancel = () => {};
  #stopped = false;

  constructor(options: TotalsOptions) {
    this.#options = options;
    this.#later();
  }

  stop(): void {
    this.#stopped = true;
    this.#timer();
  }

  #later(): void {
    if (this.#stopped) return;
    this.#timer = this.#options.clock.after(PERIOD, () => void this.#tell().finally(() => this.#later()));
  }

  /** Nothing where the view may be old: what was told stays until it ends by itself. */
  async #tell(): Promise<void> {
    const { coordination, machines, gates, log } = this.#options;
    if (!machines.fresh) return;
    const served = [...(gates()?.values() ?? [])].filter((gate) => gate.machines !== undefined);
    const totals = new Map(served.map(({ group }) => [group, totalsOf(machines.counts.get(group))]));
    try {
      await coordination.putMachineTotals(totals);
    } catch (error) {
      log.error("can't tell how many machines there are, trying again", error);
    }
  }
}
