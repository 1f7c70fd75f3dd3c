import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parseDuration } from "./duration.ts";
import { limitOf, stageSizeOf } from "./int-or-percent.ts";
import { setCondition } from "./meta.ts";
import { matches, selectsEverything } from "./selector.ts";

describe("durations", () => {
  test.each([
    ["90s", 90_000],
    ["15m", 900_000],
    ["1h30m", 5_400_000],
    ["0s", 0],
  ])("%s is %d ms", (text, milliseconds) => {
    expect(parseDuration(text)).toBe(milliseconds);
  });

  test.each(["", "5", "1d", "m", "1s1m", "-1s"])('"%s" is none', (text) => {
    expect(() => parseDuration(text)).toThrow(RangeError);
  });
});

describe("limits", () => {
  test("a limit of unavailable nodes rounds down but is at least 1, and never more than all", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 100 }), fc.integer({ min: 1, max: 10_000 }), (percent, base) => {
        const limit = limitOf(`${percent}%`, base);
        expect(limit).toBeGreaterThanOrEqual(1);
        expect(limit).toBeLessThanOrEqual(Math.max(1, (base * percent) / 100));
      }),
    );
  });

  test("a stage rounds up and never exceeds the group", () => {
    expect(stageSizeOf("10%", 12)).toBe(2);
    expect(stageSizeOf("100%", 12)).toBe(12);
    expect(stageSizeOf(50, 12)).toBe(12);
    expect(stageSizeOf("1%", 0)).toBe(0);
  });
});

describe("selectors", () => {
  const labels = { zone: "east", tier: "web" };
  test.each([
    [{ matchLabels: { zone: "east" } }, true],
    [{ matchLabels: { zone: "west" } }, false],
    [{ matchExpressions: [{ key: "zone", operator: "In" as const, values: ["east", "west"] }] }, true],
    [{ matchExpressions: [{ key: "none", operator: "NotIn" as const, values: ["x"] }] }, true],
    [{ matchExpressions: [{ key: "none", operator: "Exists" as const }] }, false],
    [{ matchExpressions: [{ key: "none", operator: "DoesNotExist" as const }] }, true],
    [undefined, true],
  ])("%j: %s", (selector, expected) => {
    expect(matches(selector, labels)).toBe(expected);
  });

  test("an empty selector selects everything", () => {
    expect(selectsEverything({ matchLabels: {}, matchExpressions: [] })).toBe(true);
    expect(selectsEverything({ matchLabels: { a: "b" } })).toBe(false);
  });
});

describe("conditions", () => {
  const ready = { type: "Ready", status: "True" as const, reason: "UpToDate", message: "" };

  test("the transition time moves only with the status", () => {
    const first = setCondition(undefined, ready, 1, 0);
    const second = setCondition(first, { ...ready, reason: "RollingOut" }, 2, 60_000);
    expect(second).toEqual([
      { ...ready, reason: "RollingOut", lastTransitionTime: "1970-01-01T00:00:00Z", observedGeneration: 2 },
    ]);
    const third = setCondition(second, { ...ready, status: "False" }, 2, 60_000);
    expect(third[0]?.lastTransitionTime).toBe("1970-01-01T00:01:00Z");
  });

  test("others are kept, in a stable order", () => {
    const both = setCondition(setCondition([], ready, 1, 0), { ...ready, type: "Halted" }, 1, 0);
    expect(both.map(({ type }) => type)).toEqual(["Halted", "Ready"]);
  });
});
