/** What is known of one node, and what is decided for it. */
import type { Hook, HookPhase } from "../../api/hook.ts";
import type { FrozenPolicy, NodeUpdate, NodeUpdateStatus, Step } from "../../api/node-update.ts";
import { type Reason, type Why } from "../../api/reasons.ts";
import type { Release } from "../../api/release.ts";
import type { UpdateGroup } from "../../api/update-group.ts";
import type { LiveGrant } from "../../coordination/coordination.ts";
import type { RebootRequest } from "../../coordination/records.ts";
import type { Observed } from "../../proto/gen/agent_pb.ts";
import type { Node, Pod } from "../../runtime/core.ts";
import type { DrainDecision } from "../drain/policy.ts";
import { isHalted } from "../gates/policy.ts";
import type { TakePlan } from "../grants/policy.ts";
import type { HookLook } from "../hooks/runner.ts";
import { freeze } from "./deadlines.ts";
import { askedReboot, heldBecause } from "./identity.ts";
import { isDoomed } from "./others.ts";
import type { ReleaseLook } from "./release-check.ts";
import { withStep } from "./status.ts";
import { stagesOnly } from "./target.ts";

export interface NodeView {
  nodeUpdate: NodeUpdate;
  /** The Node with that UID; undefined for a plain machine, and where it is gone. */
  node: Node | undefined;
  /** The API server says that the Node with that UID does not exist. */
  nodeGone: boolean;
  group: UpdateGroup | undefined;
  releases: { get(name: string): Release | undefined };
  live: LiveGrant | undefined;
  observed: Observed | undefined;
  present: boolean;
  /** Milliseconds for which this manager looked for its agent in vain, while others were present. */
  absentFor: number;
  /** Milliseconds for which this manager saw its agent connected since the commit. */
  connectedFor: number;
  /** How many agents are connected, of all machines. */
  connected: number;
  /** The queue's word: a slot to take now, or why not. */
  take: TakePlan | undefined;
  waiting: Why | undefined;
  /** Its own client asks for its reboot, and no agent is there to ask. */
  request: RebootRequest | undefined;
  /** Whether it may write its passive slot. */
  mayStage: boolean;
  /** Of a node under a grant that is not drained yet. */
  drain: DrainDecision | undefined;
  /** Of a node with hooks, before its commit: why the window lets it wait no longer. */
  closing: Why | undefined;
  /** Of a node under a grant of which a hook runs. */
  hook: HookLook | undefined;
  /** Of a node that came back. */
  look: ReleaseLook | undefined;
  /** Whether other nodes were verified on the granted release: then a power cut is forgiven once. */
  othersVerified: boolean;
  /** For a new grant. */
  nonce: string;
}

export type Act =
  | { do: "none" }
  /** Ask etcd for the slot under the nonce in the status. */
  | { do: "take"; take: TakePlan; nonce: string }
  /** `exclude`: wall clock, ms, of now, where load balancers are to let go of the node too. */
  | { do: "cordon"; exclude: number | undefined }
  | { do: "evict"; pods: readonly Pod[] }
  | { do: "beginHook"; hook: Hook; phase: HookPhase }
  | { do: "endHook"; hook: Hook; phase: HookPhase }
  | { do: "markDrained" }
  | { do: "revoke"; why: Why }
  /** Undo the cordon, then free the places. */
  | { do: "finish" }
  | { do: "free"; cause: "Stolen" | "HolderExpired" | "NodeGone" }
  /** Undo the cordon although the slot stays taken: nothing else can let a gateway run again. */
  | { do: "reopen" }
  /** Undo a cordon that names no living grant. */
  | { do: "uncordon" }
  /** Take off the annotation of a reboot that was had. */
  | { do: "unask" }
  /** Remove its records and the finalizer. */
  | { do: "forget" };

export interface NodeDecision {
  /** Written first. */
  status: NodeUpdateStatus;
  /** Done then. */
  act: Act;
  step: Step;
  why: Why;
  /** Milliseconds until it must be looked at again though nothing changes. */
  again: number | undefined;
}

/** The decision with its status complete. */
export function decided(
  { nodeUpdate }: Pick<NodeView, "nodeUpdate">,
  status: NodeUpdateStatus,
  step: Step,
  why: Why,
  act: Act,
  now: number,
  again?: number,
): NodeDecision {
  return { status: withStep(nodeUpdate, status, step, why, now), act, step, why, again };
}

/** What tells a grant from the others of its node, also after a rebuild of etcd. */
export function nameOf({ grant, token }: LiveGrant): string {
  return grant.nonce === "" ? `${token.incarnation}/${token.revision}`.slice(-64) : grant.nonce;
}

/** The frozen policy of a grant; that of the group where a grant was found without status. */
export function policyOf({ nodeUpdate, group }: NodeView): FrozenPolicy {
  return nodeUpdate.status?.grant?.policy ?? (group === undefined ? FALLBACK : freeze(group));
}

/** For a grant that was found without status while its group is gone: the schema's defaults. */
const FALLBACK: FrozenPolicy = {
  drain: { enabled: true, timeout: "10m", onTimeout: "Abort", onWindowClose: "Abort" },
  bootDeadline: "5m",
  rebootTime: "1m",
  releaseDeadline: "10m",
};

/** Whether a person asked for this reboot, or for the one that is under way. */
function isAskedFor(nodeUpdate: NodeUpdate): boolean {
  return askedReboot(nodeUpdate) !== undefined || nodeUpdate.status?.grant?.asked !== undefined;
}

/** What stops a node before its commit, whoever planned it: deletion, a person, the group, or who takes the Node away. */
export function stoppedBecause({
  nodeUpdate,
  node,
  nodeGone,
  group,
}: Pick<NodeView, "nodeUpdate" | "node" | "nodeGone" | "group">): Why | undefined {
  const say = (reason: Reason, message: string): Why => ({ reason, message });
  const name = nodeUpdate.spec.group;
  if (nodeGone) return say("NodeGone", "The Node does not exist any more.");
  if (nodeUpdate.metadata.deletionTimestamp !== undefined)
    return say("Deleting", "The NodeUpdate is being deleted.");
  if (group === undefined) return say("Deleting", `UpdateGroup ${name} does not exist any more.`);
  if (group.metadata.deletionTimestamp !== undefined)
    return say("Deleting", `UpdateGroup ${name} is being deleted.`);
  const held = heldBecause(nodeUpdate, node);
  if (held !== undefined) return say("Held", `A person holds the node${held === "" ? "" : `: ${held}`}.`);
  if (node !== undefined && isDoomed(node))
    return say("BeingRemoved", "cluster-autoscaler is about to delete the Node.");
  if (group.spec.paused) return say("Paused", `UpdateGroup ${name} is paused.`);
  if (stagesOnly(group, nodeUpdate) && !isAskedFor(nodeUpdate)) {
    return say(
      "StrategyOff",
      `UpdateGroup ${name} has strategy Off: images are staged only. \`kubectl slipway apply\` lets this node flip; spec.strategy: Coordinated lets all of them.`,
    );
  }
  return isHalted(group) ? say("FailureThresholdReached", `UpdateGroup ${name} stopped itself.`) : undefined;
}
