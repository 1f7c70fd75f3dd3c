import { expect, it } from "vitest";
import { MACHINES_ANNOTATION, STEAL_MACHINE_ANNOTATION } from "../../api/labels.ts";
import { Machines, type MachinesStatus } from "../../api/machines.ts";
import type { UpdateGroup } from "../../api/update-group.ts";
import type { LiveGrant } from "../../coordination/coordination.ts";
import type { MachineTotals } from "../../coordination/records.ts";
import { fleet, group, live, NOW, node, nodeUpdate } from "../fixtures.ts";
import { decideGates } from "../gates/policy.ts";
import type { World } from "../world.ts";
import { isConfirmed, machinesStatus, stealOf } from "./policy.ts";

function served(status?: Partial<MachinesStatus>, annotations: Record<string, string> = {}): UpdateGroup {
  const made = group("edge", { machines: { labels: { rack: "a" } } });
  made.metadata.annotations = annotations;
  if (status !== undefined)
    made.status = { machines: { incarnation: "first", held: 0, holders: [], ...status } };
  return made;
}
const holder = (machine: string, at: number, of = "edge"): [string, LiveGrant] => {
  const made = live(machine, { phase: "Committed" });
  return [
    machine,
    { ...made, grant: { ...made.grant, node: machine, group: of, at, foreign: { protocol: "FleetLock" } } },
  ];
};
const holding = (incarnation: string | undefined, ...holders: [string, LiveGrant][]) => ({
  ...{ incarnation, grants: new Map(holders), machineTotals: new Map<string, MachineTotals>() },
});

it("says who holds a slot, longest first, and of this group only", () => {
  const fleetNow = holding("first", holder("b", NOW), holder("a", NOW - 1000), holder("x", NOW, "other"));
  expect(machinesStatus(served({}), fleetNow)).toEqual({
    incarnation: "first",
    held: 2,
    holders: [
      { machine: "a", protocol: "FleetLock", since: new Date(NOW - 1000).toISOString().replace(".000", "") },
      { machine: "b", protocol: "FleetLock", since: new Date(NOW).toISOString().replace(".000", "") },
    ],
  });
});

it("begins with the incarnation that etcd has, and says nothing where no machine is served", () => {
  expect(machinesStatus(served(), holding("first"))).toMatchObject({ incarnation: "first", held: 0 });
  expect(machinesStatus(group("edge"), holding("first"))).toBeUndefined();
  expect(machinesStatus(served(), holding(undefined))).toBeUndefined();
});

it("keeps what it knew of an etcd that is gone, until a person confirms the new one", () => {
  const before = {
    held: 1,
    holders: [{ machine: "a", protocol: "FleetLock", since: "2026-11-23T02:00:00Z" }],
  };
  const lost = served(before);
  expect(isConfirmed(lost, "second")).toBe(false);
  expect(machinesStatus(lost, holding("second"))).toEqual({
    incarnation: "first",
    ...before,
    unconfirmed: "second",
  });
  expect(
    machinesStatus(served(before, { [MACHINES_ANNOTATION]: "third" }), holding("second"))?.incarnation,
  ).toBe("first");
  expect(machinesStatus(served(before, { [MACHINES_ANNOTATION]: "second" }), holding("second"))).toEqual({
    ...{ incarnation: "second", held: 0, holders: [] },
  });
});

it("says how many there are as the gateways told last, and goes on to while they tell nothing", () => {
  const versions = [{ version: "1.0.0", machines: 3 }];
  const counts = { known: 3, updating: 1, failed: 0, versions };
  const machineTotals = new Map([["edge", { ...counts, at: NOW }]]);
  const told = machinesStatus(served(), { ...holding("first"), machineTotals });
  expect(told).toEqual({ incarnation: "first", held: 0, holders: [], ...counts });
  expect(machinesStatus(served(told), holding("first"))).toEqual(told);
  expect(machinesStatus(served(told), { ...holding("second"), machineTotals })).toMatchObject(counts);
  machineTotals.set("edge", { ...counts, known: 0, versions: [], at: NOW });
  expect(machinesStatus(served(told), { ...holding("first"), machineTotals })).toMatchObject({
    ...{ known: 0, versions: [] },
  });
});

it("names whose slot a person frees", () => {
  const asked = served({}, { [STEAL_MACHINE_ANNOTATION]: "a: it burnt: all of it" });
  const fleetNow = holding("first", holder("a", NOW));
  expect(stealOf(asked, fleetNow)).toMatchObject({
    machine: "a",
    reason: "it burnt: all of it",
    live: expect.anything(),
  });
  expect(stealOf(served({}, { [STEAL_MACHINE_ANNOTATION]: "b" }), fleetNow)).toEqual({
    ...{ machine: "b", reason: "no reason given", live: undefined },
  });
  expect(stealOf(served({}), fleetNow)).toBeUndefined();
});

const budget = (name: string, spec: object) =>
  ({ ...group("x"), kind: "RebootBudget", metadata: { name }, spec }) as unknown as World["budgets"][number];

function gatesOf(of: UpdateGroup, incarnation: string) {
  const world: World = {
    ...{ groups: [of], windows: [], releases: [], nodes: [node("n1", { labels: { rack: "a" } })] },
    nodeUpdates: [nodeUpdate("n1", "pool", undefined)],
    budgets: [
      budget("all", { nodeSelector: {}, maxUnavailable: 2 }),
      budget("racks", { nodeSelector: {}, maxUnavailable: 1, topologyKey: "rack" }),
      budget("zones", { nodeSelector: {}, maxUnavailable: 1, topologyKey: "zone" }),
      budget("others", { nodeSelector: { matchLabels: { rack: "b" } }, maxUnavailable: 1 }),
    ],
  };
  return decideGates(world, { ...fleet([]), incarnation }, NOW);
}

it("lets machines in only once the status names the incarnation, by the budgets that their labels choose", () => {
  expect(gatesOf(served(), "first").groups[0]?.machines).toBeUndefined();
  const gates = gatesOf(served({}), "first");
  expect(gates.groups[0]?.machines).toEqual({
    budgets: ["group/edge", "budget/all", "budget/racks/rack=a"],
    needs: 360_000,
    open: false,
  });
  expect(gates.budgets.every(({ unconfirmed }) => unconfirmed === undefined)).toBe(true);
});

it("has updates without a slot only by a person's word", () => {
  const asks = served({});
  asks.spec.machines = Machines.parse({ slotFor: "Reboot" });
  expect(gatesOf(asks, "first").groups[0]?.machines?.slotFor).toBe("Reboot");
  asks.spec.machines = Machines.parse({});
  expect(gatesOf(asks, "first").groups[0]?.machines).not.toHaveProperty("slotFor");
});

it("closes every budget of theirs while nobody knows who holds a slot", () => {
  const { groups, budgets } = gatesOf(served({}), "second");
  expect(groups[0]?.machines).toBeUndefined();
  const closed = budgets.flatMap(({ budget: name, unconfirmed }) =>
    unconfirmed === undefined ? [] : [name],
  );
  expect(closed.toSorted()).toEqual(["budget/all", "budget/racks/rack=a", "group/edge"]);
});

it("asks for a secret wherever a budget is shared with Nodes, whatever the group says", () => {
  const open = served({});
  open.spec.machines = Machines.parse({ authentication: "None", labels: { rack: "a" } });
  expect(gatesOf(open, "first").groups[0]?.machines?.open).toBe(false);
  open.spec.machines = Machines.parse({ authentication: "None", labels: { rack: "c" } });
  const alone = decideGates(
    { groups: [open], budgets: [], windows: [], releases: [], nodes: [node("n1")], nodeUpdates: [] },
    { ...fleet([]), incarnation: "first" },
    NOW,
  );
  expect(alone.groups[0]?.machines?.open).toBe(true);
});
