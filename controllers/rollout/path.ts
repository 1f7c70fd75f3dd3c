/**
 * The way from what a node runs to its target: through every stepping stone that lies
 * between, oldest first, and never from a version older than `updatesFrom` allows.
 */
import type { Why } from "../../api/reasons.ts";
import type { Release } from "../../api/release.ts";
import { compareVersions } from "../../api/version.ts";

/**
 * The next release to run on the way from version `running` (undefined: not reported yet)
 * to `target`. Each later hop must be allowed too: a node is not sent half of a way. To the
 * same or an older version there is one hop; whether a downgrade is allowed is not asked here.
 */
export function nextRelease(
  running: string | undefined,
  target: Release,
  releases: Iterable<Release>,
  architecture: string | undefined,
): Release | Why {
  const way = [...stonesBefore(target, releases, architecture), target];
  if (running === undefined) {
    if (way.length === 1 && target.spec.updatesFrom === undefined) return target;
    return {
      reason: "WaitingForAgent",
      message: `What the node runs isn't known yet, and not every version may update to ${target.spec.version}.`,
    };
  }
  if (compareVersions(running, target.spec.version) >= 0) return target;
  let from = running;
  let next: Release | undefined;
  for (const release of way) {
    if (compareVersions(release.spec.version, running) <= 0) continue;
    const oldest = release.spec.updatesFrom;
    if (oldest !== undefined && compareVersions(from, oldest) < 0) {
      return {
        reason: "UpdateNotReachable",
        message: `Release ${release.metadata.name} updates from ${oldest} on; the way from ${running} comes to it with ${from}.`,
      };
    }
    next ??= release;
    from = release.spec.version;
  }
  return next ?? target;
}

/** Stepping stones of the target's product that are older than it, oldest first. */
export function stonesBefore(
  target: Release,
  releases: Iterable<Release>,
  architecture: string | undefined,
): Release[] {
  return [...releases]
    .filter(
      ({ spec, metadata }) =>
        spec.steppingStone &&
        metadata.name !== target.metadata.name &&
        spec.product === target.spec.product &&
        compareVersions(spec.version, target.spec.version) < 0 &&
        (architecture === undefined || spec.payloads.some((p) => p.architecture === architecture)),
    )
    .toSorted((a, b) => compareVersions(a.spec.version, b.spec.version));
}
