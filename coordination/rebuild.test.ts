import { create } from "@bufbuild/protobuf";
import { beforeEach, describe, expect, it } from "vitest";
import { ObservedSchema } from "../proto/gen/agent_pb.ts";
import type { Fate } from "../test/sim/etcd.ts";
import { desired, LedRoom, must, request, WHY } from "../test/slots/led-room.ts";
import { EtcdRewound, EtcdUnavailable } from "./etcd.ts";

let led: LedRoom;

beforeEach(async () => {
  led = await LedRoom.create();
});

describe("leadership", () => {
  it("passes to one of two, and the former writes nothing more", async () => {
    const from = await led.room.readEpoch();
    const next = must(await led.room.raiseEpoch(from, false));
    expect(await led.room.raiseEpoch(from, false)).toBeUndefined();
    expect(next).toEqual({ epoch: led.leader.epoch + 1, incarnation: led.leader.incarnation });
    expect(await led.room.writeGates(led.leader, led.gates())).toBe(false);
    expect(await led.room.writeGates(led.leader, { groups: [], budgets: [] })).toBe(false);
    expect(await led.room.putDesired(led.leader, "n9", desired)).toBe(false);
    expect(await led.room.forgetNode(led.leader, "n1")).toBe(false);
    await led.room.writeGates(next, led.gates());
    expect(await led.room.takeGrant(led.leader, request())).toMatchObject({
      why: { reason: "LeaderChanged" },
    });
  });

  it("is not taken over lost data that once was there", async () => {
    led.etcd.wipe();
    const from = await led.room.readEpoch();
    expect(from).toMatchObject({ epoch: 0, incarnation: undefined });
    expect(await led.room.raiseEpoch(from, false)).toBeUndefined();
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
    const { token, session } = await led.committed();
    led.etcd.wipe();
    const next = must(await led.room.rebuild(await led.room.readEpoch(), grants));
    expect(next.incarnation).not.toBe(led.leader.incarnation);
    const fleet = await led.room.readFleet();
    expect(fleet.grants.size).toBe(150);
    expect(fleet.budgets.get("group/g")?.holders.size).toBe(150);
    expect(fleet.incarnation).toBe(next.incarnation);
    expect(fleet.groupGates.size).toBe(0);
    expect(await led.room.commit("n1", session, token, "b1/0")).toMatchObject({ outcome: "refused" });
  });

  it("says of a withdrawn grant that it counted as committed, and takes no report from before", async () => {
    const early = await led.room.openSession("n3", "gw", await led.port.leaseOnce(60));
    await led.room.putObserved("n3", early, create(ObservedSchema, { step: "Idle" }));
    must(await led.room.rebuild(await led.room.readEpoch(), grants));
    expect((await led.room.readFleet()).observed.size).toBe(0);
    const session = await led.room.openSession("n3", "gw", await led.port.leaseOnce(60));
    const { token } = must((await led.room.readNode("n3")).grant);
    expect(await led.room.withdraw("n3", session, token, WHY)).toBe("done");
    expect((await led.room.readNode("n3")).grant?.phase).toMatchObject({
      phase: "Withdrawn",
      committedAt: 5,
    });
  });

  it("lets an agent return by the token that it knows", async () => {
    const next = must(await led.room.rebuild(await led.room.readEpoch(), grants));
    const session = await led.room.openSession("n3", "gw", await led.port.leaseOnce(60));
    const known = { incarnation: "old", revision: 3 };
    await led.room.writeGates(next, led.gates());
    expect(await led.room.commit("n3", session, known, "b1/0")).toMatchObject({
      why: { reason: "StaleToken" },
    });
    expect(await led.room.reportReturn("n3", session, known, "b2/0", "Updated", WHY)).toBe("done");
    const token = must((await led.room.readFleet()).grants.get("n3")).token;
    expect(await led.room.release(next, "n3", known)).toBe("stale");
    expect(await led.room.release(next, "n3", token)).toBe("done");
  });

  it("that broke off leaves a mark under which nothing leads, until another ends it", async () => {
    led.fates = ["ok", "ok", ...Array.from({ length: 20 }, (): Fate => "lost")];
    await expect(led.room.rebuild(await led.room.readEpoch(), grants)).rejects.toThrow(EtcdUnavailable);
    led.fates = [];
    const from = await led.room.readEpoch();
    expect(await led.room.raiseEpoch(from, true)).toBeUndefined();
    expect(await led.room.writeGates(led.leader, led.gates())).toBe(false);
    must(await led.room.rebuild(from, grants));
    expect((await led.room.readFleet()).grants.size).toBe(150);
  });

  it("is what a running process waits for when etcd went back in time", async () => {
    await led.room.writeGates(led.leader, led.gates());
    const snapshot = led.etcd.snapshot();
    const token = await led.granted();
    led.etcd.restore(snapshot);
    await expect(led.room.takeGrant(led.leader, request())).rejects.toThrow(EtcdRewound);
    await expect(led.room.readFleet()).rejects.toThrow(EtcdRewound);
    const from = await led.room.readEpoch();
    expect(from.revision).toBeLessThan(token.revision);
    const next = must(await led.room.rebuild(from, grants.slice(0, 1)));
    expect((await led.room.readFleet()).incarnation).toBe(next.incarnation);
    expect(await led.room.writeGates(next, led.gates())).toBe(true);
  });

  it("is asked for by a pulse that went back, however much was written since", async () => {
    await led.room.writeGates(led.leader, led.gates());
    const snapshot = led.etcd.snapshot();
    await led.room.writeGates(led.leader, led.gates());
    const { pulse, revision } = await led.room.readEpoch();
    led.etcd.restore(snapshot);
    const gateway = must(led.etcd.connect({ send: () => "ok", later: async () => {} }));
    for (let writes = 0; writes < 10; writes++) await gateway.txn([], [{ put: "k", value: String(writes) }]);
    const found = await led.room.readEpoch();
    expect(found.revision).toBeGreaterThan(revision);
    expect(found.pulse).toBeLessThan(pulse);
    expect(await led.room.writeGates(led.leader, { ...led.gates(), pulse })).toBe(false);
  });

  it("knows no other name of a Node, whose machine counts twice then and not less", async () => {
    led.leader = must(await led.room.rebuild(await led.room.readEpoch(), grants.slice(0, 1)));
    const machines = { budgets: ["group/g"], needs: 1, open: true };
    await led.room.writeGates(led.leader, led.gates({ machines }, { max: 2 }));
    const ask = {
      uid: "foreign/node-0",
      name: "node-0",
      group: "g",
      protocol: "FleetLock",
      nonce: "x",
    } as const;
    expect(await led.room.takeForeign(ask)).toEqual({ outcome: "granted" });
    expect((await led.room.readFleet()).budgets.get("group/g")?.holders.size).toBe(2);
  });

  it("loses to a faster one", async () => {
    const from = await led.room.readEpoch();
    must(await led.room.rebuild(from, []));
    expect(await led.room.rebuild(from, [])).toBeUndefined();
  });
});
