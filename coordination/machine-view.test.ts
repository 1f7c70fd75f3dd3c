/** The view of machines without our agent over a simulated etcd: whatever happens to the feed, it comes to what etcd has. */
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { silentLogger } from "../ports/log.ts";
import { SimClock } from "../test/sim/clock.ts";
import { type SimClient, SimEtcd, type SimSnapshot } from "../test/sim/etcd.ts";
import { keys } from "./keys.ts";
import { MachineCounts } from "./machine-counts.ts";
import { MachineView, type MachineViewLimits } from "./machine-view.ts";
import type { ForeignMachine } from "./records.ts";

const uidOf = (n: number): string => n.toString(16).padStart(32, "0");

function machine(n: number, more: Partial<ForeignMachine> = {}): ForeignMachine {
  return {
    ...{ id: uidOf(n), group: "edge", product: "p", version: "1.0.0", track: "stable", board: "amd64-usr" },
    ...{ oem: "", alias: "", bootId: `boot-${n}`, firstSeen: 1, lastSeen: 2, failed: [], ...more },
  };
}
const update: ForeignMachine["update"] = {
  ...{ group: "g", release: "r", version: "2", bootId: "b", state: "Granted" },
  ...{ attempt: 1, at: 1 },
};
const failed = [{ release: "r", code: 44, at: 1 }];

class World {
  readonly sim = new SimClock();
  readonly etcd = new SimEtcd(this.sim.process());
  readonly writer: SimClient = this.etcd.connect();
  readonly client: SimClient = this.etcd.connect();
  readonly view: MachineView;

  constructor(limits: Partial<MachineViewLimits> = {}) {
    this.view = new MachineView({
      ...{ etcd: this.client, clock: this.sim.process(), log: silentLogger, limits },
    });
  }

  async put(n: number, more: Partial<ForeignMachine> = {}): Promise<void> {
    const record = machine(n, more);
    await this.writer.txn([], [{ put: keys.foreignMachine(record.id), value: JSON.stringify(record) }]);
  }

  async remove(n: number): Promise<void> {
    await this.writer.txn([], [{ delete: keys.foreignMachine(uidOf(n)) }]);
  }

  async until(holds: () => boolean): Promise<void> {
    const deadline = this.sim.time + 600_000;
    while (!holds()) {
      await new Promise((resolve) => setImmediate(resolve));
      if (this.sim.next() === undefined) this.sim.at(1000, () => {});
      this.sim.step();
      if (this.sim.time > deadline) throw new Error("it did not come to hold in 10 simulated minutes");
    }
  }

  /** All that etcd has now is in the view. */
  async settled(): Promise<void> {
    const now = this.sim.wall + 1;
    await this.until(() => this.view.fresh && (this.view.asOf ?? 0) >= now);
  }

  stored(): Map<string, ForeignMachine> {
    const kept = [...this.etcd.records.values()].filter(({ key }) => key.startsWith(keys.foreignMachines));
    return new Map(
      kept.map(({ key, value }) => [
        key.slice(keys.foreignMachines.length),
        JSON.parse(value) as ForeignMachine,
      ]),
    );
  }

  /** The view, and its counts, are what a look at everything gives. */
  check(): void {
    const stored = this.stored();
    expect(new Map(this.view)).toEqual(stored);
    const counts = new MachineCounts();
    for (const record of stored.values()) counts.change(undefined, record);
    expect(this.view.counts).toEqual(counts.groups);
    expect(this.view.size).toBe(stored.size);
  }
}

it("reads all in pages, follows what changes, and tells of it", async () => {
  const world = new World({ page: 3 });
  for (let n = 0; n < 10; n++) await world.put(n);
  const told: (ReadonlySet<string> | undefined)[] = [];
  world.view.onChange((uids) => told.push(uids));
  world.view.start();
  expect(world.view.fresh).toBe(false);
  await world.settled();
  world.check();
  told.length = 0;
  await world.put(3, { version: "2.0.0" });
  await world.put(3, { version: "2.0.1" });
  await world.remove(4);
  await world.settled();
  world.check();
  expect(told).toEqual([new Set([uidOf(3), uidOf(4)])]);
  expect(world.view.counts.get("edge")?.get("2.0.1")).toEqual({ Idle: 1, Updating: 0, Failed: 0 });
  world.view.stop();
});

it("shares what machines have in common, and keeps no field that it does not know", async () => {
  const world = new World();
  const record = { ...machine(1), secret: "x" };
  await world.writer.txn([], [{ put: keys.foreignMachine(record.id), value: JSON.stringify(record) }]);
  world.view.start();
  await world.settled();
  expect(world.view.get(record.id)).toEqual(machine(1));
});

describe("a view that can't follow", () => {
  it("says that it is stale after some seconds, and comes back", async () => {
    const world = new World();
    await world.put(1);
    world.view.start();
    await world.settled();
    const before = world.view.asOf;
    world.client.disconnect();
    await world.put(2);
    await world.until(() => !world.view.fresh);
    expect(world.view.asOf).toBe(before);
    expect(world.view.get(uidOf(2))).toBeUndefined();
    world.client.reconnect();
    await world.settled();
    world.check();
  });

  it("reads all again where etcd has forgotten the changes", async () => {
    const world = new World({ page: 2 });
    for (let n = 0; n < 5; n++) await world.put(n);
    world.view.start();
    await world.settled();
    world.client.disconnect();
    await world.remove(1);
    await world.put(2, { update });
    await world.put(7, { failed });
    await world.writer.compact(world.etcd.revision);
    world.client.reconnect();
    await world.settled();
    world.check();
    expect(world.view.counts.get("edge")?.get("1.0.0")).toEqual({ Idle: 3, Updating: 1, Failed: 1 });
  });

  it("lets go of everything where etcd was restored", async () => {
    const world = new World();
    await world.writer.txn([], [{ put: keys.incarnation, value: "one" }]);
    await world.put(1);
    world.view.start();
    await world.settled();
    const snapshot = world.etcd.snapshot();
    await world.put(1, { version: "lost" });
    await world.put(2);
    await world.settled();
    world.etcd.restore(snapshot);
    // Past the old revision, under a new incarnation, by other changes.
    await world.writer.txn([], [{ put: keys.incarnation, value: "two" }]);
    for (let n = 3; n < 9; n++) await world.put(n);
    await world.settled();
    world.check();
  });

  it("passes over a record that can't be read", async () => {
    const world = new World();
    await world.put(1);
    world.view.start();
    await world.settled();
    await world.writer.txn([], [{ put: keys.foreignMachine(uidOf(1)), value: "{" }]);
    await world.settled();
    expect(world.view.size).toBe(0);
  });
});

it("keeps no more than its limit, and says so", async () => {
  const world = new World({ machines: 3, page: 2 });
  for (let n = 0; n < 5; n++) await world.put(n);
  expect(world.view.wrong).toBeUndefined();
  world.view.start();
  await world.settled();
  expect(world.view.size).toBe(3);
  expect(world.view.wrong).toMatch(/^more than 3 machines/);
  await world.put(0, { version: "2.0.0" });
  await world.settled();
  expect(world.view.get(uidOf(0))?.version).toBe("2.0.0");
});

describe("in any order of events", () => {
  type Event =
    | { is: "put"; n: number; version: string; group: string; state: number }
    | { is: "remove"; n: number }
    | { is: "compact" | "disconnect" | "reconnect" | "save" | "restore" | "pass" };
  const event: fc.Arbitrary<Event> = fc.oneof(
    {
      weight: 8,
      arbitrary: fc.record({
        is: fc.constant("put" as const),
        n: fc.nat({ max: 12 }),
        version: fc.constantFrom("1", "2", "3"),
        group: fc.constantFrom("a", "b"),
        state: fc.nat({ max: 2 }),
      }),
    },
    { weight: 2, arbitrary: fc.record({ is: fc.constant("remove" as const), n: fc.nat({ max: 12 }) }) },
    {
      weight: 3,
      arbitrary: fc.record({
        is: fc.constantFrom("compact", "disconnect", "reconnect", "save", "restore", "pass"),
      }),
    },
  );

  async function play(world: World, events: readonly Event[]): Promise<void> {
    let saved: SimSnapshot | undefined;
    let incarnations = 0;
    for (const one of events) {
      if (one.is === "put") {
        const state = [{}, { update }, { failed }][one.state] ?? {};
        await world.put(one.n, { version: one.version, group: one.group, ...state });
      } else if (one.is === "remove") await world.remove(one.n);
      else if (one.is === "compact") await world.writer.compact(world.etcd.revision);
      else if (one.is === "disconnect") world.client.disconnect();
      else if (one.is === "reconnect") world.client.reconnect();
      else if (one.is === "save") saved = world.etcd.snapshot();
      else if (one.is === "restore" && saved !== undefined) {
        world.etcd.restore(saved);
        incarnations += 1;
        await world.writer.txn([], [{ put: keys.incarnation, value: `restored-${incarnations}` }]);
      } else if (one.is === "pass") {
        const end = world.sim.time + 2000;
        await world.until(() => world.sim.time > end);
      }
    }
    world.client.reconnect();
  }

  it("the view is what etcd has, and its counts are a recount", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(event, { maxLength: 40 }),
        fc.integer({ min: 1, max: 4 }),
        async (events, page) => {
          const world = new World({ page });
          world.view.start();
          await play(world, events);
          await world.settled();
          world.check();
          world.view.stop();
        },
      ),
      { numRuns: 150 },
    );
  });
});
