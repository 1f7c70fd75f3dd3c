/**
 * What Prometheus is told of budgets and slots. A budget by topology has as many domains as a
 * label has values, nodes even: its domains are added up, and `slipway_budget_full_domains` counts those at their limit.
 */
import type { FleetSources } from "./fleet.ts";
import { type DeclareGauge, Tally } from "./gauges.ts";

/** The name of a budget without its domain: `budget/etcd`, `group/pool/topology.kubernetes.io/zone`. */
export function withoutDomain(budget: string): string {
  const at = budget.indexOf("=");
  return at < 0 ? budget : budget.slice(0, at);
}

export function declareBudgetGauges(gauge: DeclareGauge, { fleet, plan }: FleetSources): void {
  gauge("slipway_grants", "Slots held, by group and phase.", ["group", "phase"], (put) => {
    const tally = new Tally();
    for (const { grant, phase } of fleet()?.grants.values() ?? [])
      tally.add({ group: grant.group, phase: phase.phase });
    tally.tell(put);
  });
  gauge("slipway_budget_holders", "Nodes that hold a place, by budget.", ["budget"], (put) => {
    const tally = new Tally();
    for (const [budget, { holders }] of fleet()?.budgets ?? [])
      tally.add({ budget: withoutDomain(budget) }, holders.size);
    tally.tell(put);
  });
  gauge("slipway_budget_limit", "Most nodes down at once, by budget.", ["budget"], (put) => {
    const tally = new Tally();
    for (const [budget, { max }] of fleet()?.budgetGates ?? [])
      tally.add({ budget: withoutDomain(budget) }, max);
    tally.tell(put);
  });
  gauge(
    "slipway_budget_unavailable",
    "Nodes that Kubernetes shows as down, by budget.",
    ["budget"],
    (put) => {
      const tally = new Tally();
      for (const [budget, { unavailable }] of fleet()?.budgetGates ?? [])
        tally.add({ budget: withoutDomain(budget) }, unavailable.length);
      tally.tell(put);
    },
  );
  gauge(
    "slipway_budget_full_domains",
    "Domains of a budget in which as many nodes are down or hold a place as it allows.",
    ["budget"],
    (put) => {
      const snapshot = fleet();
      const tally = new Tally();
      for (const [budget, { max, unavailable, granted }] of snapshot?.budgetGates ?? []) {
        const holders = snapshot?.budgets.get(budget)?.holders.keys() ?? [];
        const counted = new Set([...unavailable, ...(granted ?? []), ...holders]);
        tally.add({ budget: withoutDomain(budget) }, counted.size >= max ? 1 : 0);
      }
      tally.tell(put);
    },
  );
  gauge("slipway_budget_waiting", "Nodes that wait for a place, by budget.", ["budget"], (put) => {
    const tally = new Tally();
    for (const budgets of plan().short.values()) {
      for (const budget of new Set(budgets.map(withoutDomain))) tally.add({ budget });
    }
    tally.tell(put);
  });
}
