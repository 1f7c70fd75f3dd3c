/** The openings of the next days, as bars of days. Times are ms; days are those of the person's own time zone. */
import type { GroupOpenings, Window } from "../contract.ts";
import { startOfDay } from "./format.ts";

export interface Bar {
  /** Of the day, 0 to 1. */
  from: number;
  to: number;
  deny: boolean;
  label: string;
  start: number;
  end: number;
}

export interface Day {
  start: number;
  bars: Bar[];
}

export const DAYS = 14;

interface Span {
  label: string;
  deny: boolean;
  start: number;
  end: number;
}

/** Freezes of all windows, and the openings of one group, or those of every window that allows. */
export function calendar(windows: Iterable<Window>, group: GroupOpenings | undefined, now: number): Day[] {
  const spans: Span[] = [];
  for (const { name, mode, openings, groups } of windows) {
    const bound = group === undefined || groups.includes(group.group);
    if (mode === "Allow" ? group !== undefined : !bound) continue;
    for (const { start, end } of openings) {
      spans.push({ label: name, deny: mode === "Deny", start: Date.parse(start), end: Date.parse(end) });
    }
  }
  for (const { start, end, windows: names } of group?.openings ?? []) {
    const until = end === undefined ? Number.POSITIVE_INFINITY : Date.parse(end);
    spans.push({ label: names.join(", ") || "open", deny: false, start: Date.parse(start), end: until });
  }
  const days: Day[] = [];
  let start = startOfDay(now);
  for (let index = 0; index < DAYS; index++) {
    // A day has 23 or 25 hours where clocks change.
    const next = startOfDay(start + 30 * 3_600_000);
    days.push({ start, bars: barsOf(spans, start, next) });
    start = next;
  }
  return days;
}

function barsOf(spans: readonly Span[], start: number, end: number): Bar[] {
  const share = (time: number): number => Math.max(0, Math.min(1, (time - start) / (end - start)));
  return spans
    .filter((span) => span.start < end && span.end > start)
    .sort((a, b) => a.start - b.start)
    .map((span) => ({ ...span, from: share(span.start), to: share(span.end) }));
}
