import { expect, it } from "vitest";
import { runSchedule } from "./run.ts";

it("a run is a function of its seed", { timeout: 60_000 }, async () => {
  for (const seed of [7, 8]) {
    const [first, second] = [await runSchedule(seed), await runSchedule(seed)];
    expect(second).toEqual(first);
    expect(first.events).toBeGreaterThan(100);
  }
  expect((await runSchedule(7)).hash).not.toBe((await runSchedule(8)).hash);
});
