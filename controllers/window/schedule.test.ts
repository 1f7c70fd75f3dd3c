import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { RebootWindowSpec } from "../../api/reboot-window.ts";
import { openAt, openings, parseSchedule, type Schedule } from "./schedule.ts";
import { fallsOn } from "./start.ts";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

function schedule(
  start: string,
  duration: string,
  timeZone = "UTC",
  exclude: RebootWindowSpec["exclude"] = [],
): Schedule {
  const parsed = parseSchedule({ start, duration, timeZone, exclude });
  if ("reason" in parsed) throw new Error(parsed.message);
  return parsed;
}

function at(text: string): number {
  return Temporal.Instant.from(text).epochMilliseconds;
}

/** Openings as wall times of the zone. */
function shown(window: Schedule, from: string, count: number): string[] {
  const wall = (instant: number): string =>
    Temporal.Instant.fromEpochMilliseconds(instant)
      .toZonedDateTimeISO(window.zone)
      .toString({ smallestUnit: "minute", timeZoneName: "never" });
  return openings(window, at(from), count).map((span) => `${wall(span.start)}/${wall(span.end)}`);
}

describe("a window opens", () => {
  test("on the weekdays of its starts, also where it runs into another day", () => {
    // 27 November 2026 is a Friday.
    expect(shown(schedule("Fri 23:00", "2h"), "2026-11-27T00:00Z", 2)).toEqual([
      "2026-11-27T23:00+00:00/2026-11-28T01:00+00:00",
      "2026-12-04T23:00+00:00/2026-12-05T01:00+00:00",
    ]);
  });

  test("at once where `from` lies inside an opening", () => {
    expect(shown(schedule("Fri 23:00", "2h"), "2026-11-28T00:30Z", 1)).toEqual([
      "2026-11-27T23:00+00:00/2026-11-28T01:00+00:00",
    ]);
  });

  test("no longer at the instant of its end", () => {
    const friday = schedule("Fri 23:00", "2h");
    expect(openAt(new Map([["w", friday]]), at("2026-11-28T00:59:59Z")).open).toBe(true);
    expect(openAt(new Map([["w", friday]]), at("2026-11-28T01:00Z")).open).toBe(false);
    expect(openAt(new Map([["w", friday]]), at("2026-11-27T23:00Z")).open).toBe(true);
  });

  test("once where its starts follow each other within the duration", () => {
    expect(shown(schedule("0 1-3 * * Sat", "1h"), "2026-11-27T00:00Z", 1)).toEqual([
      "2026-11-28T01:00+00:00/2026-11-28T04:00+00:00",
    ]);
  });

  test("until the windows that overlap it close too, and names each that is open", () => {
    const both = new Map([
      ["early", schedule("01:00", "2h")],
      ["late", schedule("02:00", "2h")],
    ]);
    expect(openAt(both, at("2026-11-27T01:30Z"))).toEqual({
      open: true,
      until: at("2026-11-27T04:00Z"),
      by: ["early"],
    });
    expect(openAt(both, at("2026-11-27T02:30Z")).by).toEqual(["early", "late"]);
  });

  test("on 29 February, four years ahead", () => {
    expect(shown(schedule("0 0 29 2 *", "1h"), "2024-02-29T02:00Z", 1)).toEqual([
      "2028-02-29T00:00+00:00/2028-02-29T01:00+00:00",
    ]);
  });

  test("never on 30 February", () => {
    expect(openings(schedule("0 0 30 2 *", "1h"), at("2026-01-01T00:00Z"), 1)).toEqual([]);
  });
});

describe("daylight saving", () => {
  test("moves a start out of the gap of spring, and leaves its length alone", () => {
    expect(shown(schedule("Sun 02:30", "1h", "Europe/Berlin"), "2026-03-28T12:00Z", 2)).toEqual([
      "2026-03-29T03:30+02:00/2026-03-29T04:30+02:00",
      "2026-04-05T02:30+02:00/2026-04-05T03:30+02:00",
    ]);
    expect(shown(schedule("Sun 01:30", "2h", "Europe/Berlin"), "2026-03-28T12:00Z", 1)).toEqual([
      "2026-03-29T01:30+01:00/2026-03-29T04:30+02:00",
    ]);
  });

  test("opens at the first of two equal wall times in autumn, once", () => {
    expect(shown(schedule("02:30", "1h", "Europe/Berlin"), "2026-10-24T12:00Z", 2)).toEqual([
      "2026-10-25T02:30+02:00/2026-10-25T02:30+01:00",
      "2026-10-26T02:30+01:00/2026-10-26T03:30+01:00",
    ]);
  });

  test("of half an hour moves a start by half an hour", () => {
    expect(shown(schedule("02:15", "10m", "Australia/Lord_Howe"), "2026-10-03T12:00Z", 1)).toEqual([
      "2026-10-04T02:45+11:00/2026-10-04T02:55+11:00",
    ]);
  });

  test("at midnight moves a start at midnight", () => {
    // Brazil's last change: 4 November 2018 began at 01:00.
    expect(shown(schedule("00:00", "30m", "America/Sao_Paulo"), "2018-11-03T12:00Z", 1)).toEqual([
      "2018-11-04T01:00-02:00/2018-11-04T01:30-02:00",
    ]);
  });

  test("loses no start where a whole day is skipped", () => {
    // Samoa had no 30 December 2011.
    expect(shown(schedule("02:00", "1h", "Pacific/Apia"), "2011-12-29T13:00Z", 2)).toEqual([
      "2011-12-31T02:00+14:00/2011-12-31T03:00+14:00",
      "2012-01-01T02:00+14:00/2012-01-01T03:00+14:00",
    ]);
  });
});

describe("an excluded day", () => {
  const christmas = [{ from: "2026-12-24", to: "2026-12-26" }];

  test("removes the part of an opening that lies in it", () => {
    const nightly = schedule("22:00", "4h", "Europe/Berlin", christmas);
    expect(shown(nightly, "2026-12-23T12:00Z", 3)).toEqual([
      "2026-12-23T22:00+01:00/2026-12-24T00:00+01:00",
      "2026-12-27T00:00+01:00/2026-12-27T02:00+01:00",
      "2026-12-27T22:00+01:00/2026-12-28T02:00+01:00",
    ]);
  });

  test("cuts an opening that is longer than it in two", () => {
    const long = schedule("Wed 00:00", "168h", "UTC", [{ from: "2026-12-25", to: "2026-12-25" }]);
    expect(shown(long, "2026-12-24T00:00Z", 2)).toEqual([
      expect.stringMatching(/\/2026-12-25T00:00\+00:00$/),
      expect.stringMatching(/^2026-12-26T00:00\+00:00\//),
    ]);
  });
});

describe("a window is refused", () => {
  test.each([
    ["an unknown zone", "04:00", "1h", "Mars/Olympus", [], "UnknownTimeZone"],
    ["an offset for a zone", "04:00", "1h", "+02:00", [], "UnknownTimeZone"],
    ["a start that can't be read", "four", "1h", "UTC", [], "InvalidStart"],
    ["no duration", "04:00", "0s", "UTC", [], "InvalidSpec"],
    ["more than a week", "04:00", "168h1s", "UTC", [], "InvalidSpec"],
    [
      "a date that no year has",
      "04:00",
      "1h",
      "UTC",
      [{ from: "2026-02-30", to: "2026-03-01" }],
      "InvalidExclusion",
    ],
    [
      "a range that ends first",
      "04:00",
      "1h",
      "UTC",
      [{ from: "2026-02-02", to: "2026-02-01" }],
      "InvalidExclusion",
    ],
  ])("for %s", (_, start, duration, timeZone, exclude, reason) => {
    expect(parseSchedule({ start, duration, timeZone, exclude })).toMatchObject({ reason });
  });
});

test("a window that is open every minute of four years is one opening, found at once", () => {
  const [opening] = openings(schedule("* * * * *", "1m"), at("2026-01-01T00:00Z"), 5);
  expect(opening?.end).toBeGreaterThan(at("2029-12-30T00:00Z"));
});

/**
 * The minutes of [from, to) that are open, by asking every minute before and in it whether
 * it is a start: shares nothing with the search but the days of a start.
 */
function bruteForce(window: Schedule, from: number, to: number): Set<number> {
  const open = new Set<number>();
  const zone = window.zone;
  const lengthInMinutes = window.duration / MINUTE;
  const seen = new Set<string>();
  let before: Temporal.PlainDateTime | undefined;
  for (let instant = from - window.duration - 3 * DAY; instant < to; instant += MINUTE) {
    const wall = Temporal.Instant.fromEpochMilliseconds(instant).toZonedDateTimeISO(zone).toPlainDateTime();
    // The wall times that this instant stands for: its own, unless it was seen, and, where the
    // clock jumped forward, each start in the gap that moves to here or later.
    const own = wall.toString();
    const times: { wall: Temporal.PlainDateTime; later: number }[] = [];
    if (!seen.has(own)) times.push({ wall, later: 0 });
    seen.add(own);
    if (before !== undefined) {
      const gap = Math.max(0, Math.round(wall.since(before).total("minutes")) - 1);
      for (let minute = 0; minute < gap; minute++) {
        times.push({ wall: wall.subtract({ minutes: gap - minute }), later: minute });
      }
    }
    before = wall;
    for (const { wall: time, later } of times) {
      const minuteOfDay = time.hour * 60 + time.minute;
      if (!window.start.minutes.includes(minuteOfDay)) continue;
      if (!fallsOn(window.start, time.month, time.day, time.dayOfWeek % 7)) continue;
      for (let minute = 0; minute < lengthInMinutes; minute++) open.add(instant + (later + minute) * MINUTE);
    }
  }
  for (const instant of open) {
    if (instant < from || instant >= to) open.delete(instant);
    else if (window.excluded.some((span) => span.start <= instant && instant < span.end))
      open.delete(instant);
  }
  return open;
}

function compare(window: Schedule, from: number, to: number): void {
  const expected = bruteForce(window, from, to);
  const found = new Set<number>();
  for (const span of openings(window, from, 2000)) {
    for (let minute = Math.max(span.start, from); minute < Math.min(span.end, to); minute += MINUTE) {
      found.add(minute);
    }
    if (span.start >= to) break;
  }
  const differing = [...expected.symmetricDifference(found)].toSorted((a, b) => a - b);
  expect(differing.slice(0, 3).map((instant) => new Date(instant).toISOString())).toEqual([]);
}

const starts = fc.oneof(
  fc
    .tuple(fc.constantFrom("", "Sun ", "Mon-Fri ", "Sat,Sun "), fc.integer({ min: 0, max: 1439 }))
    .map(
      ([days, minute]) =>
        `${days}${String(Math.floor(minute / 60)).padStart(2, "0")}:${String(minute % 60).padStart(2, "0")}`,
    ),
  fc.constantFrom("*/30 0-3 * * *", "15 2 * * Sun", "45 23 1-7 * *", "0 * * * *", "30 0 */3 * Sun"),
);
const durations = fc.constantFrom(1, 20, 60, 95, 360, 1440, 2000);

describe("openings agree with a minute by minute evaluation", () => {
  test.each([
    "America/New_York",
    "Europe/Berlin",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "UTC",
    "America/Sao_Paulo",
    "Africa/Casablanca",
  ])("around the changes of %s", (zone) => {
    const changes = changesOf(zone, at("2018-06-01T00:00Z"), at("2027-06-01T00:00Z"));
    const days = changes.length === 0 ? [at("2026-03-01T00:00Z")] : changes;
    fc.assert(
      fc.property(
        starts,
        durations,
        fc.constantFrom(...days),
        fc.boolean(),
        (start, minutes, change, cut) => {
          const day = Temporal.Instant.fromEpochMilliseconds(change)
            .toZonedDateTimeISO(zone)
            .toPlainDate()
            .toString();
          const window = schedule(start, `${minutes}m`, zone, cut ? [{ from: day, to: day }] : []);
          compare(window, change - DAY, change + 2 * DAY);
        },
      ),
      { numRuns: 12 },
    );
  });
});

test("in every IANA zone a start falls on each day once, moved forward only by a gap", () => {
  for (const zone of Intl.supportedValuesOf("timeZone")) {
    for (const change of changesOf(zone, at("2026-01-01T00:00Z"), at("2027-06-01T00:00Z")).slice(0, 3)) {
      const local = Temporal.Instant.fromEpochMilliseconds(change).toZonedDateTimeISO(zone);
      for (const minute of [0, 30, 90, 120, 135, 150, 180, 1410]) {
        const time = new Temporal.PlainTime(Math.floor(minute / 60), minute % 60);
        const window = schedule(time.toString({ smallestUnit: "minute" }), "1m", zone);
        const found = openings(window, change - 2 * DAY, 4).map((span) => span.start);
        for (let index = 1; index < found.length; index++) {
          const apart = (found[index] ?? 0) - (found[index - 1] ?? 0);
          expect(Math.abs(apart - DAY), `${zone} ${local.toString()} ${time.toString()}`).toBeLessThanOrEqual(
            3 * HOUR,
          );
        }
        for (const instant of found) {
          const wall = Temporal.Instant.fromEpochMilliseconds(instant).toZonedDateTimeISO(zone);
          const asked = wall.toPlainDate().toZonedDateTime({ timeZone: zone, plainTime: time });
          const moved = wall.toPlainTime().toString() !== time.toString();
          if (!moved) expect(asked.epochMilliseconds).toBe(instant);
          else expect(Math.abs(instant - change)).toBeLessThan(3 * HOUR);
        }
      }
    }
  }
});

/** Instants at which the zone's offset changes, found by day and then by bisection. */
function changesOf(zone: string, from: number, to: number): number[] {
  const offset = (instant: number): number =>
    Temporal.Instant.fromEpochMilliseconds(instant).toZonedDateTimeISO(zone).offsetNanoseconds;
  const changes: number[] = [];
  for (let day = from; day < to; day += DAY) {
    let [low, high] = [day, day + DAY];
    if (offset(low) === offset(high)) continue;
    while (high - low > MINUTE) {
      const middle = low + Math.floor((high - low) / 2 / MINUTE) * MINUTE;
      if (offset(middle) === offset(low)) low = middle;
      else high = middle;
    }
    changes.push(high);
  }
  return changes;
}
