import { expect, test } from "vitest";
import { timestamp } from "../../api/meta.ts";
import type { UpdateGroup, UpdateGroupStatus } from "../../api/update-group.ts";
import { group, NOW, nodeUpdate } from "../fixtures.ts";
import { groupNews, nodeNews, retryAfter } from "./policy.ts";

const AT = timestamp(NOW);

function pool(
  status: Partial<UpdateGroupStatus>,
  conditions: Record<string, [boolean, string]> = {},
): UpdateGroup {
  return {
    ...group("pool"),
    status: {
      target: "os-1.1.0",
      ...status,
      conditions: Object.entries(conditions).map(([type, [holds, reason]]) => ({
        type,
        status: holds ? ("True" as const) : ("False" as const),
        reason,
        message: `${type} ${holds}`,
        lastTransitionTime: AT,
      })),
    },
  };
}

const told = (before: UpdateGroup, after: UpdateGroup): string[] =>
  groupNews(before, after).map(({ event, stage }) => (stage === undefined ? event : `${event} ${stage}`));

test("a halt and its end are told, once each", () => {
  const [moves, halts] = [
    pool({}, { Halted: [false, "NotHalted"] }),
    pool({}, { Halted: [true, "FailureThresholdReached"] }),
  ];
  expect(groupNews(moves, halts)).toEqual([
    {
      event: "Halted",
      group: "pool",
      key: ["", "Halted", "os-1.1.0", "", AT],
      release: "os-1.1.0",
      reason: "FailureThresholdReached",
      message: "Halted true",
    },
  ]);
  expect(told(halts, moves)).toEqual(["Resumed"]);
  expect(told(halts, halts)).toEqual([]);
  expect(told(group("pool"), moves)).toEqual([]);
});

test("each stage that passes is told; those of another release are not this one's", () => {
  const stage = (name: string, passedAt?: string) => ({
    name,
    size: 1,
    verified: 1,
    ...(passedAt === undefined ? {} : { passedAt }),
  });
  const before = pool({ stages: [stage("canary", AT), stage("quarter")] });
  const after = pool({ stages: [stage("canary", AT), stage("quarter", AT)] });
  expect(told(before, after)).toEqual(["StagePassed quarter"]);
  expect(told(pool({ target: "os-1.0.0", stages: [] }), after)).toEqual([]);
});

test("done is told when the last node is, not when a group is first seen, nor without a target", () => {
  const ready = pool({}, { Ready: [true, "UpToDate"] });
  expect(told(pool({}, { Ready: [false, "RollingOut"] }), ready)).toEqual(["Done"]);
  expect(told(pool({}), ready)).toEqual([]);
  const { target: _, ...none } = ready.status ?? {};
  expect(told(pool({}, { Ready: [false, "RollingOut"] }), { ...ready, status: none })).toEqual([]);
});

test("a Suspect is told once, by its node and its group", () => {
  const away = nodeUpdate("a", "pool", "os-1.1.0", { step: "Rebooting" });
  const suspect = nodeUpdate("a", "pool", "os-1.1.0", {
    step: "Suspect",
    message: "long away",
    suspectSince: AT,
  });
  expect(nodeNews(away, suspect)).toEqual([
    {
      event: "Suspect",
      group: "pool",
      key: ["nu-a", "Suspect", AT],
      release: "",
      node: "a",
      reason: "Suspect",
      message: "long away",
    },
  ]);
  expect(nodeNews(suspect, suspect)).toEqual([]);
  expect(nodeNews(suspect, away)).toEqual([]);
});

test("what may get better is tried five times in all, what won't once", () => {
  expect([1, 2, 3, 4, 5].map((tries) => retryAfter(tries, undefined))).toEqual([
    1000,
    5000,
    25_000,
    120_000,
    undefined,
  ]);
  for (const status of [500, 503, 429, 408]) expect(retryAfter(1, status)).toBe(1000);
  for (const status of [301, 400, 403, 404, 410]) expect(retryAfter(1, status)).toBeUndefined();
});
