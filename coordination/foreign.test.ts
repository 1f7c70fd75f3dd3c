import { beforeEach, describe, expect, it } from "vitest";
import { silentLogger } from "../ports/log.ts";
import type { Fate } from "../test/sim/etcd.ts";
import { SeededRandom } from "../test/sim/random.ts";
import { desired, LedRoom, must, request, WHY } from "../test/slots/led-room.ts";
import type { ForeignAsk, ForeignResult } from "./coordination.ts";
import { createCoordination } from "./create.ts";
import type { EtcdPort } from "./etcd.ts";
import { zincatiId } from "./identity.ts";
import { keys } from "./keys.ts";
import type { BudgetGate, ForeignMachine, GroupGate } from "./records.ts";

let led: LedRoom;
const machines = { budgets: ["group/g", "budget/b/zone=a"], needs: 60_000, open: false };

const open = (group: Partial<GroupGate> = {}, budget: Partial<BudgetGate> = {}): Promise<boolean> =>
  led.room.writeGates(led.leader, led.gates({ machines, ...group }, budget));
const ask = (uid: string, change: Partial<ForeignAsk> = {}): ForeignAsk => ({
  ...{ uid, name: uid, group: "g", protocol: "FleetLock", nonce: `nonce-${uid}`, ...change },
});
const reason = (word: string) => ({ outcome: "refused", why: { reason: word } });

beforeEach(async () => {
  led = await LedRoom.create();
  await open();
});

describe("a machine without our agent", () => {
  it("takes one slot however often it asks, and gives it back once", async () => {
    expect(await led.room.takeForeign(ask("m1"))).toEqual({ outcome: "granted" });
    const since = led.clock.now();
    led.pass(1000);
    expect(await led.room.takeForeign(ask("m1", { nonce: "other" }))).toMatchObject({
      outcome: "held",
      since,
    });
    expect(await led.room.takeForeign(ask("m2"))).toMatchObject(reason("WaitingForBudget"));
    expect(await led.room.readForeign("g")).toMatchObject({
      holders: [{ uid: "m1", protocol: "FleetLock", since }],
      waiting: ["m2"],
    });
    expect(await led.room.freeForeign("m2", "g", "FleetLock")).toBe("none");
    expect(await led.room.freeForeign("m1", "g", "FleetLock")).toBe("freed");
    expect(await led.room.freeForeign("m1", "g", "FleetLock")).toBe("none");
    const fleet = await led.room.readFleet();
    expect(fleet.grants.size).toBe(0);
    expect(fleet.budgets.get("group/g")).toEqual({ seq: 2, holders: new Map() });
    expect([...led.etcd.records.keys()].filter((key) => key.startsWith(keys.tickets("g")))).toEqual([]);
  });

  it("is up when it asks: that a gate has it as unavailable lets it into no full budget", async () => {
    await open({}, { unavailable: ["m1", "n2"] });
    expect(await led.room.takeForeign(ask("m1"))).toMatchObject(reason("WaitingForBudget"));
    await open({}, { unavailable: ["m1"] });
    expect(await led.room.takeForeign(ask("m1"))).toEqual({ outcome: "granted" });
  });

  it("gives back the slot that it had when it said so, not one that it took since", async () => {
    await led.room.takeForeign(ask("m1"));
    const other = led.another();
    const txn = led.port.txn.bind(led.port);
    led.port.txn = async (compares, operations) => {
      led.port.txn = txn;
      expect(await other.freeForeign("m1", "g", "FleetLock")).toBe("freed");
      expect(await other.takeForeign(ask("m1", { nonce: "again" }))).toEqual({ outcome: "granted" });
      return await txn(compares, operations);
    };
    expect(await led.room.freeForeign("m1", "g", "FleetLock")).toBe("freed");
    expect((await led.room.readForeign("g")).holders).toMatchObject([{ uid: "m1" }]);
  });

  it("stands in the line of its group, which is read with those of all groups, who waits longest first", async () => {
    await led.room.takeForeign(ask("m1"));
    const put = (group: string, uid: string, since: number, seenAt = led.clock.now()): Promise<unknown> => {
      const value = JSON.stringify({ protocol: "Locksmith", since, seenAt });
      return led.port.txn([], [{ put: keys.ticket(group, uid), value }]);
    };
    await put("g/2", "foreign/a/b", 2);
    await put("g", "m3", 3);
    await put("g", "m2", 1);
    await put("other", "m5", 3);
    await put("other", "m4", 0, 0);
    led.pass(1000);
    await led.room.takeForeign(ask("m6"));
    expect(await led.room.readWaiting()).toEqual([
      { group: "g", uid: "m2", protocol: "Locksmith", since: 1 },
      { group: "g/2", uid: "foreign/a/b", protocol: "Locksmith", since: 2 },
      { group: "g", uid: "m3", protocol: "Locksmith", since: 3 },
      { group: "other", uid: "m5", protocol: "Locksmith", since: 3 },
      { group: "g", uid: "m6", protocol: "FleetLock", since: led.clock.now() },
    ]);
    expect((await led.room.readForeign("g")).waiting).toEqual(["m2", "m3", "m6"]);
  });

  it("waits, and gets its slot, although etcd has kept its ticket of long ago", async () => {
    await led.room.takeForeign(ask("m1"));
    const old = JSON.stringify({ protocol: "FleetLock", since: 0, seenAt: 0 });
    await led.port.txn([], [{ put: keys.ticket("g", "m2"), value: old }]);
    expect(await led.room.takeForeign(ask("m2"))).toMatchObject(reason("WaitingForBudget"));
    expect((await led.room.readForeign("g")).waiting).toEqual(["m2"]);
    await led.port.txn([], [{ put: keys.ticket("g", "m2"), value: old }]);
    await led.room.freeForeign("m1", "g", "FleetLock");
    expect(await led.room.takeForeign(ask("m2"))).toEqual({ outcome: "granted" });
    expect([...led.etcd.records.keys()].filter((key) => key.startsWith(keys.tickets("g")))).toEqual([]);
  });

  it("and a Node take from the same budgets, whoever comes first", async () => {
    await led.room.takeForeign(ask("m1"));
    expect(await led.room.takeGrant(led.leader, request())).toMatchObject({
      why: { reason: "WaitingForBudget", message: expect.stringContaining("m1") },
    });
    await led.room.freeForeign("m1", "g", "FleetLock");
    expect(await led.room.takeGrant(led.leader, request())).toMatchObject({ outcome: "granted" });
    expect(await led.room.takeForeign(ask("m1"))).toMatchObject(reason("WaitingForBudget"));
    expect(await led.room.takeForeign(ask("n1"))).toMatchObject(reason("AlreadyGranted"));
    expect(await led.room.freeForeign("n1", "g", "FleetLock")).toBe("none");
  });

  it("has one slot in one group", async () => {
    const two = led.gates({ machines });
    await led.room.writeGates(led.leader, {
      ...two,
      groups: [...two.groups, ...led.gates({ group: "h", machines }).groups],
    });
    await led.room.takeForeign(ask("m1"));
    expect(await led.room.takeForeign(ask("m1", { group: "h" }))).toMatchObject(reason("AlreadyGranted"));
    expect(await led.room.freeForeign("m1", "h", "FleetLock")).toBe("none");
    expect((await led.room.readFleet()).grants.size).toBe(1);
  });

  it.each([
    ["Paused", { paused: true }],
    ["FailureThresholdReached", { halted: true }],
    ["Deleting", { deleting: true }],
    ["WaitingForWindow", { open: false }],
    ["WaitingForWindow", { openUntil: 1 }],
    ["MachinesNotServed", { machines: undefined }],
  ])("is refused: %s", async (word, gate) => {
    await open(gate);
    expect(await led.room.takeForeign(ask("m1"))).toMatchObject(reason(word));
    expect((await led.room.readFleet()).grants.size).toBe(0);
  });

  it("is refused where the group is not known, or its gate has expired", async () => {
    expect(await led.room.takeForeign(ask("m1", { group: "none" }))).toMatchObject(reason("WaitingForGates"));
    led.pass(31_000);
    expect(await led.room.takeForeign(ask("m1"))).toMatchObject(reason("WaitingForGates"));
  });

  it("is refused, like the Nodes, until a person confirms that none is down, once etcd lost its data", async () => {
    await open({}, { unconfirmed: "g" });
    expect(await led.room.takeForeign(ask("m1"))).toMatchObject(reason("MachinesUnconfirmed"));
    expect(await led.room.takeGrant(led.leader, request())).toMatchObject(reason("MachinesUnconfirmed"));
  });

  it("keeps its slot through a new leader, and is told to ask again while holders are rebuilt", async () => {
    await led.room.takeForeign(ask("m1"));
    await led.room.raiseEpoch(await led.room.readEpoch(), false);
    expect(await led.room.takeForeign(ask("m1"))).toMatchObject({ outcome: "held" });
    const incarnation = led.etcd.records.get(keys.incarnation)?.value ?? "";
    await led.port.txn([], [{ put: keys.incarnation, value: `rebuilding:${incarnation}` }]);
    await expect(led.room.takeForeign(ask("m2"))).rejects.toThrow(/not rebuilt/);
    await expect(led.room.freeForeign("m1", "g", "FleetLock")).rejects.toThrow(/not rebuilt/);
  });
});

it("is no business of an agent that runs on the same machine", async () => {
  const session = await led.room.openSession("m1", "gw", await led.port.leaseOnce(60));
  await led.room.takeForeign(ask("m1"));
  const token = must((await led.room.readFleet()).grants.get("m1")).token;
  expect((await led.room.readNode("m1")).grant).toBeUndefined();
  expect(await led.room.withdraw("m1", session, token, WHY)).toBe("stale");
  expect(await led.room.commit("m1", session, token, "b/0")).toMatchObject({ outcome: "refused" });
  expect(await led.room.reportReturn("m1", session, token, "c/0", "Rebooted", WHY)).toBe("stale");
  expect(await led.room.takeForeign(ask("m1"))).toMatchObject({ outcome: "held" });
});

describe("a machine with two names", () => {
  const machineId = "0123456789abcdef0123456789abcdef";
  const zincati = zincatiId(machineId);
  const holders = async () => [
    ...((await led.room.readFleet()).budgets.get("group/g")?.holders.keys() ?? []),
  ];

  it.each([
    [machineId, zincati],
    [zincati, machineId],
  ])("that holds a slot as %s holds it as %s", async (first, second) => {
    await open({}, { max: 9 });
    await led.room.takeForeign(ask(first));
    expect(await led.room.takeForeign(ask(second))).toMatchObject({ outcome: "held" });
    expect(await holders()).toEqual([first]);
    expect(await led.room.freeForeign(second, "g", "FleetLock")).toBe("freed");
    expect(await holders()).toEqual([]);
    expect([...led.etcd.records.keys()].filter((key) => key.startsWith(keys.aliases))).toEqual([]);
    expect(await led.room.takeForeign(ask(second))).toEqual({ outcome: "granted" });
  });

  it.each([
    [machineId, zincati],
    [zincati, machineId],
  ])("gets one slot of two groups that share no budget, asking as %s while it asks as %s", async (a, b) => {
    const of = (group: string) => ({ group, machines: { ...machines, budgets: [`group/${group}`] } });
    const [g, h] = [led.gates(of("g"), { max: 9 }), led.gates(of("h"))];
    const budgets = [...g.budgets, { ...must(g.budgets[0]), budget: "group/h" }];
    await led.room.writeGates(led.leader, { groups: [...g.groups, ...h.groups], budgets });
    let other: Promise<ForeignResult> | undefined;
    const etcd: EtcdPort = {
      read: (ranges) => led.port.read(ranges),
      txn: async (compares, operations) => {
        other ??= led.room.takeForeign(ask(b, { group: "h" }));
        await other;
        return led.port.txn(compares, operations);
      },
      lease: (ttl) => led.port.lease(ttl),
      leaseOnce: (ttl) => led.port.leaseOnce(ttl),
      watch: (prefix, hint) => led.port.watch(prefix, hint),
      follow: (prefix, revision, follower) => led.port.follow(prefix, revision, follower),
      compact: (revision) => led.port.compact(revision),
      close: () => led.port.close(),
    };
    const random = new SeededRandom(5);
    const overtaken = createCoordination({ etcd, clock: led.clock, random, log: silentLogger });
    expect(await overtaken.takeForeign(ask(a))).toMatchObject(reason("AlreadyGranted"));
    expect(await other).toEqual({ outcome: "granted" });
    expect([...(await led.room.readFleet()).grants.keys()]).toEqual([b]);
  });

  it.each([machineId, zincati])("gets no second slot by our agent while it holds one as %s", async (name) => {
    await open({}, { max: 9 });
    await led.room.takeForeign(ask(name));
    const desire = led.room.putDesired(led.leader, machineId, desired);
    expect(await desire).toBe(true);
    const mine = request({ uid: machineId, node: "m", plain: true });
    expect(await led.room.takeGrant(led.leader, mine)).toMatchObject(reason("AlreadyGranted"));
    await led.room.freeForeign(name, "g", "FleetLock");
    const taken = await led.room.takeGrant(led.leader, mine);
    expect(taken).toMatchObject({ outcome: "granted" });
    expect(await led.room.takeForeign(ask(name))).toMatchObject(reason("AlreadyGranted"));
    if (taken.outcome !== "granted") return;
    await led.room.free(led.leader, machineId, taken.token, "Stolen");
    expect(await led.room.takeForeign(ask(name))).toEqual({ outcome: "granted" });
  });

  it.each([machineId, "n1"])(
    "gives the slot of its update up for the reboot that the agent of %s asks for",
    async (uid) => {
      await open({}, { max: 1 });
      const update = {
        ...ask(machineId),
        release: "r1",
        version: "2",
        threshold: 1,
        machine: machine(machineId),
      };
      expect(await led.room.takeUpdate(update)).toEqual({ outcome: "granted" });
      await led.room.putDesired(led.leader, uid, desired);
      const mine = request({
        uid,
        node: "m",
        plain: uid !== "n1",
        aliases: uid === "n1" ? [machineId, zincati] : [],
      });
      expect(await led.room.takeGrant(led.leader, mine)).toMatchObject(reason("WaitingForTurn"));
      expect(await led.room.takeGrant(led.leader, mine)).toMatchObject({ outcome: "granted" });
      expect(await holders()).toEqual([uid]);
      const updating = must(await led.room.readForeignMachine(machineId));
      const good = { uid: machineId, machine: updating, how: "good", code: 0 } as const;
      expect(await led.room.endUpdate(good)).toBeDefined();
      expect(await led.room.endUpdate(good)).toBeUndefined();
      const { grants, tallies } = await led.room.readFleet();
      expect(tallies.get("g")?.get("r1")).toMatchObject({ granted: 1, good: 1 });
      expect([...grants.keys()]).toEqual([uid]);
      expect((await led.room.readForeignMachine(machineId))?.update).toBeUndefined();
    },
  );

  it("takes over a name that an older version left behind", async () => {
    await led.port.txn([], [{ put: keys.alias(zincati), value: machineId }]);
    expect(await led.room.takeForeign(ask(zincati))).toEqual({ outcome: "granted" });
    expect(await led.room.takeForeign(ask(machineId))).toMatchObject({ outcome: "held" });
  });

  it("is known by both as long as it comes, however little it has to say", async () => {
    await led.room.putForeignMachine(machineId, machine(machineId));
    const name = keys.seenAs(zincati);
    for (let day = 1; day <= 400; day += 50) {
      led.pass(50 * 86_400_000);
      const sighting = { lastSeen: led.clock.now(), why: undefined };
      await led.room.putSightings(new Map([[machineId, sighting]]));
      const [record, seen] = [keys.foreignMachine(machineId), name].map((key) => led.etcd.records.get(key));
      expect(seen?.lease).toBe(record?.lease);
      const written = seen?.modRevision;
      await led.room.putSightings(new Map([[machineId, { ...sighting, lastSeen: sighting.lastSeen + 1 }]]));
      expect(led.etcd.records.get(name)?.modRevision).toBe(written);
    }
    expect(await led.room.identify(zincati)).toEqual({ uid: machineId, name: machineId });
    led.pass(200 * 86_400_000);
    expect(await led.room.identify(zincati)).toEqual({ uid: zincati, name: zincati });
  });

  it("is known by both once it came by its machine id, and as the manager says", async () => {
    expect(await led.room.identify(zincati)).toEqual({ uid: zincati, name: zincati });
    await led.room.putForeignMachine(machineId, machine(machineId));
    expect(await led.room.identify(zincati)).toEqual({ uid: machineId, name: machineId });
    const node = { uid: "n1", name: "node-1" };
    expect(await led.room.putIdentities(led.leader, new Map([[zincati, node]]))).toBe(true);
    expect(await led.room.identify(zincati)).toEqual(node);
    expect([...(await led.room.readIdentities())]).toEqual([[zincati, node]]);
    await led.room.putIdentities(led.leader, new Map([[zincati, undefined]]));
    expect(await led.room.identify(zincati)).toMatchObject({ uid: machineId });
    await led.room.raiseEpoch(await led.room.readEpoch(), false);
    expect(await led.room.putIdentities(led.leader, new Map([[zincati, node]]))).toBe(false);
  });
});

function machine(id: string): ForeignMachine {
  return {
    ...{ id, group: "g", product: "p", version: "1", track: "t", board: "", oem: "", alias: "", bootId: "b" },
    ...{ firstSeen: 0, lastSeen: 0, failed: [] },
  };
}

describe("the line", () => {
  it("lets who asked first go first, whoever asks more often", async () => {
    await led.room.takeForeign(ask("m1"));
    for (const uid of ["m2", "m3", "m4"]) {
      led.pass(1000);
      expect(await led.room.takeForeign(ask(uid))).toMatchObject(reason("WaitingForBudget"));
    }
    await open();
    await led.room.freeForeign("m1", "g", "FleetLock");
    expect(await led.room.takeForeign(ask("m4"))).toMatchObject(reason("WaitingForTurn"));
    expect(await led.room.takeForeign(ask("m3"))).toMatchObject(reason("WaitingForTurn"));
    expect(await led.room.takeForeign(ask("m2"))).toEqual({ outcome: "granted" });
    await led.room.freeForeign("m2", "g", "FleetLock");
    expect(await led.room.takeForeign(ask("m4"))).toMatchObject(reason("WaitingForTurn"));
    expect(await led.room.takeForeign(ask("m3"))).toEqual({ outcome: "granted" });
  });

  it("forgets who does not ask any more", async () => {
    await led.room.takeForeign(ask("m1"));
    await led.room.takeForeign(ask("m2"));
    await led.room.freeForeign("m1", "g", "FleetLock");
    led.pass(721_000);
    await open();
    expect(await led.room.takeForeign(ask("m3"))).toEqual({ outcome: "granted" });
  });

  it("has room for as many as there are places", async () => {
    await led.room.takeForeign(ask("m1"));
    await led.room.takeForeign(ask("m2"));
    await open({}, { max: 3 });
    expect(await led.room.takeForeign(ask("m3"))).toEqual({ outcome: "granted" });
    expect(await led.room.takeForeign(ask("m4"))).toMatchObject(reason("WaitingForTurn"));
  });
});

describe("an answer of etcd that is lost", () => {
  it.each<[Fate, string, number]>([
    ["unanswered", "held", 1],
    ["lost", "refused", 0],
    ["late", "refused", 0],
  ])("%s: the machine is told %s, and so it is", async (fate, outcome, holders) => {
    led.fates = [fate];
    expect(await led.room.takeForeign(ask("m1"))).toMatchObject({ outcome });
    for (const land of led.land) land();
    await Promise.resolve();
    const fleet = await led.room.readFleet();
    expect(fleet.budgets.get("group/g")?.holders.size).toBe(holders);
    expect(fleet.grants.size).toBe(holders);
  });

  it.each<Fate>(["unanswered", "lost", "late"])(
    "%s: a slot that is given back is given back",
    async (fate) => {
      await led.room.takeForeign(ask("m1"));
      led.fates = [fate];
      expect(await led.room.freeForeign("m1", "g", "FleetLock")).toBe("freed");
      for (const land of led.land) land();
      await Promise.resolve();
      expect((await led.room.readFleet()).budgets.get("group/g")?.holders.size).toBe(0);
    },
  );
});
