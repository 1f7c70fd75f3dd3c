/** Who asks for a slot, and in which order. */
import { timestamp } from "../../api/meta.ts";
import type { NodeUpdate } from "../../api/node-update.ts";
import type { UpdateGroup } from "../../api/update-group.ts";
import type { Node } from "../../runtime/core.ts";
import type { BudgetTable } from "../budget/policy.ts";
import { nodeOf, uidOf } from "../node-update/identity.ts";
import { isReady, type Wanted, wantedOf } from "../node-update/target.ts";
import { waitingSince } from "./history.ts";
import type { PlanSnapshot } from "./policy.ts";

/** A node that is ready and holds no slot. */
export interface Candidate {
  uid: string;
  nodeUpdate: NodeUpdate;
  node: Node | undefined;
  group: UpdateGroup;
  wanted: Wanted;
  budgets: readonly string[];
  /** Already unavailable: its update adds no disruption. */
  down: string | undefined;
}

export function candidates(snapshot: PlanSnapshot, table: BudgetTable): Candidate[] {
  const groups = new Map(snapshot.groups.map((group) => [group.metadata.name, group]));
  const releases = new Map(snapshot.releases.map((release) => [release.metadata.name, release]));
  const nodes = new Map(snapshot.nodes.map((node) => [node.metadata.name, node]));
  const { grants, observed } = snapshot.fleet;
  return snapshot.nodeUpdates.flatMap((nodeUpdate) => {
    const uid = uidOf(nodeUpdate);
    const group = groups.get(nodeUpdate.spec.group);
    if (uid === undefined || group === undefined || nodeUpdate.metadata.deletionTimestamp !== undefined)
      return [];
    if (grants.has(uid) || snapshot.claims.has(uid)) return [];
    const member = table.members.get(uid);
    const wanted = wantedOf(nodeUpdate, group, releases, observed.get(uid));
    if (member === undefined || !isReady(wanted, observed.get(uid))) return [];
    const node = nodeOf(nodeUpdate, nodes);
    return [{ uid, nodeUpdate, node, group, wanted, budgets: table.of.get(uid) ?? [], down: member.down }];
  });
}

/** A status that says `Granting` first (its slot may exist), then repairs, then as people asked, then who waited longest. */
export function inOrder(a: Candidate, b: Candidate): number {
  const rank = ({ nodeUpdate, down, group }: Candidate): number =>
    nodeUpdate.status?.grant !== undefined
      ? 0
      : down !== undefined
        ? 1
        : group.spec.strategy === "Immediate"
          ? 2
          : 3;
  const since = ({ nodeUpdate }: Candidate): number => waitingSince(nodeUpdate.status);
  return (
    rank(a) - rank(b) ||
    b.group.spec.priority - a.group.spec.priority ||
    (since(a) === since(b) ? 0 : since(a) - since(b)) ||
    (a.uid < b.uid ? -1 : 1)
  );
}

export function pickedBecause({ down, group, nodeUpdate }: Candidate): string {
  if (down !== undefined) return `It ${down} already, so its update disrupts nothing more.`;
  if (group.spec.strategy === "Immediate") return "The group's strategy is Immediate.";
  const since = waitingSince(nodeUpdate.status);
  return Number.isFinite(since)
    ? `It has waited longest, since ${timestamp(since)}.`
    : "It is ready and nothing stands in its way.";
}
