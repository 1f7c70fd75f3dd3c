/**
 * What came of a reboot whose verdict was lost with etcd's data (design, rules 8 and 9).
 * The agent gave its verdict and forgot the grant; the rebuild shows it the grant again, as
 * committed and without a target, and it gives that back. What the machine shows then decides.
 */
import { type Reason, reasons, type Why } from "../../api/reasons.ts";
import type { LiveGrant } from "../../coordination/coordination.ts";
import type { Phase } from "../../coordination/records.ts";
import type { Observed } from "../../proto/gen/agent_pb.ts";
import type { NodeView } from "./decision.ts";
import { targetOf } from "./grant-policy.ts";

type View = Pick<NodeView, "releases" | "observed" | "nodeUpdate">;

/**
 * `live`, as returned where it was withdrawn from a commit that a rebuild took for granted and
 * the machine shows the reboot; as returned without a verdict until its agent has reported.
 */
export function withLostVerdict(view: View, live: LiveGrant): LiveGrant {
  const { grant, phase } = live;
  const rebuilt = grant.supersedes !== null && phase.committedAt !== undefined;
  if (phase.phase !== "Withdrawn" || !rebuilt) return live;
  const { reason: _reason, message: _message, ...rest } = phase;
  const shown: Verdict | undefined = view.observed === undefined ? {} : shownBy(view, view.observed, live);
  if (shown === undefined) return live;
  return { ...live, phase: { ...rest, ...shown.why, phase: "Returned", verdict: shown.verdict } };
}

interface Verdict {
  verdict?: Phase["verdict"];
  why?: Why;
}

/**
 * Undefined where the reboot did not happen: an agent that still has its act withdraws it
 * with the flip undone, and neither runs the target nor holds anything against it.
 */
function shownBy(view: View, observed: Observed, live: LiveGrant): Verdict | undefined {
  const { nodeUpdate } = view;
  const { grant } = live;
  if (grant.release === "") {
    if (observed.reason !== "StillRequired") return undefined;
    return { verdict: "StillRequired", why: { reason: "StillRequired", message: observed.message } };
  }
  const { rootHash } = targetOf(view, live);
  if (rootHash === "") return undefined;
  if (observed.runningRootHash === rootHash) return { verdict: "Updated" };
  // A failure from before this grant was forgiven: only a later one is this grant's.
  const forgiven = (nodeUpdate.status?.failed ?? []).some(
    (each) => each.rootHash === rootHash && Date.parse(each.time) < grant.at,
  );
  const entry = observed.failed.find(
    (each) => each.rootHash === rootHash && (!forgiven || Number(each.atMs) >= grant.at),
  );
  if (entry !== undefined) {
    const reason = Object.hasOwn(reasons, entry.reason) ? (entry.reason as Reason) : "FellBack";
    return { verdict: "FellBack", why: { reason, message: entry.message } };
  }
  const tried = observed.slots.some(
    ({ rootHash: hash, running, priority, tries, successful }) =>
      hash === rootHash && !running && priority > 0 && tries === 0 && !successful,
  );
  if (!tried) return undefined;
  const message = "The target's slot was booted, and ended without a verdict.";
  return { verdict: "FellBack", why: { reason: "PowerLost", message } };
}
