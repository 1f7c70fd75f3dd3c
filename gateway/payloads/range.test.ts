import * as fc from "fast-check";
import { expect, it } from "vitest";
import { decideRange } from "./range.ts";

const ETAG = '"ab"';
const decide = (range?: string, ifRange?: string, ifNoneMatch?: string): object =>
  decideRange({ range, ifRange, ifNoneMatch }, ETAG, 100);
const whole = { status: 200, first: 0, length: 100 };

it.each<[string | undefined, object]>([
  [undefined, whole],
  ["bytes=0-0", { status: 206, first: 0, length: 1 }],
  ["bytes=10-", { status: 206, first: 10, length: 90 }],
  ["bytes=10-1000", { status: 206, first: 10, length: 90 }],
  ["bytes=-30", { status: 206, first: 70, length: 30 }],
  ["bytes=-300", { status: 206, first: 0, length: 100 }],
  ["Bytes=99-99", { status: 206, first: 99, length: 1 }],
  ["bytes=100-", { status: 416 }],
  ["bytes=-0", { status: 416 }],
  ["bytes=5-4", whole],
  ["bytes=0-1,5-6", whole],
  ["bytes=-", whole],
  ["bytes=a-b", whole],
  ["lines=0-1", whole],
  ["bytes=99999999999999999999-", whole],
])("%s", (range, wanted) => {
  expect(decide(range)).toEqual(wanted);
});

it("goes on only with the same object", () => {
  expect(decide("bytes=1-1", ETAG)).toMatchObject({ status: 206 });
  for (const other of ['"other"', `W/${ETAG}`, "Wed, 21 Oct 2026 07:28:00 GMT"])
    expect(decide("bytes=1-1", other)).toEqual(whole);
  expect(decide("bytes=1-1", undefined, `"x", W/${ETAG}`)).toEqual({ status: 304 });
});

it("never reaches beyond the object", () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 30 }), fc.nat({ max: 300 }), (text, size) => {
      const wanted = decideRange(
        { range: `bytes=${text}`, ifRange: undefined, ifNoneMatch: undefined },
        ETAG,
        size,
      );
      return !("first" in wanted) || (wanted.first >= 0 && wanted.first + wanted.length <= size);
    }),
    { numRuns: 5000 },
  );
});
