/** Updates that hold no slot, of machines that ask for one before they reboot. */
import { beforeEach, describe, expect, it } from "vitest";
import { LedRoom } from "../test/slots/led-room.ts";
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

  it("to a release that is quarantined since keeps its machine from coming up with it, and from the line", async () => {
    await led.room.takeUpdate(updateAsk("a"));
    await led.room.takeForeign(lock("z"));
    expect(await led.room.takeForeign(lock("a"))).toMatchObject(waits("WaitingForBudget"));
    expect(await led.room.takeForeign(lock("b"))).toMatchObject(waits("WaitingForBudget"));
    await led.room.freeForeign("z", "g", "FleetLock");
    await gates({ quarantined: ["r"] });
    expect(await led.room.takeForeign(lock("a"))).toMatchObject(waits("ReleaseQuarantined"));
    expect(await led.room.takeForeign(lock("b"))).toEqual({ outcome: "granted" });
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

it("keeps a machine from coming up with what is quarantined, also where it holds its slot already", async () => {
  await led.room.takeUpdate(updateAsk("m"));
  await led.room.writeGates(led.leader, led.gates({ machines, quarantined: ["r"] }, { max: 5 }));
  const lock = { uid: "m", name: "m", group: "g", protocol: "FleetLock", nonce: "n" } as const;
  expect(await led.room.takeForeign(lock)).toMatchObject({ why: { reason: "ReleaseQuarantined" } });
});
