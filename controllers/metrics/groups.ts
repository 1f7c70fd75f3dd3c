/** What Prometheus is told of groups and releases. */
import type { UpdateGroup } from "../../api/update-group.ts";
import { isHalted } from "../gates/policy.ts";
import type { FleetSources } from "./fleet.ts";
import type { DeclareGauge, Put } from "./gauges.ts";
import { Tally } from "./gauges.ts";
import { knownReason } from "./nodes.ts";

export function declareGroupGauges(gauge: DeclareGauge, sources: FleetSources): void {
  const { groups, nodeUpdates, releases, fleet } = sources;
  const perGroup = (name: string, help: string, value: (group: UpdateGroup) => number | undefined): void => {
    gauge(name, help, ["group"], (put) => {
      for (const group of groups.list()) {
        const number = value(group);
        if (number !== undefined) put({ group: group.metadata.name }, number);
      }
    });
  };
  perGroup("slipway_group_nodes", "Nodes of a group.", ({ status }) => status?.nodes);
  perGroup(
    "slipway_group_updated_nodes",
    "Nodes of a group that are verified on its target.",
    ({ status }) => status?.updated,
  );
  perGroup(
    "slipway_group_updated_ratio",
    "Share of a group's nodes that are verified on its target.",
    ({ status }) => {
      const { nodes = 0, updated = 0 } = status ?? {};
      return nodes > 0 ? updated / nodes : undefined;
    },
  );
  perGroup(
    "slipway_group_failures",
    "Failures that count against a group's target.",
    ({ status }) => status?.failed ?? 0,
  );
  perGroup("slipway_group_halted", "1 while a group has stopped itself.", (group) =>
    isHalted(group) ? 1 : 0,
  );
  perGroup("slipway_group_paused", "1 while a person has paused a group.", ({ spec }) =>
    spec.paused ? 1 : 0,
  );
  gauge(
    "slipway_group_open",
    "1 while a group's reboots may begin, as the gates say it; the leader alone tells it.",
    ["group"],
    (put) => {
      for (const { group, open } of fleet()?.groupGates.values() ?? []) put({ group }, open ? 1 : 0);
    },
  );
  gauge(
    "slipway_group_progress",
    "1 for the reason of a group's condition Progressing.",
    ["group", "reason"],
    (put) => {
      for (const { metadata, status } of groups.list()) {
        const progressing = status?.conditions?.find(({ type }) => type === "Progressing");
        if (progressing !== undefined)
          put({ group: metadata.name, reason: knownReason(progressing.reason) }, 1);
      }
    },
  );
  gauge(
    "slipway_group_last_transition_timestamp_seconds",
    "When a node of the group last came to another step, in Unix time.",
    ["group"],
    (put) => {
      const tally = new Tally();
      for (const { spec, status } of nodeUpdates.list()) {
        const [last] = status?.transitions ?? [];
        if (last !== undefined) tally.most({ group: spec.group }, Date.parse(last.time) / 1000);
      }
      tally.tell(put);
    },
  );
  gauge(
    "slipway_release_quarantined",
    "1 for each release that is quarantined; the others have no series.",
    ["release"],
    (put) => tellQuarantined(releases.list(), put),
  );
}

function tellQuarantined(releases: ReturnType<FleetSources["releases"]["list"]>, put: Put): void {
  for (const { metadata, status } of releases) {
    const quarantined = status?.conditions?.find(({ type }) => type === "Quarantined");
    if (quarantined?.status === "True") put({ release: metadata.name }, 1);
  }
}
