/** Whether a node that came back is well: the second half of health (design, rule 10). */
import type { Phase } from "../../coordination/records.ts";
import type { Observed } from "../../proto/gen/agent_pb.ts";
import type { Node } from "../../runtime/core.ts";

/** What was asked of the API server, and for how long it could be asked. */
export interface ReleaseLook {
  /** Milliseconds for which this manager asked and got an answer. */
  askedFor: number;
  /** Whether the kubelet has renewed its Lease or its conditions since the first look. */
  heartbeat: boolean;
}

/** Whether the kubelet tells the boot id from before the commit. */
export function isSameBoot(node: Node | undefined, { committedBoot }: Phase): boolean {
  const told = node?.status?.nodeInfo?.bootID ?? "";
  return told !== "" && told === committedBoot?.split("/")[0];
}

/** What is still missing, as the end of a sentence that begins with the node; undefined if it is well. `node` is undefined for a plain machine. */
export function missing(
  node: Node | undefined,
  observed: Observed | undefined,
  present: boolean,
  phase: Phase,
  look: ReleaseLook | undefined,
): string | undefined {
  // Who came back by its own client has no agent.
  if (!present && phase.client !== true) return "is not connected any more";
  if (node === undefined) return undefined;
  // Where the kubelet never told the agent's boot id (another namespace, say) it proves nothing.
  if (isSameBoot(node, phase) && node.status?.nodeInfo?.bootID !== observed?.boot?.bootId)
    return "still shows its former boot";
  const ready = node.status?.conditions?.find(({ type }) => type === "Ready");
  if (ready?.status !== "True") return "is not Ready";
  return look?.heartbeat === true ? undefined : "has not renewed its Lease since it came back";
}
