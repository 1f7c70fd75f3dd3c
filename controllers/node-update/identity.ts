/** Who a NodeUpdate stands for. */
import { HOLD_ANNOTATION, REBOOT_ANNOTATION, REBOOT_IN_FREEZE_ANNOTATION } from "../../api/labels.ts";
import type { NodeUpdate } from "../../api/node-update.ts";
import { namesOf, uidOf as uidOfId } from "../../coordination/identity.ts";
import type { Node } from "../../runtime/core.ts";

/** The key of its records in etcd: the Node's UID, or the machine id of a plain machine; undefined until it has one. */
export function uidOf(nodeUpdate: NodeUpdate): string | undefined {
  return nodeUpdate.spec.nodeUID ?? nodeUpdate.spec.machineRef?.machineId;
}

/** A machine that is no Node of the cluster: nothing to cordon or drain. */
export function isPlain(nodeUpdate: NodeUpdate): boolean {
  return nodeUpdate.spec.machineRef !== undefined && nodeUpdate.spec.nodeName === undefined;
}

/**
 * Other identities under which a Node's machine may hold a slot. A machine id that several of `nodes` show tells none of
 * them (clones do).
 */
export function aliasesOfNodes(nodes: readonly Node[]): (node: Node | undefined) => string[] {
  const shown = Map.groupBy(nodes, ({ status }) => status?.nodeInfo?.machineID ?? "");
  return (node) => {
    if (node === undefined) return [];
    const { machineID = "" } = node.status?.nodeInfo ?? {};
    const own = (shown.get(machineID)?.length ?? 0) > 1 ? [] : namesOf(machineID);
    return [...own, uidOfId(node.metadata.name)];
  };
}

/** The Node that it stands for, by UID: another Node of the same name is another machine. */
export function nodeOf(
  nodeUpdate: NodeUpdate,
  nodes: { get(name: string): Node | undefined },
): Node | undefined {
  const { nodeName, nodeUID } = nodeUpdate.spec;
  const node = nodeName === undefined ? undefined : nodes.get(nodeName);
  return node?.metadata.uid === nodeUID ? node : undefined;
}

/** Why a person holds it (`kubectl slipway hold`); undefined if nobody does. */
export function heldBecause(nodeUpdate: NodeUpdate, node: Node | undefined): string | undefined {
  return node?.metadata.annotations?.[HOLD_ANNOTATION] ?? nodeUpdate.metadata.annotations?.[HOLD_ANNOTATION];
}

/** The reboot that a person asked for and that has not been had; `inFreeze`: in a change freeze too. */
export function askedReboot({
  metadata,
  status,
}: NodeUpdate): { why: string; inFreeze: boolean } | undefined {
  const text = metadata.annotations?.[REBOOT_ANNOTATION]?.slice(0, 253);
  if (text === undefined || text === status?.rebooted) return undefined;
  return { why: text, inFreeze: metadata.annotations?.[REBOOT_IN_FREEZE_ANNOTATION] !== undefined };
}
