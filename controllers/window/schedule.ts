/**
 * The openings of one RebootWindow (design, rule 4). A start belongs to a local date of
 * the window's zone: in a gap of daylight saving it moves forward by the gap, in an
 * overlap the first one counts (RFC 5545, section 3.3.5; Temporal's `compatible`). The
 * duration is absolute. An excluded day removes the part of any opening that lies in it,
 * from its first instant to the first instant of the next day.
 */
import { parseDuration } from "../../api/duration.ts";
import type { Why } from "../../api/reasons.ts";
import type { RebootWindowSpec } from "../../api/reboot-window.ts";
import { type Span, subtract, take, union } from "./span.ts";
import { fallsOn, parseStart, type Start } from "./start.ts";

/** A window that was read and can be evaluated. */
export interface Schedule {
  readonly start: Start;
  /** Milliseconds. */
  readonly duration: number;
  /** IANA name. */
  readonly zone: string;
  /** Ascending, disjoint, wall clock. */
  readonly excluded: readonly Span[];
}

const DAY = 86_400_000;
/** How far ahead openings are looked for: four years have every date of the calendar. */
export const HORIZON = 1461 * DAY;
/** An opening without a break of this time counts as one without an end: what is looked for fits in. */
const ENDLESS = 100 * DAY;
/** Longest opening that a window may ask for. */
const LONGEST = 7 * DAY;
/** Starts of one window that are looked at: where none of so many opens, nobody searches on. */
const MOST_STARTS = 10_000;

/** How far openings were looked for, wall clock, ms: nothing is known of what lies behind. */
export interface Reach {
  until: number;
}

export function farthest(from: number): Reach {
  return { until: from + HORIZON };
}

/** Reads the spec of a window, or says why it has no effect. */
export function parseSchedule(
  spec: Pick<RebootWindowSpec, "start" | "duration" | "timeZone" | "exclude">,
): Schedule | Why {
  const start = parseStart(spec.start);
  if ("reason" in start) return start;
  const duration = parseDuration(spec.duration);
  if (duration <= 0 || duration > LONGEST) {
    return {
      reason: "InvalidSpec",
      message: `spec.duration ${spec.duration} must be more than 0s and at most 168h.`,
    };
  }
  if (!isZone(spec.timeZone)) {
    return {
      reason: "UnknownTimeZone",
      message: `spec.timeZone "${spec.timeZone}" is no IANA name such as Europe/Berlin or UTC.`,
    };
  }
  const excluded: Span[] = [];
  for (const { from, to } of spec.exclude) {
    const first = date(from);
    const last = date(to);
    if (first === undefined || last === undefined || Temporal.PlainDate.compare(first, last) > 0) {
      const wrong =
        first === undefined
          ? `${from} is no date`
          : last === undefined
            ? `${to} is no date`
            : "it ends before it begins";
      return { reason: "InvalidExclusion", message: `spec.exclude ${from} to ${to}: ${wrong}.` };
    }
    excluded.push({
      start: midnight(first, spec.timeZone),
      end: midnight(last.add({ days: 1 }), spec.timeZone),
    });
  }
  const ascending = excluded.toSorted((a, b) => a.start - b.start);
  return { start, duration, zone: spec.timeZone, excluded: [...union([ascending])] };
}

/**
 * The next `count` openings that end after `from` (ms); the first may have begun before.
 * Openings that overlap or touch are one. Fewer come back if there are no more within
 * four years.
 */
export function openings(schedule: Schedule, from: number, count: number, reach = farthest(from)): Span[] {
  return take(within(endingAfter(spans(schedule, from, reach), from), reach), count);
}

/** As `openings`, without an end but the horizon, and with those of the look-back before `from`. Shortens `reach` where it ends earlier. */
export function spans(schedule: Schedule, from: number, reach = farthest(from)): Generator<Span> {
  return subtract(rawSpans(schedule, from, reach), schedule.excluded);
}

/** What of `list` is known: up to `reach`, which the lists under it may shorten while they are read. */
export function* within(list: Iterable<Span>, reach: Readonly<Reach>): Generator<Span> {
  for (const { start, end } of list) {
    if (start >= reach.until) return;
    yield { start, end: Math.min(end, reach.until) };
  }
}

/** Those of `list` that end after `from`. */
export function* endingAfter(list: Iterable<Span>, from: number): Generator<Span> {
  for (const span of list) if (span.end > from) yield span;
}

/** Which of `windows` (by name) is open at `now`, and until when without a break; several that overlap count as one. */
export function openAt(
  windows: ReadonlyMap<string, Schedule>,
  now: number,
): { open: boolean; until: number | undefined; by: string[] } {
  const by: string[] = [];
  const lists: Iterable<Span>[] = [];
  for (const [name, schedule] of windows) {
    const [first] = openings(schedule, now, 1);
    if (first !== undefined && first.start <= now) by.push(name);
    lists.push(endingAfter(spans(schedule, now), now));
  }
  if (by.length === 0) return { open: false, until: undefined, by };
  const [first] = take(together(lists, now), 1);
  return { open: true, until: first?.end, by };
}

/** As `spans`, before exclusions. A chain of openings without a break in the look-back begins there. */
export function rawSpans(schedule: Schedule, from: number, reach = farthest(from)): Generator<Span> {
  return together([atMost(startSpans(schedule, from), from, reach)], from);
}

/** Ends after `MOST_STARTS` that come after `from`, and says so in `reach`. */
function* atMost(list: Iterable<Span>, from: number, reach: Reach): Generator<Span> {
  let left = MOST_STARTS;
  for (const span of list) {
    if (span.start > from && left-- === 0) {
      reach.until = Math.min(reach.until, span.start);
      return;
    }
    yield span;
  }
}

/** The union of openings that are looked at from `from`: one that goes on for `ENDLESS` lasts to the horizon. */
export function together(lists: readonly Iterable<Span>[], from: number): Generator<Span> {
  return union(lists, { length: ENDLESS, end: from + HORIZON });
}

function* startSpans({ start, duration, zone }: Schedule, from: number): Generator<Span> {
  const runs = runsOf(start, duration);
  const today = Temporal.Instant.fromEpochMilliseconds(from).toZonedDateTimeISO(zone).toPlainDate();
  // What began before may still be open; and a gap of a whole day moves it on by one.
  const first = today.subtract({ days: Math.ceil(duration / DAY) + 2 });
  const last = from + HORIZON;
  let waiting: Span[] = [];
  // Days of the civil calendar are counted in UTC, where each has 24 hours.
  for (let day = Date.UTC(first.year, first.month - 1, first.day); day <= last + DAY; day += DAY) {
    const civil = new Date(day);
    const falls = fallsOn(start, civil.getUTCMonth() + 1, civil.getUTCDate(), civil.getUTCDay());
    if (!falls && waiting.length === 0) continue;
    const begins = plainDate(day).toZonedDateTime({ timeZone: zone });
    const next = plainDate(day + DAY).toZonedDateTime({ timeZone: zone });
    const even =
      begins.offsetNanoseconds === next.offsetNanoseconds &&
      next.epochMilliseconds - begins.epochMilliseconds === DAY;
    if (falls && even) {
      const zero = begins.epochMilliseconds;
      for (const run of runs) waiting.push({ start: zero + run.start, end: zero + run.end });
    } else if (falls) {
      for (const minute of start.minutes) {
        const begin = plainDate(day).toZonedDateTime({
          timeZone: zone,
          plainTime: new Temporal.PlainTime(Math.floor(minute / 60), minute % 60),
        }).epochMilliseconds;
        waiting.push({ start: begin, end: begin + duration });
      }
    }
    // A start near midnight may have moved into the next day: it waits for that day's.
    waiting.sort((a, b) => a.start - b.start);
    const boundary = next.epochMilliseconds;
    for (const span of waiting) if (span.start < boundary && span.start < last) yield span;
    waiting = waiting.filter((span) => span.start >= boundary);
  }
}

/** The openings of a day of 24 hours, from its first instant: starts that follow within the duration are one. */
function runsOf(start: Start, duration: number): Span[] {
  const each = start.minutes.map((minute) => ({
    start: minute * 60_000,
    end: minute * 60_000 + duration,
  }));
  return [...union([each])];
}

function plainDate(day: number): Temporal.PlainDate {
  const civil = new Date(day);
  return new Temporal.PlainDate(civil.getUTCFullYear(), civil.getUTCMonth() + 1, civil.getUTCDate());
}

function midnight(day: Temporal.PlainDate, zone: string): number {
  return day.toZonedDateTime({ timeZone: zone }).epochMilliseconds;
}

function date(text: string): Temporal.PlainDate | undefined {
  try {
    return Temporal.PlainDate.from(text, { overflow: "reject" });
  } catch {
    return undefined;
  }
}

/** An offset such as `+02:00` is no zone: it knows no daylight saving. */
function isZone(name: string): boolean {
  if (/^[+-]/.test(name)) return false;
  try {
    return new Temporal.ZonedDateTime(0n, name).timeZoneId !== "";
  } catch {
    return false;
  }
}
