import { expect, test } from "vitest";
import type { Outage } from "../../hack/cluster/observer.ts";
import { breaches } from "./breach.ts";

const limits = { total: 2, perZone: 1 };

function outage(machine: string, zone: string, from: number, to: number, cause = "reboot"): Outage {
  return { machine, zone, from, to, cause };
}

test("as many as the limit are no breach, one more is", () => {
  const two = [outage("a", "east", 0, 10), outage("b", "north", 5, 20)];
  expect(breaches(two, limits)).toEqual([]);
  expect(breaches([...two, outage("c", "west", 7, 9)], limits)).toHaveLength(1);
  expect(breaches([...two, outage("c", "west", 10, 12)], limits)).toEqual([]);
});

test("two of one zone are one too many", () => {
  expect(breaches([outage("a", "east", 0, 10), outage("b", "east", 5, 20)], limits)).toHaveLength(1);
  expect(breaches([outage("a", "east", 0, 10), outage("b", "east", 0, 20)], limits)).toHaveLength(1);
});

test("a power cut is nobody's fault, but one that is known counts", () => {
  const cut = outage("a", "east", 0, Number.POSITIVE_INFINITY, "power");
  expect(breaches([outage("b", "east", -5, 20), cut], limits)).toEqual([]);
  expect(breaches([cut, outage("b", "east", 29_999, 40_000)], limits)).toEqual([]);
  expect(breaches([cut, outage("b", "east", 30_000, 40_000)], limits)).toHaveLength(1);
});

test("a power cut on top of ours makes the next of ours a breach", () => {
  const ours = [outage("a", "east", 0, 100_000), outage("b", "north", 0, 100_000)];
  const cut = outage("c", "west", 10, 100_000, "power");
  expect(breaches([...ours, cut, outage("d", "south", 40_010, 50_000)], limits)).toHaveLength(1);
});
