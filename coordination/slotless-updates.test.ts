/** Updates that hold no slot, of machines that ask for one before they reboot. */
import { beforeEach, describe, expect, it } from "vitest";
import { LedRoom, must } from "../test/slots/led-room.ts";
import type { UpdateEnd } from "./coordination.ts";
import { updateAsk, updateEnd } from "./fixtures.ts";
import type { GroupGate } from "./records.ts";

let led: LedRoom;
const machines = { budgets: ["group/g"], needs: 60_000, open: false };

const ending = (uid: string, how: UpdateEnd["how"], change?: Parameters<typeof updateEnd>[3]) =>
  updateEnd(led.room, uid, how, change);
const tally = async () => (await led.room.readFleet()).tallies.get("g")?.get("r");

beforeEach(async () => {
  led = await LedRoom.create();
  await led.room.writeGates(led.leader, led.gates({ machines }, { max: 5 }));
});

describe("an update of a group whose machines ask before they reboot", () => {
  const lock = (uid: string) =>
    ({ uid, name: uid, group: "g", protocol: "FleetLock", nonce: `f-${uid}` }) as const;
  const gates = async (group: Partial<GroupGate> = {}, max = 1): Promise<void> => {
    const asks = { machines: { ...machines, slotFor: "Reboot" as const }, ...group };
    await led.room.writeGates(led.leader, led.gates(asks, { max }));
  };
  const holders = async () => [...(await led.room.readFleet()).grants.keys()];
  const waits = (word: string) => ({ outcome: "refused", why: { reason: word } });

  const staged = async (uid: string): Promise<void> => {
    const known = must(await led.room.readForeignMachine(uid));
    const update = { ...must(known.update), state: "Staged" as const };
    await led.room.putForeignMachine(uid, { ...known, update, lastSeen: known.lastSeen + 1 });
  };

  beforeEach(() => gates());

  it("takes no slot, whatever window and budget say, and is one however often it is asked for", async () => {
    await gates({ open: false, openUntil: 0 });
    for (const uid of ["a", "b", "c"])
      expect(await led.room.takeUpdate(updateAsk(uid))).toEqual({ outcome: "granted" });
    const first = await led.room.readForeignMachine("a");
    led.pass(1000);
    expect(await led.room.takeUpdate(updateAsk("a", { nonce: "again" }))).toMatchObject({
      outcome: "held",
      release: "r",
    });
    expect(await led.another().takeUpdate(updateAsk("a", { nonce: "other" }))).toMatchObject({
      outcome: "held",
    });
    expect(await led.room.readForeignMachine("a")).toEqual(first);
    expect(await holders()).toEqual([]);
    expect(await tally()).toMatchObject({ granted: 3 });
  });

  it.each([
    ["Paused", { paused: true }],
    ["FailureThresholdReached", { halted: true }],
    ["ReleaseQuarantined", { quarantined: ["r"] }],
    ["Deleting", { deleting: true }],
    ["WaitingForGates", { validUntil: 0 }],
  ])("is refused where nothing may move: %s", async (word, group) => {
    await gates(group);
    expect(await led.room.takeUpdate(updateAsk("a"))).toMatchObject(waits(word));
    expect((await led.room.readForeignMachine("a"))?.update).toBeUndefined();
    expect(await tally()).toBeUndefined();
  });

  it("waits for evidence and for the rate as any other", async () => {
    expect(await led.room.takeUpdate(updateAsk("a", { threshold: 1 }))).toEqual({ outcome: "granted" });
    expect(await led.room.takeUpdate(updateAsk("b", { threshold: 1 }))).toMatchObject(
      waits("WaitingForEvidence"),
    );
    const rate = { updates: 1, period: 60_000 };
    expect(await led.room.takeUpdate(updateAsk("b", { rate }))).toEqual({ outcome: "granted" });
    expect(await led.room.takeUpdate(updateAsk("c", { rate }))).toMatchObject(waits("WaitingForRate"));
  });

  it.each(["lost", "unanswered", "late"] as const)(
    "is given once where etcd's answer is %s",
    async (fate) => {
      led.fates = [fate];
      await led.room.takeUpdate(updateAsk("a")).catch(() => undefined);
      expect(await led.room.takeUpdate(updateAsk("a", { nonce: "again" }))).toMatchObject({
        outcome: expect.stringMatching(/^(granted|held)$/) as string,
      });
      const known = await led.room.readForeignMachine("a");
      for (const land of led.land.splice(0)) land();
      await led.room.takeUpdate(updateAsk("b"));
      expect(await led.room.readForeignMachine("a")).toEqual(known);
      expect(await tally()).toMatchObject({ granted: 2 });
      expect(await holders()).toEqual([]);
    },
  );

  it("leaves the slot to the reboot: one is down at a time, and each ends by its own word", async () => {
    await led.room.takeUpdate(updateAsk("a"));
    await led.room.takeUpdate(updateAsk("b"));
    expect(await led.room.takeForeign(lock("a"))).toEqual({ outcome: "granted" });
    expect(await led.room.takeForeign(lock("b"))).toMatchObject(waits("WaitingForBudget"));
    // It is going down: it keeps what it has, and gets nothing new.
    expect(await led.room.takeUpdate(updateAsk("a"))).toMatchObject({ outcome: "held" });
    expect(await led.room.takeUpdate(updateAsk("a", { release: "s" }))).toMatchObject(
      waits("AlreadyGranted"),
    );
    expect(await led.room.endUpdate(await ending("a", "good", { version: "2" }))).toBeDefined();
    expect(await holders()).toEqual(["a"]);
    expect(await led.room.freeForeign("a", "g", "FleetLock")).toBe("freed");
    expect(await tally()).toMatchObject({ granted: 2, good: 1 });
    expect(await led.room.takeForeign(lock("b"))).toEqual({ outcome: "granted" });
  });

  it("that ends does not cost its machine the place in the line", async () => {
    await led.room.takeForeign(lock("z"));
    await led.room.takeUpdate(updateAsk("a"));
    expect(await led.room.takeForeign(lock("a"))).toMatchObject(waits("WaitingForBudget"));
    await led.room.endUpdate(await ending("a", "withdrawn"));
    expect((await led.room.readForeign("g")).waiting).toEqual(["a"]);
  });

  it("that is staged and quarantined since keeps its machine from coming up with it, and from the line", async () => {
    await led.room.takeUpdate(updateAsk("a"));
    await led.room.takeForeign(lock("z"));
    expect(await led.room.takeForeign(lock("a"))).toMatchObject(waits("WaitingForBudget"));
    expect(await led.room.takeForeign(lock("b"))).toMatchObject(waits("WaitingForBudget"));
    await led.room.freeForeign("z", "g", "FleetLock");
    await gates({ quarantined: ["r"] });
    // While it downloads it would come up with what it runs.
    expect(await led.room.takeForeign(lock("a"))).toEqual({ outcome: "granted" });
    await led.room.freeForeign("a", "g", "FleetLock");
    await staged("a");
    expect(await led.room.takeForeign(lock("a"))).toMatchObject(waits("ReleaseQuarantined"));
    expect(await led.room.takeForeign(lock("b"))).toEqual({ outcome: "granted" });
    await led.room.freeForeign("b", "g", "FleetLock");
    // What is staged asks for nothing else: a person's word is the way out.
    expect(await led.room.takeForeign({ ...lock("a"), reason: "to the release after it" })).toEqual({
      outcome: "granted",
    });
    expect(await led.room.takeForeign(lock("a"))).toMatchObject({ outcome: "held" });
  });

  it("is not given beside one of another release or group: who gives it ends that first", async () => {
    await led.room.takeUpdate(updateAsk("a"));
    const before = await led.room.readForeignMachine("a");
    expect(await led.room.takeUpdate(updateAsk("a", { release: "s" }))).toMatchObject(
      waits("AlreadyGranted"),
    );
    const gate = led.gates({ group: "h", machines: { ...machines, slotFor: "Reboot" } });
    await led.room.writeGates(led.leader, gate);
    expect(await led.room.takeUpdate(updateAsk("a", { group: "h" }))).toMatchObject(waits("AlreadyGranted"));
    expect(await led.room.readForeignMachine("a")).toEqual(before);
    expect(await tally()).toMatchObject({ granted: 1 });
  });

  it("goes on as it began where the group changes its mind", async () => {
    await led.room.takeUpdate(updateAsk("a"));
    await led.room.writeGates(led.leader, led.gates({ machines }, { max: 1 }));
    expect(await led.room.takeUpdate(updateAsk("a", { nonce: "again" }))).toEqual({ outcome: "granted" });
    expect(await holders()).toEqual(["a"]);
    await gates();
    expect(await led.room.takeUpdate(updateAsk("a", { nonce: "third" }))).toMatchObject({ outcome: "held" });
    expect(await led.room.endUpdate(await ending("a", "good", { version: "2" }))).toBeDefined();
    expect(await holders()).toEqual([]);
    expect(await tally()).toMatchObject({ granted: 1, good: 1 });
  });
});
