/** Machines without our agent, by whichever protocol: what each was told, and that it stays true until it is back. For tests. */
import type { Coordination, ForeignFreed } from "../../coordination/coordination.ts";
import { foreignMachine } from "../../coordination/fixtures.ts";
import { aliasesOf } from "../../coordination/identity.ts";
import { Protocol } from "../../coordination/records.ts";
import type { Random } from "../../ports/random.ts";
import type { SlotInvariants } from "./invariants.ts";
import { MACHINES } from "./plans.ts";

type Speaking = Pick<
  Coordination,
  "takeForeign" | "freeForeign" | "takeUpdate" | "endUpdate" | "readForeignMachine"
>;

async function endUpdate(gateway: Speaking, uid: string): Promise<ForeignFreed> {
  const machine = await gateway.readForeignMachine(uid);
  const ended = machine !== undefined && (await gateway.endUpdate({ uid, machine, how: "good", code: 0 }));
  return ended ? "freed" : "none";
}

export class Told {
  /** Who was told that it may reboot, and did not say by the same protocol that it is back: grant and protocol. */
  readonly #told = new Set<string>();
  /** The same: whose saying so is not over, or not known to be. */
  readonly #giving = new Set<string>();

  /** What the machine is told has happened to a grant of its own. */
  async speak(
    world: { invariants: SlotInvariants; random: Pick<Random, "uuid"> },
    gateway: Speaking,
    { do: act, protocol }: { do: "ask" | "back"; protocol: Protocol },
    uid: string,
  ): Promise<void> {
    const { invariants, random } = world;
    const { events, breaches } = invariants;
    const mark = events.length;
    const names = MACHINES.filter(
      (name) => name === uid || aliasesOf(name).includes(uid) || aliasesOf(uid).includes(name),
    );
    const slot = () => names.flatMap((name) => invariants.foreign(name) ?? [])[0];
    if (act === "ask") {
      const ask = { uid, name: uid, group: "g", nonce: random.uuid() };
      const { outcome } = await (protocol === "Omaha"
        ? gateway.takeUpdate({
            ...ask,
            release: "r1",
            version: "2",
            threshold: 100,
            machine: foreignMachine(uid),
          })
        : gateway.takeForeign({ ...ask, protocol }));
      const had = events.some((e) => names.includes(e.uid) && e.what === "made");
      if (outcome === "refused") return;
      if (!had) breaches.push(`${uid}: ${outcome} was answered without a grant`);
      // An update may have to give its slot up: nobody was told that it may reboot by it.
      if (protocol === "Omaha") return;
      const held = slot();
      const mine = `${held?.grant} ${protocol}`;
      if (held?.words.includes(protocol) === true && !this.#giving.has(mine)) this.#told.add(mine);
      return;
    }
    const before = slot();
    const mine = `${before?.grant} ${protocol}`;
    const others = Protocol.options.map((other) => `${before?.grant} ${other}`);
    const waiting = others.filter((other) => other !== mine && this.#told.has(other));
    const { incarnation } = invariants;
    this.#giving.add(mine);
    const outcome =
      protocol === "Omaha" ? await endUpdate(gateway, uid) : await gateway.freeForeign(uid, "g", protocol);
    this.#giving.delete(mine);
    this.#told.delete(mine);
    const since = events.slice(mark).filter((e) => names.includes(e.uid));
    const gave = since.some((e) => e.what === "ended" || e.what === "Committed");
    if (protocol !== "Omaha" && outcome === "freed" && !gave)
      breaches.push(`${uid}: a slot was given back and is still there`);
    if (protocol !== "Omaha" && outcome === "none" && before?.words.includes(protocol) === true && !gave)
      breaches.push(`${uid}: a slot that it has was not given back`);
    const ended = since.some((e) => e.what === "ended" && e.grant === before?.grant);
    const kept = waiting.filter((other) => this.#told.has(other));
    if (outcome === "freed" && ended && kept.length > 0 && incarnation === invariants.incarnation)
      breaches.push(`${uid}: ${protocol} ended a slot that the machine was told of: ${kept.join()}`);
  }
}
