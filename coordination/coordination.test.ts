import { create } from "@bufbuild/protobuf";
import { beforeEach, describe, expect, it } from "vitest";
import { jsonLogger } from "../ports/log.ts";
import { DesiredSchema, ObservedSchema } from "../proto/gen/agent_pb.ts";
import { type ProcessClock, SimClock } from "../test/sim/clock.ts";
import { type Fate, SimEtcd } from "../test/sim/etcd.ts";
import { SeededRandom } from "../test/sim/random.ts";
import type { Coordination, Leadership, TakeGrant } from "./coordination.ts";
import { createCoordination } from "./create.ts";
import { type EtcdPort, EtcdRewound, EtcdUnavailable } from "./etcd.ts";
import { keys } from "./keys.ts";
import type { BudgetGate, GroupGate, Token } from "./records.ts";

const WHY = { reason: "Withdrawn", message: "because" } as const;
const DAY = 86_400_000;

let sim: SimClock;
let clock: ProcessClock;
let etcd: SimEtcd;
let port: EtcdPort;
let fates: Fate[];
let land: (() => void)[];
let logged: string[];
let room: Coordination;
let leader: Leadership;

beforeEach(async () => {
  sim = new SimClock();
  clock = sim.process();
  etcd = new SimEtcd(clock);
  fates = [];
  land = [];
  logged = [];
  port = etcd.connect({
    send: (kind) => (kind === "txn" ? (fates.shift() ?? "ok") : "ok"),
    later: () => new Promise((resolve) => land.push(resolve)),
  });
  room = createCoordination({
    etcd: port,
    clock,
    random: new SeededRandom(1),
    log: jsonLogger(clock, (line) => logged.push(line)),
  });
  leader = must(await room.raiseEpoch(await room.readEpoch(), true));
  await room.putDesired(leader, "n1", desired);
});

const desired = create(DesiredSchema, {
  group: "g",
  mayStage: true,
  target: { release: "r1", version: "1.0.0" },
  policy: { driver: "fastpatch", bootDeadlineSeconds: 300 },
});

function must<T>(value: T | undefined): T {
  if (value === undefined) throw new Error("it is undefined");
  return value;
}

function pass(milliseconds: number): void {
  const end = sim.time + milliseconds;
  sim.at(milliseconds, () => {});
  while ((sim.next() ?? end + 1) <= end) sim.step();
}

function gates(group: Partial<GroupGate> = {}, budget: Partial<BudgetGate> = {}) {
  const validUntil = clock.now() + 30_000;
  return {
    groups: [
      {
        group: "g",
        paused: false,
        halted: false,
        deleting: false,
        quarantined: [],
        open: true,
        openUntil: null,
        validUntil,
        ...group,
      },
    ],
    budgets: ["group/g", "budget/b/zone=a"].map((name) => ({
      budget: name,
      max: 1,
      unavailable: [],
      validUntil,
      ...budget,
    })),
  };
}

function request(change: Partial<TakeGrant> = {}): TakeGrant {
  return {
    uid: "n1",
    node: "node-1",
    group: "g",
    release: "r1",
    budgets: ["group/g", "budget/b/zone=a"],
    desired,
    nonce: "nonce-1",
    needs: 60_000,
    bootNeeds: 30_000,
    reason: "first in line",
    ...change,
  };
}

async function granted(change: Partial<TakeGrant> = {}): Promise<Token> {
  await room.writeGates(leader, gates());
  const result = await room.takeGrant(leader, request(change));
  if (result.outcome !== "granted") throw new Error(`refused: ${result.why.message}`);
  return result.token;
}

async function committed(boot = "b1/0"): Promise<{ token: Token; session: number }> {
  const token = await granted();
  const session = await room.openSession("n1", "gw", await port.leaseOnce(60));
  expect(await room.markDrained(leader, "n1", token)).toBe("done");
  expect(await room.commit("n1", session, token, boot)).toEqual({ outcome: "committed", goodForSeconds: 30 });
  return { token, session };
}

describe("the way of a grant", () => {
  it("goes from take to release, and leaves nothing but the counts", async () => {
    const { token, session } = await committed();
    const fleet = await room.readFleet();
    expect(fleet.grants.get("n1")).toMatchObject({
      token,
      grant: { release: "r1", target: { release: "r1", version: "1.0.0" }, policy: { driver: "fastpatch" } },
      phase: { phase: "Committed", committedBoot: "b1/0", committedSession: session },
    });
    expect(fleet.budgets.get("budget/b/zone=a")).toEqual({ seq: 1, holders: new Map([["n1", clock.now()]]) });
    expect(await room.release(leader, "n1", token)).toBe("stale");
    expect(await room.revoke(leader, "n1", token, WHY)).toBe("stale");

    expect(await room.reportReturn("n1", session, token, "b2/0", "Updated", WHY)).toBe("stale");
    const next = await room.openSession("n1", "gw", await port.leaseOnce(60));
    expect(next).toBeGreaterThan(session);
    expect(await room.reportReturn("n1", next, token, "b1/0", "Updated", WHY)).toBe("stale");
    expect(await room.reportReturn("n1", session, token, "b2/0", "Updated", WHY)).toBe("stale");
    expect(await room.reportReturn("n1", next, token, "b2/0", "Updated", WHY)).toBe("done");
    expect(await room.reportReturn("n1", next, token, "b2/0", "Updated", WHY)).toBe("done");
    expect((await room.readNode("n1")).grant?.phase).toMatchObject({ phase: "Returned", verdict: "Updated" });

    expect(await room.release(leader, "n1", token)).toBe("done");
    expect(await room.release(leader, "n1", token)).toBe("stale");
    const after = await room.readFleet();
    expect(after.grants.size).toBe(0);
    expect(after.budgets.get("group/g")).toEqual({ seq: 2, holders: new Map() });
    expect(etcd.records.has(keys.phase("n1"))).toBe(false);
  });

  it("refuses a second node until the first is released, and says who is in the way", async () => {
    const token = await granted();
    await room.putDesired(leader, "n2", desired);
    const other = request({ uid: "n2", node: "node-2", nonce: "nonce-2" });
    expect(await room.takeGrant(leader, other)).toMatchObject({
      outcome: "refused",
      why: { reason: "WaitingForBudget", message: expect.stringContaining("n1") },
    });
    expect(await room.takeGrant(leader, request({ nonce: "other" }))).toMatchObject({
      why: { reason: "AlreadyGranted" },
    });
    expect(await room.revoke(leader, "n1", token, WHY)).toBe("done");
    expect(await room.revoke(leader, "n1", token, WHY)).toBe("done");
    await room.release(leader, "n1", token);
    expect(await room.takeGrant(leader, other)).toMatchObject({ outcome: "granted" });
  });

  it("rests on the desired record that it was planned with", async () => {
    await room.writeGates(leader, gates());
    const other = create(DesiredSchema, { group: "g", target: { release: "r2" } });
    await room.putDesired(leader, "n1", other);
    expect(await room.takeGrant(leader, request())).toMatchObject({ why: { reason: "DesiredChanged" } });
  });

  it("lets an agent withdraw before or after its commit, and never commit again", async () => {
    const { token, session } = await committed();
    expect(await room.commit("n1", session, token, "b1/0")).toMatchObject({ outcome: "committed" });
    expect(await room.withdraw("n1", session, token, WHY)).toBe("done");
    expect(await room.withdraw("n1", session, token, WHY)).toBe("done");
    expect(await room.commit("n1", session, token, "b1/0")).toMatchObject({ why: { reason: "StaleToken" } });
    expect(await room.release(leader, "n1", token)).toBe("done");
  });

  it("takes a boot whose commit was never recorded as a withdrawal", async () => {
    const token = await granted();
    const session = await room.openSession("n1", "gw", await port.leaseOnce(60));
    await room.markDrained(leader, "n1", token);
    expect(await room.reportReturn("n1", session, token, "b2/0", "Updated", WHY)).toBe("done");
    expect((await room.readNode("n1")).grant?.phase.phase).toBe("Withdrawn");
  });

  it("answers no commit once the gates expired or their lease ended", async () => {
    const token = await granted();
    const session = await room.openSession("n1", "gw", await port.leaseOnce(600));
    await room.markDrained(leader, "n1", token);
    pass(26_000);
    expect(await room.commit("n1", session, token, "b1/0")).toMatchObject({
      why: { reason: "WaitingForGates" },
    });
    pass(10_000);
    expect((await room.readFleet()).groupGates.size).toBe(0);
    await room.writeGates(leader, gates({ paused: true }));
    expect(await room.commit("n1", session, token, "b1/0")).toMatchObject({ why: { reason: "Paused" } });
  });

  it("frees a gone node's places once its presence has ended, and a stolen one's at once", async () => {
    const { token, session } = await committed();
    expect(await room.free(leader, "n1", token, "NodeGone")).toBe("stale");
    await room.closeSession("n1", session);
    expect(await room.free(leader, "n1", token, "NodeGone")).toBe("done");
    const second = await granted({ nonce: "second" });
    expect(second.revision).toBeGreaterThan(token.revision);
    expect(await room.free(leader, "n1", token, "Stolen")).toBe("stale");
    expect(await room.free(leader, "n1", second, "Stolen")).toBe("done");
  });

  it("refuses a request without budgets, or with one twice", async () => {
    await expect(room.takeGrant(leader, request({ budgets: [] }))).rejects.toThrow(RangeError);
    await expect(room.takeGrant(leader, request({ budgets: ["a", "a"] }))).rejects.toThrow(RangeError);
  });
});

describe("an unknown outcome", () => {
  beforeEach(() => room.writeGates(leader, gates()));

  it("that happened is found by its nonce", async () => {
    fates = ["unanswered"];
    expect(await room.takeGrant(leader, request())).toMatchObject({ outcome: "granted" });
  });

  it.each<Fate>(["lost", "late"])("that did not happen (%s) can never happen afterwards", async (fate) => {
    fates = [fate];
    expect(await room.takeGrant(leader, request())).toMatchObject({ why: { reason: "EtcdUnavailable" } });
    for (const fn of land) fn();
    await new Promise((resolve) => setImmediate(resolve));
    expect((await room.readFleet()).grants.size).toBe(0);
  });

  it("of everything is an error, not a refusal", async () => {
    fates = Array.from({ length: 20 }, () => "lost");
    await expect(room.takeGrant(leader, request())).rejects.toThrow(EtcdUnavailable);
  });

  it("of a release, a raise or a gate is known by its traces", async () => {
    const token = await granted();
    await room.revoke(leader, "n1", token, WHY);
    fates = ["unanswered"];
    expect(await room.release(leader, "n1", token)).toBe("done");
    fates = ["unanswered"];
    expect(await room.raiseEpoch(await room.readEpoch(), false)).toMatchObject({ epoch: leader.epoch + 1 });
  });

  it("of an older gate never lands over a newer one", async () => {
    fates = ["late"];
    const first = room.writeGates(leader, gates());
    await first;
    await room.writeGates(leader, gates({ paused: true }));
    for (const fn of land) fn();
    await new Promise((resolve) => setImmediate(resolve));
    expect((await room.readFleet()).groupGates.get("g")?.paused).toBe(true);
  });
});

describe("leadership", () => {
  it("passes to one of two, and the former writes nothing more", async () => {
    const from = await room.readEpoch();
    const next = must(await room.raiseEpoch(from, false));
    expect(await room.raiseEpoch(from, false)).toBeUndefined();
    expect(next).toEqual({ epoch: leader.epoch + 1, incarnation: leader.incarnation });
    expect(await room.writeGates(leader, gates())).toBe(false);
    expect(await room.writeGates(leader, { groups: [], budgets: [] })).toBe(false);
    expect(await room.putDesired(leader, "n9", desired)).toBe(false);
    expect(await room.forgetNode(leader, "n1")).toBe(false);
    await room.writeGates(next, gates());
    expect(await room.takeGrant(leader, request())).toMatchObject({ why: { reason: "LeaderChanged" } });
  });

  it("is not taken over lost data that once was there", async () => {
    etcd.wipe();
    const from = await room.readEpoch();
    expect(from).toMatchObject({ epoch: 0, incarnation: undefined });
    expect(await room.raiseEpoch(from, false)).toBeUndefined();
  });
});

describe("a rebuild", () => {
  const grants = Array.from({ length: 150 }, (_, i) => ({
    uid: `n${i}`,
    node: `node-${i}`,
    group: "g",
    release: "r1",
    budgets: ["group/g", "budget/b/zone=a"],
    nonce: `nonce-${i}`,
    phase: "Committed" as const,
    supersedes: { incarnation: "old", revision: i },
    at: 5,
  }));

  it("makes every grant anew under another incarnation, and no token of the old one commits", async () => {
    const { token, session } = await committed();
    etcd.wipe();
    const next = must(await room.rebuild(await room.readEpoch(), grants));
    expect(next.incarnation).not.toBe(leader.incarnation);
    const fleet = await room.readFleet();
    expect(fleet.grants.size).toBe(150);
    expect(fleet.budgets.get("group/g")?.holders.size).toBe(150);
    expect(fleet.incarnation).toBe(next.incarnation);
    expect(fleet.groupGates.size).toBe(0);
    expect(await room.commit("n1", session, token, "b1/0")).toMatchObject({ outcome: "refused" });
  });

  it("lets an agent return by the token that it knows", async () => {
    const next = must(await room.rebuild(await room.readEpoch(), grants));
    const session = await room.openSession("n3", "gw", await port.leaseOnce(60));
    const known = { incarnation: "old", revision: 3 };
    await room.writeGates(next, gates());
    expect(await room.commit("n3", session, known, "b1/0")).toMatchObject({ why: { reason: "StaleToken" } });
    expect(await room.reportReturn("n3", session, known, "b2/0", "Updated", WHY)).toBe("done");
    const token = must((await room.readFleet()).grants.get("n3")).token;
    expect(await room.release(next, "n3", known)).toBe("stale");
    expect(await room.release(next, "n3", token)).toBe("done");
  });

  it("that broke off leaves a mark under which nothing leads, until another ends it", async () => {
    fates = ["ok", "ok", ...Array.from({ length: 20 }, (): Fate => "lost")];
    await expect(room.rebuild(await room.readEpoch(), grants)).rejects.toThrow(EtcdUnavailable);
    fates = [];
    const from = await room.readEpoch();
    expect(await room.raiseEpoch(from, true)).toBeUndefined();
    expect(await room.writeGates(leader, gates())).toBe(false);
    must(await room.rebuild(from, grants));
    expect((await room.readFleet()).grants.size).toBe(150);
  });

  it("is what a running process waits for when etcd went back in time", async () => {
    await room.writeGates(leader, gates());
    const snapshot = etcd.snapshot();
    const token = await granted();
    etcd.restore(snapshot);
    await expect(room.takeGrant(leader, request())).rejects.toThrow(EtcdRewound);
    await expect(room.readFleet()).rejects.toThrow(EtcdRewound);
    const from = await room.readEpoch();
    expect(from.revision).toBeLessThan(token.revision);
    const next = must(await room.rebuild(from, grants.slice(0, 1)));
    expect((await room.readFleet()).incarnation).toBe(next.incarnation);
    expect(await room.writeGates(next, gates())).toBe(true);
  });

  it("loses to a faster one", async () => {
    const from = await room.readEpoch();
    must(await room.rebuild(from, []));
    expect(await room.rebuild(from, [])).toBeUndefined();
  });
});

describe("a record that can't be read", () => {
  const damage = (key: string): Promise<unknown> => port.txn([], [{ put: key, value: "{" }]);

  it("that is a gate refuses", async () => {
    await room.writeGates(leader, gates());
    await damage(keys.budgetGate("group/g"));
    expect(await room.takeGrant(leader, request())).toMatchObject({ why: { reason: "WaitingForGates" } });
    expect((await room.readFleet()).groupGates.size).toBe(1);
    expect(logged.filter((line) => line.includes("can't be read"))).toHaveLength(1);
  });

  it("that is a holder counts", async () => {
    await room.writeGates(leader, gates());
    await damage(keys.holder("group/g", "stranger"));
    expect(await room.takeGrant(leader, request())).toMatchObject({ why: { reason: "WaitingForBudget" } });
    expect((await room.readFleet()).budgets.get("group/g")?.holders).toEqual(new Map([["stranger", 0]]));
  });

  it("that is a grant stays taken, and a person can free it", async () => {
    await granted();
    await damage(keys.grant("n1"));
    const { grant, token } = must((await room.readFleet()).grants.get("n1"));
    expect([...grant.budgets].sort()).toEqual(["budget/b/zone=a", "group/g"]);
    expect(await room.takeGrant(leader, request())).toMatchObject({ why: { reason: "AlreadyGranted" } });
    expect(await room.free(leader, "n1", token, "Stolen")).toBe("done");
    expect((await room.readFleet()).budgets.get("group/g")?.holders.size).toBe(0);
  });

  it("that is a phase counts as committed", async () => {
    const token = await granted();
    await damage(keys.phase("n1"));
    expect(await room.revoke(leader, "n1", token, WHY)).toBe("stale");
    expect(await room.release(leader, "n1", token)).toBe("stale");
  });

  it("that is the epoch stops all leaders", async () => {
    await damage(keys.epoch);
    expect(await room.writeGates(leader, gates())).toBe(false);
    expect(await room.raiseEpoch(await room.readEpoch(), true)).toBeUndefined();
  });
});

describe("gates, sessions and the rest", () => {
  it("replaces all gates, however many", async () => {
    const many = (count: number) => ({
      groups: gates().groups,
      budgets: Array.from({ length: count }, (_, i) => ({
        budget: `budget/b/host=${i}`,
        max: 1,
        unavailable: [],
        validUntil: clock.now() + 30_000,
      })),
    });
    expect(await room.writeGates(leader, many(350))).toBe(true);
    expect((await room.readFleet()).budgetGates.size).toBe(350);
    expect(await room.writeGates(leader, many(2))).toBe(true);
    expect([...(await room.readFleet()).budgetGates.keys()]).toEqual(["budget/b/host=0", "budget/b/host=1"]);
  });

  it("writes desired only where it differs, and forgets a node without a grant", async () => {
    const before = etcd.revision;
    expect(await room.putDesired(leader, "n1", desired)).toBe(true);
    expect(etcd.revision).toBe(before);
    const token = await granted();
    expect(await room.forgetNode(leader, "n1")).toBe(false);
    await room.revoke(leader, "n1", token, WHY);
    await room.release(leader, "n1", token);
    expect(await room.forgetNode(leader, "n1")).toBe(true);
    expect((await room.readFleet()).desired.size).toBe(0);
  });

  it("lets only the newest session of a node write, and only its own presence end", async () => {
    const first = await room.openSession("n1", "gw-1", await port.leaseOnce(600));
    const second = await room.openSession("n1", "gw-2", await port.leaseOnce(600));
    const observed = create(ObservedSchema, { step: "Idle", machineId: "m" });
    expect(await room.putObserved("n1", first, observed)).toBe(false);
    expect(await room.putObserved("n1", second, observed)).toBe(true);
    await room.closeSession("n1", first);
    expect(await room.readFleet()).toMatchObject({ present: new Set(["n1"]) });
    expect((await room.readFleet()).observed.get("n1")?.step).toBe("Idle");
    await room.closeSession("n1", second);
    expect((await room.readFleet()).present.size).toBe(0);
  });

  it("never repeats the number of a session, even after etcd went back in time", async () => {
    const snapshot = etcd.snapshot();
    const lost = await room.openSession("n1", "gw", await port.leaseOnce(600));
    etcd.restore(snapshot);
    pass(1);
    expect(await room.openSession("n1", "gw", await port.leaseOnce(600))).toBeGreaterThan(lost);
  });

  it("spends a join token once", async () => {
    const record = { group: "edge", labels: { site: "b" }, expiresAt: clock.now() + 60_000 };
    await room.putJoinToken("hash", record);
    fates = ["unanswered"];
    expect(await room.spendJoinToken("hash", "m1")).toEqual(record);
    expect(await room.spendJoinToken("hash", "m2")).toBeUndefined();
    expect(await room.spendJoinToken("none", "m2")).toBeUndefined();
    expect(await room.readMachines()).toEqual(new Map([["m1", record]]));
    await room.putJoinToken("late", record);
    pass(60_000);
    expect(await room.spendJoinToken("late", "m3")).toBeUndefined();
    await expect(room.putJoinToken("dead", record)).rejects.toThrow(/later expiry/);
  });

  it("keeps the journal for 30 days, in order and within bounds", async () => {
    const entry = (message: string) => ({
      at: clock.now(),
      uid: "n1",
      node: "node-1",
      group: "g",
      what: "step",
      reason: "Idle",
      message,
    });
    const start = clock.now();
    await room.append(entry("x".repeat(5000)));
    pass(2 * DAY);
    await room.append(entry("second"));
    pass(1);
    await room.append(entry("third"));
    const read = await room.readJournal(0);
    expect(read.map(({ message }) => message.length)).toEqual([1001, 6, 5]);
    expect((await room.readJournal(start + DAY)).map(({ message }) => message)).toEqual(["second", "third"]);
    etcd.wipe();
    await room.append(entry("after a loss"));
    expect(await room.readJournal(0)).toHaveLength(1);
    pass(32 * DAY);
    expect([...etcd.records.keys()].filter((key) => key.startsWith(keys.journal))).toEqual([]);
  });

  it("hints at changes of the fleet", async () => {
    let hints = 0;
    const watch = room.watchFleet(() => hints++);
    pass(10);
    const before = hints;
    await room.putDesired(leader, "n2", desired);
    pass(10);
    expect(hints).toBeGreaterThan(before);
    watch.close();
  });
});
