import { expect, test } from "vitest";
import { recorded } from "./explain/cases.ts";
import { needsReleases } from "./rollout.ts";

test("a group that only reboots has no release to move to or go back to", () => {
  const { snapshot } = recorded("no-reboot-required");
  const group = snapshot.groups.find(({ spec }) => spec.driver === "sentinel");
  if (group === undefined) throw new Error("no group with driver sentinel was recorded");
  expect(() => needsReleases(group)).toThrow(/only reboots its nodes \(driver sentinel\)/);
  expect(() => needsReleases({ ...group, spec: { ...group.spec, driver: "fastpatch" } })).not.toThrow();
});
