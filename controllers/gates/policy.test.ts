import { expect, test } from "vitest";
import { timestamp } from "../../api/meta.ts";
import { RebootWindowSpec } from "../../api/reboot-window.ts";
import { fleet, group, live, NOW, node, nodeUpdate, release } from "../fixtures.ts";
import type { World } from "../world.ts";
import { decideGates, GATE_VALIDITY } from "./policy.ts";

const world: World = {
  groups: [group("pool", { paused: true }), group("night", { windows: "OnlyInWindows" })],
  budgets: [],
  windows: [],
  releases: [release("1.1.0"), release("1.2.0")],
  nodes: [node("a"), node("b", { cordoned: true })],
  nodeUpdates: [nodeUpdate("a", "pool", undefined), nodeUpdate("b", "pool", undefined)],
};

test("a gate is good for 30 s from the beginning of the read that it rests on", () => {
  const { groups, budgets } = decideGates(world, fleet([]), NOW);
  for (const gate of [...groups, ...budgets]) expect(gate.validUntil).toBe(NOW + GATE_VALIDITY);
});

test("pause, windows and who is down come through", () => {
  const { groups, budgets } = decideGates(world, fleet([]), NOW);
  expect(groups).toMatchObject([
    { group: "pool", paused: true, open: true, openUntil: null, freezesAt: null },
    { group: "night", paused: false, open: false },
  ]);
  expect(budgets.find(({ budget }) => budget === "group/pool")).toMatchObject({
    max: 1,
    unavailable: ["uid-b"],
  });
});

test("the next change freeze comes through, also where it does not close the group yet", () => {
  const at = NOW + 3_600_000;
  const freeze = {
    apiVersion: "slipway.dev/v1alpha1",
    kind: "RebootWindow",
    metadata: { name: "freeze" },
    spec: RebootWindowSpec.parse({
      start: timestamp(at).slice(11, 16),
      duration: "1h",
      mode: "Deny",
      groupSelector: {},
    }),
  };
  const { groups } = decideGates({ ...world, windows: [freeze] }, fleet([]), NOW);
  const begins = Math.floor(at / 60_000) * 60_000;
  expect(groups.map(({ freezesAt }) => freezesAt)).toEqual([begins, begins]);
});

test("a grant counts in a budget that came after it, and once in one that it names", () => {
  const shared = {
    apiVersion: "slipway.dev/v1alpha1",
    kind: "RebootBudget",
    metadata: { name: "new" },
    spec: { nodeSelector: {}, maxUnavailable: 1 },
  };
  const grants = new Map([["uid-a", live("uid-a", { phase: "Committed" })]]);
  const { budgets } = decideGates({ ...world, budgets: [shared] }, fleet(["uid-a"], { grants }), NOW);
  const granted = Object.fromEntries(budgets.map((gate) => [gate.budget, gate.granted]));
  expect(granted).toEqual({ "group/pool": [], "group/night": [], "budget/new": ["uid-a"] });
});

test("what is quarantined or being deleted is granted to nobody, and a halt binds", () => {
  const [good, bad] = world.releases;
  if (good === undefined || bad === undefined) throw new Error("two releases expected");
  const holds = (type: string) => ({
    type,
    status: "True" as const,
    reason: "x",
    message: "",
    lastTransitionTime: timestamp(NOW),
  });
  const releases = [
    { ...good, metadata: { ...good.metadata, deletionTimestamp: timestamp(NOW) } },
    { ...bad, status: { conditions: [holds("Quarantined")] } },
  ];
  const groups = [{ ...group("pool"), status: { conditions: [holds("Halted")] } }];
  expect(decideGates({ ...world, groups, releases }, fleet([]), NOW).groups).toMatchObject([
    { halted: true, quarantined: ["os-1.1.0", "os-1.2.0"] },
  ]);
});
