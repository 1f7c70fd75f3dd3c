/**
 * What windows mean: the status of one, and whether a group's reboots may begin (design,
 * rule 4). A group's openings are the union of the Allow windows that select it, minus
 * every exclusion of those windows, minus the Deny windows that select it. A group with
 * `windows: Always` is bound by Deny windows only.
 *
 * An Allow window that can't be read opens nothing. A Deny window that can't be read is
 * in force until somebody corrects it: a change freeze must not be lost to a typing error.
 */
import { type ConditionUpdate, setCondition, timestamp } from "../../api/meta.ts";
import type { Why } from "../../api/reasons.ts";
import type { RebootWindow, RebootWindowStatus } from "../../api/reboot-window.ts";
import { matches } from "../../api/selector.ts";
import type { UpdateGroup } from "../../api/update-group.ts";
import {
  endingAfter,
  farthest,
  HORIZON,
  openings,
  parseSchedule,
  type Reach,
  rawSpans,
  type Schedule,
  spans,
  together,
  within,
} from "./schedule.ts";
import { type Span, subtract, take, union } from "./span.ts";

/** How many openings are looked at: those that a status shows. */
const LOOK_AHEAD = 5;

export interface WindowDecision {
  status: RebootWindowStatus;
  /** Wall clock, ms: when the status changes next; undefined where it never does by itself. */
  nextEdge: number | undefined;
}

/** Status of one window at `now` (ms). */
export function decideWindow(window: RebootWindow, now: number): WindowDecision {
  const schedule = parseSchedule(window.spec);
  const reach = farthest(now);
  const found = "reason" in schedule ? [] : openings(schedule, now, LOOK_AHEAD + 1, reach);
  // Where the search ended early, it goes on from there.
  const unknown = reach.until < now + HORIZON ? reach.until : undefined;
  const current = found.find((span) => span.start <= now);
  const coming = found.filter((span) => span.start > now).slice(0, LOOK_AHEAD);
  const next = coming[0];
  const status: RebootWindowStatus = {
    open: current !== undefined,
    nextOpenings: coming.map((span) => ({ start: timestamp(span.start), end: timestamp(span.end) })),
    conditions: setCondition(
      window.status?.conditions,
      accepted(window, schedule, found.length, unknown),
      window.metadata.generation,
      now,
    ),
  };
  if (window.metadata.generation !== undefined) status.observedGeneration = window.metadata.generation;
  if (current !== undefined) status.closesAt = timestamp(current.end);
  if (next !== undefined) status.next = timestamp(next.start);
  return { status, nextEdge: current?.end ?? next?.start ?? unknown };
}

function accepted(
  window: RebootWindow,
  schedule: Schedule | Why,
  found: number,
  unknown: number | undefined,
): ConditionUpdate {
  const type = "Accepted";
  if ("reason" in schedule) return { type, status: "False", ...schedule };
  if (found > 0) return { type, status: "True", reason: "Accepted", message: "The window is in force." };
  const left = window.spec.exclude.length > 0 ? " that spec.exclude leaves" : "";
  if (unknown !== undefined) {
    const until = `spec.start "${window.spec.start}" has so many starts that openings are looked for until ${timestamp(unknown)} only`;
    return { type, status: "False", reason: "OpeningNotFound", message: `${until}; there is none${left}.` };
  }
  const message = `spec.start "${window.spec.start}" has no opening in the next four years${left}.`;
  return { type, status: "False", reason: "NeverOpens", message };
}

/** Whether and when a group's reboots may begin. Times are wall clock, ms. */
export interface GroupOpening {
  open: boolean;
  /** When the present opening ends; null where nothing closes it. Meaningless while closed. */
  openUntil: number | null;
  /** When the next opening begins; null where none does within four years, or none was found. */
  nextOpening: number | null;
  /** Whether a window of mode Deny is open. */
  frozen: boolean;
  /** When the next freeze begins, or the present one did; null where none is found. */
  freezesAt: number | null;
  /** Why it is closed. */
  why: Why | undefined;
  /** The present opening, from where it began, and those after it: five at most. The end is null where nothing closes it. */
  openings: readonly { start: number; end: number | null }[];
  /** When `open` or `frozen` changes next; null where it never does by itself. */
  nextEdge: number | null;
}

/** The opening of `group` at `now`. `windows` are all RebootWindows; those that don't select the group don't count. */
export function groupOpening(
  group: Pick<UpdateGroup, "metadata" | "spec">,
  windows: readonly RebootWindow[],
  now: number,
): GroupOpening {
  const bound = boundBy(group, windows);
  const allow: Schedule[] = [];
  const deny: { name: string; schedule: Schedule }[] = [];
  for (const window of bound) {
    const schedule = parseSchedule(window.spec);
    if (window.spec.mode === "Allow") {
      if (!("reason" in schedule)) allow.push(schedule);
    } else if ("reason" in schedule) {
      return broken(window.metadata.name, schedule);
    } else {
      deny.push({ name: window.metadata.name, schedule });
    }
  }
  const end = now + HORIZON;
  const reach = farthest(now);
  const denied = (): Generator<Span> =>
    together(
      deny.map(({ schedule }) => spans(schedule, now, reach)),
      now,
    );
  const allowed: Iterable<Span> =
    group.spec.windows === "Always" ? [{ start: now, end }] : allowedSpans(allow, now, reach);
  // What lies behind the reach was never looked at: it counts as closed.
  const coming = take(within(endingAfter(subtract(allowed, denied()), now), reach), LOOK_AHEAD + 1);
  const unknown = coming.length <= LOOK_AHEAD && reach.until < end ? reach.until : null;
  const present = coming.find((span) => span.start <= now);
  const next = coming.find((span) => span.start > now);
  const freeze = deny.find(({ schedule }) => isOpen(schedule, now));
  const [frozenSpan] = freeze === undefined ? [] : take(endingAfter(denied(), now), 1);
  const closes = present === undefined || present.end >= end ? null : present.end;
  const opens = next?.start ?? null;
  return {
    open: present !== undefined,
    openUntil: closes,
    freezesAt: firstFreeze(deny, now, reach),
    nextOpening: opens,
    frozen: freeze !== undefined,
    why:
      present === undefined
        ? closedBecause(freeze?.name, frozenSpan, allow.length, opens, unknown)
        : undefined,
    openings: coming.slice(0, LOOK_AHEAD).map((span) => ({
      start: span.start,
      end: span.end >= end ? null : span.end,
    })),
    nextEdge: present === undefined ? earliest(opens ?? unknown, frozenSpan?.end) : closes,
  };
}

/** `groupOpening` for the groups of one round: those that the same windows bind share one look. */
export function openingsAt(
  windows: readonly RebootWindow[],
  now: number,
): (group: Pick<UpdateGroup, "metadata" | "spec">) => GroupOpening {
  const known = new Map<string, GroupOpening>();
  return (group) => {
    const bound = boundBy(group, windows);
    const key = [group.spec.windows, ...bound.map(({ metadata }) => metadata.name)].join(" ");
    const opening = known.get(key) ?? groupOpening(group, bound, now);
    known.set(key, opening);
    return opening;
  };
}

function boundBy(
  { metadata }: Pick<UpdateGroup, "metadata">,
  windows: readonly RebootWindow[],
): RebootWindow[] {
  return windows.filter(
    (window) =>
      window.metadata.deletionTimestamp === undefined && matches(window.spec.groupSelector, metadata.labels),
  );
}

/** Whether something that takes `needs` ms fits into what is left of the opening at `now`. */
export function fits(opening: GroupOpening, needs: number, now: number): boolean {
  return opening.open && (opening.openUntil === null || now + needs <= opening.openUntil);
}

/** Whether a change freeze is in force, or begins before something is over that takes `needs` ms from `now`. */
export function freezesWithin({ freezesAt }: GroupOpening, needs: number, now: number): boolean {
  return freezesAt !== null && now + needs > freezesAt;
}

/**
 * Why something that takes `needs` ms may not begin at `now`; undefined if it may.
 * `WindowTooShort` if not one of the next five openings is long enough.
 */
export function whyNotNow(opening: GroupOpening, needs: number, now: number): Why | undefined {
  if (fits(opening, needs, now)) return undefined;
  const longest = Math.max(...opening.openings.map(({ start, end }) => (end ?? Infinity) - start), 0);
  if (opening.openings.length > 0 && longest < needs) {
    return {
      reason: "WindowTooShort",
      message: `The next openings last ${inMinutes(longest)} at most; drain, boot and a fallback may take ${inMinutes(needs)}.`,
    };
  }
  if (opening.why !== undefined) return opening.why;
  const closes = opening.openUntil === null ? "" : ` at ${timestamp(opening.openUntil)}`;
  return {
    reason: "WaitingForWindow",
    message: `The window closes${closes}, too soon for the ${inMinutes(needs)} that drain, boot and a fallback may take; ${nextWords(opening.nextOpening)}.`,
  };
}

function* allowedSpans(allow: readonly Schedule[], now: number, reach: Reach): Generator<Span> {
  const excluded = allow.flatMap((schedule) => schedule.excluded).toSorted((a, b) => a.start - b.start);
  const raw = allow.map((schedule) => rawSpans(schedule, now, reach));
  yield* subtract(together(raw, now), union([excluded]));
}

function isOpen(schedule: Schedule, now: number): boolean {
  const [first] = openings(schedule, now, 1);
  return first !== undefined && first.start <= now;
}

/**
 * Each by itself: that the freezes are one span or many is not asked. What lies behind the reach was
 * never looked at: it counts as frozen.
 */
function firstFreeze(deny: readonly { schedule: Schedule }[], now: number, reach: Reach): number | null {
  const starts = deny.flatMap(({ schedule }) => openings(schedule, now, 1, reach).map(({ start }) => start));
  if (starts.length > 0) return Math.min(...starts);
  return deny.length > 0 && reach.until < now + HORIZON ? reach.until : null;
}

function broken(name: string, why: Why): GroupOpening {
  return {
    open: false,
    openUntil: null,
    freezesAt: 0,
    nextOpening: null,
    frozen: true,
    why: {
      reason: "ChangeFreeze",
      message: `RebootWindow ${name} of mode Deny can't be read and so stays in force: ${why.message}`,
    },
    openings: [],
    nextEdge: null,
  };
}

function closedBecause(
  freeze: string | undefined,
  frozen: Span | undefined,
  allowing: number,
  opens: number | null,
  unknown: number | null,
): Why {
  if (opens === null && unknown !== null) {
    const message = `No window is open, and none opens until ${timestamp(unknown)}: the windows and freezes that bind the group have so many starts that openings are looked for no further.`;
    return { reason: "OpeningNotFound", message };
  }
  if (freeze !== undefined && frozen !== undefined) {
    const message = `RebootWindow ${freeze} freezes changes until ${timestamp(frozen.end)}; ${nextWords(opens)}.`;
    return { reason: "ChangeFreeze", message };
  }
  if (allowing === 0) {
    const message = "No RebootWindow of mode Allow selects the group, and spec.windows is OnlyInWindows.";
    return { reason: "WaitingForWindow", message };
  }
  return { reason: "WaitingForWindow", message: `No window is open; ${nextWords(opens)}.` };
}

function nextWords(opens: number | null): string {
  return opens === null ? "none opens in the next four years" : `the next one opens at ${timestamp(opens)}`;
}

function earliest(a: number | null, b: number | undefined): number | null {
  if (a === null) return b ?? null;
  return b === undefined ? a : Math.min(a, b);
}

function inMinutes(milliseconds: number): string {
  if (milliseconds < 60_000) return `${Math.round(milliseconds / 1000)} s`;
  return `${Math.ceil(milliseconds / 60_000)} min`;
}
