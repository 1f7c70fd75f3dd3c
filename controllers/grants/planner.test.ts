import { expect, test } from "vitest";
import type { Clock } from "../../ports/clock.ts";
import { fleet, group, NOW, node, nodeUpdate, release, stagedSince } from "../fixtures.ts";
import type { World } from "../world.ts";
import { Planner } from "./planner.ts";

const uids = ["uid-a", "uid-b"];
const world: World = {
  groups: [group("pool")],
  budgets: [],
  windows: [],
  releases: [release("1.1.0")],
  nodes: [node("a"), node("b")],
  nodeUpdates: ["a", "b"].map((name, index) =>
    nodeUpdate(name, "pool", "os-1.1.0", stagedSince(NOW - 5000 + index)),
  ),
};

function planner(): {
  planner: Planner;
  at: (milliseconds: number) => void;
  make: (startedAt: number) => string[];
} {
  let time = 0;
  const clock: Clock = { now: () => NOW, monotonic: () => time, after: () => () => {} };
  const made = new Planner(clock);
  return {
    planner: made,
    at: (milliseconds) => {
      time = milliseconds;
    },
    make: (startedAt) => made.make(world, fleet(uids), startedAt, NOW).take.map(({ uid }) => uid),
  };
}

test("a slot is asked for once per plan, and counts until a read shows it", () => {
  const { planner: queue, at, make } = planner();
  expect(make(0)).toEqual(["uid-a"]);
  expect(queue.claim("uid-a")).toMatchObject({ uid: "uid-a" });
  expect(queue.claim("uid-a")).toBeUndefined();
  // The lists of this plan were read before the status was written: they show nothing of it.
  at(100);
  expect(make(50)).toEqual([]);
  queue.settle("uid-a");
  expect(make(50)).toEqual([]);
  expect(make(101)).toEqual(["uid-a"]);
});

test("an old plan gives nothing out", () => {
  const { planner: queue, at, make } = planner();
  make(0);
  at(20_001);
  expect(queue.claim("uid-a")).toBeUndefined();
});

test("a node whose Pods may not leave loses its place, not the queue's", () => {
  const { planner: queue, at, make } = planner();
  const why = { reason: "BlockedByDisruptionBudget", message: "web" } as const;
  queue.block("uid-a", why, 60_000);
  expect(make(0)).toEqual(["uid-b"]);
  expect(queue.waiting("uid-a")).toBe(why);
  at(60_000);
  expect(make(60_000)).toEqual(["uid-a"]);
});
