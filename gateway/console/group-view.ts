/** UpdateGroups, Channels and Releases as the console shows them. */
import type { Channel } from "../../api/channel.ts";
import type { Condition } from "../../api/meta.ts";
import type { Release } from "../../api/release.ts";
import type { UpdateGroup } from "../../api/update-group.ts";
import type * as view from "../../console/contract.ts";

export interface Declared {
  groups: readonly UpdateGroup[];
  channels: readonly Channel[];
  releases: readonly Release[];
}

/** Of a status' failures. */
const SHOWN_FAILURES = 10;

export function conditionOf(
  status: { conditions?: readonly Condition[] | undefined } | undefined,
  type: string,
): Condition | undefined {
  return status?.conditions?.find((condition) => condition.type === type);
}

function reasonOf(condition: Condition | undefined): view.Reason | undefined {
  if (condition === undefined) return undefined;
  const { reason, message, lastTransitionTime } = condition;
  return { reason, message, since: lastTransitionTime };
}

/** Why it has no effect; undefined where it has, or nobody looked yet. */
export function refusedOf(
  status: { conditions?: readonly Condition[] | undefined } | undefined,
): view.Reason | undefined {
  const accepted = conditionOf(status, "Accepted");
  return accepted?.status === "False" ? reasonOf(accepted) : undefined;
}

export function viewGroup(
  group: UpdateGroup,
  { channels, releases }: Omit<Declared, "groups">,
  /** Its machines without our agent, by version. */
  foreign: ReadonlyMap<string, number> = new Map(),
): view.Group {
  const { metadata, spec, status } = group;
  const followed = channels.find((channel) => channel.metadata.name === spec.channel);
  const target = releases.find((release) => release.metadata.name === status?.target);
  const { state, why } = stateOf(group);
  const version = status?.version ?? target?.spec.version;
  return {
    name: metadata.name,
    driver: spec.driver,
    channel: spec.channel,
    pinned: spec.release,
    target: status?.target,
    version,
    state,
    why,
    paused: spec.paused,
    stages: (status?.stages ?? []).map(({ name, size, verified, openedAt, passedAt }) => ({
      ...{ name, size, verified, openedAt, passedAt },
      state: passedAt !== undefined ? "Passed" : openedAt !== undefined ? "Open" : "Waiting",
    })),
    stage: status?.stage,
    counts: {
      nodes: status?.nodes ?? 0,
      updated: status?.updated ?? 0,
      inFlight: status?.inFlight ?? 0,
      failed: status?.failed ?? 0,
      unavailable: status?.unavailable ?? 0,
      limit: status?.limit,
      foreign: [...foreign.values()].reduce((sum, count) => sum + count, 0),
      foreignUpdated: version === undefined ? 0 : (foreign.get(version) ?? 0),
    },
    failures: (status?.failures ?? []).slice(0, SHOWN_FAILURES).map(({ node, ...failure }) => ({
      machine: node,
      ...failure,
    })),
    nextOpening: status?.nextOpening,
    previous: followed?.status?.previous,
    kubectl: `kubectl slipway rollout status ${metadata.name}`,
  };
}

function stateOf(group: UpdateGroup): Pick<view.Group, "state" | "why"> {
  const { spec, status } = group;
  const progressing = conditionOf(status, "Progressing");
  const why = reasonOf(progressing);
  const halted = conditionOf(status, "Halted");
  if (halted?.status === "True") return { state: "Halted", why: reasonOf(halted) };
  if (spec.paused) {
    const message = "It is paused: nothing new begins; what has committed ends.";
    return { state: "Paused", why: { reason: "Paused", message, since: status?.gate?.since } };
  }
  if (spec.strategy === "Off") return { state: "Off", why };
  if (progressing?.reason === "UpToDate") return { state: "UpToDate", why };
  const moves = progressing?.status === "True" || (status?.inFlight ?? 0) > 0;
  return { state: moves ? "Updating" : "Waiting", why };
}

export function viewChannel(
  { metadata, spec, status }: Channel,
  { groups, releases }: Omit<Declared, "channels">,
): view.Channel {
  const { name } = metadata;
  return {
    name,
    release: spec.release,
    version: releases.find((release) => release.metadata.name === spec.release)?.spec.version,
    architectures: (spec.architectures ?? []).map(({ architecture, release }) => ({ architecture, release })),
    previous: status?.previous,
    promotions: (status?.promotions ?? []).map(({ release, time }) => ({ release, time })),
    groups: namesOf(groups.filter((group) => group.spec.channel === name)),
    refused: refusedOf(status),
    kubectl: `kubectl get channel ${name} -o yaml`,
  };
}

export function viewRelease(
  { metadata, spec, status }: Release,
  { groups, channels }: Omit<Declared, "releases">,
  quarantinedByPerson: boolean,
): view.Release {
  const { name } = metadata;
  const quarantined = conditionOf(status, "Quarantined");
  const is = quarantined?.status === "True";
  const architectures = [...spec.payloads, ...(spec.omaha ?? [])].map(({ architecture }) => architecture);
  return {
    name,
    version: spec.version,
    product: spec.product,
    architectures: [...new Set(architectures)].toSorted(),
    createdAt: metadata.creationTimestamp,
    steppingStone: spec.steppingStone,
    running: status?.running ?? 0,
    failed: status?.failed ?? 0,
    quarantined: is ? reasonOf(quarantined) : undefined,
    quarantinedBy: is ? (quarantinedByPerson ? "Person" : "Halt") : undefined,
    refused: refusedOf(status),
    channels: namesOf(
      channels.filter(
        ({ spec: of }) => of.release === name || of.architectures?.some(({ release }) => release === name),
      ),
    ),
    groups: namesOf(groups.filter((group) => group.status?.target === name)),
    kubectl: `kubectl get release ${name} -o yaml`,
  };
}

function namesOf(objects: readonly { metadata: { name: string } }[]): string[] {
  return objects.map(({ metadata }) => metadata.name).toSorted();
}
