/** Marks by which others say that a Node is theirs for now: it is given no slot. */
import { DOOMED_TAINT, KURED_ANNOTATION } from "../../api/labels.ts";
import type { Why } from "../../api/reasons.ts";
import type { Node } from "../../runtime/core.ts";

/** Whether cluster-autoscaler empties the Node, to delete it. */
export function isDoomed(node: Node): boolean {
  return node.spec?.taints?.some(({ key }) => key === DOOMED_TAINT) === true;
}

/** Whether kured says that it reboots the Node. */
export function isKured({ metadata }: Node): boolean {
  return metadata.annotations?.[KURED_ANNOTATION] !== undefined;
}

/** Why a node that asks for a slot gets none. What holds one already goes on: the cordon may be the other's by now. */
export function takenBecause(node: Node | undefined): Why | undefined {
  if (node === undefined || !isKured(node)) return undefined;
  return { reason: "OtherCoordinator", message: "kured is rebooting the node." };
}
