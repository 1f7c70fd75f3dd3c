/** What a node should come to: an image, a reboot, or nothing and why. */
import {
  APPLY_ANNOTATION,
  DOWNGRADE_ANNOTATION,
  RETRIED_ANNOTATION,
  RETRY_ANNOTATION,
  WITHHELD_ANNOTATION,
} from "../../api/labels.ts";
import type { NodeUpdate, NodeUpdateStatus } from "../../api/node-update.ts";
import { type Reason, reasons, type Why } from "../../api/reasons.ts";
import type { Payload, Release } from "../../api/release.ts";
import type { UpdateGroup } from "../../api/update-group.ts";
import type { Observed } from "../../proto/gen/agent_pb.ts";
import { isBarred } from "../gates/policy.ts";
import { failuresOn, retriedOf } from "../release/policy.ts";
import { askedReboot } from "./identity.ts";

export type Wanted =
  | { kind: "image"; release: Release; payload: Payload }
  /** `asked`: by a person, for this reason. */
  | { kind: "reboot"; asked?: string }
  /** `step`: what the board shows; `Failed` where the target is no longer tried here. */
  | { kind: "nothing"; step: "Idle" | "Failed"; why: Why };

function nothing(reason: Reason, message: string, step: "Idle" | "Failed" = "Idle"): Wanted {
  return { kind: "nothing", step, why: { reason, message } };
}

/**
 * `observed` is undefined until an agent reported. A person who asks for a reboot gets the image
 * that is ready with it, where the strategy lets it boot, or else a reboot of what runs.
 */
export function wantedOf(
  nodeUpdate: NodeUpdate,
  group: UpdateGroup | undefined,
  releases: { get(name: string): Release | undefined },
  observed: Observed | undefined,
): Wanted {
  const planned = plannedFor(nodeUpdate, group, releases, observed);
  const asked = askedReboot(nodeUpdate);
  if (asked === undefined || group === undefined || observed === undefined) return planned;
  const contested = withheldBecause(nodeUpdate)?.reason === "SelectedTwice";
  const boots = planned.kind === "image" && isReady(planned, observed) && !stagesOnly(group, nodeUpdate);
  return contested || boots ? planned : { kind: "reboot", asked: asked.why };
}

/** Whether the group's strategy lets the node stage and no more: a person may let one node flip to its release. */
export function stagesOnly({ spec }: UpdateGroup, nodeUpdate: NodeUpdate): boolean {
  const applied = nodeUpdate.metadata.annotations?.[APPLY_ANNOTATION];
  return spec.strategy === "Off" && (applied === undefined || applied !== nodeUpdate.spec.release);
}

function plannedFor(
  nodeUpdate: NodeUpdate,
  group: UpdateGroup | undefined,
  releases: { get(name: string): Release | undefined },
  observed: Observed | undefined,
): Wanted {
  if (group === undefined) {
    return nothing(
      "NoTarget",
      `UpdateGroup ${nodeUpdate.spec.group} does not exist; the node keeps what it runs.`,
    );
  }
  if (observed === undefined) return nothing("WaitingForAgent", "No agent of this node has reported yet.");
  const withheld = withheldBecause(nodeUpdate);
  if (withheld !== undefined) {
    return { kind: "nothing", step: withheld.reason === "NeverAgain" ? "Failed" : "Idle", why: withheld };
  }
  if (group.spec.driver === "sentinel") return wantedReboot(nodeUpdate, observed);
  const name = nodeUpdate.spec.release;
  if (name === undefined)
    return nothing("NoTarget", "The group has no release for this node now; it keeps what it runs.");
  const release = releases.get(name);
  if (release === undefined) return nothing("ReleaseNotFound", `Release ${name} does not exist.`);
  const payload = release.spec.payloads.find(({ architecture }) => architecture === observed.architecture);
  if (payload === undefined) {
    return nothing(
      "NoPayload",
      `Release ${name} has no payload for ${observed.architecture || "an unknown architecture"}.`,
    );
  }
  if (observed.runningRootHash === payload.rootHash) {
    return nothing("Current", `Runs ${release.spec.version}, as it should.`);
  }
  if (isBarred(release)) {
    return nothing(
      "ReleaseQuarantined",
      `Release ${name} is quarantined; the node keeps ${observed.runningVersion}.`,
    );
  }
  const failed = failureOf(nodeUpdate, observed, payload.rootHash);
  if (failed !== undefined && !mayRetry(nodeUpdate, release)) {
    return nothing(
      "NeverAgain",
      `Release ${name} failed here before (${failed}); to try again, annotate the NodeUpdate with ${RETRY_ANNOTATION}=${name}.`,
      "Failed",
    );
  }
  return { kind: "image", release, payload };
}

function wantedReboot(nodeUpdate: NodeUpdate, observed: Observed): Wanted {
  if (!observed.rebootRequired) return nothing("NoRebootRequired", "The machine asks for no reboot.");
  const still = nodeUpdate.status?.failed?.find(({ reason }) => reason === "StillRequired");
  if (still !== undefined) return nothing("StillRequired", still.message, "Failed");
  return { kind: "reboot" };
}

function failureOf({ status }: NodeUpdate, observed: Observed, rootHash: string): string | undefined {
  const told = observed.failed.find((failure) => failure.rootHash === rootHash);
  // A boot without a verdict is judged here, and where it counts the status says so too (rule 5);
  // one that this NodeUpdate knows nothing of (the Node was made anew, say) counts.
  const judged = status?.transitions?.some(
    ({ step, reason }) => step === "Verifying" && reason === "PowerLost",
  );
  if (told !== undefined && (told.reason !== "PowerLost" || judged !== true)) return told.reason;
  const found = status?.failed?.find((failure) => failure.rootHash === rootHash);
  return found === undefined || isCured(found, status) ? undefined : found.reason;
}

type Failure = NonNullable<NodeUpdateStatus["failed"]>[number];

/** Whether its release was verified here after it. */
function isCured({ release, time }: Failure, status: NodeUpdateStatus | undefined): boolean {
  const { verifiedRelease, verifiedAt } = status ?? {};
  if (release === undefined || verifiedRelease !== release || verifiedAt === undefined) return false;
  return Date.parse(verifiedAt) > Date.parse(time);
}

/**
 * Whether a person lets `release` be tried here again. Once: the rollout writes beside the
 * release which failure that forgave, and a failure after it needs a new retry (rule 8).
 */
function mayRetry({ metadata, status }: NodeUpdate, release: Release): boolean {
  const { annotations = {} } = metadata;
  if (annotations[RETRY_ANNOTATION] !== release.metadata.name) return false;
  const [latest] = failuresOn(release, status);
  if (latest === undefined || isCured(latest, status)) return true;
  return annotations[RETRIED_ANNOTATION] === retriedOf(release, latest);
}

/** Why the rollout gives this one node nothing new; undefined if it doesn't say so. */
function withheldBecause({ metadata }: NodeUpdate): Why | undefined {
  const text = metadata.annotations?.[WITHHELD_ANNOTATION];
  if (text === undefined) return undefined;
  try {
    const { reason, message } = JSON.parse(text) as Partial<Why>;
    if (reason !== undefined && Object.hasOwn(reasons, reason)) return { reason, message: String(message) };
  } catch {
    // Said below: nobody but the rollout controller should have written it.
  }
  return {
    reason: "InvalidSpec",
    message: `The annotation ${WITHHELD_ANNOTATION} can't be read: remove it.`,
  };
}

/** Whether what is wanted is ready on the machine: only the reboot is missing. */
export function isReady(wanted: Wanted, observed: Observed | undefined): boolean {
  if (wanted.kind === "reboot") return true;
  return wanted.kind === "image" && observed?.stagedRootHash === wanted.payload.rootHash;
}

/** Name of the release that a grant is for; "" where the machine only reboots. */
export function releaseNameOf(wanted: Wanted): string {
  return wanted.kind === "image" ? wanted.release.metadata.name : "";
}

/**
 * What the agent is allowed beyond its own rules: to go back to an older release if a
 * person said so, to try again what failed if a person said so or it was a power cut.
 */
export function allows(
  nodeUpdate: NodeUpdate,
  { release, payload }: Extract<Wanted, { kind: "image" }>,
  observed: Observed | undefined,
): { downgrade: boolean; retry: boolean } {
  const { annotations = {} } = nodeUpdate.metadata;
  const { name } = release.metadata;
  const told = observed?.failed.find(({ rootHash }) => rootHash === payload.rootHash);
  const retry = mayRetry(nodeUpdate, release) || told?.reason === "PowerLost";
  return { downgrade: annotations[DOWNGRADE_ANNOTATION] === name, retry };
}
