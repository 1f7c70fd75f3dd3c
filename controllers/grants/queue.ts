/** Who asks for a slot, and in which order. */
import { timestamp } from "../../api/meta.ts";
import type { NodeUpdate } from "../../api/node-update.ts";
import type { UpdateGroup } from "../../api/update-group.ts";
import type { FleetSnapshot } from "../../coordination/coordination.ts";
import type { RebootRequest } from "../../coordination/records.ts";
import type { Node } from "../../runtime/core.ts";
import type { BudgetTable } from "../budget/policy.ts";
import { askedReboot, nodeOf, uidOf } from "../node-update/identity.ts";
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
  /** Its own client asks for its reboot, and no agent is there to ask. */
  request: RebootRequest | undefined;
  /** The reboot that a person asked for. */
  asked: ReturnType<typeof askedReboot>;
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
    const held = grants.get(uid)?.grant;
    // An update by Omaha gives its slot up for the reboot.
    if ((held !== undefined && held.foreign?.protocol !== "Omaha") || snapshot.claims.has(uid)) return [];
    const member = table.members.get(uid);
    const request = requestOf(snapshot.fleet, nodeUpdate, uid);
    const wanted: Wanted =
      request === undefined ? wantedOf(nodeUpdate, group, releases, observed.get(uid)) : { kind: "reboot" };
    if (member === undefined || !isReady(wanted, observed.get(uid))) return [];
    const node = nodeOf(nodeUpdate, nodes);
    const budgets = table.of.get(uid) ?? [];
    const asked = request === undefined ? askedReboot(nodeUpdate) : undefined;
    return [{ uid, nodeUpdate, node, group, wanted, budgets, down: member.down, request, asked }];
  });
}

/** What the client of a Node without an agent asks in the Node's own group; undefined where an agent is there, which asks itself. */
export function requestOf(
  { requests, present }: Pick<FleetSnapshot, "requests" | "present">,
  { spec }: NodeUpdate,
  uid: string,
): RebootRequest | undefined {
  const request = requests.get(uid);
  return spec.nodeName === undefined || present.has(uid) || request?.group !== spec.group
    ? undefined
    : request;
}

/** A status that says `Granting` first (its slot may exist), then repairs, then what a person asked for, then as groups say, then who waited longest. */
export function inOrder(a: Candidate, b: Candidate): number {
  const rank = ({ nodeUpdate, down, group, asked }: Candidate): number =>
    nodeUpdate.status?.grant !== undefined
      ? 0
      : down !== undefined
        ? 1
        : asked !== undefined
          ? 2
          : group.spec.strategy === "Immediate"
            ? 3
            : 4;
  const since = ({ nodeUpdate }: Candidate): number => waitingSince(nodeUpdate.status);
  return (
    rank(a) - rank(b) ||
    b.group.spec.priority - a.group.spec.priority ||
    (since(a) === since(b) ? 0 : since(a) - since(b)) ||
    (a.uid < b.uid ? -1 : 1)
  );
}

export function pickedBecause({ down, group, nodeUpdate, asked, request }: Candidate): string {
  if (request !== undefined) return `Its own client asks for a reboot, by ${request.protocol}.`;
  if (asked !== undefined) {
    const freeze = asked.inFreeze ? ", and in a change freeze too" : "";
    return `A person asked for a reboot now${freeze}: ${asked.why || "no reason given"}.`;
  }
  if (down !== undefined) return `It ${down} already, so its update disrupts nothing more.`;
  if (group.spec.strategy === "Immediate") return "The group's strategy is Immediate.";
  const since = waitingSince(nodeUpdate.status);
  return Number.isFinite(since)
    ? `It has waited longest, since ${timestamp(since)}.`
    : "It is ready and nothing stands in its way.";
}
