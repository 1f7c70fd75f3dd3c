/** A Node on which no agent of ours runs: its client asks, the manager gives, and the client's protocol goes on. */
import { beforeEach, describe, expect, it } from "vitest";
import { LedRoom, must, request } from "../test/slots/led-room.ts";
import type { RebootAsk } from "./coordination.ts";
import { zincatiId } from "./identity.ts";
import { keys } from "./keys.ts";
import type { GroupGate, Protocol } from "./records.ts";

let led: LedRoom;
const machines = { budgets: ["group/g"], needs: 60_000, open: false };
const ask: RebootAsk = { uid: "n1", name: "node-1", group: "g", protocol: "FleetLock" };
const reason = (word: string) => ({ outcome: "refused", why: { reason: word } });
const open = (gate: Partial<GroupGate> = {}) =>
  led.room.writeGates(led.leader, led.gates({ machines, ...gate }));
const phase = async () => (await led.room.readFleet()).grants.get("n1")?.phase;

async function granted() {
  await led.room.requestReboot(ask);
  return await led.granted({ requested: { protocol: "FleetLock", boot: "b1" } });
}

async function drained() {
  const token = await granted();
  await open();
  await led.room.markDrained(led.leader, "n1", token);
  return token;
}

beforeEach(async () => {
  led = await LedRoom.create();
  await open();
});

it("asks the manager, and is told yes once it is drained, however often it asks", async () => {
  expect(await led.room.requestReboot(ask)).toMatchObject(reason("WaitingForTurn"));
  const since = led.clock.now();
  expect((await led.room.readFleet()).requests.get("n1")).toEqual({
    ...{ protocol: "FleetLock", group: "g", since, seenAt: since },
  });
  const token = await granted();
  expect(await led.room.requestReboot(ask)).toMatchObject(reason("Draining"));
  await open();
  await led.room.markDrained(led.leader, "n1", token);
  expect(await led.room.requestReboot(ask)).toEqual({ outcome: "granted" });
  expect(await phase()).toMatchObject({ phase: "Committed", client: true, committedBoot: "b1/0" });
  expect((await led.room.readFleet()).requests.size).toBe(0);
  expect(await led.room.requestReboot(ask)).toMatchObject({ outcome: "held" });
  expect(await led.room.endReboot("n1", "g", "FleetLock")).toBe("freed");
  expect(await phase()).toMatchObject({ phase: "Returned", client: true, verdict: "Rebooted" });
  expect(await led.room.endReboot("n1", "g", "FleetLock")).toBe("none");
  expect(await led.room.requestReboot(ask)).toMatchObject(reason("WaitingForTurn"));
  expect(await led.room.release(led.leader, "n1", token)).toBe("done");
});

it("ends the reboot that was over when it said so, not one that it was given since", async () => {
  const token = await drained();
  await led.room.requestReboot(ask);
  const txn = led.port.txn.bind(led.port);
  led.port.txn = async (compares, operations) => {
    led.port.txn = txn;
    expect(await led.room.endReboot("n1", "g", "FleetLock")).toBe("freed");
    await led.room.release(led.leader, "n1", token);
    await drained();
    expect(await led.room.requestReboot(ask)).toEqual({ outcome: "granted" });
    return await txn(compares, operations);
  };
  expect(await led.room.endReboot("n1", "g", "FleetLock")).toBe("freed");
  expect(await phase()).toMatchObject({ phase: "Committed" });
});

it.each(["unanswered", "lost", "late"] as const)("commits once where the answer is %s", async (fate) => {
  await drained();
  led.fates = [fate];
  expect((await led.room.requestReboot(ask)).outcome).not.toBe("refused");
  for (const land of led.land) land();
  await Promise.resolve();
  expect(await phase()).toMatchObject({ phase: "Committed" });
});

it("keeps its place while it asks, and loses it when it does not", async () => {
  await led.room.requestReboot(ask);
  const since = led.clock.now();
  led.pass(61_000);
  await open();
  await led.room.requestReboot(ask);
  const { requests } = await led.room.readFleet();
  expect(requests.get("n1")).toMatchObject({ since, seenAt: since + 61_000 });
  led.pass(721_000);
  expect((await led.room.readFleet()).requests.size).toBe(0);
});

it("takes back its wish, before the slot and before the reboot", async () => {
  await led.room.requestReboot(ask);
  expect(await led.room.endReboot("n1", "g", "FleetLock")).toBe("none");
  expect((await led.room.readFleet()).requests.size).toBe(0);
  await granted();
  expect(await led.room.endReboot("n1", "g", "FleetLock")).toBe("freed");
  expect(await phase()).toMatchObject({ phase: "Withdrawn" });
});

it.each<[string, { paused?: boolean; open?: boolean; openUntil?: number }, string]>([
  ["Paused", { paused: true }, "Drained"],
  ["WaitingForWindow", { open: false }, "Withdrawn"],
  ["WindowClosing", { openUntil: 1 }, "Withdrawn"],
])("is not told yes where that may not be now: %s", async (_, gate, after) => {
  await drained();
  await open(gate.openUntil === undefined ? gate : { openUntil: led.clock.now() + 1000 });
  expect((await led.room.requestReboot(ask)).outcome).toBe("refused");
  expect((await phase())?.phase).toBe(after);
});

it("says of the group what stands in the way, before there is a slot", async () => {
  await open({ paused: true });
  expect(await led.room.requestReboot(ask)).toMatchObject(reason("Paused"));
});

it("neither commits nor ends what an agent, a person or another protocol asked for", async () => {
  const token = await led.granted();
  await open();
  await led.room.markDrained(led.leader, "n1", token);
  expect(await led.room.requestReboot(ask)).toMatchObject(reason("AlreadyGranted"));
  expect(await led.room.endReboot("n1", "g", "FleetLock")).toBe("none");
  expect(await phase()).toMatchObject({ phase: "Drained" });
});

it("neither commits nor has what the Node asked for by another protocol, which alone says when it is back", async () => {
  const other = { ...ask, protocol: "Locksmith" } as const;
  await drained();
  expect(await led.room.requestReboot(other)).toMatchObject(reason("AlreadyGranted"));
  expect(await phase()).toMatchObject({ phase: "Drained" });
  await led.room.requestReboot(ask);
  expect(await led.room.requestReboot(other)).toMatchObject(reason("AlreadyGranted"));
});

it("is no business of an agent that comes meanwhile", async () => {
  const token = await drained();
  const session = await led.room.openSession("n1", "gw", await led.port.leaseOnce(60));
  expect(await led.room.commit("n1", session, token, "b1/0")).toMatchObject(reason("StaleToken"));
  expect(await led.room.withdraw("n1", session, token, { reason: "Withdrawn", message: "" })).toBe("stale");
});

it("comes back under a slot that was rebuilt after a loss of etcd", async () => {
  await drained();
  await led.room.requestReboot(ask);
  const live = must((await led.room.readFleet()).grants.get("n1"));
  const { uid, node, group, release, budgets, nonce, at } = live.grant;
  const before = { ...{ uid, node, group, release, budgets, nonce, at }, phase: "Committed" as const };
  const rebuilt = { ...before, supersedes: live.token };
  led.leader = must(await led.room.rebuild(await led.room.readEpoch(), [rebuilt]));
  expect(await led.room.endReboot("n1", "g", "FleetLock")).toBe("freed");
  expect(await phase()).toMatchObject({ phase: "Returned", client: true });
});

it("gives no answer while holders are rebuilt", async () => {
  const incarnation = led.etcd.records.get(keys.incarnation)?.value ?? "";
  await led.port.txn([], [{ put: keys.incarnation, value: `rebuilding:${incarnation}` }]);
  await expect(led.room.requestReboot(ask)).rejects.toThrow(/not rebuilt/);
  await expect(led.room.endReboot("n1", "g", "FleetLock")).rejects.toThrow(/not rebuilt/);
});

it("has the Node's other names, so that none of them takes a second slot", async () => {
  await led.granted({ ...request(), aliases: ["foreign/node-1"] });
  const other = {
    uid: "foreign/node-1",
    name: "node-1",
    group: "g",
    protocol: "FleetLock",
    nonce: "x",
  } as const;
  expect(await led.room.takeForeign(other)).toMatchObject(reason("AlreadyGranted"));
});

describe("a Node that took its slot before anybody knew that it is one", () => {
  const machineId = "0123456789abcdef0123456789abcdef";
  const zincati = zincatiId(machineId);
  const take = (uid: string, protocol: Protocol = "FleetLock") =>
    led.room.takeForeign({ uid, name: uid, group: "g", protocol, nonce: uid });

  it.each([
    ["foreign/node-1", "node-1"],
    [zincati, zincati],
    [machineId, zincati],
  ])("as %s, and asks again because the answer was lost, is told that it has it", async (uid, id) => {
    await take(uid);
    const since = led.clock.now();
    led.pass(1000);
    expect(await led.room.requestReboot({ ...ask, id })).toEqual({ outcome: "held", since });
    const { requests, grants } = await led.room.readFleet();
    expect([...requests.keys(), ...grants.keys()]).toEqual([uid]);
  });

  it("is not told yes by what it took in another group, or by another protocol", async () => {
    await take("foreign/node-1", "Locksmith");
    const former = "foreign/node-1";
    expect(await led.room.requestReboot({ ...ask, id: "node-1" })).toMatchObject(reason("WaitingForTurn"));
    await led.room.freeForeign(former, "g", "Locksmith");
    await take(former);
    expect(await led.room.requestReboot({ ...ask, group: "h", id: "node-1" })).toMatchObject({
      outcome: "refused",
    });
  });
});

it("holds what it has by another protocol by this one's word too, so that the first of them does not end it", async () => {
  await led.room.takeForeign({ ...ask, protocol: "Locksmith", nonce: "x" });
  expect(await led.room.requestReboot(ask)).toMatchObject({ outcome: "held" });
  expect(await led.room.freeForeign("n1", "g", "Locksmith")).toBe("freed");
  expect((await phase())?.heldBy).toEqual(["FleetLock"]);
  expect(await led.room.freeForeign("n1", "g", "FleetLock")).toBe("freed");
  expect((await led.room.readFleet()).grants.size).toBe(0);
});
