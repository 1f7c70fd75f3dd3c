/** What happens next to a node that holds a slot (design, rules 3, 4, 5, 10 and 13). */
import { parseDuration } from "../../api/duration.ts";
import { timestamp } from "../../api/meta.ts";
import type { GrantStatus, NodeUpdateStatus } from "../../api/node-update.ts";
import { type Reason, reasons, type Why } from "../../api/reasons.ts";
import { meansGrant, stealIn } from "../../api/steal.ts";
import type { LiveGrant } from "../../coordination/coordination.ts";
import type { Phase } from "../../coordination/records.ts";
import { downBecause } from "../budget/policy.ts";
import { isBarred } from "../gates/policy.ts";
import { hasBegun, hookNeeds } from "../hooks/policy.ts";
import { cordonOf, planCordon } from "./cordon.ts";
import { bootNeeds, exclusionWait } from "./deadlines.ts";
import {
  type Act,
  decided,
  type NodeDecision,
  type NodeView,
  nameOf,
  policyOf,
  stoppedBecause,
} from "./decision.ts";
import { hookStep } from "./hook-step.ts";
import { askedReboot } from "./identity.ts";
import { reasonOf } from "./idle.ts";
import { isSameBoot, missing } from "./release-check.ts";
import { withFailure } from "./status.ts";

/** An agent that is missed this long, ms, has lost a slot without a commit; of a Suspect a failure may count, also if it is there so long and does not report its return. */
const ABSENT_LIMIT = 60_000;
/** A drained node whose agent does not commit gives its slot back after this, ms. */
const COMMIT_LIMIT = 300_000;
/**
 * A slot is given on gates of at most 30 s; a node is cordoned within as long again, or not
 * at all: others may have gone down meanwhile (rule 1).
 */
const BEGIN_LIMIT = 30_000;
/** How often a drain and a returned node are looked at, ms. */
const LOOK = 2000;
/** How often a Suspect is looked for, ms: each look counts for no more than 15 s. */
const SEARCH = 10_000;

const none: Act = { do: "none" };

export function decideGrant(
  view: NodeView,
  live: LiveGrant,
  base: NodeUpdateStatus,
  now: number,
): NodeDecision {
  const status: NodeUpdateStatus = { ...base, grant: grantStatus(view, live) };
  const { phase } = live.phase;
  if (phase !== "Committed") delete status.suspectSince;
  countAsked(status, live);
  const steal = stealIn(view.nodeUpdate);
  const stolen = steal !== undefined && steal !== base.stolen;
  // It means a grant that has ended: the word is used up.
  if (stolen && !meansGrant(steal, live.grant.nonce)) status.stolen = steal;
  else if (stolen) {
    const { step = "Granting" } = base;
    const why: Why = { reason: "Stolen", message: `A person frees the slot: ${steal || "no reason given"}.` };
    return decided(view, status, step, why, { do: "free", cause: "Stolen" }, now);
  }
  switch (phase) {
    case "Granted":
    case "Drained":
      return beforeCommit(view, live, status, now);
    case "Committed": {
      const decision = away(view, live, status, now);
      const reopens = decision.act.do === "none" && isStranded(view, live.phase, now);
      return reopens ? { ...decision, act: { do: "reopen" }, again: SEARCH } : decision;
    }
    case "Returned":
      return returned(view, live, status, now);
    case "Withdrawn": {
      const why = givenBack(live.phase);
      return decided(view, status, "Draining", why, { do: "finish" }, now);
    }
  }
}

/** The commit uses up what a person asked for: one that never comes back must not reboot again once its slot is freed. */
function countAsked(status: NodeUpdateStatus, { grant, phase }: LiveGrant): void {
  if (grant.asked === undefined) return;
  if (phase.phase === "Committed" || phase.phase === "Returned") status.rebooted = grant.asked;
  else if (status.rebooted === grant.asked) delete status.rebooted;
}

function grantStatus(view: NodeView, { grant, token, phase }: LiveGrant): GrantStatus {
  const before = view.nodeUpdate.status?.grant;
  const known = phase.phase === "Withdrawn" ? (before?.phase ?? "Granted") : phase.phase;
  const status: GrantStatus = {
    nonce: grant.nonce,
    budgets: grant.budgets,
    // "Drained" is written before etcd has it: what a rebuild finds is never behind what an agent may do.
    phase:
      known === "Granted" && before?.phase === "Drained" && before.nonce === grant.nonce ? "Drained" : known,
    incarnation: token.incarnation,
    revision: token.revision,
    since: timestamp(grant.at),
    policy: policyOf(view),
  };
  if (grant.release !== "") status.release = grant.release;
  if (grant.asked !== undefined) status.asked = grant.asked;
  if (before?.hooks !== undefined && before.nonce === grant.nonce) status.hooks = before.hooks;
  return status;
}

function beforeCommit(view: NodeView, live: LiveGrant, status: NodeUpdateStatus, now: number): NodeDecision {
  const { node, drain } = view;
  const { phase, token } = live;
  const stop = revokedBecause(view, live, now);
  const { step = "Draining" } = view.nodeUpdate.status ?? {};
  const current = step === "Rebooting" || step === "Draining" ? step : "Draining";
  if (stop !== undefined) return decided(view, status, current, stop, { do: "revoke", why: stop }, now);
  const exclude = exclusionWait(policyOf(view)) === undefined ? undefined : now;
  if (node !== undefined && planCordon(node, token, exclude) !== undefined) {
    const why: Why = { reason: "Draining", message: "The node is being cordoned." };
    return decided(view, status, "Draining", why, { do: "cordon", exclude }, now);
  }
  if (phase.phase === "Drained") {
    const who = live.grant.requested === undefined ? "agent" : "client";
    const why: Why = { reason: "Drained", message: `The node is drained; its ${who} may ask to reboot.` };
    return decided(view, status, "Rebooting", why, none, now, LOOK);
  }
  const begun = hasBegun(status.grant?.hooks, "Before");
  const first = begun ? undefined : drainStep(view, status, now);
  if (first !== undefined) return first;
  const hooks = hookStep(view, live, status, "Before", now);
  if (hooks.is === "stopped") {
    return decided(view, status, "Draining", hooks.why, { do: "revoke", why: hooks.why }, now);
  }
  if (hooks.is === "running") {
    const { closing } = view;
    if (closing === undefined) return hooks.decision;
    return decided(view, status, "Draining", closing, { do: "revoke", why: closing }, now);
  }
  // While hooks ran, Pods may have come: somebody lifted the cordon, or they tolerate it.
  const again = begun ? drainStep(view, status, now) : undefined;
  if (again !== undefined) return again;
  const why: Why = (node === undefined ? undefined : drain?.why) ?? {
    reason: "Drained",
    message: "A plain machine has nothing to drain.",
  };
  const grant = status.grant === undefined ? {} : { grant: { ...status.grant, phase: "Drained" as const } };
  return decided(view, { ...status, ...grant }, "Rebooting", why, { do: "markDrained" }, now);
}

/** What is left to do until no Pod is left that has to leave; undefined where that is so. */
function drainStep(view: NodeView, status: NodeUpdateStatus, now: number): NodeDecision | undefined {
  const { node, drain } = view;
  if (node === undefined || drain?.act === "done") return undefined;
  const why: Why = drain?.why ?? { reason: "Draining", message: "Pods leave the node." };
  if (drain?.act === "abort") return decided(view, status, "Draining", why, { do: "revoke", why }, now);
  const act: Act = drain?.act === "evict" ? { do: "evict", pods: drain.pods } : none;
  return decided(view, status, "Draining", why, act, now, LOOK);
}

/** Why a grant that is not committed must be taken back; undefined if it may go on. */
function revokedBecause(view: NodeView, { grant, phase, token }: LiveGrant, now: number): Why | undefined {
  const { nodeUpdate, releases } = view;
  const say = (reason: Reason, message: string): Why => ({ reason, message });
  const stopped = stoppedBecause(view);
  if (stopped !== undefined) return stopped;
  if (nodeUpdate.spec.group !== grant.group) {
    return say("Revoked", `The node moved from UpdateGroup ${grant.group} to ${nodeUpdate.spec.group}.`);
  }
  if (grant.asked !== undefined) {
    const asked = askedReboot(nodeUpdate);
    if (asked === undefined || (grant.inFreeze === true && !asked.inFreeze))
      return say("Revoked", "The person who asked for the reboot took that back.");
  }
  const release = grant.release === "" ? undefined : releases.get(grant.release);
  if (grant.release !== "" && release === undefined)
    return say("ReleaseNotFound", `Release ${grant.release} was deleted.`);
  if (release !== undefined && isBarred(release))
    return say("ReleaseQuarantined", `Release ${grant.release} was quarantined.`);
  if (grant.supersedes !== null)
    return say("Revoked", "etcd's data was rebuilt after this slot was given; it is asked for anew.");
  if (grant.repair === true && isAvailable(view)) {
    return say(
      "WaitingForBudget",
      "The slot was given beyond a full budget because the node was unavailable already; it recovered, and waits for its turn.",
    );
  }
  const begins =
    phase.phase === "Granted" && view.node !== undefined && planCordon(view.node, token) !== undefined;
  if (begins && now - grant.at > BEGIN_LIMIT) {
    return say("WaitingForGates", "The slot is older than what it rests on, and the node is not cordoned.");
  }
  if (grant.requested !== undefined) {
    if (view.request !== undefined) return undefined;
    const { protocol } = grant.requested;
    const message = view.present
      ? `Its client asked by ${protocol}; an agent runs there now, which asks by itself.`
      : `Its client does not ask any more, by ${protocol}.`;
    return say("Withdrawn", message);
  }
  if (view.absentFor > ABSENT_LIMIT)
    return say("AgentLost", "The agent has been away for a minute before it could commit.");
  if (phase.phase === "Drained" && now - phase.at > COMMIT_LIMIT) {
    return say("CommitExpired", "The agent did not ask to reboot within five minutes after the drain.");
  }
  return undefined;
}

/** Whether nothing but a cordon of ours keeps the node from work, so that its reboot would disrupt. */
function isAvailable({ node, present }: NodeView): boolean {
  const alone = node !== undefined && cordonOf(node)?.unschedulable === false;
  const bare = alone ? { ...node, spec: { ...node.spec, unschedulable: false } } : node;
  return downBecause(bare, undefined, present) === undefined;
}

/** The reason of a slot that was given back: the agent's own where we know it. */
function givenBack({ reason = "", message = "" }: Phase): Why {
  if (Object.hasOwn(reasons, reason)) return { reason: reason as Reason, message };
  return { reason: "Withdrawn", message: message || "The slot was given back before the reboot." };
}

function away(view: NodeView, live: LiveGrant, before: NodeUpdateStatus, now: number): NodeDecision {
  const { observed, present, nodeGone } = view;
  const { phase } = live;
  if (nodeGone && !present) {
    const why: Why = {
      reason: "NodeGone",
      message: "The Node does not exist any more, and its machine is away.",
    };
    return decided(view, before, before.step ?? "Rebooting", why, { do: "free", cause: "NodeGone" }, now);
  }
  const policy = policyOf(view);
  const since = phase.committedAt ?? phase.at;
  const limit = bootNeeds(policy);
  const boot = observed?.boot === undefined ? "" : `${observed.boot.bootId}/${observed.boot.softReboots}`;
  const back = present && boot !== "" && boot !== phase.committedBoot;
  // A clock that was set back since must not hide an absence that we have watched.
  // Who runs no agent is missed by none.
  const elapsed = Math.max(now - since, phase.client === true ? 0 : view.absentFor);
  const late = elapsed - (back ? 2 : 1) * limit;
  if (late < 0) {
    const status = { ...before };
    delete status.suspectSince;
    if (back) {
      const told = reasonOf(observed);
      const message = told?.message ?? "The machine is back; its boot checks run.";
      return decided(view, status, "Verifying", { reason: "VerifyingBoot", message }, none, now, -late);
    }
    const why: Why =
      phase.client === true
        ? { reason: "Committed", message: "Its client was told to reboot it, and says when it is back." }
        : present
          ? {
              reason: "Committed",
              message: `The agent may ${live.grant.release === "" ? "" : "flip and "}reboot now.`,
            }
          : { reason: "Rebooting", message: "The machine reboots." };
    return decided(view, status, "Rebooting", why, none, now, -late);
  }
  const suspectSince = before.suspectSince ?? timestamp(now);
  const minutes = Math.round(elapsed / 60_000);
  const what = present ? "is connected but has not come back from its reboot" : "has been away";
  const why: Why = {
    reason: "Suspect",
    message: `The machine ${what} for ${minutes} min since its commit; a reboot and a fallback may take ${Math.round(limit / 60_000)} min. Its slot stays taken.`,
  };
  const suspectFor = now - Date.parse(suspectSince);
  let status: NodeUpdateStatus = { ...before, suspectSince };
  const failAfter = parseDuration(policy.releaseDeadline);
  // After a time in which nobody could be asked, an agent gets time to come back and to report (rule 10).
  const missed = (present ? view.connectedFor : view.absentFor) >= ABSENT_LIMIT;
  if (missed && suspectFor >= failAfter)
    status = withFailure(status, nameOf(live), targetOf(view, live), why, now);
  if (missed && policy.holderTTL !== undefined && suspectFor >= parseDuration(policy.holderTTL)) {
    const expired: Why = {
      reason: "HolderExpired",
      message: `The machine was Suspect for ${policy.holderTTL}, the group's holderTTL; its slot is free and the failure counts.`,
    };
    status = withFailure(status, nameOf(live), targetOf(view, live), expired, now);
    return decided(view, status, "Suspect", expired, { do: "free", cause: "HolderExpired" }, now);
  }
  const again = missed ? (suspectFor < failAfter ? failAfter - suspectFor : 60_000) : SEARCH;
  return decided(view, status, "Suspect", why, none, now, again);
}

/**
 * Whether the node rebooted and may be one of the last on which a gateway could run: no agent at
 * all is connected. Where every node left is cordoned for its reboot, no gateway's Pod finds a
 * place, none of them could ever report its return, and all slots would stay taken for ever.
 */
function isStranded({ node, connected }: NodeView, phase: Phase, now: number): boolean {
  if (connected > 0 || node === undefined || cordonOf(node) === undefined) return false;
  if (now - (phase.committedAt ?? phase.at) < ABSENT_LIMIT) return false;
  const [formerly] = phase.committedBoot?.split("/") ?? [];
  const { conditions, nodeInfo } = node.status ?? {};
  const ready = conditions?.find(({ type }) => type === "Ready")?.status === "True";
  return ready && nodeInfo !== undefined && nodeInfo.bootID !== "" && nodeInfo.bootID !== formerly;
}

/** What the grant is for; after a rebuild of etcd, what the release of that name is for the machine. */
export function targetOf(
  { releases, observed, nodeUpdate }: Pick<NodeView, "releases" | "observed" | "nodeUpdate">,
  { grant }: LiveGrant,
): { release: string; version: string; rootHash: string } {
  const text = (key: string): string | undefined => {
    const value = grant.target?.[key];
    return typeof value === "string" ? value : undefined;
  };
  const spec = releases.get(grant.release)?.spec;
  const own = observed?.architecture ?? nodeUpdate.status?.architecture;
  const payload = spec?.payloads.find(({ architecture }) => architecture === own);
  return {
    release: grant.release,
    version: text("version") ?? spec?.version ?? "",
    rootHash: text("rootHash") ?? payload?.rootHash ?? "",
  };
}

/** The verdict of a return; after a rebuild of etcd, what the machine runs tells it. */
function verdictOf(view: NodeView, live: LiveGrant): Phase["verdict"] {
  const { observed } = view;
  if (live.phase.verdict !== undefined || observed === undefined) return live.phase.verdict;
  if (live.grant.release === "") return observed.rebootRequired ? "StillRequired" : "Rebooted";
  const { rootHash } = targetOf(view, live);
  // A release that is gone, too, leaves nothing to blame.
  return rootHash === "" || observed.runningRootHash === rootHash ? "Updated" : "FellBack";
}

function returned(view: NodeView, live: LiveGrant, before: NodeUpdateStatus, now: number): NodeDecision {
  const { phase, grant } = live;
  const verdict = verdictOf(view, live);
  const policy = policyOf(view);
  const since = timestamp(grant.at);
  let status = before;
  const failed = verdict === "FellBack" || verdict === "StillRequired";
  const cause: Why =
    verdict !== undefined && phase.reason === undefined
      ? {
          reason: verdict,
          message: "The slot was rebuilt after a loss of etcd; this is what the machine shows.",
        }
      : givenBack(phase);
  if (failed && !isForgiven(view, cause))
    status = withFailure(status, nameOf(live), targetOf(view, live), cause, now);
  if (view.nodeGone) {
    const why: Why = { reason: "NodeGone", message: "The Node does not exist any more." };
    return decided(view, status, "Verifying", why, { do: "finish" }, now);
  }
  if (verdict === undefined) {
    const message = "etcd was rebuilt; what came of the reboot shows when the agent reports.";
    return decided(view, status, "Verifying", { reason: "VerifyingRelease", message }, none, now, LOOK);
  }
  // Hooks ask a node that was well; whether it still is, is looked at once more when they are done.
  const hooks = hookStep(view, live, status, "After", now);
  const begun = hasBegun(status.grant?.hooks, "After");
  const lacks =
    begun && hooks.is !== "over"
      ? undefined
      : missing(view.node, view.observed, view.present, phase, view.look);
  const deadline = parseDuration(policy.releaseDeadline) + (begun ? hookNeeds(policy.hooks, "After") : 0);
  const late = (view.look?.askedFor ?? 0) >= deadline;
  if (lacks !== undefined && !late) {
    const why: Why = failed
      ? cause
      : { reason: "VerifyingRelease", message: `The boot is good, but the node ${lacks}.` };
    return decided(view, status, "Verifying", why, none, now, LOOK);
  }
  if (lacks === undefined && hooks.is === "running") return hooks.decision;
  if (failed) return decided(view, status, "Verifying", cause, { do: "finish" }, now);
  if (hooks.is === "stopped") {
    status = withFailure(status, nameOf(live), targetOf(view, live), hooks.why, now);
    return decided(view, status, "Verifying", hooks.why, { do: "finish" }, now);
  }
  if (lacks !== undefined && phase.client === true && isSameBoot(view.node, phase)) {
    const message = "Its client gave the slot back, and the machine did not reboot.";
    return decided(view, status, "Verifying", { reason: "Withdrawn", message }, { do: "finish" }, now);
  }
  if (lacks !== undefined) {
    const why: Why = {
      reason: "ReleaseChecksFailed",
      message: `${policy.releaseDeadline} after its boot the node ${lacks}.`,
    };
    status = withFailure(status, nameOf(live), targetOf(view, live), why, now);
    return decided(view, status, "Verifying", why, { do: "finish" }, now);
  }
  const verified = status.verifiedAt !== undefined && Date.parse(status.verifiedAt) >= Date.parse(since);
  const why: Why = { reason: "VerifyingRelease", message: "The node is verified; its slot is being freed." };
  status = { ...status, ...(verified ? {} : { verifiedAt: timestamp(now) }) };
  if (grant.release !== "") status.verifiedRelease = grant.release;
  return decided(view, status, "Verifying", why, { do: "finish" }, now);
}

/** A boot that ended without a verdict is forgiven once, if others are good on the release (rule 5). */
function isForgiven({ othersVerified, nodeUpdate }: NodeView, cause: Why): boolean {
  if (cause.reason !== "PowerLost" || !othersVerified) return false;
  const transitions = nodeUpdate.status?.transitions ?? [];
  // Newest first: what came before this grant was asked for. Clocks are set back, so times don't tell.
  const begun = transitions.findIndex(({ step }) => step === "Granting");
  return begun < 0 || !transitions.slice(begun).some(({ reason }) => reason === "PowerLost");
}
