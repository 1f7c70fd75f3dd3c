/**
 * What the console shows, kept current from the view of our objects, etcd's fleet and the journal. Changes are taken in
 * at most four times a second, and what is counted over all machines once a second: a rollout of thousands of machines
 * then costs the gateway and each page the same as one of ten.
 */
import type { Resource } from "../../api/kind.ts";
import { QUARANTINE_ANNOTATION } from "../../api/labels.ts";
import { type InLine, locksOf } from "../../api/locks.ts";
import { type KubeObject, timestamp } from "../../api/meta.ts";
import { type NodeUpdate, nodeUpdate } from "../../api/node-update.ts";
import type * as view from "../../console/contract.ts";
import { uidOf, viewMachine } from "../../console/machine.ts";
import type { WaitingMachine } from "../../coordination/coordination.ts";
import { idOf } from "../../coordination/identity.ts";
import type { Cancel, Clock } from "../../ports/clock.ts";
import type { Change } from "../../runtime/store.ts";
import type { Objects } from "../objects/view.ts";
import { Changes } from "./changes.ts";
import { countFleet } from "./fleet-count.ts";
import type { ForeignMachines } from "./foreign.ts";
import { viewChannel, viewGroup, viewRelease } from "./group-view.ts";
import { viewForeign } from "./machine-view.ts";
import { viewBudget, viewOpenings, viewWindow } from "./window-view.ts";

/** ms. */
const TAKE_IN = 250;
const COUNT = 1000;
/** Openings come and go without a change of any object, ms. */
const CLOCK_TICK = 30_000;
/** Activities that a page is given at once; the list has more. */
const SHOWN_ACTIVITY = 200;

export interface BoardOptions {
  objects: Objects;
  foreign: ForeignMachines;
  clock: Clock;
}

export class Board {
  readonly changes = new Changes();
  readonly #options: BoardOptions;
  readonly #machines = new Map<string, view.Machine>();
  /** NodeUpdates that changed, by name: what to forget, if anything, and what is there now. */
  readonly #dirty = new Map<string, NodeUpdate | undefined>();
  /** Names of NodeUpdates by uid. */
  readonly #names = new Map<string, string>();
  readonly #dirtyForeign = new Set<string>();
  #allForeign = true;
  #foreignDirty = false;
  #waiting: readonly WaitingMachine[] = [];
  readonly #activity: view.Activity[] = [];
  #declaredDirty = true;
  #countsDirty = true;
  #countedAt = -Infinity;
  #tickedAt = -Infinity;
  readonly #listeners = new Set<() => void>();
  /** Position of the changes that the listeners were told of. */
  #told = 0;
  #cancel: Cancel | undefined;
  #unwatch: (() => void) | undefined;

  constructor(options: BoardOptions) {
    this.#options = options;
  }

  /** All machines by uid, Nodes, plain ones and those without our agent. */
  get machines(): ReadonlyMap<string, view.Machine> {
    return this.#machines;
  }

  /** Undefined for a machine without our agent. */
  updateOf(uid: string): NodeUpdate | undefined {
    const name = this.#names.get(uid);
    return name === undefined ? undefined : this.#options.objects.nodeUpdates.get(name);
  }

  /** Those without our agent that wait for a slot, longest first. */
  get waiting(): readonly WaitingMachine[] {
    return this.#waiting;
  }

  /** As it is shown. */
  inLine({ uid, group, protocol, since }: WaitingMachine): InLine {
    const known = this.#machines.get(uid);
    return {
      ...{ machine: known?.name ?? idOf(uid), uid: known?.uid },
      ...{ group, protocol, since: timestamp(since) },
    };
  }

  start(): void {
    this.#unwatch = this.#options.objects.onChange((resource, change) => this.#changed(resource, change));
    this.#tick();
  }

  stop(): void {
    this.#unwatch?.();
    this.#cancel?.();
    this.#listeners.clear();
  }

  /** Calls `listener` when changes were taken in; returns what ends it. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Machines without our agent that may have changed; all where it is undefined. */
  foreignChanged(uids: ReadonlySet<string> | undefined): void {
    if (uids === undefined) this.#allForeign = true;
    else for (const uid of uids) this.#dirtyForeign.add(uid);
    this.#foreignDirty = true;
    this.#countsDirty = true;
  }

  /** Longest first. */
  setWaiting(waiting: readonly WaitingMachine[]): void {
    const same =
      waiting.length === this.#waiting.length &&
      waiting.every(({ uid, group, since }, at) => {
        const before = this.#waiting[at];
        return before?.uid === uid && before.group === group && before.since === since;
      });
    if (same) return;
    this.#waiting = waiting;
    this.#countsDirty = true;
  }

  /** New ones, oldest first. */
  addActivity(entries: readonly view.Activity[]): void {
    this.#activity.push(...entries);
    this.#activity.splice(0, Math.max(0, this.#activity.length - SHOWN_ACTIVITY));
    this.changes.replace(
      "activity",
      this.#activity.map((entry) => [entry.id, entry]),
    );
  }

  #changed(resource: Resource, change: Change<KubeObject>): void {
    this.#countsDirty = true;
    if (resource !== nodeUpdate) {
      this.#declaredDirty = true;
      return;
    }
    const object = (change.type === "deleted" ? change.before : change.object) as NodeUpdate;
    const { name } = object.metadata;
    const gone = change.type === "deleted" ? object : this.#dirty.get(name);
    this.#dirty.set(name, gone);
  }

  #tick(): void {
    this.#cancel = this.#options.clock.after(TAKE_IN, () => {
      this.takeIn();
      this.#tick();
    });
  }

  /** Takes in what changed since the last time. */
  takeIn(): void {
    const { objects, clock } = this.#options;
    if (!objects.synced) return;
    const now = clock.monotonic();
    for (const [name, gone] of this.#dirty) {
      const update = objects.nodeUpdates.get(name);
      if (gone !== undefined && (update === undefined || uidOf(update) !== uidOf(gone))) {
        this.#names.delete(uidOf(gone));
        this.#removeMachine(uidOf(gone));
        this.#dirtyForeign.add(uidOf(gone));
      }
      if (update === undefined) continue;
      this.#names.set(uidOf(update), name);
      this.#putMachine(viewMachine(update));
    }
    this.#dirty.clear();
    this.#takeInForeign();
    // Machines are counted for their groups as seldom as for the fleet.
    const counts = this.#foreignDirty && now - this.#tickedAt >= COUNT;
    if (this.#declaredDirty || counts || now - this.#tickedAt >= CLOCK_TICK) {
      this.#declaredDirty = false;
      this.#foreignDirty = false;
      this.#tickedAt = now;
      this.#declared();
    }
    if (this.#countsDirty && now - this.#countedAt >= COUNT) {
      this.#countsDirty = false;
      this.#countedAt = now;
      this.#count();
    }
    if (this.changes.position === this.#told) return;
    this.#told = this.changes.position;
    for (const listener of this.#listeners) listener();
  }

  #takeInForeign(): void {
    const { foreign } = this.#options;
    if (this.#allForeign) {
      this.#allForeign = false;
      for (const uid of foreign.uids()) this.#dirtyForeign.add(uid);
      for (const { uid, kind } of this.#machines.values())
        if (kind === "foreign") this.#dirtyForeign.add(uid);
    }
    for (const uid of this.#dirtyForeign) {
      // One that has a NodeUpdate as well is shown by that, which says more.
      if (this.#names.has(uid)) continue;
      const machine = foreign.get(uid);
      if (machine === undefined) this.#removeMachine(uid);
      else this.#putMachine(viewForeign(machine));
    }
    this.#dirtyForeign.clear();
  }

  #declared(): void {
    const { objects, foreign, clock } = this.#options;
    const now = clock.now();
    const groups = objects.groups.list();
    const channels = objects.channels.list();
    const releases = objects.releases.list();
    const windows = objects.windows.list();
    const all = { groups, channels, releases };
    const named = <T extends KubeObject, V>(list: readonly T[], show: (object: T) => V) =>
      list.map((object) => [object.metadata.name, show(object)] as const);
    this.changes.replace(
      "groups",
      named(groups, (group) => viewGroup(group, all, foreign.versions(group.metadata.name))),
    );
    this.changes.replace(
      "channels",
      named(channels, (channel) => viewChannel(channel, all)),
    );
    this.changes.replace(
      "releases",
      named(releases, (release) =>
        viewRelease(release, all, release.metadata.annotations?.[QUARANTINE_ANNOTATION] !== undefined),
      ),
    );
    this.changes.replace(
      "windows",
      named(windows, (window) => viewWindow(window, groups)),
    );
    this.changes.replace(
      "openings",
      named(groups, (group) => viewOpenings(group, windows, now)),
    );
  }

  #count(): void {
    const { objects, foreign } = this.#options;
    const updates = objects.nodeUpdates.list();
    const byName = new Map(updates.map((update) => [update.metadata.name, update]));
    const line = this.#waiting.map((one) => this.inLine(one));
    const locks = locksOf(objects.groups.list(), objects.budgets.list(), updates, line);
    const holders = new Map([...foreign.holders].map(([uid, { grant }]) => [grant.node, uid]));
    this.changes.replace(
      "budgets",
      locks.map((lock) => [lock.budget, viewBudget(lock, byName, holders)]),
    );
    this.changes.put("fleet", "fleet", countFleet(this.#machines.values()));
  }

  #putMachine(machine: view.Machine): void {
    this.#machines.set(machine.uid, machine);
    this.changes.put("machines", machine.uid, machine);
  }

  #removeMachine(uid: string): void {
    this.#machines.delete(uid);
    this.changes.remove("machines", uid);
  }
}
