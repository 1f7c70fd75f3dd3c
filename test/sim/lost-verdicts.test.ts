import { expect, it } from "vitest";
import { runSchedule } from "./run.ts";

/** A world in which every machine falls back from the release, and in which etcd is lost before anybody has heard. */
const settings = {
  defect: "checks",
  defectShare: 1,
  windows: false,
  staged: false,
  managers: 1,
  gateways: 1,
} as const;
const plan = { length: 200_000, every: 25_000, kinds: ["etcdWipe", "freezeManager"] as const };

it("no verdict on a bad release is lost with etcd", { timeout: 180_000 }, async () => {
  let faults = 0;
  for (const seed of [22, 23, 24, 59, 60, 61, 62, 76, 77, 78])
    faults += (await runSchedule(seed, { settings, plan })).faults;
  expect(faults).toBeGreaterThan(20);
});
