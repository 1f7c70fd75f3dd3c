import { expect, test } from "vitest";
import { timestamp } from "../../api/meta.ts";
import type { Node } from "../../runtime/core.ts";
import { group, NOW, node } from "../fixtures.ts";
import { isTainted, planTaint, wantsTaint } from "./taint.ts";

const taint = { key: "slipway.dev/update-pending", effect: "PreferNoSchedule" };
const theirs = {
  key: "node.kubernetes.io/unreachable",
  effect: "NoExecute",
  timeAdded: "2026-11-23T03:00:00Z",
};

function tainted(...taints: Record<string, string>[]): Node {
  return { ...node("a"), spec: { taints: taints as never } };
}

test("a node that waits is tainted where its group asks for it, and no other", () => {
  const pool = group("pool", { preferNoSchedule: true });
  expect(wantsTaint(pool, "Staged", "WaitingForWindow")).toBe(true);
  expect(wantsTaint(pool, "Draining", "Draining")).toBe(true);
  expect(wantsTaint(pool, "Verifying", "VerifyingBoot")).toBe(false);
  expect(wantsTaint(pool, "Idle", "Current")).toBe(false);
  expect(wantsTaint(pool, "Staged", "Held")).toBe(false);
  expect(wantsTaint(group("pool"), "Staged", "WaitingForWindow")).toBe(false);
  expect(wantsTaint(undefined, "Staged", "WaitingForWindow")).toBe(false);
  const leaving = { ...pool, metadata: { ...pool.metadata, deletionTimestamp: timestamp(NOW) } };
  expect(wantsTaint(leaving, "Staged", "WaitingForWindow")).toBe(false);
});

test("other taints stay, field by field", () => {
  expect(planTaint(tainted(theirs), true)?.body).toEqual({
    metadata: { uid: "uid-a", resourceVersion: "1" },
    spec: { taints: [theirs, taint] },
  });
  expect(planTaint(tainted(taint, theirs), false)?.body).toMatchObject({ spec: { taints: [theirs] } });
  expect(planTaint(tainted(taint), false)?.body).toMatchObject({ spec: { taints: null } });
});

test("what is so already is not written", () => {
  expect(planTaint(tainted(taint), true)).toBeUndefined();
  expect(planTaint(node("a"), false)).toBeUndefined();
  expect(isTainted(tainted({ ...taint, value: "x" }))).toBe(true);
});
