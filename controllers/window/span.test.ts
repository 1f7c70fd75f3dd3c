import * as fc from "fast-check";
import { expect, test } from "vitest";
import { type Span, subtract, take, union } from "./span.ts";

const MAX = 60;
const spans = fc
  .array(fc.record({ start: fc.nat(MAX - 1), length: fc.integer({ min: 1, max: 12 }) }), { maxLength: 8 })
  .map((list) =>
    list.map(({ start, length }) => ({ start, end: start + length })).toSorted((a, b) => a.start - b.start),
  );

function inside(list: readonly Span[], instant: number): boolean {
  return list.some((span) => span.start <= instant && instant < span.end);
}

function apart(list: readonly Span[]): boolean {
  return list.every(
    (span, index) => span.start < span.end && (index === 0 || (list[index - 1]?.end ?? 0) < span.start),
  );
}

test("a union holds what any list holds, in spans that never touch", () => {
  fc.assert(
    fc.property(spans, spans, (a, b) => {
      const both = [...union([a, b])];
      expect(apart(both)).toBe(true);
      for (let instant = 0; instant < MAX + 12; instant++) {
        expect(inside(both, instant)).toBe(inside(a, instant) || inside(b, instant));
      }
    }),
  );
});

test("a difference holds what the first holds and the second doesn't", () => {
  fc.assert(
    fc.property(spans, spans, (a, b) => {
      const rest = [...subtract(union([a]), union([b]))];
      expect(rest.every((span) => span.start < span.end)).toBe(true);
      for (let instant = 0; instant < MAX + 12; instant++) {
        expect(inside(rest, instant)).toBe(inside(a, instant) && !inside(b, instant));
      }
    }),
  );
});

test("a span of a union that is longer than anybody looks is given the end of all, and is the last", () => {
  const daily = [0, 10, 20, 30].map((start) => ({ start, end: start + 10 }));
  expect([...union([daily], { length: 15, end: 99 })]).toEqual([{ start: 0, end: 99 }]);
  expect([...union([[{ start: 0, end: 5 }], daily.slice(1)], { length: 15, end: 99 })]).toEqual([
    { start: 0, end: 5 },
    { start: 10, end: 99 },
  ]);
});

test("no more is taken of an endless list than is asked for", () => {
  function* endless(): Generator<Span> {
    for (let start = 0; ; start += 2) yield { start, end: start + 1 };
  }
  expect(take(endless(), 2)).toEqual([
    { start: 0, end: 1 },
    { start: 2, end: 3 },
  ]);
  expect(take(endless(), 0)).toEqual([]);
});
