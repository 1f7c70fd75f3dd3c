import { create } from "@bufbuild/protobuf";
import { beforeEach, describe, expect, it } from "vitest";
import { ObservedSchema } from "../proto/gen/agent_pb.ts";
import { desired, LedRoom, must, request, WHY } from "../test/slots/led-room.ts";
import { EtcdUnavailable } from "./etcd.ts";
import { keys } from "./keys.ts";

const DAY = 86_400_000;

let led: LedRoom;

beforeEach(async () => {
  led = await LedRoom.create();
});

describe("a record that can't be read", () => {
  const damage = (key: string): Promise<unknown> => led.port.txn([], [{ put: key, value: "{" }]);

  it("that is a gate refuses", async () => {
    await led.room.writeGates(led.leader, led.gates());
    await damage(keys.budgetGate("group/g"));
    expect(await led.room.takeGrant(led.leader, request())).toMatchObject({
      why: { reason: "WaitingForGates" },
    });
    expect((await led.room.readFleet()).groupGates.size).toBe(1);
    expect(led.logged.filter((line) => line.includes("can't be read"))).toHaveLength(1);
  });

  it("that is a holder counts", async () => {
    await led.room.writeGates(led.leader, led.gates());
    await damage(keys.holder("group/g", "stranger"));
    expect(await led.room.takeGrant(led.leader, request())).toMatchObject({
      why: { reason: "WaitingForBudget" },
    });
    expect((await led.room.readFleet()).budgets.get("group/g")?.holders).toEqual(new Map([["stranger", 0]]));
  });

  it("that is a grant stays taken, and a person can free it", async () => {
    await led.granted();
    await damage(keys.grant("n1"));
    const { grant, token } = must((await led.room.readFleet()).grants.get("n1"));
    expect([...grant.budgets].sort()).toEqual(["budget/b/zone=a", "group/g"]);
    expect(await led.room.takeGrant(led.leader, request())).toMatchObject({
      why: { reason: "AlreadyGranted" },
    });
    expect(await led.room.free(led.leader, "n1", token, "Stolen")).toBe("done");
    expect((await led.room.readFleet()).budgets.get("group/g")?.holders.size).toBe(0);
  });

  it("that is a phase counts as committed", async () => {
    const token = await led.granted();
    await damage(keys.phase("n1"));
    expect(await led.room.revoke(led.leader, "n1", token, WHY)).toBe("stale");
    expect(await led.room.release(led.leader, "n1", token)).toBe("stale");
  });

  it("that is the epoch stops all leaders", async () => {
    await damage(keys.epoch);
    expect(await led.room.writeGates(led.leader, led.gates())).toBe(false);
    expect(await led.room.raiseEpoch(await led.room.readEpoch(), true)).toBeUndefined();
  });
});

describe("gates, sessions and the rest", () => {
  it("replaces all gates, however many", async () => {
    const many = (count: number) => ({
      groups: led.gates().groups,
      budgets: Array.from({ length: count }, (_, i) => ({
        budget: `budget/b/host=${i}`,
        max: 1,
        unavailable: [],
        validUntil: led.clock.now() + 30_000,
      })),
    });
    expect(await led.room.writeGates(led.leader, many(350))).toBe(true);
    expect((await led.room.readFleet()).budgetGates.size).toBe(350);
    expect(await led.room.writeGates(led.leader, many(2))).toBe(true);
    expect([...(await led.room.readFleet()).budgetGates.keys()]).toEqual([
      "budget/b/host=0",
      "budget/b/host=1",
    ]);
  });

  it("writes desired only where it differs, and forgets a node without a grant", async () => {
    const before = led.etcd.revision;
    expect(await led.room.putDesired(led.leader, "n1", desired)).toBe(true);
    expect(led.etcd.revision).toBe(before);
    const token = await led.granted();
    expect(await led.room.forgetNode(led.leader, "n1")).toBe(false);
    await led.room.revoke(led.leader, "n1", token, WHY);
    await led.room.release(led.leader, "n1", token);
    expect(await led.room.forgetNode(led.leader, "n1")).toBe(true);
    expect((await led.room.readFleet()).desired.size).toBe(0);
  });

  it("lets only the newest session of a node write, and only its own presence end", async () => {
    const first = await led.room.openSession("n1", "gw-1", await led.port.leaseOnce(600));
    const second = await led.room.openSession("n1", "gw-2", await led.port.leaseOnce(600));
    const observed = create(ObservedSchema, { step: "Idle", machineId: "m" });
    expect(await led.room.putObserved("n1", first, observed)).toBe(false);
    expect(await led.room.putObserved("n1", second, observed)).toBe(true);
    await led.room.closeSession("n1", first);
    expect(await led.room.readFleet()).toMatchObject({ present: new Set(["n1"]) });
    expect((await led.room.readFleet()).observed.get("n1")?.step).toBe("Idle");
    await led.room.closeSession("n1", second);
    expect((await led.room.readFleet()).present.size).toBe(0);
  });

  it("never repeats the number of a session, even after etcd went back in time", async () => {
    const snapshot = led.etcd.snapshot();
    const lost = await led.room.openSession("n1", "gw", await led.port.leaseOnce(600));
    led.etcd.restore(snapshot);
    led.pass(1);
    expect(await led.room.openSession("n1", "gw", await led.port.leaseOnce(600))).toBeGreaterThan(lost);
  });

  it("spends a join token once", async () => {
    const record = { group: "edge", labels: { site: "b" }, expiresAt: led.clock.now() + 60_000 };
    await led.room.putJoinToken("hash", record);
    led.fates = ["unanswered"];
    const joined = { ...record, joinedAt: led.clock.now() };
    expect(await led.room.spendJoinToken("hash", "m1")).toEqual(joined);
    expect(await led.room.spendJoinToken("hash", "m2")).toBeUndefined();
    expect(await led.room.spendJoinToken("none", "m2")).toBeUndefined();
    expect(await led.room.readMachines()).toEqual(new Map([["m1", joined]]));
    await led.room.putJoinToken("late", record);
    led.pass(60_000);
    expect(await led.room.spendJoinToken("late", "m3")).toBeUndefined();
    await expect(led.room.putJoinToken("dead", record)).rejects.toThrow(/later expiry/);
  });

  it("lets no other token take over a machine, until a person forgets it", async () => {
    const record = { group: "edge", labels: {}, expiresAt: led.clock.now() + 60_000 };
    const other = { ...record, group: "other", labels: { pool: "x" } };
    await led.room.putJoinToken("first", record);
    await led.room.putJoinToken("second", other);
    await led.room.spendJoinToken("first", "m1");
    expect(await led.room.spendJoinToken("second", "m1")).toBe("known");
    const joinedAt = led.clock.now();
    expect(await led.room.readMachines()).toEqual(new Map([["m1", { ...record, joinedAt }]]));
    expect(await led.room.spendJoinToken("unknown", "m1")).toBeUndefined();
    led.fates = ["unanswered", "unanswered"];
    expect(await led.room.forgetMachine("m1", "installed anew")).toBe(true);
    expect(await led.room.forgetMachine("m1", "installed anew")).toBe(false);
    expect(await led.room.readJournal(0)).toMatchObject([
      { uid: "m1", group: "edge", reason: "MachineForgotten", message: "installed anew" },
    ]);
    expect(await led.room.readMachine("m1")).toBeUndefined();
    led.pass(5000);
    const anew = { ...other, joinedAt: led.clock.now() };
    expect(await led.room.spendJoinToken("second", "m1")).toEqual(anew);
    expect(anew.joinedAt).toBe(joinedAt + 5000);
    expect(await led.room.readMachine("m1")).toEqual(anew);
  });

  it("lets no token take over a machine whose record can't be read", async () => {
    await led.port.txn([], [{ put: keys.machine("m1"), value: "{" }]);
    const record = { group: "edge", labels: {}, expiresAt: led.clock.now() + 60_000 };
    await led.room.putJoinToken("hash", record);
    expect(await led.room.spendJoinToken("hash", "m1")).toBe("known");
  });

  it("restores the machines that are missing, as many as there are, for the leader only", async () => {
    const record = { group: "edge", labels: { site: "b" }, expiresAt: led.clock.now() + 60_000 };
    await led.room.putJoinToken("hash", record);
    await led.room.spendJoinToken("hash", "m7");
    const told = { group: "told", labels: { zone: "a" }, joinedAt: led.clock.now() - 60_000 };
    const machines = new Map(Array.from({ length: 250 }, (_, index) => [`m${index}`, told]));
    led.fates = ["ok", "unanswered"];
    expect(await led.room.restoreMachines(led.leader, machines)).toBe(true);
    const known = await led.room.readMachines();
    expect(known.size).toBe(250);
    expect(known.get("m7")).toEqual({ ...record, joinedAt: led.clock.now() });
    expect(known.get("m249")).toMatchObject(told);
    await led.room.putJoinToken("late", record);
    expect(await led.room.spendJoinToken("late", "m249")).toBe("known");
    const deposed = { ...led.leader, epoch: led.leader.epoch - 1 };
    expect(await led.room.restoreMachines(deposed, new Map([["new", told]]))).toBe(false);
    expect((await led.room.readMachines()).has("new")).toBe(false);
  });

  it("keeps the journal for 30 days, in order and within bounds", async () => {
    const entry = (message: string) => ({
      at: led.clock.now(),
      uid: "n1",
      node: "node-1",
      group: "g",
      what: "step",
      reason: "Idle",
      message,
    });
    const start = led.clock.now();
    await led.room.append(entry("x".repeat(5000)));
    led.pass(2 * DAY);
    await led.room.append(entry("second"));
    led.pass(1);
    await led.room.append(entry("third"));
    const read = await led.room.readJournal(0);
    expect(read.map(({ message }) => message.length)).toEqual([1001, 6, 5]);
    expect((await led.room.readJournal(start + DAY)).map(({ message }) => message)).toEqual([
      "second",
      "third",
    ]);
    led.etcd.wipe();
    await led.room.append(entry("after a loss"));
    expect(await led.room.readJournal(0)).toHaveLength(1);
    led.pass(32 * DAY);
    expect([...led.etcd.records.keys()].filter((key) => key.startsWith(keys.journal))).toEqual([]);
  });

  it("gives the journal's last minutes without the day before them", async () => {
    const entry = (message: string) => ({
      ...{ at: led.clock.now(), uid: message, node: "n", group: "g", what: "step", reason: "Idle", message },
    });
    await led.room.append(entry("old"));
    led.pass(3_600_000);
    await led.room.append(entry("new"));
    led.pass(70_000);
    await led.room.append(entry("newest"));
    const told = async (since: number) => (await led.room.readJournal(since)).map(({ message }) => message);
    expect(await told(led.clock.now() - 60_000)).toEqual(["newest"]);
    expect(await told(led.clock.now() - 71_000)).toEqual(["new", "newest"]);
    expect(await told(0)).toEqual(["old", "new", "newest"]);
  });

  it("keeps one sample of versions for each quarter of an hour, for 30 days", async () => {
    const sample = (count: number) => ({
      at: led.clock.now(),
      counts: [{ group: "g", version: "1.0.0", count }],
    });
    const began = led.clock.now();
    await led.room.putSample(sample(1));
    await led.room.putSample(sample(2));
    led.pass(15 * 60_000);
    await led.room.putSample(sample(3));
    const counts = async () => (await led.room.readSamples(began)).map((one) => one.counts[0]?.count);
    expect(await counts()).toEqual([1, 3]);
    led.pass(32 * DAY);
    expect(await counts()).toEqual([]);
  });

  it("restores a machine that joined anew after the snapshot as it is now", async () => {
    const record = { group: "edge", labels: {}, expiresAt: led.clock.now() + 60_000 };
    await led.room.putJoinToken("hash", record);
    await led.room.spendJoinToken("hash", "m1");
    const { joinedAt } = must(await led.room.readMachine("m1"));
    const told = { group: "told", labels: {} };
    const restore = (at: number) =>
      led.room.restoreMachines(led.leader, new Map([["m1", { ...told, joinedAt: at }]]));
    expect(await restore(joinedAt + 500)).toBe(true);
    expect(await led.room.readMachine("m1")).toMatchObject({ group: "edge", joinedAt });
    expect(await restore(joinedAt + 5000)).toBe(true);
    expect(await led.room.readMachine("m1")).toMatchObject({ group: "told", joinedAt: joinedAt + 5000 });
  });

  it("does not say that a machine is unknown while etcd's data is lost", async () => {
    expect(await led.room.readMachine("m1")).toBeUndefined();
    led.etcd.wipe();
    await expect(led.room.readMachine("m1")).rejects.toThrow(EtcdUnavailable);
  });

  it("lets one machine fill its own part of a day's journal, and no other's", async () => {
    const entry = (uid: string) => ({
      at: led.clock.now(),
      uid,
      node: uid,
      group: "g",
      what: "Staged",
      reason: "WaitingForTurn",
      message: "",
    });
    const lines = async (uid: string) => (await led.room.readJournal(0)).filter((line) => line.uid === uid);
    for (let line = 0; line < 400; line++) await led.room.append(entry("loud"));
    await led.room.append(entry("quiet"));
    expect(await lines("loud")).toHaveLength(300);
    expect(await lines("quiet")).toHaveLength(1);
    expect(led.logged.filter((line) => line.includes("about one machine"))).toHaveLength(1);
    led.pass(DAY);
    await led.room.append(entry("loud"));
    expect(await lines("loud")).toHaveLength(301);
  });

  it("writes down what a person did about a machine, however much that one said", async () => {
    const about = { uid: "loud", node: "loud", group: "g", what: "x", reason: "", message: "" };
    for (let line = 0; line < 301; line++) await led.room.append({ at: led.clock.now(), ...about });
    await led.room.append({ at: led.clock.now(), ...about, by: "alice" });
    const read = await led.room.readJournal(0);
    expect(read.filter(({ by }) => by === undefined)).toHaveLength(300);
    expect(read.filter(({ by }) => by === "alice")).toHaveLength(1);
  });

  it("hints at changes of the fleet", async () => {
    let hints = 0;
    const watch = led.room.watchFleet(() => hints++);
    led.pass(10);
    const before = hints;
    await led.room.putDesired(led.leader, "n2", desired);
    led.pass(10);
    expect(hints).toBeGreaterThan(before);
    watch.close();
  });
});
