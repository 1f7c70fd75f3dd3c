/**
 * What happens next to one node: from a target that waits, through slot, cordon, drain,
 * reboot and verification, to a slot that is free again (design, sections 5 and 11).
 * The status is written before the act, so that a manager that dies in between finds at
 * its next look either nothing begun or the act to repeat.
 */
import { REBOOT_ANNOTATION } from "../../api/labels.ts";
import { timestamp } from "../../api/meta.ts";
import type { GrantStatus, NodeUpdate, NodeUpdateStatus } from "../../api/node-update.ts";
import type { Why } from "../../api/reasons.ts";
import { meansGrant, stealIn } from "../../api/steal.ts";
import type { Observed } from "../../proto/gen/agent_pb.ts";
import { cordonOf } from "./cordon.ts";
import { freeze } from "./deadlines.ts";
import { type Act, decided, type NodeDecision, type NodeView, stoppedBecause } from "./decision.ts";
import { decideGrant } from "./grant-policy.ts";
import { idleStep } from "./idle.ts";
import { describe, failureOf } from "./status.ts";
import { releaseNameOf, wantedOf } from "./target.ts";
import { withToldFailure } from "./told-failure.ts";

/** `now`: wall clock, ms. */
export function decideNode(view: NodeView, now: number): NodeDecision {
  const { nodeUpdate, node, live, observed, present } = view;
  const described = describe(nodeUpdate, node, observed, present);
  const base = forgetMarker(withTarget(described, view), observed);
  return live === undefined ? withoutGrant(view, base, now) : decideGrant(view, live, base, now);
}

function withoutGrant(view: NodeView, base: NodeUpdateStatus, now: number): NodeDecision {
  const { nodeUpdate, node, nodeGone } = view;
  // The plan may be some seconds old; what was said since counts.
  const take = stoppedBecause(view) === undefined ? view.take : undefined;
  const asked = base.grant;
  const leaving = nodeGone || nodeUpdate.metadata.deletionTimestamp !== undefined;
  const steal = stealIn(nodeUpdate);
  const stolen = steal !== undefined && steal !== base.stolen;
  if (asked?.phase === "Granting" && take !== undefined) {
    const grant: GrantStatus = { ...asked, budgets: [...take.budgets] };
    return decided(
      view,
      { ...base, grant },
      "Granting",
      take.why,
      { do: "take", take, nonce: asked.nonce },
      now,
    );
  }
  if (asked !== undefined) {
    const status = ended(base, asked);
    if (stolen) status.stolen = steal;
    const meant = stolen && meansGrant(steal, asked.nonce);
    const freed = freedBecause(base, asked, meant ? steal : undefined);
    const { step, why } = idleStep(view);
    return decided(
      { ...view, nodeUpdate: reopened(nodeUpdate, status) },
      status,
      step,
      freed ?? why,
      { do: "none" },
      now,
      0,
    );
  }
  const status = { ...withToldFailure(base, view, now) };
  // Without a slot there is nothing to steal: the word is used up, or it would hit the next grant.
  if (stolen) status.stolen = steal;
  if (leaving) {
    const why: Why = nodeGone
      ? { reason: "NodeGone", message: "The Node does not exist any more, and its slot is free." }
      : { reason: "Deleting", message: "The NodeUpdate is being deleted, and its slot is free." };
    const act: Act = nodeUpdate.metadata.deletionTimestamp !== undefined ? { do: "forget" } : { do: "none" };
    const orphan = node !== undefined && cordonOf(node) !== undefined;
    return decided(view, status, "Idle", why, orphan ? { do: "uncordon" } : act, now);
  }
  if (node !== undefined && cordonOf(node) !== undefined) {
    const { step, why } = idleStep(view);
    return decided(view, status, step, why, { do: "uncordon" }, now);
  }
  const word = nodeUpdate.metadata.annotations?.[REBOOT_ANNOTATION];
  if (word === undefined) delete status.rebooted;
  else if (word.slice(0, 253) === status.rebooted) {
    const { step, why } = idleStep(view);
    return decided(view, status, step, why, { do: "unask" }, now);
  }
  if (take !== undefined && view.group !== undefined) {
    const grant: GrantStatus = {
      nonce: view.nonce,
      budgets: [...take.budgets],
      phase: "Granting",
      since: timestamp(now),
      policy: freeze(view.group),
    };
    if (take.release !== "") grant.release = take.release;
    if (take.asked !== undefined) grant.asked = take.asked.why;
    const act: Act = { do: "take", take, nonce: view.nonce };
    return decided(view, { ...status, grant }, "Granting", take.why, act, now);
  }
  const { step, why, progress } = idleStep(view);
  if (progress !== undefined) status.progress = progress;
  return decided(view, status, step, why, { do: "none" }, now);
}

function withTarget(
  status: NodeUpdateStatus,
  { nodeUpdate, group, releases, observed, live }: NodeView,
): NodeUpdateStatus {
  const next = { ...status };
  const wanted = wantedOf(nodeUpdate, group, releases, observed);
  const frozen = live?.grant.target?.["version"];
  const version = live === undefined ? releases.get(releaseNameOf(wanted))?.spec.version : frozen;
  if (typeof version === "string") next.target = version;
  else delete next.target;
  return next;
}

/** What asked for a reboot in vain is gone: the next marker is another one. */
function forgetMarker(status: NodeUpdateStatus, observed: Observed | undefined): NodeUpdateStatus {
  if (observed === undefined || observed.rebootRequired || observed.reason === "StillRequired") return status;
  const failed = status.failed?.filter(({ reason }) => reason !== "StillRequired");
  return failed === undefined || failed.length === status.failed?.length ? status : { ...status, failed };
}

/** The status after the grant ended. A slot that was only asked for leaves no trace in the history: its place in the queue stays. */
function ended(base: NodeUpdateStatus, asked: GrantStatus): NodeUpdateStatus {
  const status = { ...base };
  delete status.grant;
  delete status.suspectSince;
  if (asked.phase === "Granting" && status.transitions?.[0]?.step === "Granting") {
    status.transitions = status.transitions.slice(1);
  }
  return status;
}

/** `nodeUpdate` as its history says it was before a slot was asked for. */
function reopened(nodeUpdate: NodeUpdate, { transitions }: NodeUpdateStatus): NodeUpdate {
  if (transitions === nodeUpdate.status?.transitions || transitions === undefined) return nodeUpdate;
  const [last] = transitions;
  return last === undefined
    ? nodeUpdate
    : { ...nodeUpdate, status: { ...nodeUpdate.status, step: last.step } };
}

function freedBecause(
  base: NodeUpdateStatus,
  asked: GrantStatus,
  steal: string | undefined,
): Why | undefined {
  if (asked.phase === "Granting") return undefined;
  if (steal !== undefined) {
    return {
      reason: "Stolen",
      message: `A person freed the slot: ${steal || "no reason given"}. The budget may be overrun.`,
    };
  }
  const failure = failureOf(base, asked.nonce);
  if (failure?.reason !== "HolderExpired") return undefined;
  return { reason: "HolderExpired", message: failure.message };
}
