import * as fc from "fast-check";
import { expect, test } from "vitest";
import { sameJson } from "./apply-status.ts";

test("two values are the same exactly if their JSON is, in whatever order their keys stand", () => {
  const sorted = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(sorted);
    if (typeof value !== "object" || value === null) return value;
    return Object.fromEntries(
      Object.entries(value)
        .toSorted(([a], [b]) => (a < b ? -1 : 1))
        .map(([key, part]) => [key, sorted(part)]),
    );
  };
  const text = (value: unknown): string => JSON.stringify(sorted(JSON.parse(JSON.stringify(value))));
  const value = fc.jsonValue({ maxDepth: 3 });
  fc.assert(
    fc.property(value, value, (a, b) => {
      expect(sameJson(a, JSON.parse(JSON.stringify(a)))).toBe(true);
      expect(sameJson(a, sorted(a))).toBe(true);
      expect(sameJson(a, b)).toBe(text(a) === text(b));
    }),
  );
});

test("a field that is undefined is absent", () => {
  expect(sameJson({ a: 1, b: undefined }, { a: 1 })).toBe(true);
  expect(sameJson({ a: undefined }, { b: 1 })).toBe(false);
});
