/**
 * What the last look at the fleet says of offers, gates, budgets and evidence, arranged so that a check costs the same
 * however many machines there are. It may refuse, and never allow: a transaction has the last word on that.
 */
import type { Why } from "../../api/reasons.ts";
import { type BudgetView, refuseOffer } from "../../coordination/admission.ts";
import type { FleetSnapshot } from "../../coordination/coordination.ts";
import type { Offer } from "../../coordination/records.ts";
import { emptyTally, refuseUpdate } from "../../coordination/updates.ts";
import { bareId, type OmahaApp } from "./request.ts";

/** A refusal holds for all machines that no budget counts, for so long, ms. */
const REUSE = 1000;

export type Seen = Pick<FleetSnapshot, "offers" | "groupGates" | "budgetGates" | "budgets" | "tallies">;

interface GroupLook {
  budgets: BudgetView[];
  /** Whom a budget counts: what holds for others need not hold for them. */
  counted: ReadonlySet<string>;
  refusals: Map<string, { until: number; why: Why }>;
}

export class Look {
  readonly #seen: Seen | undefined;
  /** By product and track; in the order of the groups' names. */
  readonly #offers = new Map<string, Offer[]>();
  readonly #groups = new Map<string, GroupLook>();

  /** `seen`: undefined before the first look. */
  constructor(seen: Seen | undefined) {
    this.#seen = seen;
    const offers = [...(seen?.offers.values() ?? [])].toSorted((a, b) => (a.group < b.group ? -1 : 1));
    for (const offer of offers) {
      const product = bareId(offer.product);
      for (const track of new Set(offer.tracks)) {
        const key = `${product} ${track}`;
        const known = this.#offers.get(key);
        if (known === undefined) this.#offers.set(key, [offer]);
        else known.push(offer);
      }
    }
  }

  /** The offer that the machine's track and product name; of several the first by the group's name. */
  offerFor({ id, track }: Pick<OmahaApp, "id" | "track">, now: number): Offer | undefined {
    return this.#offers.get(`${id} ${track}`)?.find(({ validUntil }) => validUntil > now);
  }

  /** Why nothing is offered where no offer is valid: without a manager all gates are gone. */
  get whyNone(): "MachinesNotServed" | "WaitingForGates" {
    return (this.#seen?.groupGates.size ?? 0) === 0 ? "WaitingForGates" : "MachinesNotServed";
  }

  /** What gates, budgets, evidence and rate forbid; `onDemand` passes over the rate. */
  refusalOf(uid: string, offer: Offer, release: string, onDemand: boolean, now: number): Why | undefined {
    const seen = this.#seen;
    const gate = seen?.groupGates.get(offer.group);
    if (seen === undefined || gate?.machines === undefined) return undefined;
    const group = this.#group(seen, offer.group, gate.machines.budgets);
    const key = `${release} ${onDemand}`;
    const alike = !group.counted.has(uid);
    const known = alike ? group.refusals.get(key) : undefined;
    if (known !== undefined && now < known.until && known.until - now <= REUSE) return known.why;
    const { budgets } = group;
    const tally = seen.tallies.get(offer.group)?.get(release) ?? emptyTally();
    const { rate, ...others } = offer;
    const why =
      refuseOffer({ uid, group: offer.group, release, gate, budgets, needs: gate.machines.needs }, now) ??
      refuseUpdate(tally, onDemand || rate === undefined ? others : offer, now);
    if (alike && why !== undefined) group.refusals.set(key, { until: now + REUSE, why });
    return why;
  }

  #group(seen: Seen, name: string, names: readonly string[]): GroupLook {
    const known = this.#groups.get(name);
    if (known !== undefined) return known;
    const budgets = names.map((budget) => ({
      budget,
      gate: seen.budgetGates.get(budget),
      holders: new Set(seen.budgets.get(budget)?.holders.keys()),
    }));
    const counted = new Set(
      budgets.flatMap(({ gate, holders }) => [
        ...holders,
        ...(gate?.unavailable ?? []),
        ...(gate?.granted ?? []),
      ]),
    );
    const made = { budgets, counted, refusals: new Map() };
    this.#groups.set(name, made);
    return made;
  }
}
