import { beforeEach, expect, it } from "vitest";
import { SeededRandom } from "../../test/sim/random.ts";
import { LedRoom } from "../../test/slots/led-room.ts";
import { settle } from "../fake-clock.ts";
import { SlotLine } from "./line.ts";

const machines = { budgets: ["group/g", "budget/b/zone=a"], needs: 60_000, open: false };
const HOLD = 25_000;

let led: LedRoom;
let one: SlotLine;
let other: SlotLine;
const never = new AbortController().signal;

beforeEach(async () => {
  led = await LedRoom.create();
  await led.room.writeGates(led.leader, led.gates({ machines }));
  const options = { coordination: led.room, clock: led.clock, random: new SeededRandom(2) };
  [one, other] = [new SlotLine(options), new SlotLine(options)];
});

const take = (line: SlotLine, uid: string, hold = HOLD, gone = never) =>
  line.take({ uid, name: uid, group: "g", protocol: "FleetLock" }, hold, gone);

async function passing(milliseconds: number): Promise<void> {
  for (let passed = 0; passed < milliseconds; passed += 500) {
    await settle();
    led.pass(500);
    await settle();
    await new Promise((resolve) => setImmediate(resolve));
  }
}

it("answers who waits as soon as the slot is free, in the order of their asking", async () => {
  await take(one, "m1");
  const order: string[] = [];
  const waiting = ["m2", "m3", "m4"].map(async (uid) => {
    const result = await take(one, uid);
    order.push(`${uid} ${result.outcome}`);
    await one.free(uid, "g", "FleetLock");
  });
  await passing(1000);
  expect(order).toEqual([]);
  expect(one.waiting).toBe(3);
  await one.free("m1", "g", "FleetLock");
  await passing(500);
  await Promise.all(waiting);
  expect(order).toEqual(["m2 granted", "m3 granted", "m4 granted"]);
  expect(one.waiting).toBe(0);
});

it("sees within a second that another gateway freed the slot", async () => {
  await take(one, "m1");
  const waiting = take(other, "m2");
  await passing(500);
  await one.free("m1", "g", "FleetLock");
  await passing(2000);
  expect(await waiting).toEqual({ outcome: "granted" });
});

it("says why not when its time is over, and at once where waiting does not help", async () => {
  await take(one, "m1");
  const waiting = take(one, "m2", 3000);
  await passing(4000);
  expect(await waiting).toMatchObject({ outcome: "refused", why: { reason: "WaitingForBudget" } });
  await led.room.writeGates(led.leader, led.gates({ machines, paused: true }));
  expect(await take(one, "m2")).toMatchObject({ why: { reason: "Paused" } });
});

it("ends with its client, and leaves nothing that waits", async () => {
  await take(one, "m1");
  const gone = new AbortController();
  const waiting = take(one, "m2", HOLD, gone.signal);
  await passing(500);
  gone.abort();
  expect(await waiting).toMatchObject({ outcome: "refused" });
  expect(one.waiting).toBe(0);
});

it("answers what etcd was asked, although its time is over meanwhile", async () => {
  await take(one, "m1");
  let asked = 0;
  const slow = new SlotLine({
    coordination: {
      ...led.room,
      takeForeign: async (ask) => {
        const result = await led.room.takeForeign(ask);
        // The second asking takes longer than the machine was to wait.
        if (ask.uid === "m2" && (asked += 1) > 1) led.pass(5000);
        return result;
      },
    },
    ...{ clock: led.clock, random: new SeededRandom(4) },
  });
  const waiting = take(slow, "m2", 3000);
  await passing(500);
  await one.free("m1", "g", "FleetLock");
  await passing(2000);
  expect(await waiting).toEqual({ outcome: "granted" });
});

it("gives one slot to one of many that ask two gateways at once, and an error to none", async () => {
  const results = Array.from({ length: 40 }, (_, i) => take(i % 2 === 0 ? one : other, `m${i}`, 2000));
  await passing(4000);
  const outcomes = (await Promise.all(results)).map(({ outcome }) => outcome);
  expect(outcomes.filter((outcome) => outcome === "granted")).toHaveLength(1);
  expect(outcomes.filter((outcome) => outcome === "refused")).toHaveLength(39);
});
