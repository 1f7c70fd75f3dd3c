/** Rules 2, 3 and 9, by what changes in etcd: who writes, who is freed, what is granted. */
import { keys, lastPart } from "../../coordination/keys.ts";
import type { Grant, Phase } from "../../coordination/records.ts";
import type { Node } from "../../runtime/core.ts";
import type { MachineTruth, Truth } from "./truth.ts";

type Breach = (rule: number, where: string, what: string) => never;

/** What only the leading manager writes. */
const LEADERS = [keys.gates, keys.desired, keys.budgets, keys.grants];

export class EtcdRules {
  readonly #truth: Truth;
  readonly #breach: Breach;
  /** The values before a change. */
  #values = new Map<string, string>();
  /** The manager whose transaction raised the epoch last. */
  #leader: string | undefined;
  /** Machines whose slot a person frees. */
  readonly stealing = new Set<MachineTruth>();

  constructor(truth: Truth, breach: Breach) {
    this.#truth = truth;
    this.#breach = breach;
  }

  changed(changed: readonly string[], by: string | undefined): void {
    const { records } = this.#truth.world.etcd;
    if (by !== undefined && changed.includes(keys.epoch)) this.#leader = by;
    this.#fence(changed, by);
    for (const key of changed) {
      const before = this.#values.get(key);
      const after = records.get(key)?.value;
      if (key.startsWith(keys.phases)) this.#phase(key, before, after);
      else if (key.startsWith(keys.grants) && before === undefined && after !== undefined) {
        if (!changed.includes(keys.incarnation)) this.#granted(key);
      } else if (key.startsWith(keys.grants) && after === undefined) this.#freed(key, changed);
      else if (key.startsWith(keys.presence)) this.#truth.notePresence(lastPart(key), after !== undefined);
      if (after === undefined) this.#values.delete(key);
      else this.#values.set(key, after);
    }
  }

  replaced(): void {
    const { records } = this.#truth.world.etcd;
    this.#values = new Map([...records].map(([key, { value }]) => [key, value]));
    this.#leader = undefined;
    for (const truth of this.#truth.machines.values()) {
      truth.losses += 1;
      if (truth.losses > 1) truth.robbed = true;
    }
    for (const [uid] of this.#truth.byUid) this.#truth.notePresence(uid, records.has(keys.presenceOf(uid)));
  }

  /** Rule 2: of managers, only the one that raised the epoch last writes. */
  #fence(changed: readonly string[], by: string | undefined): void {
    if (by?.startsWith("manager") !== true || this.#leader === undefined || by === this.#leader) return;
    const written = changed.find((key) => LEADERS.some((prefix) => key.startsWith(prefix)));
    if (written !== undefined) this.#breach(2, written, `${by} wrote it, but ${this.#leader} leads`);
  }

  #phase(key: string, before: string | undefined, after: string | undefined): void {
    if (after === undefined) return;
    const uid = lastPart(key);
    const truth = this.#truth.byUid.get(uid);
    const [old, now] = [before, after].map((text) =>
      text === undefined ? undefined : (JSON.parse(text) as Phase),
    );
    if (now?.phase !== "Committed" || now.committedBoot === undefined || truth === undefined) return;
    const again = old?.phase === "Committed" && old.committedBoot === now.committedBoot;
    if (old?.phase !== "Drained" && !again) {
      this.#breach(2, truth.machine.name, `its grant was committed from ${old?.phase ?? "nothing"}`);
    }
    const grant = this.#truth.world.etcd.records.get(keys.grant(uid));
    const { release, nonce = "" } = JSON.parse(grant?.value ?? "{}") as Partial<Grant>;
    const { sim, settings, desk } = this.#truth.world;
    const { time } = sim;
    if (settings.hooked && !desk.saidDone(nonce, "Before"))
      this.#breach(4, truth.machine.name, "its grant was committed before its hook was done");
    truth.losses = 0;
    truth.commit = { at: time, boot: now.committedBoot, release: release ?? "" };
  }

  /** Rule 9: nothing is granted while a machine that went away under a commit holds nothing. */
  #granted(key: string): void {
    const { records } = this.#truth.world.etcd;
    for (const [uid, truth] of this.#truth.byUid) {
      const exists = truth.machine.plain || this.#truth.world.uidOf(truth.machine) === uid;
      if (!truth.away || truth.stolen || !exists || truth.machine.gone || records.has(keys.grant(uid)))
        continue;
      this.#breach(
        9,
        truth.machine.name,
        `it is away under a commit and holds nothing, but ${key} was granted`,
      );
    }
  }

  /** Rule 3. */
  #freed(key: string, changed: readonly string[]): void {
    // A rebuild removes all to write it anew.
    if (changed.includes(keys.incarnation)) return;
    const uid = lastPart(key);
    const { world } = this.#truth;
    const truth = this.#truth.byUid.get(uid);
    if (truth === undefined) return;
    const stolen = this.stealing.delete(truth);
    if (stolen) {
      truth.robbed = true;
      truth.stolenAt = world.sim.time;
    }
    if (!truth.away) return;
    const { machine } = truth;
    const exists = machine.plain || world.api.all<Node>("nodes").some(({ metadata }) => metadata.uid === uid);
    if (stolen || !exists) truth.stolen = true;
    else this.#breach(3, machine.name, "its slot was freed although it has not come back from its reboot");
    if (!exists && world.etcd.records.has(keys.presenceOf(uid))) {
      this.#breach(3, machine.name, "the slot of a gone Node was freed although its agent is present");
    }
  }
}
