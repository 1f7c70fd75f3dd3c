/** Keeps an eye on the CustomResourceDefinitions. Observes those of our kinds; writes nothing. */
import { type Crd, crdName } from "../../api/crd-fields.ts";
import { kinds } from "../../api/kinds.ts";
import { type Clock, sleep } from "../../ports/clock.ts";
import type { Logger } from "../../ports/log.ts";
import { isApiError, type KubeClient } from "../../runtime/client.ts";
import { CRDS } from "../../runtime/core.ts";
import { LeadershipLost } from "../../runtime/leader-election.ts";
import { crdsRefusal } from "./policy.ts";

/** Milliseconds between two looks. */
const PERIOD = { right: 10_000, wrong: 2_000 } as const;

export interface CrdWatchDeps {
  client: Pick<KubeClient, "get">;
  clock: Clock;
  log: Logger;
}

export class CrdWatch {
  readonly #deps: CrdWatchDeps;
  /** What keeps this manager from leading, as last seen: for its readiness. */
  refusal: string | undefined = "The CustomResourceDefinitions have not been read yet.";

  constructor(deps: CrdWatchDeps) {
    this.#deps = deps;
  }

  /** Before each attempt to lead. Throws what is wrong. */
  async mayLead(): Promise<void> {
    await this.#look();
    if (this.refusal !== undefined) throw new Error(this.refusal);
  }

  /** Looks until `signal` aborts, whoever leads. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#deps;
    while (!signal.aborted) {
      const before = this.refusal;
      try {
        await this.#look(signal);
      } catch (error) {
        if (!signal.aborted) log.error("can't read the CustomResourceDefinitions", error);
      }
      const { refusal } = this;
      if (refusal !== undefined && refusal !== before)
        log.error("the CustomResourceDefinitions don't fit", new Error(refusal));
      await sleep(clock, refusal === undefined ? PERIOD.right : PERIOD.wrong, signal).catch(() => {});
    }
  }

  /** While it leads: throws `LeadershipLost` once they don't fit any more, before anything is done by halves. */
  async guard(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      if (this.refusal !== undefined) throw new LeadershipLost(this.refusal);
      await sleep(this.#deps.clock, PERIOD.wrong, signal).catch(() => {});
    }
  }

  async #look(signal?: AbortSignal): Promise<void> {
    const { client } = this.#deps;
    const read = await Promise.all(
      kinds.map(async (kind): Promise<[string, Crd][]> => {
        const name = crdName(kind);
        try {
          return [[name, await client.get<Crd>(CRDS, { name }, signal === undefined ? {} : { signal })]];
        } catch (error) {
          if (isApiError(error, "NotFound")) return [];
          throw error;
        }
      }),
    );
    this.refusal = crdsRefusal(kinds, new Map(read.flat()));
  }
}
