/** What the history of a node says about when it may ask again, and what it used up. */
import { liesAhead, timestamp } from "../../api/meta.ts";
import type { GivenBack, NodeUpdateStatus, Step, Transition } from "../../api/node-update.ts";

/** Steps under a grant that end without a reboot if the next one is not Verifying. */
const BEFORE_REBOOT: readonly Step[] = ["Granting", "Draining", "Rebooting"];

/** First and longest wait after a slot was given back, ms; it doubles each time. */
const BACK_OFF = { base: 30_000, cap: 1_800_000 } as const;

/** As much as the schema allows. */
const COUNTED = 1_000_000;

/** Whether a slot was given back where the step goes from `before` to `after`. */
function givesBack(before: Step | undefined, after: Step): boolean {
  if (before === undefined || !BEFORE_REBOOT.includes(before)) return false;
  return !BEFORE_REBOOT.includes(after) && after !== "Verifying" && after !== "Suspect";
}

/** The count after the step goes on to `step`: one more where a slot is given back, none after a return. `now`: wall clock, ms. */
export function countGivenBack(
  before: NodeUpdateStatus | undefined,
  step: Step,
  now: number,
): GivenBack | undefined {
  const known = before?.givenBack;
  if (step === "Verifying") return undefined;
  if (!givesBack(before?.step, step)) return known;
  const { times = 0, windowClosed = 0 } = known ?? {};
  const reason = before?.reason ?? "";
  return {
    times: Math.min(COUNTED, times + 1),
    windowClosed: Math.min(COUNTED, windowClosed + (reason === "WindowClosing" ? 1 : 0)),
    time: timestamp(now),
    reason,
  };
}

/**
 * `transitions` with the newest of the slots given back since the last return and the first of them: those
 * between are counted, and would push out reboots, by which the rate and power cuts are judged.
 */
export function withoutRepeats(transitions: readonly Transition[]): Transition[] {
  const ends: number[] = [];
  for (const [index, { step, reason }] of transitions.entries()) {
    if (step === "Verifying" || isGivenUp(reason)) break;
    if (givesBack(transitions[index + 1]?.step, step)) ends.push(index);
  }
  const [, second, third] = ends;
  return transitions.filter(
    (_, index) => second === undefined || third === undefined || index < second || index >= third,
  );
}

/** Until when it does not ask again, wall clock ms; undefined if it may ask. */
export function backOffUntil(status: NodeUpdateStatus | undefined, now: number): number | undefined {
  const given = status?.givenBack;
  if (given === undefined) return undefined;
  const last = Date.parse(given.time);
  const until = last + Math.min(BACK_OFF.cap, BACK_OFF.base * 2 ** (given.times - 1));
  return until > now && !liesAhead(last, now) ? until : undefined;
}

/** How often a slot was given back because a window closed, since the last return. */
export function abortsForTime(status: NodeUpdateStatus | undefined): number {
  return status?.givenBack?.windowClosed ?? 0;
}

/** Since when it has been waiting for its turn, wall clock ms; Infinity if it has only begun. */
export function waitingSince(status: NodeUpdateStatus | undefined): number {
  const staged = status?.transitions?.find(({ step }) => step === "Staged");
  return staged === undefined ? Number.POSITIVE_INFINITY : Date.parse(staged.time);
}

/** The last time that it came back from a reboot, well or not, wall clock ms; -Infinity if it never did. */
export function lastReturn(status: NodeUpdateStatus | undefined, now: number): number {
  const times = [status?.verifiedAt, ...(status?.failed ?? []).map(({ time }) => time)];
  const known = times.flatMap((time) => (time === undefined ? [] : [Date.parse(time)]));
  return Math.max(...known.filter((time) => !liesAhead(time, now)));
}

/** Reboots that it came back from, or was given up on, from `from` to `now` (wall clock, ms). */
export function rebootsSince(status: NodeUpdateStatus | undefined, from: number, now: number): number {
  const transitions = status?.transitions ?? [];
  return transitions.filter(({ step, time, reason }, index) => {
    const back = step === "Verifying" && transitions[index + 1]?.step !== "Verifying";
    const at = Date.parse(time);
    return at > from && !liesAhead(at, now) && (back || isGivenUp(reason));
  }).length;
}

/** Whether a slot was freed of which nobody knows what came of its reboot. */
function isGivenUp(reason: string): boolean {
  return reason === "Stolen" || reason === "HolderExpired";
}
