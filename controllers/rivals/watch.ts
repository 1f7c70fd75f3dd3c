/** Looks for others that reboot nodes. Observes Pods by their labels; writes nothing. */
import { type Clock, sleep } from "../../ports/clock.ts";
import type { Logger } from "../../ports/log.ts";
import type { KubeClient } from "../../runtime/client.ts";
import { PODS, type Pod } from "../../runtime/core.ts";
import { KURED_SELECTORS, type Rivals, rivalsAmong } from "./policy.ts";

/** A list by labels goes through all Pods of the cluster: seldom, ms. */
const PERIOD = 60_000;

export interface RivalWatchDeps {
  client: Pick<KubeClient, "list">;
  clock: Clock;
  log: Logger;
}

export class RivalWatch {
  readonly #deps: RivalWatchDeps;
  /** What the last look found; undefined before the first. */
  found: Rivals | undefined;

  constructor(deps: RivalWatchDeps) {
    this.#deps = deps;
  }

  /** Looks until `signal` aborts. A look that fails leaves what was found. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#deps;
    while (!signal.aborted) {
      try {
        await this.#look(signal);
      } catch (error) {
        if (!signal.aborted) log.error("can't look for others that reboot nodes", error);
      }
      await sleep(clock, PERIOD, signal).catch(() => {});
    }
  }

  async #look(signal: AbortSignal): Promise<void> {
    const { client } = this.#deps;
    const lists = KURED_SELECTORS.map((labelSelector) => client.list<Pod>(PODS, { labelSelector, signal }));
    this.found = rivalsAmong((await Promise.all(lists)).flatMap(({ items }) => items));
  }
}
