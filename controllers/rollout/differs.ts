/** Whether a NodeUpdate must be written, or is as it should be. */
import { type NodeUpdate, NodeUpdateSpec } from "../../api/node-update.ts";
import { sameJson } from "../../runtime/apply-status.ts";
import type { NodeSpec } from "./policy.ts";

/**
 * By the fields that this build knows: one of a newer CRD stays where it is, whatever is applied, and to write for
 * its sake would never end. Each write is a change, which leads to the next look.
 */
export function differs(update: NodeUpdate | undefined, wanted: NodeSpec): boolean {
  if (update === undefined || !isSpec(update.spec, wanted.spec)) return true;
  const { labels = {}, annotations = {} } = update.metadata;
  return (
    Object.entries(wanted.labels).some(([key, value]) => labels[key] !== value) ||
    wanted.owned.some((key) => annotations[key] !== wanted.annotations[key])
  );
}

function isSpec(found: NodeUpdateSpec, wanted: NodeUpdateSpec): boolean {
  return sameJson(found, wanted) || sameJson(NodeUpdateSpec.safeParse(found).data, wanted);
}
