/** A node that holds a slot: what it does with it, and what would take it back. */

import { parseDuration } from "../../api/duration.ts";
import { APPLY_ANNOTATION } from "../../api/labels.ts";
import { reasons } from "../../api/reasons.ts";
import { advise, commands, type Finding, finding, type Situation } from "./finding.ts";
import { hooked } from "./hooks.ts";
import { holds, type Subject } from "./subject.ts";
import { clause, dated, span, when } from "./words.ts";

/** Undefined where it holds none. `now`: wall clock, ms. */
export function underGrant(subject: Subject, now: number): Finding | undefined {
  const { name, update } = subject;
  const status = update?.status;
  const grant = status?.grant;
  if (status === undefined || grant === undefined) return undefined;
  const { step = "Granting", reason = "", message = "", since = grant.since } = status;
  if (FREED.includes(reason))
    return finding(situationOf(reason), `loses its slot: ${clause(message)}`, commands.locks);
  if (step === "Suspect") return suspect(subject, now);
  const lasts = span(now - Date.parse(since));
  if (grant.phase === "Returned" || step === "Verifying")
    return hooked(subject, now) ?? verifying(subject, now);
  // One that was withdrawn after its commit is shown as Draining until its slot is free.
  if (grant.phase === "Committed" && step !== "Draining") return committed(subject, now);
  const stop = stopped(subject);
  if (stop !== undefined) return stop;
  if (status.connected === false) {
    return finding(
      "AgentLost",
      "holds a slot and its agent is away: unless that comes back within a minute, the slot is taken back",
      ...(update?.spec.nodeName === undefined ? [] : [commands.agentLogs(name)]),
    );
  }
  if (step === "Granting") return finding("Granting", `asks for a slot: ${clause(message)}`, commands.locks);
  if (grant.phase === "Drained" || reason === "Drained") {
    return finding("Drained", `is drained, and its agent asks to reboot next`, commands.locks);
  }
  const hook = hooked(subject, now);
  if (hook !== undefined) return hook;
  if (reason === "BlockedByDisruptionBudget") return blocked(subject, now);
  if (reason === "Draining") {
    return finding(
      "Draining",
      `has been draining for ${lasts}: ${clause(message)}${givesUp(subject, now)}`,
      advise(
        `kubectl get pods -A --field-selector spec.nodeName=${name}`,
        "shows the Pods that are still there",
      ),
    );
  }
  if (reason === "EvictionRefused" || reason === "PodsNotEnding") return stuck(subject, reason, now);
  if (reason === "LeavingLoadBalancers") {
    return finding(
      reason,
      `is cordoned, and Pods leave once load balancers had time to let go of it: ${dated(clause(message), now)}`,
      commands.editGroup(update?.spec.group ?? "", "changes spec.excludeFromLoadBalancers.wait"),
    );
  }
  const goesOn = reason === "Granting" || !Object.hasOwn(reasons, reason);
  const logs = OF_THE_HOST.includes(reason) && subject.node !== undefined ? [commands.agentLogs(name)] : [];
  return finding(
    situationOf(reason, "Granting"),
    `${goesOn ? "holds a slot" : "gives its slot back"}: ${clause(message)}`,
    ...logs,
    commands.locks,
  );
}

/** Ends of a slot that nobody asked the agent about. */
const FREED: readonly string[] = ["Stolen", "HolderExpired"];
/** Why an agent could not reboot its machine. */
const OF_THE_HOST: readonly string[] = ["DeadManUnavailable", "FlipFailed", "RebootRefused"];

function blocked(subject: Subject, now: number): Finding {
  const { name, update } = subject;
  const message = update?.status?.message ?? "";
  const budget = disruptionBudgetOf(message);
  const which = budget === undefined ? "a PodDisruptionBudget" : `PodDisruptionBudget ${budget}`;
  return finding(
    "BlockedByDisruptionBudget",
    `can't be drained, because ${which} refuses an eviction: ${clause(message)}${givesUp(subject, now)}`,
    advise(
      budget === undefined
        ? "kubectl get pdb -A"
        : `kubectl get pdb -A --field-selector metadata.name=${budget}`,
      "shows how many disruptions it allows; start more replicas, or loosen it",
    ),
    commands.editGroup(update?.spec.group ?? "", "spec.drain.onTimeout: Force reboots although Pods remain"),
    advise(`kubectl slipway node hold ${name} --reason "..."`, "gives the slot back and keeps the node out"),
  );
}

/** Pods that somebody keeps: an admission webhook, a finalizer, a kubelet. */
function stuck(subject: Subject, reason: "EvictionRefused" | "PodsNotEnding", now: number): Finding {
  const { name, update } = subject;
  const message = clause(update?.status?.message ?? "");
  return finding(
    reason,
    `can't be drained: ${message}${givesUp(subject, now)}`,
    reason === "EvictionRefused"
      ? commands.webhooks
      : advise(
          `kubectl get pods -A --field-selector spec.nodeName=${name} -o custom-columns=NAMESPACE:.metadata.namespace,NAME:.metadata.name,FINALIZERS:.metadata.finalizers`,
          "shows what keeps them; whoever set a finalizer must take it off",
        ),
    commands.editGroup(update?.spec.group ?? "", "spec.drain.onTimeout: Force reboots although Pods remain"),
    advise(`kubectl slipway node hold ${name} --reason "..."`, "gives the slot back and keeps the node out"),
  );
}

/** The API server says `The disruption budget NAME needs ...` (registry/core/pod/storage/eviction.go). */
export function disruptionBudgetOf(message: string): string | undefined {
  return /disruption budget (\S+) needs/.exec(message)?.[1];
}

function givesUp({ update }: Subject, now: number): string {
  const grant = update?.status?.grant;
  const policy = grant?.policy?.drain;
  if (grant === undefined || policy === undefined) return "";
  const until = Date.parse(grant.since) + parseDuration(policy.timeout);
  const then = policy.onTimeout === "Force" ? "it reboots all the same" : "the slot is given back";
  return `; ${then} at ${when(until, now)}`;
}

/** What a person did that takes a slot back before its commit. */
function stopped({ held, group, update, name }: Subject): Finding | undefined {
  const groupName = update?.spec.group ?? "";
  const back = (situation: Situation, because: string, ...advice: Finding["advice"][number][]): Finding =>
    finding(situation, `gives its slot back, because ${because}`, ...advice);
  if (group === undefined) return back("Deleting", `UpdateGroup ${groupName} does not exist any more`);
  if (group.metadata.deletionTimestamp !== undefined)
    return back("Deleting", `UpdateGroup ${groupName} is being deleted`);
  if (held !== undefined) return back("Held", `a person holds it${reasonOf(held)}`, commands.unhold(name));
  if (group.spec.paused)
    return back("Paused", `UpdateGroup ${groupName} is paused`, commands.resume(groupName));
  const applied = update?.metadata.annotations?.[APPLY_ANNOTATION];
  if (group.spec.strategy === "Off" && (applied === undefined || applied !== update?.spec.release)) {
    return back(
      "StrategyOff",
      `UpdateGroup ${groupName} has strategy Off`,
      commands.editGroup(groupName, "strategy: Coordinated lets nodes reboot"),
    );
  }
  if (holds(group, "Halted")) {
    return back(
      "FailureThresholdReached",
      `UpdateGroup ${groupName} stopped itself`,
      commands.group(groupName),
    );
  }
  return undefined;
}

export function reasonOf(held: string): string {
  return held === "" ? "" : `: ${clause(held)}`;
}

function committed(subject: Subject, now: number): Finding {
  const { update, name, held, group } = subject;
  const { reason, since = "", grant } = update?.status ?? {};
  const limit = bootLimit(subject);
  const from = Date.parse(since);
  const late = limit === undefined ? "" : `; it is Suspect if it is not back at ${when(from + limit, now)}`;
  const tooLate =
    held !== undefined || group?.spec.paused === true
      ? "; a hold or pause reaches it no more, for it has committed"
      : "";
  const to = grant?.release === undefined ? "" : ` into ${grant.release}`;
  if (reason === "Committed" && update?.status?.connected === true) {
    return finding(
      "Committed",
      `has leave to reboot${to} and does so any moment${late}${tooLate}`,
      commands.locks,
    );
  }
  return finding(
    "Rebooting",
    `has been rebooting${to} for ${span(now - from)}${late}${tooLate}`,
    commands.locks,
    commands.why(name),
  );
}

/** A reboot that fails until its deadline, and the fallback's: what the manager waits before a node is Suspect. */
function bootLimit({ update }: Subject): number | undefined {
  const policy = update?.status?.grant?.policy;
  if (policy === undefined) return undefined;
  return 2 * (parseDuration(policy.rebootTime) + parseDuration(policy.bootDeadline));
}

const FAILURES: readonly string[] = [
  "FellBack",
  "BootChecksFailed",
  "ReleaseChecksFailed",
  "HookFailed",
  "PowerLost",
  "StillRequired",
];

function verifying(subject: Subject, now: number): Finding {
  const { update } = subject;
  const { reason = "", message = "", grant, since = "", running = "" } = update?.status ?? {};
  const group = update?.spec.group ?? "";
  if (FAILURES.includes(reason)) {
    return finding(
      situationOf(reason),
      `came back from its reboot${running === "" ? "" : ` on ${running}`}, which did not go well: ${clause(message)}`,
      commands.group(group),
    );
  }
  const policy = grant?.policy;
  const deadline = reason === "VerifyingRelease" ? policy?.releaseDeadline : undefined;
  const until =
    deadline === undefined
      ? ""
      : `; it counts as failed after ${deadline} in which the API server could be asked`;
  return finding(
    situationOf(reason, "VerifyingRelease"),
    `is back from its reboot for ${span(now - Date.parse(since))} and is being verified: ${clause(message)}${until}`,
    commands.group(group),
  );
}

function suspect(subject: Subject, now: number): Finding {
  const { name, node, update, group } = subject;
  const { suspectSince, grant } = update?.status ?? {};
  const since = suspectSince === undefined ? "" : ` since ${when(suspectSince, now)}`;
  const ttl = grant?.policy?.holderTTL;
  const end =
    ttl === undefined || suspectSince === undefined
      ? "its slot stays taken until it returns or somebody frees it"
      : `its slot is freed at ${when(Date.parse(suspectSince) + parseDuration(ttl), now)}, by the group's holderTTL`;
  const alone = group === undefined ? "; its UpdateGroup is gone, and waits for it no longer" : "";
  return finding(
    "Suspect",
    `is Suspect${since}: it has not come back from its reboot, and ${end}${alone}`,
    ...(node === undefined ? [] : [commands.deleteNode(name)]),
    commands.steal(name),
  );
}

function situationOf(reason: string, other: Situation = "Revoked"): Situation {
  return Object.hasOwn(reasons, reason) ? (reason as Situation) : other;
}
