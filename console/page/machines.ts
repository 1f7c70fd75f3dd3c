/** The machines that the page knows, by zone and in the order in which they are drawn. Changed in place. */
import { signal } from "@preact/signals";
import type { Machine } from "../contract.ts";
import { byName } from "./format.ts";
import { MARKS, type Mark, markOf } from "./mark.ts";

export interface Cell {
  machine: Machine;
  mark: Mark;
  /** Where it stands in its zone. */
  index: number;
}

export interface Zone {
  name: string;
  cells: Cell[];
  /** Changed since they were painted; everything where it is undefined. */
  dirty: Set<number> | undefined;
}

export class Machines {
  readonly #cells = new Map<string, Cell>();
  readonly #zones = new Map<string, Zone>();
  /** Zones that gained or lost machines since `settle`. */
  readonly #unordered = new Set<string>();
  /** Rises with each batch of changes. */
  readonly revision = signal(0);
  /** More machines match than were sent. */
  readonly omitted = signal(0);
  /** Whether a whole snapshot was seen. */
  readonly complete = signal(false);

  get size(): number {
    return this.#cells.size;
  }

  /** Whoever calls this while it draws is drawn anew with each batch. */
  current(uid: string): Cell | undefined {
    return this.revision.value < 0 ? undefined : this.#cells.get(uid);
  }

  /** By name; the machines of a zone in the order of theirs. Whoever calls this while it draws is drawn anew with each batch. */
  zones(): Zone[] {
    if (this.revision.value === 0) return [];
    return [...this.#zones.values()]
      .filter(({ cells }) => cells.length > 0)
      .sort((a, b) => byName(a.name, b.name));
  }

  put(machine: Machine): void {
    const known = this.#cells.get(machine.uid);
    const mark = markOf(machine);
    if (known !== undefined && known.machine.zone === machine.zone && known.machine.name === machine.name) {
      if (known.mark !== mark) this.#zones.get(machine.zone)?.dirty?.add(known.index);
      known.machine = machine;
      known.mark = mark;
      return;
    }
    if (known !== undefined) this.remove(machine.uid);
    const zone = this.#zone(machine.zone);
    const cell = { machine, mark, index: zone.cells.length };
    this.#cells.set(machine.uid, cell);
    zone.cells.push(cell);
    this.#unordered.add(zone.name);
  }

  remove(uid: string): void {
    const cell = this.#cells.get(uid);
    if (cell === undefined) return;
    this.#cells.delete(uid);
    const zone = this.#zone(cell.machine.zone);
    zone.cells = zone.cells.filter((other) => other !== cell);
    this.#unordered.add(zone.name);
  }

  /** Removes all but `uids`: the end of a snapshot. */
  keep(uids: ReadonlySet<string>): void {
    for (const uid of this.#cells.keys()) if (!uids.has(uid)) this.remove(uid);
  }

  clear(): void {
    this.#cells.clear();
    this.#zones.clear();
    this.#unordered.clear();
    this.omitted.value = 0;
    this.complete.value = false;
    this.revision.value += 1;
  }

  /** After a batch: order what was added, and tell who draws. */
  settle(): void {
    for (const name of this.#unordered) {
      const zone = this.#zone(name);
      zone.cells.sort((a, b) => byName(a.machine.name, b.machine.name));
      for (const [index, cell] of zone.cells.entries()) cell.index = index;
      zone.dirty = undefined;
    }
    this.#unordered.clear();
    this.revision.value += 1;
  }

  #zone(name: string): Zone {
    const found = this.#zones.get(name) ?? { name, cells: [], dirty: undefined };
    this.#zones.set(name, found);
    return found;
  }
}

export type Tally = Record<Mark, number>;

export function tally(cells: Iterable<Cell>): Tally {
  const counts = Object.fromEntries(MARKS.map((mark) => [mark, 0])) as Tally;
  for (const { mark } of cells) counts[mark] += 1;
  return counts;
}
