/** Nodes without an agent of ours whose own client asks for their reboot. */
import { expect, it } from "vitest";
import type { RebootRequest } from "../../coordination/records.ts";
import { fleet, group, NOW, node } from "../fixtures.ts";
import { planSnapshot, taken } from "./fixtures.ts";
import { planGrants } from "./policy.ts";

const request: RebootRequest = { protocol: "FleetLock", group: "pool", since: NOW, seenAt: NOW };
/** `present`: whose agents are connected. */
const asks = (
  uids: readonly string[],
  present: readonly string[] = [],
  change: Partial<RebootRequest> = {},
) =>
  fleet([], {
    present: new Set(present),
    requests: new Map(uids.map((uid) => [uid, { ...request, ...change }])),
  });

it("get a slot in their turn as any node does, for a reboot and no release", () => {
  const snapshot = planSnapshot(["a", "b"], { fleet: asks(["uid-a", "uid-b"]) });
  const plan = planGrants(snapshot, NOW);
  expect(plan.take).toMatchObject([
    {
      ...{ node: "a", release: "", plain: false, budgets: ["group/pool"], aliases: ["foreign/a"] },
      requested: { protocol: "FleetLock", boot: "boot-1" },
      why: { message: "Its own client asks for a reboot, by FleetLock." },
    },
  ]);
  expect(plan.waiting.get("uid-b")).toMatchObject({ reason: "WaitingForTurn" });
});

it.each([
  ["that does not ask", asks([])],
  ["whose agent is there: it asks itself", asks(["uid-a"], ["uid-a"])],
  ["of another group", asks(["uid-a"], [], { group: "other" })],
])("no slot for one %s", (_, of) => {
  expect(taken(planGrants(planSnapshot(["a"], { fleet: of }), NOW))).toEqual([]);
});

it.each([
  ["Paused", { paused: true }],
  ["WaitingForWindow", { windows: "OnlyInWindows" }],
])("wait for what all wait for: %s", (reason, spec) => {
  const snapshot = planSnapshot(["a"], { fleet: asks(["uid-a"]), groups: [group("pool", spec)] });
  const plan = planGrants(snapshot, NOW);
  expect(plan.take).toEqual([]);
  expect(plan.waiting.get("uid-a")?.reason).toMatch(reason === "Paused" ? "Paused" : /Window|Opening/);
});

it("wait while kured says that it reboots the node", () => {
  const busy = node("a");
  busy.metadata.annotations = { "weave.works/kured-reboot-in-progress": "x" };
  const plan = planGrants(planSnapshot(["a"], { fleet: asks(["uid-a"]), nodes: [busy] }), NOW);
  expect(plan.waiting.get("uid-a")?.reason).toBe("OtherCoordinator");
});

it("goes on for a node that updates by Omaha, which holds the only place for it", () => {
  const machineId = "0123456789abcdef0123456789abcdef";
  const flatcar = node("a");
  if (flatcar.status?.nodeInfo !== undefined) flatcar.status.nodeInfo.machineID = machineId;
  const held = (holder: string) => ({
    budgets: new Map([["group/pool", { seq: 1, holders: new Map([[holder, NOW]]) }]]),
  });
  const plan = (holder: string) =>
    planGrants(planSnapshot(["a"], { nodes: [flatcar], fleet: fleet(["uid-a"], held(holder)) }), NOW);
  expect(taken(plan(machineId))).toEqual(["a"]);
  expect(plan("another").waiting.get("uid-a")?.reason).toBe("WaitingForBudget");
});
