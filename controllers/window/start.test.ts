import { describe, expect, test } from "vitest";
import { fallsOn, parseStart, type Start } from "./start.ts";

function start(text: string): Start {
  const parsed = parseStart(text);
  if ("reason" in parsed) throw new Error(parsed.message);
  return parsed;
}

describe("a start is read", () => {
  test("as a time of every day", () => {
    const daily = start("04:00");
    expect(daily.minutes).toEqual([240]);
    expect(daily.daysOfWeek).toBeUndefined();
  });

  test("as a weekday, a range or a list of them, in any case", () => {
    expect(start("Thu 04:30")).toMatchObject({ minutes: [270], daysOfWeek: new Set([4]) });
    expect(start("Mon-Fri 02:00").daysOfWeek).toEqual(new Set([1, 2, 3, 4, 5]));
    expect(start("mon,WED 02:00").daysOfWeek).toEqual(new Set([1, 3]));
  });

  test("as a range that runs over the end of the week", () => {
    expect(start("Fri-Mon 22:00").daysOfWeek).toEqual(new Set([5, 6, 0, 1]));
  });

  test("as five cron fields with lists, ranges, steps and names", () => {
    const cron = start("0,30 1-3 */10 jan,Jun sun-Tue");
    expect(cron.minutes).toEqual([60, 90, 120, 150, 180, 210]);
    expect(cron.daysOfMonth).toEqual(new Set([1, 11, 21, 31]));
    expect(cron.months).toEqual(new Set([1, 6]));
    expect(cron.daysOfWeek).toEqual(new Set([0, 1, 2]));
  });

  test("with 7 as Sunday", () => {
    expect(start("0 2 * * 5-7").daysOfWeek).toEqual(new Set([5, 6, 0]));
    expect(start("0 2 * * 7").daysOfWeek).toEqual(new Set([0]));
  });
});

describe("cron's two fields of days", () => {
  // 13 November 2026 is a Friday.
  test("are enough alone where both are restricted", () => {
    const either = start("0 2 13 * Fri");
    expect(fallsOn(either, 11, 13, 5)).toBe(true);
    expect(fallsOn(either, 11, 20, 5)).toBe(true);
    expect(fallsOn(either, 10, 13, 2)).toBe(true);
    expect(fallsOn(either, 10, 14, 3)).toBe(false);
  });

  test("must both hold where one begins with a star", () => {
    const second = start("0 2 */2 * Fri");
    expect(fallsOn(second, 11, 13, 5)).toBe(true);
    expect(fallsOn(second, 11, 20, 5)).toBe(false);
    expect(fallsOn(second, 11, 11, 3)).toBe(false);
  });

  test("hold in the months that are named only", () => {
    expect(fallsOn(start("0 2 13 6 *"), 11, 13, 5)).toBe(false);
  });
});

test.each([
  "",
  "25:00",
  "12:60",
  "noon",
  "Mon-Fry 02:00",
  "* 02:00",
  "*/2 02:00",
  "Mon 02:00 UTC",
  "60 * * * *",
  "* 24 * * *",
  "* * 0 * *",
  "* * * 13 *",
  "* * * * 8",
  "5-1 * * * *",
  "*/0 * * * *",
  "5/2 * * * *",
  "1-2-3 * * * *",
  "1,,2 * * * *",
  "0x1 * * * *",
  "@daily",
])("%j is refused with what to write instead", (text) => {
  const why = parseStart(text);
  expect(why).toMatchObject({ reason: "InvalidStart" });
  expect((why as { message: string }).message).toContain("Mon-Fri 02:00");
});
