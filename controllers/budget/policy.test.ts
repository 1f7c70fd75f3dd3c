import { expect, test } from "vitest";
import { INFRASTRUCTURE_LABEL } from "../../api/labels.ts";
import type { RebootBudget } from "../../api/reboot-budget.ts";
import { group, node, nodeUpdate, pod } from "../fixtures.ts";
import { foundationOf } from "../foundation.ts";
import type { World } from "../world.ts";
import { decideBudgetStatus, downBecause, tabulate } from "./policy.ts";

const ZONE = "zone";

function shared(name: string, spec: Partial<RebootBudget["spec"]>): RebootBudget {
  return {
    apiVersion: "slipway.dev/v1alpha1",
    kind: "RebootBudget",
    metadata: { name },
    spec: { nodeSelector: {}, maxUnavailable: 1, ...spec },
  };
}

const names = ["a", "b", "c", "d"];
const world: Pick<World, "groups" | "budgets" | "nodes" | "nodeUpdates"> = {
  groups: [group("pool", { maxUnavailable: "50%", topology: [{ key: ZONE, maxUnavailable: "10%" }] })],
  budgets: [shared("rack", { topologyKey: ZONE }), shared("all", { maxUnavailable: 2 })],
  nodes: names.map((name, index) =>
    node(name, { ready: name !== "d", labels: index < 2 ? { [ZONE]: "east" } : {} }),
  ),
  nodeUpdates: ["a", "b", "c"].map((name) => nodeUpdate(name, "pool", undefined)),
};

test("a percent rounds down but is at least 1, of the members that it binds", () => {
  const { budgets } = tabulate(world, new Set());
  expect(budgets.get("group/pool")).toMatchObject({ max: 1, members: { length: 3 } });
  expect(budgets.get("group/pool/zone=east")).toMatchObject({ max: 1, members: { length: 2 } });
});

test("a node without the topology label is a domain of its own name", () => {
  const { of } = tabulate(world, new Set());
  expect(of.get("uid-a")).toEqual([
    "group/pool",
    "group/pool/zone=east",
    "budget/rack/zone=east",
    "budget/all",
  ]);
  expect(of.get("uid-c")).toEqual(["group/pool", "group/pool/zone=c", "budget/rack/zone=c", "budget/all"]);
});

test("a node that Slipway does not update counts in the shared budgets all the same", () => {
  const { of, members } = tabulate(world, new Set());
  expect(of.get("uid-d")).toEqual(["budget/rack/zone=d", "budget/all"]);
  expect(members.get("uid-d")?.down).toBe("is not Ready");
});

test("nodes that run gateways or etcd share a budget of 1, as do those that people label so", () => {
  const labelled = node("d", { labels: { [INFRASTRUCTURE_LABEL]: "true" } });
  const nodes = [...world.nodes.slice(0, 3), labelled];
  const pods = [
    pod("gw", "b"),
    { ...pod("pending", "a"), spec: {} },
    { ...pod("old", "c"), status: { phase: "Failed" as const } },
  ];
  const { budgets, of } = tabulate({ ...world, nodes, foundation: foundationOf(pods) }, new Set());
  expect(budgets.get("infrastructure")?.members.map(({ name }) => name)).toEqual(["b", "d"]);
  expect(budgets.get("infrastructure")?.max).toBe(1);
  expect(of.get("uid-b")).toContain("infrastructure");
  expect(tabulate(world, new Set()).budgets.has("infrastructure")).toBe(false);
});

test.each([
  ["is not Ready", node("a", { ready: false }), {}, true],
  ["is cordoned", node("a", { cordoned: true }), {}, true],
  ["is Suspect", node("a"), { step: "Suspect" }, true],
  ["is being verified", node("a"), { step: "Verifying" }, true],
  ["is not connected", undefined, {}, false],
  [undefined, undefined, {}, true],
  [undefined, node("a"), { step: "Idle" }, false],
] as const)("a node counts because it %s", (words, object, status, present) => {
  expect(downBecause(object, nodeUpdate("a", "pool", undefined, status), present)).toBe(words);
});

test("the status of a budget adds up its domains, the worst first", () => {
  const table = tabulate(world, new Set());
  const holders = ({ name }: { name: string }): Set<string> =>
    new Set(name.endsWith("east") ? ["uid-b"] : []);
  const status = decideBudgetStatus(shared("rack", { topologyKey: ZONE }), table, holders, (name) =>
    name.endsWith("east") ? 1 : 0,
  );
  expect(status).toMatchObject({ members: 4, limit: 3, unavailable: 2, holders: 1, waiting: 1 });
  expect(status.domains?.map(({ domain }) => domain)).toEqual(["d", "east", "c"]);
  expect(status.domains?.[1]).toEqual({
    domain: "east",
    members: 2,
    limit: 1,
    unavailable: 1,
    holders: ["b"],
  });
});
