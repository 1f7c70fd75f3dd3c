/** Which nodes may write their passive slot now: no more of a group at once than its transfer limit. */
import type { FleetSnapshot } from "../../coordination/coordination.ts";
import type { Observed } from "../../proto/gen/agent_pb.ts";
import { isBarred, isHalted } from "../gates/policy.ts";
import { heldBecause, nodeOf, uidOf } from "../node-update/identity.ts";
import { isReady, wantedOf } from "../node-update/target.ts";
import { openingsAt } from "../window/policy.ts";
import type { World } from "../world.ts";

export interface StagingSnapshot extends World {
  fleet: Pick<FleetSnapshot, "observed" | "present">;
  /** By uid: how often it had a place for a whole turn and did not get on; absent is never. */
  vainTurns: ReadonlyMap<string, number>;
}

export interface StagingPlan {
  /** uids that may stage, or have staged. */
  may: ReadonlySet<string>;
  /** Those of them that have a place: what they want is not staged yet. */
  places: ReadonlySet<string>;
}

interface Candidate {
  uid: string;
  present: boolean;
  vainTurns: number;
  busy: boolean;
}

/**
 * A place is for a node that is there and gets on: who is away comes last, who had a turn in vain
 * comes after those who had none, and among these one that is at it keeps its place. So neither a
 * node that lost power nor an agent that says `Fetching` for ever keeps the others out.
 */
export function planStaging(snapshot: StagingSnapshot, now: number): StagingPlan {
  const nodes = new Map(snapshot.nodes.map((node) => [node.metadata.name, node]));
  const releases = new Map(snapshot.releases.map((release) => [release.metadata.name, release]));
  const byGroup = Map.groupBy(snapshot.nodeUpdates, ({ spec }) => spec.group);
  const openingOf = openingsAt(snapshot.windows, now);
  const { observed, present } = snapshot.fleet;
  const may = new Set<string>();
  const places = new Set<string>();
  for (const group of snapshot.groups) {
    const closed = group.spec.stageInWindow && !openingOf(group).open;
    if (group.spec.paused || group.metadata.deletionTimestamp !== undefined || isHalted(group) || closed)
      continue;
    const open: Candidate[] = [];
    for (const nodeUpdate of byGroup.get(group.metadata.name) ?? []) {
      const uid = uidOf(nodeUpdate);
      if (uid === undefined || heldBecause(nodeUpdate, nodeOf(nodeUpdate, nodes)) !== undefined) continue;
      const seen = observed.get(uid);
      const wanted = wantedOf(nodeUpdate, group, releases, seen);
      if (wanted.kind !== "image" || isBarred(wanted.release)) continue;
      if (isReady(wanted, seen)) may.add(uid);
      else
        open.push({
          uid,
          present: present.has(uid),
          vainTurns: snapshot.vainTurns.get(uid) ?? 0,
          busy: isBusy(seen),
        });
    }
    const first = open.toSorted(inOrder).slice(0, group.spec.transfer.concurrency ?? open.length);
    for (const { uid } of first) {
      may.add(uid);
      places.add(uid);
    }
  }
  return { may, places };
}

function isBusy(observed: Observed | undefined): boolean {
  return observed?.step === "Fetching" || observed?.step === "Verifying";
}

function inOrder(a: Candidate, b: Candidate): number {
  return (
    Number(b.present) - Number(a.present) ||
    a.vainTurns - b.vainTurns ||
    Number(b.busy) - Number(a.busy) ||
    (a.uid < b.uid ? -1 : 1)
  );
}
