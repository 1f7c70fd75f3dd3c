/** What a plan is made of, in a quiet fleet. For tests. */
import { fleet, group, NOW, node, nodeUpdate, release, stagedSince } from "../fixtures.ts";
import type { PlanSnapshot, planGrants } from "./policy.ts";

/** Nodes of group `pool` that have 1.1.0 staged and wait, those named first for longest. */
export function planSnapshot(names: readonly string[], changes: Partial<PlanSnapshot> = {}): PlanSnapshot {
  return {
    groups: [group("pool")],
    budgets: [],
    windows: [],
    releases: [release("1.1.0")],
    nodes: names.map((name) => node(name)),
    nodeUpdates: names.map((name, index) =>
      nodeUpdate(name, "pool", "os-1.1.0", stagedSince(NOW - 1_000_000 + index * 1000)),
    ),
    fleet: fleet(names.map((name) => `uid-${name}`)),
    claims: new Set(),
    blocked: new Map(),
    readings: new Map(),
    ...changes,
  };
}

/** Names of the nodes that a plan takes, in its order. */
export function taken(plan: ReturnType<typeof planGrants>): string[] {
  return plan.take.map(({ node: name }) => name);
}
