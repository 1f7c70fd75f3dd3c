/** Records in etcd of machines that are gone: no NodeUpdate's end removes them, because none stands for them. */
import type { FleetSnapshot } from "../../coordination/coordination.ts";
import type { World } from "../world.ts";
import { uidOf } from "./identity.ts";

/** Sessions younger than this, ms, may be of a machine whose NodeUpdate is still to come. */
const YOUNG = 3_600_000;

/**
 * uids that no Node and no NodeUpdate has, that are away, hold no grant and opened no session
 * within the hour. `now` is the wall clock, ms; `fleet` must have been read with `world`.
 */
export function vanished(
  { nodes, nodeUpdates }: Pick<World, "nodes" | "nodeUpdates">,
  fleet: Pick<FleetSnapshot, "sessions" | "observed" | "desired" | "grants" | "present">,
  now: number,
): string[] {
  const { sessions, observed, desired, grants, present } = fleet;
  const known = new Set([...nodes.map(({ metadata }) => metadata.uid), ...nodeUpdates.map(uidOf)]);
  const recorded = new Set([...sessions.keys(), ...observed.keys(), ...desired.keys()]);
  return [...recorded].filter((uid) => {
    if (known.has(uid) || present.has(uid) || grants.has(uid)) return false;
    const session = sessions.get(uid);
    return session === undefined || now - session.at > YOUNG;
  });
}
