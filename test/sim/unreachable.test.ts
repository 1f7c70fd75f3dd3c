/** Ten minutes in which agents reach no gateway, from each moment of an update on (design, rules 3, 9 and 10). */
import { expect, test } from "vitest";
import type { NodeUpdate, NodeUpdateStatus } from "../../api/node-update.ts";
import type { Invariants } from "./invariants.ts";
import { runSchedule } from "./run.ts";
import { CALM, type World } from "./world.ts";

const TEN_MINUTES = 600_000;
const SEEDS = [1, 2];
const settings = { ...CALM, gateways: 1, guarded: false };
/** No other fault, and time for this one. */
const plan = { length: TEN_MINUTES + 300_000, every: 1e9, kinds: ["killManager"] as const };

type Moment = (status: NodeUpdateStatus) => boolean;

const moments: Record<string, Moment> = {
  "while it stages": ({ step }) => step === "Staging",
  "while it waits for a slot": ({ step }) => step === "Staged",
  "while it drains": ({ step }) => step === "Draining",
  "before it asks for its commit": ({ reason }) => reason === "Drained",
  "right after its commit": ({ grant }) => grant?.phase === "Committed",
  "while its boot is checked": ({ reason }) => reason === "VerifyingBoot",
  "while its release is checked": ({ reason }) => reason === "VerifyingRelease",
};
/** Moments from which the machine may find itself booted with nobody to shake hands with: that system is not kept. */
const MAY_FALL_BACK = ["right after its commit", "while its boot is checked"];

/** Cuts off the machine, or all of them, when `moment` comes for the first time. */
function cut(moment: Moment, who: "one" | "all", tell: () => void) {
  return (world: World, rules: Invariants): void => {
    const { witness, network, sim } = world;
    let struck = false;
    world.witness = {
      ...witness,
      machine: (machine, event) => witness.machine(machine, event),
      etcd: (changed, by) => witness.etcd(changed, by),
      api(change) {
        witness.api(change);
        const update = change.after as NodeUpdate | undefined;
        if (struck || change.plural !== "nodeupdates" || !moment(update?.status ?? {})) return;
        struck = true;
        tell();
        const name = update?.spec.nodeName;
        const machines = world.machines.filter((machine) => who === "all" || machine.name === name);
        for (const machine of machines) {
          rules.truth.of(machine).troubleAt = sim.time + TEN_MINUTES;
          network.isolated.add(machine.name);
          network.break({ machine: machine.name }, true);
          sim.at(TEN_MINUTES, () => network.isolated.delete(machine.name));
        }
      },
    };
  };
}

const cases = Object.keys(moments).flatMap((when) => [
  { when, who: "one" as const },
  { when, who: "all" as const },
]);

test.each(cases)("$who out of reach for ten minutes $when", { timeout: 180_000 }, async ({ when, who }) => {
  const moment = moments[when] ?? (() => false);
  for (const seed of SEEDS) {
    let struck = 0;
    const meddle = cut(moment, who, () => (struck += 1));
    const { updates, time } = await runSchedule(seed, { settings, plan, meddle });
    expect(struck, `seed ${seed}: the moment came`).toBe(1);
    expect(time).toBeGreaterThan(TEN_MINUTES);
    expect(updates, `seed ${seed}`).toBeGreaterThanOrEqual(MAY_FALL_BACK.includes(when) ? 2 : 3);
  }
});
