/**
 * What the manager tells Prometheus of the fleet, besides what the runtime tells of itself.
 * Labels are names of objects that people make (groups, budgets, quarantined releases) and words
 * of the catalogue: nothing grows with the number of nodes.
 */
import { Counter, type Registry } from "prom-client";
import type { NodeUpdate } from "../../api/node-update.ts";
import type { Why } from "../../api/reasons.ts";
import type { Release } from "../../api/release.ts";
import type { UpdateGroup } from "../../api/update-group.ts";
import type { FleetSnapshot } from "../../coordination/coordination.ts";
import type { Clock } from "../../ports/clock.ts";
import type { Store } from "../../runtime/store.ts";
import type { Plan } from "../grants/policy.ts";
import { declareBudgetGauges } from "./budgets.ts";
import { gaugesOf } from "./gauges.ts";
import { declareGroupGauges } from "./groups.ts";
import { declareNodeGauges } from "./nodes.ts";

export interface FleetSources {
  clock: Clock;
  nodeUpdates: Pick<Store<NodeUpdate>, "list">;
  groups: Pick<Store<UpdateGroup>, "list">;
  releases: Pick<Store<Release>, "list">;
  /** The newest read of etcd; undefined in a process that does not lead. */
  fleet: () => FleetSnapshot | undefined;
  plan: () => Plan;
  /** Wall clock, ms: when the gates were last renewed. */
  gatesRenewedAt: () => number | undefined;
  /** Wall clock, ms: when the newest read of etcd began. */
  fleetReadAt: () => number | undefined;
}

export interface FleetMetrics {
  /** A node came to `step` for the reason in `why`. */
  transition(step: string, why: Why): void;
  /** A webhook was told of something, or not. */
  notified(outcome: "sent" | "failed" | "dropped"): void;
}

/** Gauges are read from `sources` at each scrape. */
export function createFleetMetrics(registry: Registry, sources: FleetSources): FleetMetrics {
  const steps = new Counter({
    name: "slipway_node_steps_total",
    help: "Steps that nodes came to, with the reason.",
    labelNames: ["step", "reason"],
    registers: [registry],
  });
  const notices = new Counter({
    name: "slipway_notifications_total",
    help: "Notices for webhooks of groups, by what came of them.",
    labelNames: ["outcome"],
    registers: [registry],
  });
  const gauge = gaugesOf(registry);
  declareNodeGauges(gauge, sources);
  declareBudgetGauges(gauge, sources);
  declareGroupGauges(gauge, sources);
  const age = (name: string, help: string, since: () => number | undefined): void => {
    gauge(name, help, [], (put) => {
      const at = since();
      if (at !== undefined) put({}, (sources.clock.now() - at) / 1000);
    });
  };
  age(
    "slipway_gates_age_seconds",
    "Age of what every grant and commit is checked against; the leader alone tells it.",
    sources.gatesRenewedAt,
  );
  age(
    "slipway_fleet_age_seconds",
    "Age of the leader's newest read of etcd: how far its view lags.",
    sources.fleetReadAt,
  );
  return {
    transition: (step, { reason }) => steps.inc({ step, reason }),
    notified: (outcome) => notices.inc({ outcome }),
  };
}
