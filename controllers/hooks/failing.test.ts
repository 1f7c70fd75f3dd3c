import { expect, test } from "vitest";
import { timestamp } from "../../api/meta.ts";
import type { GivenBack, NodeUpdateStatus } from "../../api/node-update.ts";
import { NOW, nodeUpdate } from "../fixtures.ts";
import { Fleet, groupOf, rootHashOf } from "../rollout/test-fleet.ts";
import { hooksFailing } from "./failing.ts";

const MINUTE = 60_000;
const at = (minutes: number): string => timestamp(NOW - minutes * MINUTE);
const message = "Hook drbd of UpdateGroup pool failed before the reboot: no quorum.";
const hookFailed = (minutes: number) => ({
  ...{ step: "Draining" as const, time: at(minutes), reason: "HookFailed", message },
});

/** Given back `times`, the last time two minutes ago. */
const givenBack = (times: number, more: Partial<GivenBack> = {}): NodeUpdateStatus => ({
  transitions: [hookFailed(2), hookFailed(40), { ...hookFailed(90), step: "Verifying" }, hookFailed(99)],
  givenBack: { times, windowClosed: 0, time: at(2), reason: "HookFailed", ...more },
});
const fell = (minutes: number, release?: string): NodeUpdateStatus["failed"] => [
  {
    ...{ version: "2", rootHash: "", reason: "HookFailed", time: at(minutes), message },
    ...(release === undefined ? {} : { release }),
  },
];
const of = (statuses: Record<string, NodeUpdateStatus>, resumedAt?: number) =>
  hooksFailing(
    Object.entries(statuses).map(([name, status]) => nodeUpdate(name, "pool", "os-2", status)),
    ...(["os-2", resumedAt, NOW] as const),
  );

test("says how often a node gave its slot back for a hook, since when, why, and when it asks again", () => {
  const told = of({ a: givenBack(4), b: { step: "Idle" } });
  expect(told).toMatchObject({ type: "HooksFailing", status: "True", reason: "HookFailed" });
  expect(told.message).toBe(
    `a gave its slot back 4 times since its last reboot, for a hook since ${at(40)}, and asks again at ${at(-2)}. ${message} \`kubectl slipway why NODE\` says more; docs/hooks.md says what to look at.`,
  );
  expect(of({ a: givenBack(1, { time: at(9) }) }).message).toContain(
    `a gave its slot back once, for a hook since ${at(40)}, and asks again at its next turn.`,
  );
});

test("names the three that gave back most, and counts the others", () => {
  const told = of({ a: givenBack(1), b: givenBack(2), c: givenBack(5), d: givenBack(3), e: givenBack(2) });
  expect(told.message.match(/\b[a-e] gave/g)).toEqual(["c gave", "d gave", "b gave"]);
  expect(told.message).toContain("And 2 more.");
});

test("says of a node whose hook failed after its reboot what that means", () => {
  expect(of({ a: { failed: fell(3, "os-2") } }).message).toContain(
    `a failed at ${at(3)}; os-2 is not tried there again unless a person says so. ${message}`,
  );
  expect(of({ a: { failed: fell(3) } }).message).toContain("its next reboot asks the hooks again");
});

test.each<[string, NodeUpdateStatus, number?]>([
  ["the last slot was given back for something else", givenBack(3, { reason: "DrainTimeout" })],
  ["it was verified since", { failed: fell(3, "os-2"), verifiedAt: at(1) }],
  ["a person forgave it", { failed: fell(3, "os-2") }, NOW - MINUTE],
  ["it failed on another release", { failed: fell(3, "os-1") }],
])("is quiet where %s", (_, status, resumedAt) => {
  expect(of({ a: status }, resumedAt)).toMatchObject({ status: "False", reason: "NoHookFailed" });
});

test("is a condition of a group with hooks, and news once it is so", () => {
  const hook = {
    name: "desk",
    http: { url: "https://desk.test/x" },
    onFailure: "Stop",
    timeout: "5m",
  } as const;
  const fleet = new Fleet(groupOf("pool"), 1);
  const told = () => fleet.group("pool").status?.conditions?.find(({ type }) => type === "HooksFailing");
  fleet.reconcile();
  expect(told()).toBeUndefined();
  fleet.edit("pool", { hooks: { before: [hook], after: [] } });
  fleet.reconcile();
  expect(told()?.status).toBe("False");
  fleet.setStatus("n1", { runningRootHash: rootHashOf("os-1"), ...givenBack(2) });
  expect(fleet.reconcile().events.map(({ why }) => why.reason)).toContain("HookFailed");
  expect(told()?.status).toBe("True");
  fleet.edit("pool", { hooks: undefined });
  fleet.setStatus("n1", givenBack(3, { reason: "DrainTimeout" }));
  fleet.reconcile();
  expect(told()?.status).toBe("False");
});
