/** What CoreUpdate's API keeps in etcd, over a simulated one whose transactions also get lost. */
import { beforeEach, describe, expect, it } from "vitest";
import { silentLogger } from "../ports/log.ts";
import { SeededRandom } from "../test/sim/random.ts";
import { LedRoom } from "../test/slots/led-room.ts";
import { createUpdateService, type UpdateService } from "./update-service.ts";

const DAY = 86_400_000;

let led: LedRoom;
let one: UpdateService;
let other: UpdateService;

beforeEach(async () => {
  led = await LedRoom.create();
  const open = (seed: number): UpdateService =>
    createUpdateService({
      ...{ etcd: led.port, clock: led.clock, random: new SeededRandom(seed), log: silentLogger },
    });
  [one, other] = [open(3), open(4)];
});

describe("a nonce", () => {
  it("is spent once over all gateways, for its time", async () => {
    expect(await one.spendNonce("n", 121)).toBe(true);
    expect(await other.spendNonce("n", 121)).toBe(false);
    expect(await one.spendNonce("n", 121)).toBe(false);
    expect(await other.spendNonce("m", 121)).toBe(true);
    led.pass(122_000);
    expect(await other.spendNonce("n", 121)).toBe(true);
  });

  it("of two that ask at once has one winner", async () => {
    const won = await Promise.all([one.spendNonce("n", 121), other.spendNonce("n", 121)]);
    expect(won.filter((one) => one)).toHaveLength(1);
  });

  it("whose answer was lost is still its own", async () => {
    led.fates = ["unanswered", "ok"];
    expect(await one.spendNonce("n", 121)).toBe(true);
    led.fates = ["lost", "ok"];
    expect(await other.spendNonce("m", 121)).toBe(true);
    expect(await one.spendNonce("m", 121)).toBe(false);
  });
});

it("names of applications are kept, changed and forgotten, and are not without end", async () => {
  expect(await one.putApp("a/b", { label: "A", description: "" })).toBe(true);
  await other.putApp("a/b", { label: "B", description: "x" });
  expect([...(await one.readApps())]).toEqual([["a/b", { label: "B", description: "x" }]]);
  await one.deleteApp("a/b");
  await one.deleteApp("a/b");
  expect((await other.readApps()).size).toBe(0);
  for (let i = 0; i < 500; i++) await one.putApp(`app-${i}`, { label: "", description: "" });
  expect(await one.putApp("one-more", { label: "", description: "" })).toBe(false);
  expect(await one.putApp("app-7", { label: "seven", description: "" })).toBe(true);
});

it("counts of all gateways are read, of one group and span, until they are old", async () => {
  const record = { parts: { "0": { versions: { "1.0.0": 2 }, events: { "1.0.0 13 1": 1 } } } };
  await one.counts.put("minutes", "a", 0, "gw-1", record);
  await one.counts.put("minutes", "a", 0, "gw-1", record);
  await other.counts.put("minutes", "a", 3_600_000, "gw/2", record);
  await other.counts.put("minutes", "a/b", 0, "gw-2", record);
  await one.counts.put("hours", "a", 0, "gw-1", record);
  expect(await one.counts.read("minutes", "a")).toEqual([
    { start: 0, record },
    { start: 3_600_000, record },
  ]);
  expect(await one.counts.read("hours", "a")).toEqual([{ start: 0, record }]);
  led.pass(3 * DAY);
  expect(await one.counts.read("minutes", "a")).toEqual([]);
  expect(await one.counts.read("hours", "a")).toHaveLength(1);
});
