/** What the manager tells Prometheus of the fleet, besides what the runtime tells of itself. */
import { Counter, Gauge, type Registry } from "prom-client";
import type { NodeUpdate } from "../api/node-update.ts";
import type { Why } from "../api/reasons.ts";
import type { UpdateGroup } from "../api/update-group.ts";
import type { FleetSnapshot } from "../coordination/coordination.ts";
import type { Clock } from "../ports/clock.ts";
import type { Store } from "../runtime/store.ts";
import { isHalted } from "./gates/policy.ts";
import type { Plan } from "./grants/policy.ts";

export interface FleetSources {
  clock: Clock;
  nodeUpdates: Store<NodeUpdate>;
  groups: Store<UpdateGroup>;
  fleet: () => FleetSnapshot | undefined;
  plan: () => Plan;
  /** Wall clock, ms: when the gates were last renewed. */
  gatesRenewedAt: () => number | undefined;
}

export interface FleetMetrics {
  /** A node came to `step` for the reason in `why`. */
  transition(step: string, why: Why): void;
}

/** Gauges are read from `sources` at each scrape. */
export function createFleetMetrics(registry: Registry, sources: FleetSources): FleetMetrics {
  const registers = [registry];
  const steps = new Counter({
    name: "slipway_node_steps_total",
    help: "Steps that nodes came to, with the reason.",
    labelNames: ["step", "reason"],
    registers,
  });
  const gauge = (name: string, help: string, labelNames: string[], read: (gauge: Gauge) => void): void => {
    const own: Gauge = new Gauge({
      name,
      help,
      labelNames,
      registers,
      collect() {
        own.reset();
        read(own);
      },
    });
  };
  gauge("slipway_nodes", "Nodes by group, step and reason.", ["group", "step", "reason"], (own) => {
    for (const { spec, status } of sources.nodeUpdates.list()) {
      own.inc({ group: spec.group, step: status?.step ?? "Idle", reason: status?.reason ?? "" });
    }
  });
  gauge("slipway_grants", "Slots held, by group and phase.", ["group", "phase"], (own) => {
    for (const { grant, phase } of sources.fleet()?.grants.values() ?? [])
      own.inc({ group: grant.group, phase: phase.phase });
  });
  gauge("slipway_budget_holders", "Nodes that hold a place, by budget.", ["budget"], (own) => {
    for (const [budget, { holders }] of sources.fleet()?.budgets ?? []) own.set({ budget }, holders.size);
  });
  gauge("slipway_budget_limit", "Most nodes down at once, by budget.", ["budget"], (own) => {
    for (const [budget, { max }] of sources.fleet()?.budgetGates ?? []) own.set({ budget }, max);
  });
  gauge(
    "slipway_budget_unavailable",
    "Nodes that Kubernetes shows as down, by budget.",
    ["budget"],
    (own) => {
      for (const [budget, { unavailable }] of sources.fleet()?.budgetGates ?? [])
        own.set({ budget }, unavailable.length);
    },
  );
  gauge("slipway_budget_waiting", "Nodes that wait for a place, by budget.", ["budget"], (own) => {
    for (const budgets of sources.plan().short.values()) for (const budget of budgets) own.inc({ budget });
  });
  gauge(
    "slipway_group_updated_ratio",
    "Share of a group's nodes that are verified on its target.",
    ["group"],
    (own) => {
      for (const { metadata, status } of sources.groups.list()) {
        const { nodes = 0, updated = 0 } = status ?? {};
        if (nodes > 0) own.set({ group: metadata.name }, updated / nodes);
      }
    },
  );
  gauge("slipway_group_failures", "Failures that count against a group's target.", ["group"], (own) => {
    for (const { metadata, status } of sources.groups.list())
      own.set({ group: metadata.name }, status?.failed ?? 0);
  });
  gauge("slipway_group_halted", "1 while a group has stopped itself.", ["group"], (own) => {
    for (const group of sources.groups.list())
      own.set({ group: group.metadata.name }, isHalted(group) ? 1 : 0);
  });
  gauge("slipway_gates_age_seconds", "Age of what every grant and commit is checked against.", [], (own) => {
    const renewedAt = sources.gatesRenewedAt();
    if (renewedAt !== undefined) own.set((sources.clock.now() - renewedAt) / 1000);
  });
  gauge(
    "slipway_oldest_suspect_seconds",
    "How long the longest Suspect has been so; 0 without one.",
    [],
    (own) => {
      const since = sources.nodeUpdates
        .list()
        .flatMap(({ status }) =>
          status?.suspectSince === undefined ? [] : [Date.parse(status.suspectSince)],
        );
      own.set(since.length === 0 ? 0 : (sources.clock.now() - Math.min(...since)) / 1000);
    },
  );
  return { transition: (step, { reason }) => steps.inc({ step, reason }) };
}
