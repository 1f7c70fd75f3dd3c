/** When a group's reboots may begin, from what the manager wrote into the status of windows and groups. */
import type { RebootWindow } from "./reboot-window.ts";
import { matches } from "./selector.ts";
import type { UpdateGroup } from "./update-group.ts";

/** Wall clock, ms. `end` is null where nothing closes it. */
export interface Opening {
  start: number;
  end: number | null;
  /** Names of the windows that make it up; none with `windows: Always`. */
  windows: readonly string[];
}

/** As far as anything is looked at that has no end. */
const FAR = 4 * 366 * 24 * 3_600_000;
/** As many as the status of a window shows. */
const MOST = 5;

/**
 * The present opening of `group` and those after it: the union of its Allow windows less its Deny
 * windows, as far ahead as their status tells. The group's own `status.nextOpening` is exact; later
 * ones don't know of days that one window excludes from the others.
 */
export function openingsOf(group: UpdateGroup, windows: readonly RebootWindow[], now: number): Opening[] {
  const bound = windowsOf(group, windows);
  const deny = bound.filter(({ spec }) => spec.mode === "Deny").flatMap((window) => spansOf(window, now));
  const allow =
    group.spec.windows === "Always"
      ? [{ start: now, end: now + FAR, windows: [] }]
      : merge(bound.filter(({ spec }) => spec.mode === "Allow").flatMap((window) => spansOf(window, now)));
  const left = deny.reduce<Span[]>((open, freeze) => open.flatMap((one) => without(one, freeze)), allow);
  const next = group.status?.nextOpening === undefined ? undefined : Date.parse(group.status.nextOpening);
  return left
    .filter(({ start, end }) => end > now && (next === undefined || start <= now || start >= next))
    .slice(0, MOST)
    .map(({ start, end, windows: by }) => ({ start, end: end >= now + FAR ? null : end, windows: by }));
}

interface Span {
  start: number;
  end: number;
  windows: readonly string[];
}

function spansOf({ metadata, status }: RebootWindow, now: number): Span[] {
  const own = [metadata.name];
  const coming = (status?.nextOpenings ?? []).map(({ start, end }) => ({
    start: Date.parse(start),
    end: Date.parse(end),
    windows: own,
  }));
  if (status?.open !== true) return coming;
  const closes = status.closesAt === undefined ? now + FAR : Date.parse(status.closesAt);
  return [{ start: now, end: closes, windows: own }, ...coming];
}

/** Spans that touch or overlap become one. */
function merge(spans: readonly Span[]): Span[] {
  const merged: Span[] = [];
  for (const span of spans.toSorted((a, b) => a.start - b.start)) {
    const last = merged.at(-1);
    if (last === undefined || span.start > last.end) merged.push({ ...span });
    else {
      last.end = Math.max(last.end, span.end);
      last.windows = [...new Set([...last.windows, ...span.windows])];
    }
  }
  return merged;
}

function without(span: Span, hole: Span): Span[] {
  if (hole.end <= span.start || hole.start >= span.end) return [span];
  return [
    { ...span, end: hole.start },
    { ...span, start: hole.end },
  ].filter(({ start, end }) => start < end);
}

/** Windows that bind `group`. */
export function windowsOf(group: UpdateGroup, windows: readonly RebootWindow[]): RebootWindow[] {
  return windows.filter(
    ({ spec, metadata }) =>
      metadata.deletionTimestamp === undefined &&
      matches(spec.groupSelector, group.metadata.labels) &&
      (spec.mode === "Deny" || group.spec.windows === "OnlyInWindows"),
  );
}
