/** What the page knows, as the stream of events tells it. Whoever reads a signal in a view is drawn anew when it changes. */
import { type Signal, signal } from "@preact/signals";
import type {
  Activity,
  Budget,
  Channel,
  Fleet,
  Freshness,
  Group,
  GroupOpenings,
  Machine,
  Release,
  Window,
} from "../contract.ts";
import type { ChangeEvent, SnapshotPart, Topic, topics } from "../events.ts";
import { Machines } from "./machines.ts";

export type Keyed<T> = ReadonlyMap<string, T>;

/** Lines of activity that the page keeps; older ones are a page of the list away. */
const ACTIVITY_KEPT = 500;

/** As events.ts has it, which would bring all of the contract into the page. */
const KEYS: Readonly<{ [T in Exclude<Topic, "fleet">]: (typeof topics)[T]["key"] }> = {
  groups: "name",
  channels: "name",
  releases: "name",
  windows: "name",
  openings: "group",
  budgets: "name",
  activity: "id",
  machines: "uid",
};

export class Model {
  readonly groups = signal<Keyed<Group> | undefined>(undefined);
  readonly channels = signal<Keyed<Channel> | undefined>(undefined);
  readonly releases = signal<Keyed<Release> | undefined>(undefined);
  readonly windows = signal<Keyed<Window> | undefined>(undefined);
  readonly openings = signal<Keyed<GroupOpenings> | undefined>(undefined);
  readonly budgets = signal<Keyed<Budget> | undefined>(undefined);
  readonly activity = signal<Keyed<Activity> | undefined>(undefined);
  readonly fleet = signal<Fleet | undefined>(undefined);
  readonly freshness = signal<Freshness | undefined>(undefined);
  readonly machines = new Machines();
  /** Of topics whose snapshot has not ended yet. */
  readonly #parts = new Map<Topic, Map<string, unknown>>();
  #seen = new Set<string>();

  snapshot(part: SnapshotPart): void {
    const { topic, items, begin, end } = part;
    if (topic === "machines") return this.#machines(part);
    if (topic === "fleet") {
      this.fleet.value = items[0] as Fleet | undefined;
      return;
    }
    // A connection may have been lost in the middle of the snapshot before.
    const parts = (begin ? undefined : this.#parts.get(topic)) ?? new Map<string, unknown>();
    for (const item of items) parts.set(keyOf(topic, item), item);
    this.#parts.set(topic, parts);
    if (!end) return;
    this.#parts.delete(topic);
    this.#of(topic).value = parts;
  }

  change({ changes }: ChangeEvent): void {
    for (const [name, { put, gone }] of Object.entries(changes)) {
      const topic = name as Topic;
      if (topic === "fleet") {
        if (put.length > 0) this.fleet.value = put[0] as Fleet;
      } else if (topic === "machines") {
        for (const uid of gone) this.machines.remove(uid);
        for (const machine of put) this.machines.put(machine as Machine);
        this.machines.settle();
      } else {
        const next = new Map(this.#of(topic).peek());
        for (const key of gone) next.delete(key);
        for (const item of put) next.set(keyOf(topic, item), item);
        if (topic === "activity") forgetOldest(next as Map<string, Activity>);
        this.#of(topic).value = next;
      }
    }
  }

  /** Before machines of another group or of none are asked for. */
  forgetMachines(): void {
    this.machines.clear();
  }

  #machines({ items, begin, end, omitted = 0 }: SnapshotPart): void {
    if (begin) this.#seen = new Set();
    for (const machine of items as Machine[]) {
      this.#seen.add(machine.uid);
      this.machines.put(machine);
    }
    if (end) {
      this.machines.keep(this.#seen);
      this.#seen = new Set();
      this.machines.omitted.value = omitted;
      this.machines.complete.value = true;
    }
    this.machines.settle();
  }

  #of(topic: Exclude<Topic, "fleet" | "machines">): Signal<Keyed<unknown> | undefined> {
    return this[topic];
  }
}

function keyOf(topic: Exclude<Topic, "fleet">, item: unknown): string {
  return String((item as Record<string, unknown>)[KEYS[topic]]);
}

function forgetOldest(lines: Map<string, Activity>): void {
  if (lines.size <= ACTIVITY_KEPT) return;
  const oldest = [...lines.values()].sort((a, b) => a.time.localeCompare(b.time));
  for (const { id } of oldest.slice(0, lines.size - ACTIVITY_KEPT)) lines.delete(id);
}
