/** One node or plain machine with everything in the snapshot that bears on it. */
import { HOLD_ANNOTATION, REBOOT_ANNOTATION } from "../../api/labels.ts";
import type { Condition } from "../../api/meta.ts";
import type { NodeUpdate } from "../../api/node-update.ts";
import type { Release } from "../../api/release.ts";
import { matches } from "../../api/selector.ts";
import type { UpdateGroup } from "../../api/update-group.ts";
import type { Node } from "../../runtime/core.ts";
import type { Snapshot } from "../snapshot.ts";

export interface Subject {
  name: string;
  /** The Node with the UID that the NodeUpdate names; undefined for a plain machine, and where it is gone. */
  node: Node | undefined;
  update: NodeUpdate | undefined;
  /** The group of the NodeUpdate; without one the only group that selects the Node. */
  group: UpdateGroup | undefined;
  /** Groups that select the Node and are not being deleted. */
  claimants: readonly UpdateGroup[];
  /** Why a person holds it; undefined if nobody does. */
  held: string | undefined;
  /** What the group should run, by the specs alone; undefined for the driver sentinel. */
  target: Target | undefined;
}

/** A subject with NodeUpdate and group. */
export type Member = Subject & { update: NodeUpdate; group: UpdateGroup };

/** `release` is undefined where no object of that name exists. */
export interface Target {
  name: string | undefined;
  release: Release | undefined;
  /** Name of the Channel that is missing. */
  missingChannel?: string;
}

/** The node, or plain machine, that `name` means: a Node, a NodeUpdate, or a machine id. */
export function subjectOf(snapshot: Snapshot, name: string): Subject | undefined {
  const update = snapshot.nodeUpdates.find(
    ({ metadata, spec }) => metadata.name === name || spec.machineRef?.machineId === name,
  );
  const named = snapshot.nodes.find(({ metadata }) => metadata.name === (update?.spec.nodeName ?? name));
  if (update === undefined && named === undefined) return undefined;
  const other = update !== undefined && update.spec.nodeUID !== named?.metadata.uid;
  const node = update?.spec.machineRef !== undefined || other ? undefined : named;
  const claimants =
    node === undefined
      ? []
      : snapshot.groups.filter(
          ({ metadata, spec }) =>
            metadata.deletionTimestamp === undefined && matches(spec.nodeSelector, node.metadata.labels),
        );
  const own = snapshot.groups.find(({ metadata }) => metadata.name === update?.spec.group);
  const group = update === undefined ? (claimants.length === 1 ? claimants[0] : undefined) : own;
  const architecture = update?.status?.architecture ?? node?.status?.nodeInfo?.architecture;
  return {
    name: update?.metadata.name ?? name,
    node,
    update,
    group,
    claimants,
    held: node?.metadata.annotations?.[HOLD_ANNOTATION] ?? update?.metadata.annotations?.[HOLD_ANNOTATION],
    target: group === undefined ? undefined : targetOf(snapshot, group, architecture),
  };
}

/** What `group` should run on machines of `architecture`, by the specs; undefined for the driver sentinel. */
export function targetOf(
  snapshot: Pick<Snapshot, "channels" | "releases">,
  { spec }: Pick<UpdateGroup, "spec">,
  architecture: string | undefined,
): Target | undefined {
  if (spec.driver === "sentinel") return undefined;
  let name = spec.release;
  if (spec.channel !== undefined) {
    const channel = snapshot.channels.find(({ metadata }) => metadata.name === spec.channel);
    if (channel === undefined) return { name: undefined, release: undefined, missingChannel: spec.channel };
    const own = channel.spec.architectures?.find((entry) => entry.architecture === architecture);
    name = own?.release ?? channel.spec.release;
  }
  return { name, release: snapshot.releases.find(({ metadata }) => metadata.name === name) };
}

/** Whether its own client, and no agent, asks for a reboot. */
export function isRequested(status: NodeUpdate["status"]): boolean {
  return status?.step === "Staged" && status.connected !== true && status.reason !== "AgentLost";
}

/** Why a person asked for a reboot that has not come to its end; undefined if nobody did. */
export function rebootAskedFor(update: NodeUpdate | undefined): string | undefined {
  const asked = update?.metadata.annotations?.[REBOOT_ANNOTATION];
  // A manager that acts on it remembers the last one that took effect.
  const { rebooted } = update?.status ?? {};
  return asked === rebooted ? undefined : asked;
}

/** Whether `rootHash` is one of the release's images. */
export function isImageOf(release: Release | undefined, rootHash: string | undefined): boolean {
  return (
    rootHash !== undefined && release?.spec.payloads.some((payload) => payload.rootHash === rootHash) === true
  );
}

export function conditionOf(
  object: { status?: { conditions?: readonly Condition[] | undefined } | undefined } | undefined,
  type: string,
): Condition | undefined {
  return object?.status?.conditions?.find((condition) => condition.type === type);
}

export function holds(
  object: { status?: { conditions?: readonly Condition[] | undefined } | undefined } | undefined,
  type: string,
): boolean {
  return conditionOf(object, type)?.status === "True";
}

/** How long after its last renewal a leader counts as gone, in durations of its Lease: clocks differ. */
const PATIENCE = 2;

export interface Leader {
  /** `unknown` where the Lease can't be read. */
  state: "leads" | "away" | "never" | "unknown";
  holder: string;
  /** RFC 3339: since when it leads, or was seen last. */
  since: string | undefined;
}

/** Whether a manager leads. `now`: wall clock, ms. */
export function leaderOf({ lease }: Pick<Snapshot, "lease">, now: number): Leader {
  if (lease === "unreadable") return { state: "unknown", holder: "", since: undefined };
  if (lease === "missing") return { state: "never", holder: "", since: undefined };
  const { holderIdentity = "", renewTime, acquireTime, leaseDurationSeconds = 15 } = lease.spec ?? {};
  const late =
    renewTime === undefined || now - Date.parse(renewTime) > PATIENCE * leaseDurationSeconds * 1000;
  if (holderIdentity === "" || late) {
    return { state: "away", holder: holderIdentity, since: renewTime };
  }
  return { state: "leads", holder: holderIdentity, since: acquireTime };
}
