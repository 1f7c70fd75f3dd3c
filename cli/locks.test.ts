import { expect, test } from "vitest";
import { locksOf } from "../api/locks.ts";
import { recorded } from "./explain/cases.ts";

function locks(file: string) {
  const { snapshot } = recorded(file);
  return locksOf(snapshot.groups, snapshot.budgets, snapshot.nodeUpdates);
}

test("a holder, with its phase and since when", () => {
  expect(locks("drain-blocked")).toEqual([
    {
      budget: "group/drain",
      limit: 1,
      unavailable: 1,
      holders: [
        {
          ...{ node: "node-08", phase: "Granted", step: "Draining", since: expect.stringMatching(/Z$/) },
          reason: expect.stringContaining("may not be evicted"),
        },
      ],
      waiting: [],
    },
  ]);
});

test("who waits for which budget", () => {
  expect(locks("budget-full")).toContainEqual({
    budget: "group/calm",
    limit: 1,
    unavailable: 1,
    holders: [],
    waiting: ["node-03"],
  });
});

test("the domains of a RebootBudget", () => {
  const { snapshot } = recorded("current");
  const domain = { members: 2, limit: 1, unavailable: 1 };
  const budget = {
    apiVersion: "slipway.dev/v1alpha1",
    kind: "RebootBudget",
    metadata: { name: "zones" },
    spec: { nodeSelector: { matchLabels: { a: "b" } }, maxUnavailable: 1, topologyKey: "zone" },
    status: { domains: [{ ...domain, domain: "east", holders: ["n1"] }] },
  };
  const found = locksOf([], [budget], snapshot.nodeUpdates);
  expect(found.map(({ budget: name, limit }) => `${name} ${limit}`)).toEqual(["budget/zones/zone=east 1"]);
});
