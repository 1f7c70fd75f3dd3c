/** What Prometheus is told of nodes: by group, never by node, so that a large fleet costs no more series than a small one. */
import type { NodeUpdate } from "../../api/node-update.ts";
import { type Reason, reasons } from "../../api/reasons.ts";
import { uidOf } from "../node-update/identity.ts";
import type { FleetSources } from "./fleet.ts";
import { type DeclareGauge, type Put, Tally } from "./gauges.ts";

/** Steps in which an agent is away by design, or known to be. */
const AWAY = new Set(["Rebooting", "Suspect"]);

/** A reason that the catalogue has, so that no machine invents label values. */
export function knownReason(reason: string | undefined): Reason | "Other" | "" {
  if (reason === undefined || reason === "") return "";
  return Object.hasOwn(reasons, reason) ? (reason as Reason) : "Other";
}

export function declareNodeGauges(gauge: DeclareGauge, { nodeUpdates, fleet, clock }: FleetSources): void {
  /** By group; nothing before etcd was read. */
  const countAgents = (put: Put, counts: (update: NodeUpdate, present: boolean) => boolean): void => {
    const present = fleet()?.present;
    if (present === undefined) return;
    const tally = new Tally();
    for (const update of nodeUpdates.list()) {
      const counted = counts(update, present.has(uidOf(update) ?? ""));
      tally.add({ group: update.spec.group }, counted ? 1 : 0);
    }
    tally.tell(put);
  };
  gauge("slipway_nodes", "Nodes by group, step and reason.", ["group", "step", "reason"], (put) => {
    const tally = new Tally();
    for (const { spec, status } of nodeUpdates.list()) {
      tally.add({
        group: spec.group,
        step: status?.step ?? "Idle",
        reason: knownReason(status?.reason),
      });
    }
    tally.tell(put);
  });
  gauge(
    "slipway_oldest_step_seconds",
    "How long the node that has been in a step longest has been in it, by group.",
    ["group", "step"],
    (put) => {
      const tally = new Tally();
      for (const { spec, status } of nodeUpdates.list()) {
        const since = stepSince(status);
        if (status?.step === undefined || status.step === "Idle" || since === undefined) continue;
        tally.most({ group: spec.group, step: status.step }, Math.max(0, clock.now() - since) / 1000);
      }
      tally.tell(put);
    },
  );
  gauge(
    "slipway_oldest_suspect_seconds",
    "How long the longest Suspect has been so; 0 without one.",
    [],
    (put) => {
      const since = nodeUpdates
        .list()
        .flatMap(({ status }) =>
          status?.suspectSince === undefined ? [] : [Date.parse(status.suspectSince)],
        );
      put({}, since.length === 0 ? 0 : (clock.now() - Math.min(...since)) / 1000);
    },
  );
  gauge(
    "slipway_agents_connected",
    "Nodes whose agent has a session with a gateway, by group; the leader alone tells it.",
    ["group"],
    (put) => countAgents(put, (_, present) => present),
  );
  gauge(
    "slipway_agents_missing",
    "Nodes without a session that neither reboot nor are Suspect, by group; the leader alone tells it.",
    ["group"],
    (put) => countAgents(put, ({ status }, present) => !present && !AWAY.has(status?.step ?? "")),
  );
}

/** Wall clock, ms: when the node came to its step; the history tells it, `since` is that of the reason. */
export function stepSince(status: NodeUpdate["status"]): number | undefined {
  const { step, transitions = [], since } = status ?? {};
  let at = since;
  for (const transition of transitions) {
    if (transition.step !== step) break;
    at = transition.time;
  }
  return at === undefined ? undefined : Date.parse(at);
}
