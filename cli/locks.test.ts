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

test("a machine without our agent says why it holds a slot: what a person said, or how it asked", () => {
  const { snapshot } = recorded("drain-blocked");
  const since = "2026-11-23T02:00:00Z";
  const holders = [
    { machine: "a", protocol: "Locksmith", since, reason: "it is being moved" },
    { machine: "b", protocol: "FleetLock", since },
  ];
  const groups = snapshot.groups.map((group) => ({
    ...group,
    status: { ...group.status, machines: { incarnation: "one", held: 2, holders } },
  }));
  const found = locksOf(groups as typeof snapshot.groups, [], []).flatMap((lock) => lock.holders);
  expect(found.map(({ node, reason }) => [node, reason])).toEqual([
    ["a", "it is being moved"],
    ["b", "It asked by FleetLock."],
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
