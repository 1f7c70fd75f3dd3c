import { create } from "@bufbuild/protobuf";
import { beforeEach, describe, expect, it } from "vitest";
import { DesiredSchema } from "../proto/gen/agent_pb.ts";
import type { Fate } from "../test/sim/etcd.ts";
import { desired, LedRoom, request, WHY } from "../test/slots/led-room.ts";
import { EtcdUnavailable } from "./etcd.ts";
import { keys } from "./keys.ts";

let led: LedRoom;

beforeEach(async () => {
  led = await LedRoom.create();
});

describe("the way of a grant", () => {
  it("goes from take to release, and leaves nothing but the counts", async () => {
    const { token, session } = await led.committed();
    const fleet = await led.room.readFleet();
    expect(fleet.grants.get("n1")).toMatchObject({
      token,
      grant: { release: "r1", target: { release: "r1", version: "1.0.0" }, policy: { driver: "fastpatch" } },
      phase: { phase: "Committed", committedBoot: "b1/0", committedSession: session },
    });
    expect(fleet.budgets.get("budget/b/zone=a")).toEqual({
      seq: 1,
      holders: new Map([["n1", led.clock.now()]]),
    });
    expect(await led.room.release(led.leader, "n1", token)).toBe("stale");
    expect(await led.room.revoke(led.leader, "n1", token, WHY)).toBe("stale");

    expect(await led.room.reportReturn("n1", session, token, "b2/0", "Updated", WHY)).toBe("stale");
    const next = await led.room.openSession("n1", "gw", await led.port.leaseOnce(60));
    expect(next).toBeGreaterThan(session);
    expect(await led.room.reportReturn("n1", next, token, "b1/0", "Updated", WHY)).toBe("stale");
    expect(await led.room.reportReturn("n1", session, token, "b2/0", "Updated", WHY)).toBe("stale");
    expect(await led.room.reportReturn("n1", next, token, "b2/0", "Updated", WHY)).toBe("done");
    expect(await led.room.reportReturn("n1", next, token, "b2/0", "Updated", WHY)).toBe("done");
    expect((await led.room.readNode("n1")).grant?.phase).toMatchObject({
      phase: "Returned",
      verdict: "Updated",
    });

    expect(await led.room.release(led.leader, "n1", token)).toBe("done");
    expect(await led.room.release(led.leader, "n1", token)).toBe("stale");
    const after = await led.room.readFleet();
    expect(after.grants.size).toBe(0);
    expect(after.budgets.get("group/g")).toEqual({ seq: 2, holders: new Map() });
    expect(led.etcd.records.has(keys.phase("n1"))).toBe(false);
  });

  it("refuses a second node until the first is released, and says who is in the way", async () => {
    const token = await led.granted();
    await led.room.putDesired(led.leader, "n2", desired);
    const other = request({ uid: "n2", node: "node-2", nonce: "nonce-2" });
    expect(await led.room.takeGrant(led.leader, other)).toMatchObject({
      outcome: "refused",
      why: { reason: "WaitingForBudget", message: expect.stringContaining("n1") },
    });
    expect(await led.room.takeGrant(led.leader, request({ nonce: "other" }))).toMatchObject({
      why: { reason: "AlreadyGranted" },
    });
    expect(await led.room.revoke(led.leader, "n1", token, WHY)).toBe("done");
    expect(await led.room.revoke(led.leader, "n1", token, WHY)).toBe("done");
    await led.room.release(led.leader, "n1", token);
    expect(await led.room.takeGrant(led.leader, other)).toMatchObject({ outcome: "granted" });
  });

  it("is a repair where only the node's being unavailable let it through a full budget", async () => {
    const unavailable = ["n1", "n2"];
    await led.room.writeGates(led.leader, led.gates({}, { unavailable }));
    expect(await led.room.takeGrant(led.leader, request())).toMatchObject({ outcome: "granted" });
    expect((await led.room.readNode("n1")).grant?.grant.repair).toBe(true);
    const other = await LedRoom.create();
    await other.granted();
    expect((await other.room.readNode("n1")).grant?.grant.repair).toBeUndefined();
  });

  it("is refused beside a grant that came before the budget", async () => {
    await led.room.writeGates(led.leader, led.gates({}, { unavailable: ["n1"], granted: ["n2"] }));
    expect(await led.room.takeGrant(led.leader, request())).toMatchObject({
      why: { reason: "WaitingForBudget" },
    });
  });

  it("rests on the desired record that it was planned with", async () => {
    await led.room.writeGates(led.leader, led.gates());
    const other = create(DesiredSchema, { group: "g", target: { release: "r2" } });
    await led.room.putDesired(led.leader, "n1", other);
    expect(await led.room.takeGrant(led.leader, request())).toMatchObject({
      why: { reason: "DesiredChanged" },
    });
  });

  it("lets an agent withdraw before or after its commit, and never commit again", async () => {
    const { token, session } = await led.committed();
    expect(await led.room.commit("n1", session, token, "b1/0")).toMatchObject({ outcome: "committed" });
    expect(await led.room.withdraw("n1", session, token, WHY)).toBe("done");
    expect(await led.room.withdraw("n1", session, token, WHY)).toBe("done");
    expect(await led.room.commit("n1", session, token, "b1/0")).toMatchObject({
      why: { reason: "StaleToken" },
    });
    expect(await led.room.release(led.leader, "n1", token)).toBe("done");
  });

  it("takes a boot whose commit was never recorded as a withdrawal", async () => {
    const token = await led.granted();
    const session = await led.room.openSession("n1", "gw", await led.port.leaseOnce(60));
    await led.room.markDrained(led.leader, "n1", token);
    expect(await led.room.reportReturn("n1", session, token, "b2/0", "Updated", WHY)).toBe("done");
    expect((await led.room.readNode("n1")).grant?.phase.phase).toBe("Withdrawn");
  });

  it("answers no commit once the gates expired or their lease ended", async () => {
    const token = await led.granted();
    const session = await led.room.openSession("n1", "gw", await led.port.leaseOnce(600));
    await led.room.markDrained(led.leader, "n1", token);
    led.pass(26_000);
    expect(await led.room.commit("n1", session, token, "b1/0")).toMatchObject({
      why: { reason: "WaitingForGates" },
    });
    led.pass(10_000);
    expect((await led.room.readFleet()).groupGates.size).toBe(0);
    await led.room.writeGates(led.leader, led.gates({ paused: true }));
    expect(await led.room.commit("n1", session, token, "b1/0")).toMatchObject({ why: { reason: "Paused" } });
  });

  it("frees a gone node's places once its presence has ended, and a stolen one's at once", async () => {
    const { token, session } = await led.committed();
    expect(await led.room.free(led.leader, "n1", token, "NodeGone")).toBe("stale");
    await led.room.closeSession("n1", session);
    expect(await led.room.free(led.leader, "n1", token, "NodeGone")).toBe("done");
    const second = await led.granted({ nonce: "second" });
    expect(second.revision).toBeGreaterThan(token.revision);
    expect(await led.room.free(led.leader, "n1", token, "Stolen")).toBe("stale");
    expect(await led.room.free(led.leader, "n1", second, "Stolen")).toBe("done");
  });

  it("refuses a request without budgets, or with one twice", async () => {
    await expect(led.room.takeGrant(led.leader, request({ budgets: [] }))).rejects.toThrow(RangeError);
    await expect(led.room.takeGrant(led.leader, request({ budgets: ["a", "a"] }))).rejects.toThrow(
      RangeError,
    );
  });
});

describe("the count of a budget", () => {
  const forget = (budget = "group/g") => led.room.forgetBudget(led.leader, budget);
  const counts = () => [...led.etcd.records.keys()].filter((key) => key.endsWith("/seq"));

  it("stays while a grant or a gate needs it, and goes afterwards", async () => {
    const token = await led.granted({ budgets: ["group/g"] });
    const gone = { groups: led.gates().groups, budgets: [] };
    expect(await forget()).toBe(false);
    await led.room.writeGates(led.leader, gone);
    expect(await forget()).toBe(false);
    await led.room.revoke(led.leader, "n1", token, WHY);
    await led.room.release(led.leader, "n1", token);
    await led.room.writeGates(led.leader, led.gates());
    expect(await forget()).toBe(false);
    await led.room.writeGates(led.leader, gone);
    expect(await led.room.forgetBudget({ ...led.leader, epoch: 0 }, "group/g")).toBe(false);
    led.fates = ["unanswered"];
    expect(await forget()).toBe(true);
    expect(await forget("never/seen")).toBe(true);
    expect(counts()).toEqual([]);
    expect((await led.granted({ nonce: "again" })).revision).toBeGreaterThan(token.revision);
  });

  it.each([true, false])("lets no lost grant land once it is gone, planned with one: %s", async (counted) => {
    if (counted) {
      const token = await led.granted();
      await led.room.revoke(led.leader, "n1", token, WHY);
      await led.room.release(led.leader, "n1", token);
    }
    await led.room.writeGates(led.leader, led.gates());
    led.fates = ["late"];
    expect(await led.room.takeGrant(led.leader, request({ nonce: "lost" }))).toMatchObject({
      why: { reason: "EtcdUnavailable" },
    });
    await led.room.writeGates(led.leader, { groups: led.gates().groups, budgets: [] });
    for (const budget of request().budgets) expect(await forget(budget)).toBe(true);
    expect(counts()).toEqual([]);
    led.land[0]?.();
    await new Promise((resolve) => setImmediate(resolve));
    expect((await led.room.readFleet()).grants.size).toBe(0);
    await led.room.writeGates(led.leader, led.gates());
    expect(await led.room.takeGrant(led.leader, request())).toMatchObject({ outcome: "granted" });
  });
});

describe("an unknown outcome", () => {
  beforeEach(() => led.room.writeGates(led.leader, led.gates()));

  it("that happened is found by its nonce", async () => {
    led.fates = ["unanswered"];
    expect(await led.room.takeGrant(led.leader, request())).toMatchObject({ outcome: "granted" });
  });

  it.each<Fate>(["lost", "late"])("that did not happen (%s) can never happen afterwards", async (fate) => {
    led.fates = [fate];
    expect(await led.room.takeGrant(led.leader, request())).toMatchObject({
      why: { reason: "EtcdUnavailable" },
    });
    for (const fn of led.land) fn();
    await new Promise((resolve) => setImmediate(resolve));
    expect((await led.room.readFleet()).grants.size).toBe(0);
  });

  it("of everything is an error, not a refusal", async () => {
    led.fates = Array.from({ length: 20 }, () => "lost");
    await expect(led.room.takeGrant(led.leader, request())).rejects.toThrow(EtcdUnavailable);
  });

  it("of a release, a raise or a gate is known by its traces", async () => {
    const token = await led.granted();
    await led.room.revoke(led.leader, "n1", token, WHY);
    led.fates = ["unanswered"];
    expect(await led.room.release(led.leader, "n1", token)).toBe("done");
    led.fates = ["unanswered"];
    expect(await led.room.raiseEpoch(await led.room.readEpoch(), false)).toMatchObject({
      epoch: led.leader.epoch + 1,
    });
  });

  it("of an older gate never lands over a newer one", async () => {
    led.fates = ["late"];
    const first = led.room.writeGates(led.leader, led.gates());
    await first;
    await led.room.writeGates(led.leader, led.gates({ paused: true }));
    for (const fn of led.land) fn();
    await new Promise((resolve) => setImmediate(resolve));
    expect((await led.room.readFleet()).groupGates.get("g")?.paused).toBe(true);
  });
});
