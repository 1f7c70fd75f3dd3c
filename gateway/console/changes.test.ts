import * as fc from "fast-check";
import { expect, test } from "vitest";
import type { Topic } from "../../console/events.ts";
import { Changes } from "./changes.ts";

const ALL = new Set<Topic>(["groups", "machines"]);

test("what is as it was is no change", () => {
  const changes = new Changes();
  changes.put("groups", "a", { n: 1 });
  const { position } = changes;
  changes.put("groups", "a", { n: 1 });
  changes.remove("groups", "b");
  changes.replace("groups", [["a", { n: 1 }]]);
  expect(changes.position).toBe(position);
  changes.replace("groups", [["b", { n: 2 }]]);
  expect(changes.since(position, ALL).changes?.get("groups")).toEqual({ put: [{ n: 2 }], gone: ["a"] });
});

test("who follows has what is there, however seldom they look, and whoever is too far behind is told", () => {
  const step = fc.oneof(
    fc.record({ put: fc.constantFrom("a", "b", "c", "d"), value: fc.nat(3) }),
    fc.record({ remove: fc.constantFrom("a", "b", "c", "d") }),
    fc.record({ look: fc.nat(2) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const changes = new Changes(5);
      const readers = [0, 1, 2].map(() => ({ position: 0, seen: new Map<string, number>() }));
      const look = (index: number): void => {
        const reader = readers[index];
        if (reader === undefined) return;
        const missed = changes.since(reader.position, ALL);
        reader.position = missed.position;
        if (missed.changes === undefined) reader.seen = new Map(all(changes));
        const of = missed.changes?.get("machines");
        for (const item of (of?.put ?? []) as { key: string; value: number }[])
          reader.seen.set(item.key, item.value);
        for (const key of of?.gone ?? []) reader.seen.delete(key);
        expect(reader.seen).toEqual(new Map(all(changes)));
      };
      for (const one of steps) {
        if ("put" in one) changes.put("machines", one.put, { key: one.put, value: one.value });
        else if ("remove" in one) changes.remove("machines", one.remove);
        else look(one.look);
      }
      for (const index of readers.keys()) look(index);
    }),
    { numRuns: 500 },
  );
});

function all(changes: Changes): [string, number][] {
  return [...changes.items("machines")].map(([key, item]) => [key, (item as { value: number }).value]);
}

test("a position that nobody gave is none", () => {
  const changes = new Changes();
  expect(changes.since(1, ALL).changes).toBeUndefined();
  expect(changes.since(-1, ALL).changes).toBeUndefined();
  expect(changes.since(0, ALL).changes?.size).toBe(0);
});
