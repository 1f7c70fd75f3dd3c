import { expect, test } from "vitest";
import { type InLine, locksOf } from "../api/locks.ts";
import { API_VERSION } from "../api/meta.ts";
import { type RebootBudget, RebootBudgetSpec } from "../api/reboot-budget.ts";
import { type UpdateGroup, UpdateGroupSpec } from "../api/update-group.ts";
import { recorded } from "./explain/cases.ts";
import { unseenLine, waitingIn } from "./locks.ts";

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
      ...{ waiting: [], line: [] },
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
    ...{ waiting: ["node-03"], line: [] },
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

function group(name: string, labels: Record<string, string> | undefined, held: string[]): UpdateGroup {
  const since = "2026-01-01T00:00:00Z";
  const holders = held.map((machine) => ({ machine, protocol: "FleetLock", since }));
  return {
    ...{ apiVersion: API_VERSION, kind: "UpdateGroup", metadata: { name } },
    spec: UpdateGroupSpec.parse({
      ...{ nodeSelector: { matchLabels: { a: name } }, driver: "sentinel", windows: "Always" },
      topology: [{ key: "zone", maxUnavailable: 1 }],
      ...(labels === undefined ? {} : { machines: { labels } }),
    }),
    status: { machines: { incarnation: "i", held: held.length, holders } },
  };
}

function budget(name: string, spec: object): RebootBudget {
  return {
    ...{ apiVersion: API_VERSION, kind: "RebootBudget", metadata: { name } },
    spec: RebootBudgetSpec.parse({ maxUnavailable: 1, ...spec }),
  };
}

const waits = (machine: string, of = "edge"): InLine => ({
  ...{ machine, group: of, protocol: "FleetLock", since: "2026-01-01T00:00:00Z" },
});

test("machines without our agent hold, and wait for, each budget that binds those of their group", () => {
  const selects = { nodeSelector: { matchLabels: { site: "x" } } };
  const budgets = [
    budget("site", selects),
    budget("racks", { ...selects, topologyKey: "rack" }),
    budget("zones", { ...selects, topologyKey: "zone" }),
    budget("other", { nodeSelector: { matchLabels: { site: "y" } } }),
  ];
  const groups = [
    group("edge", { site: "x", zone: "east" }, ["box-1"]),
    group("past", undefined, ["box-2"]),
    group("tills", { site: "x" }, []),
  ];
  const line = [waits("box-3"), waits("till-1", "tills"), waits("box-4"), waits("box-5", "deleted")];
  const found = locksOf(groups, budgets, [], line).map((lock) => [
    lock.budget,
    lock.holders.map(({ node }) => node).join(" "),
    lock.line.map(({ machine }) => machine).join(" "),
    lock.inLine,
  ]);
  expect(found).toEqual([
    ["budget/site", "box-1", "box-3 till-1 box-4", 3],
    ["budget/zones/zone=east", "box-1", "box-3 box-4", 2],
    ["group/edge", "box-1", "box-3 box-4", 2],
    ["group/edge/zone=east", "box-1", "box-3 box-4", 2],
    // It serves none any more, and this one has not given back its slot.
    ["group/past", "box-2", "", 0],
    ["group/tills", "", "till-1", 1],
  ]);
});

test("of a long line the first are named, and how many more there are", () => {
  const line = Array.from({ length: 120 }, (_, n) => waits(`box-${n}`));
  const [lock] = locksOf([group("edge", {}, [])], [], [], line);
  if (lock === undefined) throw new Error("no lock");
  expect([lock.line.length, lock.line[0]?.machine, lock.inLine]).toEqual([50, "box-0", 120]);
  const now = Date.parse("2026-01-01T00:05:00Z");
  const three = "box-0 (FleetLock 5m), box-1 (FleetLock 5m), box-2 (FleetLock 5m) and 117 more";
  expect(waitingIn(lock, now, 3)).toBe(three);
  expect(waitingIn({ ...lock, waiting: ["node-1"] }, now, 3)).toBe(`node-1; ${three}`);
  expect(waitingIn(lock, now, 100)).toMatch(/box-49 \(FleetLock 5m\) and 70 more$/);
});

test("a line that nobody was asked for is not taken for an empty one", () => {
  const [lock] = locksOf([group("edge", {}, ["box-1"])], [], []);
  expect(lock).not.toHaveProperty("inLine");
  expect(unseenLine("the console does not know the token")).toBe(
    "which machines without our agent wait is not shown, because the console does not know the token; the console shows them under Reboot slots",
  );
});
