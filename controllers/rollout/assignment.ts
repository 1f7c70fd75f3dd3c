/** Which release one node is given, and why it is given none. */
import { RETRIED_ANNOTATION, RETRY_ANNOTATION } from "../../api/labels.ts";
import { type Reason, reasons, type Why } from "../../api/reasons.ts";
import type { Release } from "../../api/release.ts";
import { failuresOn, isImageOf, retriedOf } from "../release/policy.ts";
import { isForgiven } from "./failure.ts";
import { inFlight, type Member } from "./member.ts";
import { nextRelease, stonesBefore } from "./path.ts";
import type { Standing } from "./stage.ts";

/** What is given to a node: `withheld` says why it is nothing new, where that is the node's own affair. */
export interface Assignment {
  release: string | undefined;
  withheld: Why | undefined;
  /** Value of the annotation that remembers a retry. */
  retried: string | undefined;
}

/** The target of a node: a release, or why there is none for it. */
export type Target = Release | Why;

export function isRelease(target: Target): target is Release {
  return "spec" in target;
}

/** How `member` stands to `target` (`way`: its next hop or why there is none). `resumedAt` in ms. */
export function standingOf(
  member: Member,
  target: Target,
  way: Target,
  resumedAt: number | undefined,
): Standing {
  const { uid, update } = member;
  const status = update?.status;
  const standing: Standing = {
    uid,
    state: "Pending",
    forgiven: false,
    verifiedAt: undefined,
    healthy: member.available && status?.connected === true,
  };
  if (!isRelease(target) || member.claimants.length > 0) return { ...standing, state: "Out" };
  const [failure] = failuresOn(target, status);
  const verified =
    status?.verifiedRelease === target.metadata.name && status.verifiedAt !== undefined
      ? Date.parse(status.verifiedAt)
      : undefined;
  const failed = failure !== undefined && (verified === undefined || verified < Date.parse(failure.time));
  if (failed) {
    const forgiven = isForgiven(failure.time, resumedAt);
    const retrying = inFlight(update) || retryOf(member, target).allowed;
    return { ...standing, state: retrying ? "Pending" : "Failed", forgiven };
  }
  // A slot that is not marked good is no evidence: the report may be from before its fallback.
  const slot = status?.slots?.find(({ rootHash }) => rootHash === status.runningRootHash);
  const runs = isImageOf(target, status?.runningRootHash) && slot?.successful !== false;
  if (runs && !inFlight(update) && (verified !== undefined || status?.step === "Idle")) {
    return { ...standing, state: "Good", verifiedAt: verified };
  }
  if (member.held || !isRelease(way)) return { ...standing, state: "Out" };
  if (status?.step === "Suspect") return { ...standing, state: "Unreachable" };
  if (!inFlight(update) && status?.connected !== true) return { ...standing, state: "Unreachable" };
  return standing;
}

/** Next hop of `member` to `target`. There is none to what is quarantined, except to what it runs: it keeps that. */
export function wayOf(
  member: Member,
  target: Target,
  releases: ReadonlyMap<string, Release>,
  quarantined: (release: Release) => boolean,
): Target {
  if (!isRelease(target)) return target;
  const next = nextRelease(member.update?.status?.running, target, releases.values(), member.architecture);
  if (!isRelease(next)) return next;
  if (isImageOf(next, member.update?.status?.runningRootHash)) return next;
  const barred = [next, target].find(quarantined);
  if (barred === undefined) return next;
  const message = `Release ${barred.metadata.name}, which this node would move to, is quarantined.`;
  return { reason: "ReleaseQuarantined", message };
}

/** Releases that nodes may have to pass on the way to `target`. */
export function stonesOf(target: Target, releases: ReadonlyMap<string, Release>): Release[] {
  return isRelease(target) ? stonesBefore(target, releases.values(), undefined) : [];
}

/**
 * What a node of an open stage is given. A release that failed on it is not given again,
 * unless the retry annotation names it and no failure came after that took effect.
 */
export function assign(member: Member, target: Release, way: Target): Assignment {
  const { retried } = retryOf(member, target);
  const kept: Assignment = { release: keptBy(member, [target]), withheld: undefined, retried };
  if (!isRelease(way)) return { ...kept, withheld: way };
  const { allowed, time, retried: remembered } = retryOf(member, way);
  if (!allowed) {
    const name = way.metadata.name;
    return {
      release: undefined,
      withheld: {
        reason: "NeverAgain",
        message: `Release ${name} failed here at ${time}; to try it again, annotate the NodeUpdate with ${RETRY_ANNOTATION}=${name}.`,
      },
      retried: remembered,
    };
  }
  return { release: way.metadata.name, withheld: undefined, retried: remembered };
}

/** The present release of `member`, if it is what it runs. */
export function keptBy(member: Member, releases: Iterable<Release>): string | undefined {
  const present = member.update?.spec.release;
  if (present === undefined) return undefined;
  for (const release of releases) {
    if (release.metadata.name === present && isImageOf(release, member.update?.status?.runningRootHash)) {
      return present;
    }
  }
  return undefined;
}

/** Whether `release` may be given to `member` although it may have failed there; `retried` is what to remember. */
export function retryOf(
  member: Member,
  release: Release,
): { allowed: boolean; time: string | undefined; retried: string | undefined } {
  const { update } = member;
  const name = release.metadata.name;
  const [failure] = failuresOn(release, update?.status);
  const asked = update?.metadata.annotations?.[RETRY_ANNOTATION];
  const memory = update?.metadata.annotations?.[RETRIED_ANNOTATION];
  const remembered = asked !== undefined && memory?.startsWith(`${asked} `) === true ? memory : undefined;
  if (failure === undefined) return { allowed: true, time: undefined, retried: remembered };
  const { time } = failure;
  const { verifiedRelease, verifiedAt } = update?.status ?? {};
  if (verifiedRelease === name && verifiedAt !== undefined && Date.parse(verifiedAt) >= Date.parse(time)) {
    return { allowed: true, time, retried: remembered };
  }
  if (asked !== name) return { allowed: false, time, retried: remembered };
  const now = retriedOf(release, failure);
  return { allowed: remembered === undefined || remembered === now, time, retried: remembered ?? now };
}

/** Why a node of an open stage doesn't get on, in the words of its own; undefined if it does. */
export function stuckBecause(
  member: Member,
  standing: Standing,
  assignment: Assignment | undefined,
): Why | undefined {
  if (standing.state === "Good") return undefined;
  if (assignment?.withheld !== undefined) return assignment.withheld;
  if (member.held) return { reason: "Held", message: "a person holds it." };
  const { status } = member.update ?? {};
  if (standing.state === "Pending" && !inFlight(member.update)) {
    const reason = status?.reason as Reason | undefined;
    const warns =
      reason !== undefined && Object.hasOwn(reasons, reason) && reasons[reason].severity === "warning";
    return warns ? { reason, message: status?.message ?? "" } : undefined;
  }
  if (standing.state !== "Unreachable") return undefined;
  if (status?.step === "Suspect") {
    return { reason: "Suspect", message: "it is away longer than its boot may take." };
  }
  return status?.connected === false
    ? { reason: "AgentLost", message: "its agent is away." }
    : { reason: "WaitingForAgent", message: "its agent has not reported." };
}
