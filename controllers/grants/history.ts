/** What the last transitions of a node say about when it may ask again, and what it used up. */
import { liesAhead } from "../../api/meta.ts";
import type { NodeUpdateStatus, Step } from "../../api/node-update.ts";

/** Steps under a grant that end without a reboot if the next one is not Verifying. */
const BEFORE_REBOOT: readonly Step[] = ["Granting", "Draining", "Rebooting"];

/** First and longest wait after a slot was given back, ms; it doubles each time. */
const BACK_OFF = { base: 30_000, cap: 1_800_000 } as const;

interface Attempt {
  /** Wall clock, ms: when the slot was given back. */
  at: number;
  reason: string;
}

/** Slots given back before a reboot since the last return, newest first. */
function attempts(status: NodeUpdateStatus | undefined): Attempt[] {
  const found: Attempt[] = [];
  const transitions = status?.transitions ?? [];
  for (const [index, { step, time }] of transitions.entries()) {
    if (step === "Verifying") break;
    const before = transitions[index + 1];
    if (before === undefined || BEFORE_REBOOT.includes(step) || !BEFORE_REBOOT.includes(before.step))
      continue;
    if (step !== "Suspect") found.push({ at: Date.parse(time), reason: before.reason });
  }
  return found;
}

/** Until when it does not ask again, wall clock ms; undefined if it may ask. */
export function backOffUntil(status: NodeUpdateStatus | undefined, now: number): number | undefined {
  const given = attempts(status);
  const [last] = given;
  if (last === undefined) return undefined;
  const until = last.at + Math.min(BACK_OFF.cap, BACK_OFF.base * 2 ** (given.length - 1));
  return until > now && !liesAhead(last.at, now) ? until : undefined;
}

/** How often a slot was given back because a window closed, since the last return. */
export function abortsForTime(status: NodeUpdateStatus | undefined): number {
  return attempts(status).filter(({ reason }) => reason === "WindowClosing").length;
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
    return at > from && !liesAhead(at, now) && (back || reason === "Stolen" || reason === "HolderExpired");
  }).length;
}
