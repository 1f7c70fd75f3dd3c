import { expect, test } from "vitest";
import { timestamp } from "../../api/meta.ts";
import type { NodeUpdateStatus, Step } from "../../api/node-update.ts";
import { NOW } from "../fixtures.ts";
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

test("each slot that was given back doubles the wait, a return begins anew", () => {
  const once = history(
    ["Staged", "WaitingForTurn"],
    ["Draining", "DrainTimedOut"],
    ["Staged", "WaitingForTurn"],
  );
  expect(backOffUntil(once, NOW)).toBe(NOW + 30_000);
  expect(backOffUntil(once, NOW + 30_000)).toBeUndefined();
  const twice = history(
    ["Staged", ""],
    ["Draining", ""],
    ["Granting", ""],
    ["Staged", ""],
    ["Rebooting", ""],
  );
  expect(backOffUntil(twice, NOW)).toBe(NOW + 60_000);
  const returned = history(
    ["Idle", "Current"],
    ["Verifying", "VerifyingRelease"],
    ["Rebooting", "Rebooting"],
  );
  expect(backOffUntil(returned, NOW)).toBeUndefined();
});

test("aborts for lack of time are counted since the last return", () => {
  const short = history(
    ["Staged", ""],
    ["Draining", "WindowClosing"],
    ["Staged", ""],
    ["Draining", "WindowClosing"],
  );
  expect(abortsForTime(short)).toBe(2);
  expect(abortsForTime(history(["Staged", ""], ["Verifying", ""], ["Draining", "WindowClosing"]))).toBe(0);
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
