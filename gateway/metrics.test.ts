import { expect, test } from "vitest";
import { commonVersions } from "./metrics.ts";

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
