import { expect, test } from "vitest";
import { commonVersions, machineSeries } from "./metrics.ts";

test("what agents call their version makes no more than a few series", () => {
  const many = new Map(Array.from({ length: 500 }, (_, index) => [`0.${index}.0`, 500 - index]));
  const told = commonVersions(many);
  expect(told.size).toBe(17);
  expect(told.get("0.0.0")).toBe(500);
  expect([...told.values()].reduce((sum, count) => sum + count)).toBe((500 * 501) / 2);
});

test("what is no version is other, and a gateway without agents still tells a series", () => {
  expect(
    commonVersions(
      new Map([
        ['1.0.0",x="', 2],
        ["", 1],
        ["1.2.3-rc.1", 1],
      ]),
    ),
  ).toEqual(
    new Map([
      ["other", 3],
      ["1.2.3-rc.1", 1],
    ]),
  );
  expect(commonVersions(new Map())).toEqual(new Map([["other", 0]]));
});

test("machines of a group make three series for each common version, and for the others together", () => {
  const counts = { Idle: 2, Updating: 1, Failed: 0 };
  const versions = new Map<string, typeof counts>(
    Array.from({ length: 30 }, (_, n) => [`1.${n}.0`, counts] as const),
  );
  versions.set('no "version"', { Idle: 0, Updating: 0, Failed: 1 });
  const series = machineSeries(versions);
  expect(series).toHaveLength(17 * 3);
  expect(series.reduce((sum, [, count]) => sum + count, 0)).toBe(91);
  expect(series.filter(([{ version }]) => version === "other")).toEqual([
    [{ version: "other", state: "idle" }, 28],
    [{ version: "other", state: "updating" }, 14],
    [{ version: "other", state: "failed" }, 1],
  ]);
  expect(machineSeries(new Map())).toEqual([]);
});
