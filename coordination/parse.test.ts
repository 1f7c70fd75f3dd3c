import { beforeEach, describe, expect, it } from "vitest";
import { z } from "zod";
import { silentLogger } from "../ports/log.ts";
import type { KeyValue } from "./etcd.ts";
import { Parser } from "./parse.ts";

let parsed: number;
const counting = z.object({ n: z.number(), text: z.string().optional() }).transform((of) => {
  parsed += 1;
  return of;
});
const answer = (key: string, value: object): KeyValue => ({
  ...{ key, value: JSON.stringify(value), createRevision: 1, modRevision: 2, lease: undefined },
});

beforeEach(() => {
  parsed = 0;
});

describe("a record that is looked at again", () => {
  it("is read once in all answers that say the same of it", () => {
    const parser = new Parser(silentLogger);
    const first = parser.again(counting, answer("k", { n: 1 }));
    expect(parser.again(counting, answer("k", { n: 1 }))).toBe(first);
    expect(parsed).toBe(1);
    // Also with the same revision, as after a restore.
    expect(parser.again(counting, answer("k", { n: 2 }))).toEqual({ n: 2 });
    expect(parser.again(z.object({ n: z.number() }), answer("k", { n: 2 }))).toEqual({ n: 2 });
    expect(parsed).toBe(2);
  });

  it("is read anew where it is large, or a thousand others were read since", () => {
    const parser = new Parser(silentLogger);
    const large = { n: 1, text: "x".repeat(9000) };
    for (let i = 0; i < 2; i++) expect(parser.again(counting, answer("large", large))).toEqual(large);
    expect(parsed).toBe(2);
    for (let n = 0; n < 1001; n++) parser.again(counting, answer(`k${n}`, { n }));
    parsed = 0;
    parser.again(counting, answer("k1", { n: 1 }));
    expect(parsed).toBe(0);
    parser.again(counting, answer("k0", { n: 0 }));
    expect(parsed).toBe(1);
  });

  it("is nothing where it can't be read, and is read once it can be", () => {
    const parser = new Parser(silentLogger);
    expect(parser.again(counting, undefined)).toBeUndefined();
    expect(parser.again(counting, answer("k", { n: "?" }))).toBeUndefined();
    expect(parser.again(counting, answer("k", { n: 1 }))).toEqual({ n: 1 });
  });
});
