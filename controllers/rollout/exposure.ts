/**
 * How many more nodes may be put on a release (design, rule 8): until `threshold` nodes are
 * verified good on it, at most `threshold` may have it without that. Whoever plans grants
 * asks, because a halt comes only after the failures that cause it were seen.
 */
import type { NodeUpdate } from "../../api/node-update.ts";
import type { Release } from "../../api/release.ts";
import { failuresOn, isImageOf } from "../release/policy.ts";
import { isForgiven } from "./failure.ts";

export interface Exposure {
  /** Nodes that run it and were verified. */
  verified: number;
  /** Nodes that hold a grant for it, or run it without a verdict. */
  unverified: number;
  /** Nodes on which it failed, since the resume. */
  failed: number;
  /** How many more may be granted it now; Infinity once enough are verified and too few failed. */
  room: number;
}

/**
 * `threshold` is the group's, and 1 while its first stage has not passed (`thresholdOf`).
 * `resumedAt`: status.resumedAt of the group in ms; failures up to then are forgotten:
 * without it a group that was resumed would wait for ever.
 */
export function exposure(
  nodes: readonly NodeUpdate[],
  release: Release,
  threshold: number,
  resumedAt: number | undefined,
): Exposure {
  const result: Exposure = { verified: 0, unverified: 0, failed: 0, room: 0 };
  for (const { status } of nodes) {
    const runs = isImageOf(release, status?.runningRootHash);
    const granted = status?.grant !== undefined && status.grant.release === release.metadata.name;
    const [failure] = failuresOn(release, status);
    const verdict =
      status?.verifiedRelease === release.metadata.name &&
      (failure === undefined || Date.parse(failure.time) <= Date.parse(status.verifiedAt ?? failure.time));
    if (granted) result.unverified += 1;
    else if (runs && verdict) result.verified += 1;
    else if (failure !== undefined && !verdict) result.failed += isForgiven(failure.time, resumedAt) ? 0 : 1;
    else if (runs && status?.step !== "Idle") result.unverified += 1;
  }
  const { verified, unverified, failed } = result;
  const enough = verified >= threshold && failed < threshold;
  result.room = enough ? Number.POSITIVE_INFINITY : Math.max(0, threshold - unverified - failed);
  return result;
}
