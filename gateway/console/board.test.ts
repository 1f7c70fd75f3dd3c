import { beforeEach, expect, test } from "vitest";
import { type Channel, channel } from "../../api/channel.ts";
import type { Resource } from "../../api/kind.ts";
import { API_VERSION, type KubeObject, timestamp } from "../../api/meta.ts";
import { type NodeUpdate, nodeUpdate } from "../../api/node-update.ts";
import type { RebootBudget } from "../../api/reboot-budget.ts";
import type { RebootWindow } from "../../api/reboot-window.ts";
import type { Release } from "../../api/release.ts";
import { type UpdateGroup, UpdateGroupSpec, updateGroup } from "../../api/update-group.ts";
import type * as view from "../../console/contract.ts";
import type { Topic } from "../../console/events.ts";
import type { LiveGrant } from "../../coordination/coordination.ts";
import { openGate } from "../../coordination/fixtures.ts";
import type { ForeignMachine } from "../../coordination/records.ts";
import { MemoryStore } from "../../runtime/memory-store.ts";
import type { Change, Store } from "../../runtime/store.ts";
import { VirtualClock } from "../../runtime/virtual-clock.ts";
import type { Objects } from "../objects/view.ts";
import { Board } from "./board.ts";
import { ForeignMachines } from "./foreign.ts";

class World implements Objects {
  readonly releases = new MemoryStore<Release>();
  readonly channels = new MemoryStore<Channel>();
  readonly groups = new MemoryStore<UpdateGroup>();
  readonly windows = new MemoryStore<RebootWindow>();
  readonly budgets = new MemoryStore<RebootBudget>();
  readonly nodeUpdates = new MemoryStore<NodeUpdate>({ indexes: { group: ({ spec }) => [spec.group] } });
  readonly synced = true;
  readonly asOf = 0;
  readonly #listeners: ((resource: Resource, change: Change<KubeObject>) => void)[] = [];
  version = 0;

  onChange(listener: (resource: Resource, change: Change<KubeObject>) => void): () => void {
    this.#listeners.push(listener);
    const tell = (resource: Resource, store: Store<never>): void =>
      void store.onChange((change) => listener(resource, change));
    tell(updateGroup, this.groups as never);
    tell(nodeUpdate, this.nodeUpdates as never);
    tell(channel, this.channels as never);
    return () => {};
  }

  group(name: string, status: UpdateGroup["status"] = {}, spec: object = {}): void {
    const whole = {
      nodeSelector: { matchLabels: { a: name } },
      driver: "sentinel",
      windows: "Always",
      ...spec,
    };
    const metadata = { name, uid: name, resourceVersion: String(++this.version) };
    this.groups.put({
      ...{ apiVersion: API_VERSION, kind: "UpdateGroup", metadata },
      ...{ spec: UpdateGroupSpec.parse(whole), status },
    });
  }

  node(name: string, status: NodeUpdate["status"], uid = `uid-${name}`): void {
    const metadata = { name, uid: `object-${uid}`, resourceVersion: String(++this.version) };
    const spec = { nodeName: name, nodeUID: uid, group: "web" };
    this.nodeUpdates.put({ apiVersion: API_VERSION, kind: "NodeUpdate", metadata, spec, status });
  }
}

const known = new Map<string, ForeignMachine>();
const foreign = new ForeignMachines({
  get: (uid: string) => known.get(uid),
  counts: new Map([
    [
      "web",
      new Map([
        ["2.0.0", { Idle: 3, Updating: 1, Failed: 0 }],
        ["1.0.0", { Idle: 5, Updating: 0, Failed: 0 }],
      ]),
    ],
  ]),
  [Symbol.iterator]: () => known.entries(),
});

function omaha(more: Partial<ForeignMachine> = {}): ForeignMachine {
  return {
    ...{
      id: "m-1",
      group: "web",
      product: "p",
      version: "1.0.0",
      track: "",
      board: "",
      oem: "",
      alias: "edge-1",
    },
    ...{ bootId: "", firstSeen: 0, lastSeen: 60_000, failed: [], ...more },
  };
}

function holder(uid: string, at = 0): LiveGrant {
  return {
    grant: {
      ...{ uid, node: `box ${uid}`, group: "web", release: "", budgets: ["group/web"], nonce: "n", epoch: 1 },
      ...{ incarnation: "i", at, target: null, policy: {}, bootNeeds: 0, supersedes: null, reason: "" },
      foreign: { protocol: "FleetLock" },
    },
    token: { incarnation: "i", revision: at + 1 },
    phase: { phase: "Committed", at },
  };
}

let clock: VirtualClock;
let world: World;
let board: Board;
const machine = (uid: string) => board.machines.get(uid);
const since = (position: number, ...topics: Topic[]) =>
  board.changes.since(position, new Set(topics)).changes;

beforeEach(async () => {
  known.clear();
  foreign.setGrants(new Map());
  foreign.setGates(new Map());
  clock = new VirtualClock();
  world = new World();
  board = new Board({ objects: world, foreign, clock });
  board.start();
  world.group("web", { version: "2.0.0" });
  await clock.advance(2000);
});

test("a change is shown within a moment, and told once however often it was changed meanwhile", async () => {
  let told = 0;
  board.onChange(() => told++);
  const { position } = board.changes;
  for (let progress = 0; progress < 20; progress++) world.node("n1", { step: "Staging", progress });
  expect(machine("uid-n1")).toBeUndefined();
  await clock.advance(250);
  expect(machine("uid-n1")).toMatchObject({ name: "n1", state: "Staging", progress: 19 });
  expect(since(position, "machines")?.get("machines")?.put).toHaveLength(1);
  expect(told).toBe(1);
  await clock.advance(1000);
  expect((board.changes.get("fleet", "fleet") as view.Fleet).states).toEqual({ Staging: 1 });
  const before = told;
  await clock.advance(10_000);
  expect(told).toBe(before);
});

test("who listens is told of an activity alone, too", async () => {
  let told = 0;
  board.onChange(() => told++);
  const about = { uid: "", machine: "", group: "web", what: "asked", reason: "Asked", message: "" };
  board.addActivity([{ id: "a", time: "2026-11-27T07:00:00Z", ...about }]);
  await clock.advance(250);
  expect(told).toBe(1);
});

test("a node that was made anew under its name is another machine", async () => {
  world.node("n1", { step: "Idle" }, "one");
  await clock.advance(250);
  world.node("n1", { step: "Staged" }, "two");
  await clock.advance(250);
  expect(machine("one")).toBeUndefined();
  expect(machine("two")?.state).toBe("Staged");
  expect(board.updateOf("two")?.metadata.name).toBe("n1");
  world.nodeUpdates.remove("n1", String(++world.version));
  await clock.advance(250);
  expect(machine("two")).toBeUndefined();
  expect(board.updateOf("two")).toBeUndefined();
});

test("machines without our agent are shown by what they said last, and by the slots that they hold", async () => {
  known.set(
    "u1",
    omaha({
      update: {
        ...{ group: "g", release: "r2", version: "2.0.0", bootId: "", state: "Downloading" },
        ...{ attempt: 1, at: 1000 },
      },
    }),
  );
  board.foreignChanged(new Set(["u1"]));
  board.foreignChanged(foreign.setGrants(new Map([["u2", holder("u2")]])));
  await clock.advance(250);
  expect(machine("u1")).toMatchObject({
    kind: "foreign",
    name: "edge-1",
    state: "Staging",
    target: "2.0.0",
    slot: false,
  });
  expect(machine("u2")).toMatchObject({ kind: "foreign", name: "box u2", state: "Rebooting", slot: true });
  expect(foreign.setGrants(new Map([["u2", holder("u2")]]))).toEqual(new Set());
  board.foreignChanged(foreign.setGrants(new Map()));
  known.clear();
  board.foreignChanged(undefined);
  await clock.advance(250);
  expect([...board.machines.keys()]).toEqual([]);
});

test("one that asks before it reboots says when what it staged is quarantined, and that it reboots since it has the slot", async () => {
  const update = { group: "web", release: "r2", version: "2.0.0", bootId: "", attempt: 1, at: 1000 };
  known.set(
    "u1",
    omaha({ update: { ...update, state: "Staged" }, why: { reason: "WaitingForStage", message: "m" } }),
  );
  const machines = { budgets: ["group/web"], needs: 1, open: true, slotFor: "Reboot" as const };
  const gates = (quarantined: string[]) => new Map([["web", openGate("web", 0, { machines, quarantined })]]);
  const shown = async () => {
    await clock.advance(250);
    return machine("u1");
  };
  const reasonOf = async (quarantined: string[]) => {
    if (foreign.setGates(gates(quarantined))) board.foreignChanged(undefined);
    return (await shown())?.reason;
  };
  board.foreignChanged(new Set(["u1"]));
  expect([await reasonOf([]), await reasonOf(["r2"]), await reasonOf(["r1"])]).toEqual([
    "",
    "ReleaseQuarantined",
    "",
  ]);
  expect(foreign.setGates(gates(["r1"]))).toBe(false);
  const held = holder("u1", 5000);
  const omahas = { ...held, grant: { ...held.grant, foreign: { protocol: "Omaha" as const } } };
  board.foreignChanged(foreign.setGrants(new Map([["u1", omahas]])));
  expect(await shown()).toMatchObject({
    state: "Staged",
    since: timestamp(1000),
    protocol: "Omaha",
    slot: true,
  });
  // The same grant: its machine was told by another protocol that it may reboot.
  const asked = { ...omahas, phase: { ...omahas.phase, heldBy: ["Omaha" as const, "FleetLock" as const] } };
  board.foreignChanged(foreign.setGrants(new Map([["u1", asked]])));
  expect(await shown()).toMatchObject({ state: "Rebooting", since: timestamp(5000), protocol: "FleetLock" });
});

test("a group counts them by version", async () => {
  board.foreignChanged(undefined);
  await clock.advance(2000);
  expect((board.changes.get("groups", "web") as view.Group).counts).toMatchObject({
    foreign: 9,
    foreignUpdated: 4,
  });
});

test("one that has a NodeUpdate as well is shown by that, and by the other again once it is gone", async () => {
  known.set("uid-n1", omaha());
  board.foreignChanged(new Set(["uid-n1"]));
  world.node("n1", { step: "Idle" });
  await clock.advance(250);
  expect(machine("uid-n1")?.kind).toBe("node");
  known.set("uid-n1", omaha({ version: "1.1.0" }));
  board.foreignChanged(new Set(["uid-n1"]));
  await clock.advance(250);
  expect(machine("uid-n1")?.kind).toBe("node");
  world.nodeUpdates.remove("n1", String(++world.version));
  await clock.advance(250);
  expect(machine("uid-n1")).toMatchObject({ kind: "foreign", version: "1.1.0" });
});

test("that a machine without our agent asked again is no change", async () => {
  known.set("u1", omaha());
  board.foreignChanged(new Set(["u1"]));
  await clock.advance(2000);
  const { position } = board.changes;
  known.set("u1", omaha({ lastSeen: 120_000 }));
  board.foreignChanged(new Set(["u1"]));
  await clock.advance(2000);
  expect(since(position, "machines")).toEqual(new Map());
});

test("machines without our agent that wait stand in the queue by what they are called, in their order", async () => {
  known.set("u1", omaha());
  board.foreignChanged(new Set(["u1"]));
  world.group("web", { limit: 1, unavailable: 1 }, { machines: {} });
  world.node("n1", {
    ...{ step: "Idle", since: "1970-01-01T00:00:05Z", reason: "WaitingForBudget" },
    message: "Budget group/web allows 1 down.",
  });
  const waits = (uid: string, since: number) =>
    ({ group: "web", uid, since, protocol: "FleetLock" }) as const;
  const line = [waits("foreign/box", 3100), waits("foreign/ax", 3900), waits("u1", 7000)];
  board.setWaiting(line);
  await clock.advance(2000);
  const budget = board.changes.get("budgets", "group/web") as view.Budget;
  expect(budget.waiting).toBe(4);
  expect(budget.queue.map(({ machine: name, uid, protocol }) => [name, uid, protocol])).toEqual([
    ["box", undefined, "FleetLock"],
    ["ax", undefined, "FleetLock"],
    ["n1", "uid-n1", undefined],
    ["edge-1", "u1", "FleetLock"],
  ]);
  const { position } = board.changes;
  board.setWaiting([...line]);
  await clock.advance(2000);
  expect(board.changes.position).toBe(position);
  board.setWaiting(Array.from({ length: 30 }, (_, n) => waits(`foreign/${n}`, n)));
  await clock.advance(2000);
  const long = board.changes.get("budgets", "group/web") as view.Budget;
  expect([long.queue.length, long.waiting]).toEqual([8, 31]);
});
