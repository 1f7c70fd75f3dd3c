/** Cordons and taints of ours on Nodes that no NodeUpdate stands for any more (design, rule 6). */
import type { FleetSnapshot } from "../../coordination/coordination.ts";
import type { Patch } from "../../runtime/client.ts";
import type { World } from "../world.ts";
import { cordonOf, planUncordon } from "./cordon.ts";
import { uidOf } from "./identity.ts";
import { planTaint } from "./taint.ts";

/** What undoes them, by name of the Node. `fleet` must have been read after `world`, or with it. */
export function orphanedCordons(
  { nodes, nodeUpdates }: Pick<World, "nodes" | "nodeUpdates">,
  { grants }: Pick<FleetSnapshot, "grants">,
): { name: string; patch: Patch }[] {
  const known = new Set(nodeUpdates.map(uidOf));
  return nodes.flatMap((node) => {
    const { uid, name } = node.metadata;
    if (uid === undefined || known.has(uid) || grants.has(uid)) return [];
    // One at a time: each patch is compared with what was read.
    const patch =
      (cordonOf(node) === undefined ? undefined : planUncordon(node, [])) ?? planTaint(node, false);
    return patch === undefined ? [] : [{ name, patch }];
  });
}
