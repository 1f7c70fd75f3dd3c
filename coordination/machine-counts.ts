/** How many machines without our agent there are, by group, version and state: kept as each one changes. */
import type { ForeignMachine } from "./records.ts";

/** `Failed`: it has no update, and there is a release that it is not offered again. */
export type MachineState = "Idle" | "Updating" | "Failed";

export function stateOf({ update, failed }: Pick<ForeignMachine, "update" | "failed">): MachineState {
  return update === undefined ? (failed.length === 0 ? "Idle" : "Failed") : "Updating";
}

export type StateCounts = Readonly<Record<MachineState, number>>;

export class MachineCounts {
  readonly #groups = new Map<string, Map<string, Record<MachineState, number>>>();

  /** By group and version; a group or version that nobody has is not in it. */
  get groups(): ReadonlyMap<string, ReadonlyMap<string, StateCounts>> {
    return this.#groups;
  }

  /** One machine came (no `before`), changed, or went (no `after`). */
  change(before: ForeignMachine | undefined, after: ForeignMachine | undefined): void {
    if (before !== undefined && after !== undefined && isAlike(before, after)) return;
    if (after !== undefined) this.#add(after, 1);
    if (before !== undefined) this.#add(before, -1);
  }

  clear(): void {
    this.#groups.clear();
  }

  #add(machine: ForeignMachine, by: 1 | -1): void {
    const { group, version } = machine;
    const versions = this.#groups.get(group) ?? new Map<string, Record<MachineState, number>>();
    const counts = versions.get(version) ?? { Idle: 0, Updating: 0, Failed: 0 };
    counts[stateOf(machine)] += by;
    if (counts.Idle + counts.Updating + counts.Failed === 0) versions.delete(version);
    else versions.set(version, counts);
    if (versions.size === 0) this.#groups.delete(group);
    else this.#groups.set(group, versions);
  }
}

function isAlike(a: ForeignMachine, b: ForeignMachine): boolean {
  return a.group === b.group && a.version === b.version && stateOf(a) === stateOf(b);
}
