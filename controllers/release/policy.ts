/** What a release's status says: who runs it, where it failed, whether it may be given out. */
import { QUARANTINE_ANNOTATION } from "../../api/labels.ts";
import { type ConditionUpdate, setCondition } from "../../api/meta.ts";
import type { NodeUpdate, NodeUpdateStatus } from "../../api/node-update.ts";
import type { Release, ReleaseStatus } from "../../api/release.ts";
import type { UpdateGroup } from "../../api/update-group.ts";

/** Of a person's words, characters: they stand in messages of many objects. */
const LONGEST = 253;

/** Whether `rootHash` is one of the release's images. */
export function isImageOf(release: Release, rootHash: string | undefined): boolean {
  return rootHash !== undefined && release.spec.payloads.some((payload) => payload.rootHash === rootHash);
}

/** Failures of `release` that a node reported, newest first. */
export function failuresOn(
  release: Release,
  status: NodeUpdateStatus | undefined,
): NonNullable<NodeUpdateStatus["failed"]> {
  return (status?.failed ?? [])
    .filter((failure) => isImageOf(release, failure.rootHash))
    .toSorted((a, b) => Date.parse(b.time) - Date.parse(a.time));
}

/** Value of the annotation `RETRIED_ANNOTATION` for a retry that forgives `failure`, and none that comes after it. */
export function retriedOf(release: Release, failure: { time: string }): string {
  return `${release.metadata.name} ${failure.time}`;
}

/**
 * Names of the groups that are halted by failures on the release `name`: while there is one, it is
 * quarantined. A group's nodes may fail on a stepping stone, or on what their architecture has
 * instead of the target: then that is to blame, and the target is not.
 */
export function haltedOn(name: string, groups: readonly UpdateGroup[]): string[] {
  return groups
    .filter((group) => blamedBy(group).includes(name))
    .map((group) => group.metadata.name)
    .toSorted();
}

/** Why a person quarantined the release; undefined where nobody did. */
export function quarantinedBecause({ metadata }: Release): string | undefined {
  return metadata.annotations?.[QUARANTINE_ANNOTATION]?.slice(0, LONGEST);
}

/** Names of the releases that the group is halted on: those of its failures that count. */
export function blamedBy({ status }: UpdateGroup): string[] {
  const halted = status?.conditions?.some(({ type, status: is }) => type === "Halted" && is === "True");
  if (halted !== true) return [];
  return [...new Set(status?.failures?.map(({ release }) => release))].toSorted();
}

/** Status of `release` at `now` (ms). */
export function decideRelease(
  release: Release,
  nodeUpdates: readonly NodeUpdate[],
  groups: readonly UpdateGroup[],
  now: number,
): ReleaseStatus {
  const { name, generation } = release.metadata;
  const halted = haltedOn(name, groups);
  const said = quarantinedBecause(release);
  const twice = duplicateArchitecture(release);
  const updates: ConditionUpdate[] = [
    twice === undefined
      ? { type: "Accepted", status: "True", reason: "Accepted", message: "The release can be given out." }
      : {
          type: "Accepted",
          status: "False",
          reason: "InvalidSpec",
          message: `spec.payloads has two payloads for ${twice}: create a new Release with one.`,
        },
    said === undefined && halted.length === 0
      ? { type: "Quarantined", status: "False", reason: "NotQuarantined", message: "No group halted on it." }
      : {
          type: "Quarantined",
          status: "True",
          reason: "ReleaseQuarantined",
          message:
            said === undefined
              ? `Nothing more moves to it: nodes failed on it in ${halted.join(", ")}, which stopped for it.`
              : `Nothing more moves to it: a person quarantined it: ${said}.`,
        },
    available(said !== undefined || halted.length > 0, twice !== undefined),
  ];
  const status: ReleaseStatus = {
    running: nodeUpdates.filter((node) => isImageOf(release, node.status?.runningRootHash)).length,
    failed: nodeUpdates.filter((node) => failuresOn(release, node.status).length > 0).length,
  };
  if (generation !== undefined) status.observedGeneration = generation;
  let conditions = release.status?.conditions;
  for (const update of updates) conditions = setCondition(conditions, update, generation, now);
  if (conditions !== undefined) status.conditions = conditions;
  return status;
}

function available(quarantined: boolean, invalid: boolean): ConditionUpdate {
  const type = "Available";
  if (invalid) {
    return { type, status: "False", reason: "InvalidSpec", message: "It is not accepted." };
  }
  if (quarantined) {
    return { type, status: "False", reason: "ReleaseQuarantined", message: "It is quarantined." };
  }
  return { type, status: "True", reason: "Accepted", message: "Groups may move to it." };
}

function duplicateArchitecture(release: Release): string | undefined {
  const seen = new Set<string>();
  for (const { architecture } of release.spec.payloads) {
    if (seen.has(architecture)) return architecture;
    seen.add(architecture);
  }
  return undefined;
}
