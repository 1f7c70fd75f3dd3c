import * as fc from "fast-check";
import { expect, test } from "vitest";
import { pageOf } from "./lists.ts";

test("pages give everything once, in order, whatever the limit", () => {
  fc.assert(
    fc.property(
      fc.uniqueArray(fc.string(), { maxLength: 50 }),
      fc.integer({ min: 1, max: 12 }),
      fc.boolean(),
      (keys, limit, descending) => {
        const seen: string[] = [];
        let next: string | undefined;
        do {
          const page = pageOf(keys, (key) => key, { limit, continue: next }, descending);
          if (page === undefined) throw new Error("a page's own continue was refused");
          expect(page.total).toBe(keys.length);
          expect(page.items.length).toBeLessThanOrEqual(limit);
          seen.push(...page.items);
          next = page.continue;
        } while (next !== undefined);
        const sorted = keys.toSorted((a, b) => (a < b ? -1 : 1));
        expect(seen).toEqual(descending ? sorted.toReversed() : sorted);
      },
    ),
  );
});

test("a continue that no page gave is refused", () => {
  const read = (token: string) => pageOf(["a"], (key) => key, { limit: 1, continue: token });
  for (const token of ["", "%", "AAAA", Buffer.from("{}").toString("base64url")])
    expect(read(token)).toBeUndefined();
  fc.assert(fc.property(fc.string(), (token) => void read(token)));
});
