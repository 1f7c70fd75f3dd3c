import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Candidate, cohortsOf, orderOf } from "./cohort.ts";
import type { Stage } from "./update-group.ts";

const STAGES: Stage[] = [
  { name: "canary", nodeSelector: { matchLabels: { canary: "yes" } }, soak: "0s" },
  { name: "tenth", count: "10%", soak: "0s" },
  { name: "half", count: "50%", soak: "0s" },
];

const candidates = fc
  .uniqueArray(fc.nat(500), { minLength: 1, maxLength: 40 })
  .map((ids) =>
    ids.map(
      (id): Candidate => ({ uid: `uid-${id}`, labels: id % 17 === 0 ? { canary: "yes" } : {}, given: false }),
    ),
  );

describe("the order of a release", () => {
  test("is the same however the nodes are listed", () => {
    fc.assert(
      fc.property(candidates, fc.constantFrom("1.0.0", "2.0.0"), (nodes, version) => {
        const uids = (list: readonly Candidate[]): string[] => orderOf(list, version).map((node) => node.uid);
        expect(uids(nodes.toReversed())).toEqual(uids(nodes));
      }),
    );
  });

  test("is another for another release", () => {
    const nodes = Array.from({ length: 20 }, (_, id) => ({ uid: `uid-${id}`, labels: {}, given: false }));
    expect(orderOf(nodes, "1.0.0")).not.toEqual(orderOf(nodes, "2.0.0"));
  });

  test("keeps the nodes that have the release before those that join", () => {
    fc.assert(
      fc.property(candidates, fc.nat(40), (nodes, count) => {
        const ordered = orderOf(nodes, "1.0.0");
        const given = new Set(ordered.slice(0, count).map((node) => node.uid));
        const newcomers = Array.from({ length: 10 }, (_, id) => ({
          uid: `new-${id}`,
          labels: {},
          given: false,
        }));
        const later = orderOf(
          [...newcomers, ...nodes.map((node) => ({ ...node, given: given.has(node.uid) }))],
          "1.0.0",
        );
        expect(new Set(later.slice(0, given.size).map((node) => node.uid))).toEqual(given);
      }),
    );
  });
});

describe("cohorts", () => {
  test("hold every node once, and sizes add up", () => {
    fc.assert(
      fc.property(candidates, (nodes) => {
        const cohorts = cohortsOf(STAGES, nodes, "1.0.0");
        const all = cohorts.flatMap((cohort) => cohort.members);
        expect(all.toSorted()).toEqual(nodes.map((node) => node.uid).toSorted());
        let size = 0;
        for (const cohort of cohorts) {
          size += cohort.members.length;
          expect(cohort.size).toBe(size);
        }
      }),
    );
  });

  test("with a percentage are rounded up and count the stages before them", () => {
    const nodes = Array.from(
      { length: 21 },
      (_, id): Candidate => ({
        uid: `uid-${id}`,
        labels: id < 2 ? { canary: "yes" } : {},
        given: false,
      }),
    );
    expect(cohortsOf(STAGES, nodes, "1.0.0").map(({ name, size }) => [name, size])).toEqual([
      ["canary", 2],
      ["tenth", 3],
      ["half", 11],
      ["rest", 21],
    ]);
  });

  test("end with the declared stages where these hold every node, and are one where none is declared", () => {
    const nodes = [{ uid: "a", labels: {}, given: false }];
    expect(
      cohortsOf([{ name: "all", count: "100%", soak: "0s" }], nodes, "1").map((cohort) => cohort.name),
    ).toEqual(["all"]);
    expect(cohortsOf([], [], "1").map((cohort) => cohort.name)).toEqual(["rest"]);
  });
});
