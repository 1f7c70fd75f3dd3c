import { expect, test } from "vitest";
import { timestamp } from "../../api/meta.ts";
import type { GrantStatus, NodeUpdateStatus, Step } from "../../api/node-update.ts";
import type { Reason } from "../../api/reasons.ts";
import { NOW, nodeUpdate } from "../fixtures.ts";
import { withStep } from "../node-update/status.ts";
import { abortsForTime, backOffUntil, lastReturn, rebootsSince, waitingSince } from "./history.ts";

/** Newest first, a minute apart; the newest was just now. */
function history(...entries: readonly (readonly [Step, string])[]): NodeUpdateStatus {
  return {
    transitions: entries.map(([step, reason], index) => ({
      step,
      reason,
      message: "",
      time: timestamp(NOW - index * 60_000),
    })),
  };
}

/** `attempts` slots taken and given back, of each what was said meanwhile; the last of `reasons` ended it. */
function after(
  attempts: number,
  reasons: readonly Reason[],
  before: NodeUpdateStatus = {},
): NodeUpdateStatus {
  const grant: GrantStatus = { nonce: "n", budgets: [], phase: "Granted", since: timestamp(NOW) };
  let status = before;
  const go = (step: Step, reason: Reason, held: boolean): void => {
    const { grant: _, ...rest } = status;
    const base = held ? { ...rest, grant } : rest;
    status = withStep(nodeUpdate("a", "pool", "os-1.1.0", status), base, step, { reason, message: "" }, NOW);
  };
  go("Staged", "WaitingForTurn", false);
  for (let count = 0; count < attempts; count++) {
    go("Granting", "Granting", true);
    go("Draining", "Draining", true);
    for (const reason of reasons) go("Draining", reason, true);
    go("Staged", "BackingOff", false);
  }
  return status;
}

/** Seconds of the wait after each of so many slots given back. */
function waits(attempts: number, reasons: readonly Reason[]): number[] {
  return Array.from({ length: attempts }, (_, index) => {
    const until = backOffUntil(after(index + 1, reasons), NOW) ?? NOW;
    return (until - NOW) / 1000;
  });
}

const twoHooksFail: readonly Reason[] = [
  "BlockedByDisruptionBudget",
  "Draining",
  "HookRunning",
  "HookFailed",
  "HookRunning",
  "HookFailed",
];

test("each slot that was given back doubles the wait up to half an hour, whatever was said meanwhile", () => {
  const expected = [30, 60, 120, 240, 480, 960, 1800, 1800, 1800, 1800];
  expect(waits(10, ["DrainTimedOut"])).toEqual(expected);
  expect(waits(10, ["HookRunning", "HookFailed"])).toEqual(expected);
  expect(waits(10, twoHooksFail)).toEqual(expected);
  const tenth = after(10, twoHooksFail);
  expect(tenth.givenBack).toMatchObject({ times: 10, windowClosed: 0, reason: "HookFailed" });
  expect(backOffUntil(tenth, NOW + 1_800_000)).toBeUndefined();
});

test("a return begins anew", () => {
  const before = after(3, ["HookFailed"]);
  const update = nodeUpdate("a", "pool", "os-1.1.0", { ...before, step: "Rebooting" });
  const why = { reason: "VerifyingBoot", message: "" } as const;
  const back = withStep(update, before, "Verifying", why, NOW);
  expect(back.givenBack).toBeUndefined();
  expect(backOffUntil(back, NOW)).toBeUndefined();
});

test("aborts for lack of time are counted since the last return, beside any number of hooks", () => {
  const hooks = Array.from({ length: 8 }, (): Reason[] => ["HookRunning", "HookFailed"]).flat();
  expect(abortsForTime(after(6, [...hooks, "WindowClosing"]))).toBe(6);
  expect(abortsForTime(after(6, hooks))).toBe(0);
});

test("slots given back push no reboot out of the history, and no reason that comes and goes does", () => {
  const past = history(
    ["Idle", "Current"],
    ["Verifying", "PowerLost"],
    ["Verifying", "VerifyingBoot"],
    ["Rebooting", "Rebooting"],
  );
  const failing = after(50, [...twoHooksFail, ...twoHooksFail], { ...past, step: "Idle", reason: "Current" });
  expect(rebootsSince(failing, NOW - 3_600_000, NOW)).toBe(1);
  expect(failing.transitions).toContainEqual(past.transitions?.[1]);
  expect(failing.transitions?.map(({ step, reason }) => `${step}/${reason}`).slice(0, 5)).toEqual([
    "Staged/BackingOff",
    "Draining/HookFailed",
    "Draining/Draining",
    "Draining/BlockedByDisruptionBudget",
    "Draining/Draining",
  ]);
  const stolen = history(["Staged", "Stolen"], ["Rebooting", "Rebooting"]);
  const late = after(50, ["HookFailed"], { ...stolen, step: "Staged", reason: "Stolen" });
  expect(rebootsSince(late, NOW - 3_600_000, NOW)).toBe(1);
});

test("a node that gave its slot back goes to the end of the queue", () => {
  expect(waitingSince(history(["Staged", ""], ["Draining", ""], ["Staged", ""]))).toBe(NOW);
  expect(waitingSince({})).toBe(Number.POSITIVE_INFINITY);
});

test("a reboot is counted once, whether it ended well, badly or not at all", () => {
  const well = history(
    ["Idle", "Current"],
    ["Verifying", "VerifyingRelease"],
    ["Verifying", "VerifyingBoot"],
    ["Rebooting", ""],
  );
  expect(rebootsSince(well, NOW - 3_600_000, NOW)).toBe(1);
  expect(rebootsSince(well, NOW - 1, NOW)).toBe(0);
  expect(rebootsSince(history(["Failed", ""], ["Verifying", "FellBack"], ["Rebooting", ""]), 0, NOW)).toBe(1);
  expect(rebootsSince(history(["Staged", "Stolen"], ["Suspect", "Suspect"], ["Rebooting", ""]), 0, NOW)).toBe(
    1,
  );
});

test("a fallback is a return, too", () => {
  const failed = [{ version: "1", rootHash: "", reason: "FellBack", message: "", time: timestamp(NOW) }];
  expect(lastReturn({ verifiedAt: timestamp(NOW - 5000), failed }, NOW)).toBe(NOW);
  expect(lastReturn(undefined, NOW)).toBe(Number.NEGATIVE_INFINITY);
});
