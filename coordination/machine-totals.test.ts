import { beforeEach, expect, it } from "vitest";
import { LedRoom } from "../test/slots/led-room.ts";
import { totalsOf } from "./machine-totals.ts";

let led: LedRoom;
beforeEach(async () => {
  led = await LedRoom.create();
});

it("names the most common versions, and counts all", () => {
  const versions = new Map(
    Array.from({ length: 30 }, (_, n) => [`1.${n}.0`, { Idle: n, Updating: 1, Failed: 2 }] as const),
  );
  const totals = totalsOf(versions);
  expect(totals).toMatchObject({ known: 29 * 15 + 90, updating: 30, failed: 60 });
  expect(totals.versions).toHaveLength(20);
  expect(totals.versions[0]).toEqual({ version: "1.29.0", machines: 32 });
  expect(totalsOf(new Map([["x".repeat(300), { Idle: 1, Updating: 0, Failed: 0 }]])).versions).toEqual([
    { version: "x".repeat(64), machines: 1 },
  ]);
  expect(totalsOf(undefined)).toEqual({ known: 0, updating: 0, failed: 0, versions: [] });
});

it("is written by one gateway where several count alike, and again when it is old or says something new", async () => {
  const some = totalsOf(new Map([["1.0.0", { Idle: 1, Updating: 0, Failed: 0 }]]));
  const put = async (totals = some): Promise<boolean> => {
    const before = led.etcd.revision;
    await led.room.putMachineTotals(new Map([["edge", totals]]));
    return led.etcd.revision > before;
  };
  expect(await put()).toBe(true);
  expect(await put()).toBe(false);
  expect((await led.room.readFleet()).machineTotals.get("edge")).toEqual({ ...some, at: led.clock.now() });
  expect(await put(totalsOf(undefined))).toBe(true);
  led.pass(121_000);
  expect(await put(totalsOf(undefined))).toBe(true);
  // Nobody tells any more.
  led.pass(361_000);
  expect((await led.room.readFleet()).machineTotals.size).toBe(0);
});
