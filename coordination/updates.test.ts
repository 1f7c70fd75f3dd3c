import { beforeEach, describe, expect, it } from "vitest";
import type { Fate } from "../test/sim/etcd.ts";
import { desired, LedRoom, must, request } from "../test/slots/led-room.ts";
import type { UpdateEnd } from "./coordination.ts";
import { foreignMachine, updateAsk, updateEnd } from "./fixtures.ts";
import { zincatiId } from "./identity.ts";
import { keys } from "./keys.ts";

let led: LedRoom;
const machines = { budgets: ["group/g"], needs: 60_000, open: false };

const ending = (uid: string, how: UpdateEnd["how"], change?: Parameters<typeof updateEnd>[3]) =>
  updateEnd(led.room, uid, how, change);
const freed = async (uid: string): Promise<void> => {
  const { token } = must((await led.room.readFleet()).grants.get(uid));
  await led.room.free(led.leader, uid, token, "Stolen");
};
const tally = async () => (await led.room.readFleet()).tallies.get("g")?.get("r");

beforeEach(async () => {
  led = await LedRoom.create();
  await led.room.writeGates(led.leader, led.gates({ machines }, { max: 5 }));
});

describe("an update", () => {
  it("is refused where the release failed on the machine since it was looked at", async () => {
    await led.room.takeUpdate(updateAsk("m"));
    await led.room.endUpdate(await ending("m", "failed", { code: 44 }));
    expect(await led.room.takeUpdate(updateAsk("m"))).toMatchObject({ why: { reason: "NeverAgain" } });
    expect(await led.room.takeUpdate(updateAsk("m", { release: "s" }))).toMatchObject({ outcome: "granted" });
  });

  it("is told of and counted although a person freed its slot", async () => {
    await led.room.takeUpdate(updateAsk("m"));
    await freed("m");
    const end = await ending("m", "good", { version: "2" });
    expect(await led.room.endUpdate(end)).toBeDefined();
    const after = await led.room.readForeignMachine("m");
    expect(after).toMatchObject({ version: "2", failed: [] });
    expect(after?.update).toBeUndefined();
    expect(await tally()).toMatchObject({ granted: 1, good: 1, failed: 0 });
    expect(await led.room.endUpdate(end)).toBeUndefined();
  });

  it("counts once, however often its slot is taken from it and given again", async () => {
    await led.room.takeUpdate(updateAsk("m"));
    const first = (await ending("m", "good")).machine.update;
    await freed("m");
    led.pass(1000);
    expect(await led.room.takeUpdate(updateAsk("m"))).toEqual({ outcome: "granted" });
    expect(await tally()).toMatchObject({ granted: 1 });
    const end = await ending("m", "good");
    expect(end.machine.update).not.toEqual(first);
    expect(await led.room.endUpdate({ ...end, machine: { ...end.machine, update: first } })).toBeUndefined();
    expect(await led.room.endUpdate(end)).toBeDefined();
    expect(await tally()).toMatchObject({ granted: 1, good: 1, failed: 0 });
    expect((await led.room.readFleet()).grants.size).toBe(0);
  });

  it("is not ended by what was said of the one before: that request came twice, by two gateways", async () => {
    await led.room.takeUpdate(updateAsk("m"));
    const end = await ending("m", "withdrawn");
    expect(await led.room.endUpdate(end)).toBeDefined();
    led.pass(1000);
    await led.room.takeUpdate(updateAsk("m"));
    const now = await led.room.readForeignMachine("m");
    expect(await led.room.endUpdate(end)).toBeUndefined();
    expect(await led.room.endUpdate({ ...end, how: "failed", code: 44 })).toBeUndefined();
    expect(await led.room.readForeignMachine("m")).toEqual(now);
    expect(await tally()).toMatchObject({ granted: 1, failed: 0 });
    expect([...(await led.room.readFleet()).grants.keys()]).toEqual(["m"]);
  });

  it("leaves its slot to whoever else was told that the machine may reboot", async () => {
    const lock = { uid: "m", name: "m", group: "g", protocol: "FleetLock", nonce: "n" } as const;
    await led.room.takeUpdate(updateAsk("m"));
    expect(await led.room.takeForeign(lock)).toMatchObject({ outcome: "held" });
    expect(await led.room.endUpdate(await ending("m", "withdrawn"))).toBeDefined();
    const holders = async () => [...(await led.room.readFleet()).grants.keys()];
    expect(await holders()).toEqual(["m"]);
    expect(await led.room.takeUpdate(updateAsk("m"))).toMatchObject({ why: { reason: "AlreadyGranted" } });
    await led.room.putDesired(led.leader, "m", desired);
    expect(await led.room.takeGrant(led.leader, request({ uid: "m" }))).toMatchObject({
      why: { reason: "AlreadyGranted" },
    });
    expect(await led.room.takeForeign(lock)).toMatchObject({ outcome: "held" });
    expect(await led.room.freeForeign("m", "g", "FleetLock")).toBe("freed");
    expect(await holders()).toEqual([]);
  });

  it.each([
    ["WaitingForWindow", { open: false }],
    ["Paused", { paused: true }],
  ])("whose machine asks by another protocol when it may reboot is told: %s", async (reason, gate) => {
    const lock = { uid: "m", name: "m", group: "g", protocol: "FleetLock", nonce: "n" } as const;
    await led.room.takeUpdate(updateAsk("m"));
    await led.room.writeGates(led.leader, led.gates({ machines, ...gate }, { max: 5 }));
    expect(await led.room.takeForeign(lock)).toMatchObject({ outcome: "refused", why: { reason } });
    await led.room.writeGates(led.leader, led.gates({ machines }, { max: 5 }));
    expect(await led.room.takeForeign(lock)).toMatchObject({ outcome: "held" });
    await led.room.writeGates(led.leader, led.gates({ machines, ...gate }, { max: 5 }));
    expect(await led.room.takeForeign(lock)).toMatchObject({ outcome: "held" });
  });

  it("keeps its slot where whoever else was told so gives it back", async () => {
    const lock = { uid: "m", name: "m", group: "g", protocol: "FleetLock", nonce: "n" } as const;
    await led.room.takeUpdate(updateAsk("m"));
    await led.room.takeForeign(lock);
    expect(await led.room.freeForeign("m", "g", "FleetLock")).toBe("freed");
    expect(await led.room.freeForeign("m", "g", "FleetLock")).toBe("none");
    expect((await led.room.readFleet()).budgets.get("group/g")?.holders.size).toBe(1);
    expect(await led.room.endUpdate(await ending("m", "good"))).toBeDefined();
    expect((await led.room.readFleet()).budgets.get("group/g")?.holders.size).toBe(0);
  });

  it("keeps its state where the machine spoke of the one before", async () => {
    await led.room.takeUpdate(updateAsk("m"));
    const end = await ending("m", "withdrawn");
    const { update } = end.machine;
    await led.room.endUpdate(end);
    led.pass(1000);
    await led.room.takeUpdate(updateAsk("m"));
    await led.room.putForeignMachine(
      "m",
      foreignMachine("m", { update: update && { ...update, state: "Staged" } }),
    );
    expect(await led.room.readForeignMachine("m")).toMatchObject({ update: { state: "Granted" } });
  });

  it("ends in the group that gave its slot, wherever its machine is by now", async () => {
    await led.room.takeUpdate(updateAsk("m"));
    await led.room.putForeignMachine("m", foreignMachine("m", { group: "other" }));
    expect(await led.room.endUpdate(await ending("m", "good"))).toBeDefined();
    expect((await led.room.readFleet()).grants.size).toBe(0);
    expect(await tally()).toMatchObject({ granted: 1, good: 1 });
  });

  it.each<Fate>(["unanswered", "lost", "late"])("ends once where etcd's answer is %s", async (fate) => {
    await led.room.takeUpdate(updateAsk("m"));
    const end = await ending("m", "failed", { code: 44 });
    led.fates = [fate];
    expect(await led.room.endUpdate(end)).toBeDefined();
    for (const land of led.land.splice(0)) land();
    await Promise.resolve();
    expect(await tally()).toMatchObject({ granted: 1, failed: 1 });
    expect((await led.room.readFleet()).grants.size).toBe(0);
  });
});

describe("an update whose machine says nothing for half a year", () => {
  const record = () => led.etcd.records.get(keys.foreignMachine("m"));

  beforeEach(async () => {
    await led.room.takeUpdate(updateAsk("m"));
    led.pass(182 * 86_400_000);
    expect(record()).toBeUndefined();
    expect((await led.room.readFleet()).grants.size).toBe(1);
  });

  it("is still the machine's, and ends by its word: its slot is free", async () => {
    const update = { group: "g", release: "r", version: "2", bootId: "b", attempt: 1, state: "Granted" };
    expect(await led.room.readForeignMachine("m")).toMatchObject({ id: "m", update });
    expect(await led.room.endUpdate(await ending("m", "good"))).toBeDefined();
    expect((await led.room.readFleet()).grants.size).toBe(0);
    expect((await led.room.readForeignMachine("m"))?.update).toBeUndefined();
    expect(await tally()).toMatchObject({ good: 1 });
  });

  it("stays in the record that is made anew", async () => {
    const { update } = (await ending("m", "good")).machine;
    await led.room.putForeignMachine("m", foreignMachine("m"));
    expect(record()?.value).toContain(JSON.stringify(update));
    expect(await led.room.endUpdate(await ending("m", "failed", { code: 44 }))).toBeDefined();
    expect((await led.room.readFleet()).grants.size).toBe(0);
  });

  it("is none where the slot was taken from it, or is another protocol's", async () => {
    await freed("m");
    expect(await led.room.readForeignMachine("m")).toBeUndefined();
    await led.room.writeGates(led.leader, led.gates({ machines }, { max: 5 }));
    await led.room.takeForeign({ uid: "m", name: "m", group: "g", protocol: "FleetLock", nonce: "x" });
    expect(await led.room.readForeignMachine("m")).toBeUndefined();
  });
});

it("forgiven, is called by Zincati's name as long as its record lives", async () => {
  await led.room.takeUpdate(updateAsk("m"));
  await led.room.endUpdate(await ending("m", "failed", { code: 44 }));
  led.pass(3 * 86_400_000);
  expect(await led.room.forgiveMachine("m")).toBe(true);
  const [record, seen] = [keys.foreignMachine("m"), keys.seenAs(zincatiId("m"))].map((key) =>
    must(led.etcd.records.get(key)),
  );
  expect(seen?.lease).toBe(record?.lease);
});

describe("sightings", () => {
  const why = { reason: "UpToDate", message: "It is." };
  const record = (uid: string) => led.room.readForeignMachine(uid);

  it("change when and why, and nothing else, in records that are there and older", async () => {
    await led.room.takeUpdate(updateAsk("busy"));
    await led.room.putForeignMachine("idle", foreignMachine("idle"));
    await led.room.putForeignMachine("later", foreignMachine("later", { lastSeen: 900 }));
    const before = await record("busy");
    const revision = led.etcd.revision;
    const sighting = { lastSeen: 500, why };
    await led.room.putSightings(new Map(["busy", "idle", "later", "gone"].map((uid) => [uid, sighting])));
    expect(led.etcd.revision).toBe(revision + 1);
    expect(await record("busy")).toEqual({ ...before, lastSeen: 500, why });
    expect(await record("idle")).toEqual({ ...foreignMachine("idle"), lastSeen: 500, why });
    expect(await record("later")).toMatchObject({ lastSeen: 900 });
    expect(await record("gone")).toBeUndefined();
    expect(led.etcd.records.get(keys.foreignMachine("idle"))?.lease).toBeDefined();
  });

  const told = (type: number, at: number) => ({
    ...{ at, type, result: 1, code: 0, version: "1", onDemand: false },
  });

  it("say how far the update has come that they speak of, and no other", async () => {
    await led.room.takeUpdate(updateAsk("m"));
    const { update } = must(await record("m"));
    const state = "Downloaded";
    const progress = { at: must(update).at, state } as const;
    const sight = async (lastSeen: number, of: { at: number; state: typeof state }): Promise<void> =>
      await led.room.putSightings(
        new Map([["m", { lastSeen, why, progress: of, history: [told(14, lastSeen)] }]]),
      );
    await sight(500, { ...progress, at: progress.at - 1 });
    expect(await record("m")).toMatchObject({ update: { state: "Granted" }, history: [{ at: 500 }] });
    await sight(600, progress);
    expect(await record("m")).toMatchObject({ update: { ...update, state }, lastSeen: 600 });
    const staged = must(await record("m"));
    await led.room.putForeignMachine("m", {
      ...staged,
      lastSeen: 800,
      update: { ...must(staged.update), state: "Staged" },
    });
    // Of another gateway, whose clock is ahead.
    await sight(900, progress);
    expect(await record("m")).toMatchObject({ lastSeen: 900, update: { state: "Staged" } });
    // It was on its way while the machine told more; its events are not lost.
    await sight(700, progress);
    const after = must(await record("m"));
    expect(after).toMatchObject({ lastSeen: 900, update: { state: "Staged" } });
    expect(after.history?.map(({ at }) => at)).toEqual([900, 700, 600, 500]);
    const { revision } = led.etcd;
    await sight(700, progress);
    expect(led.etcd.revision).toBe(revision);
    // Nor by the end of the update, of a look before them.
    const end: UpdateEnd = {
      uid: "m",
      machine: { ...staged, history: [told(3, 950)] },
      how: "failed",
      code: 9,
    };
    expect((await led.room.endUpdate(end))?.history?.map(({ at }) => at)).toEqual([950, 900, 700, 600, 500]);
  });

  it("add their events to those that others wrote, whoever comes first, and twenty are kept", async () => {
    await led.room.putForeignMachine("m", foreignMachine("m", { history: [told(3, 300)] }));
    const known = must(await record("m"));
    await led.room.putSightings(new Map([["m", { lastSeen: 200, why, history: [told(14, 200)] }]]));
    // Of a look before that write.
    await led.room.putForeignMachine("m", { ...known, lastSeen: 400, history: [told(3, 400), told(3, 300)] });
    expect((await record("m"))?.history).toEqual([told(3, 400), told(3, 300), told(14, 200)]);
    const many = Array.from({ length: 30 }, (_, i) => told(13, 1000 - i));
    await led.room.putSightings(new Map([["m", { lastSeen: 1000, why, history: many }]]));
    expect((await record("m"))?.history).toEqual(many.slice(0, 20));
  });

  it("happen once where the answer is lost, and spoil no write that came between", async () => {
    await led.room.putForeignMachine("m", foreignMachine("m"));
    led.fates = ["unanswered"];
    await led.room.putSightings(new Map([["m", { lastSeen: 500, why }]]));
    expect(await record("m")).toMatchObject({ lastSeen: 500 });
    led.fates = ["late"];
    const late = led.room.putSightings(new Map([["m", { lastSeen: 600, why }]]));
    await late;
    await led.room.putForeignMachine("m", foreignMachine("m", { version: "9", lastSeen: 700 }));
    for (const land of led.land.splice(0)) land();
    expect(await record("m")).toMatchObject({ version: "9", lastSeen: 700 });
  });
});
