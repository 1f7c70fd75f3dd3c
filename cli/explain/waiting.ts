/** A node that has everything but its turn. */
import { parseDuration } from "../../api/duration.ts";
import { reasons } from "../../api/reasons.ts";
import type { Snapshot } from "../snapshot.ts";
import { type Advice, advise, commands, type Finding, finding } from "./finding.ts";
import { disruptionBudgetOf } from "./grant.ts";
import { isRequested, type Member, rebootAskedFor } from "./subject.ts";
import { clause, dated } from "./words.ts";

/** `now`: wall clock, ms. */
export function waiting(member: Member, _snapshot: Snapshot, now: number): Finding {
  const { name, update, group } = member;
  const { reason = "WaitingForTurn", message = "", staged } = update.status ?? {};
  const groupName = group.metadata.name;
  const asked = rebootAskedFor(update);
  const has = isRequested(update.status)
    ? "was asked to reboot by its own client"
    : asked !== undefined
      ? `was asked to reboot (${clause(asked)})`
      : group.spec.driver === "sentinel"
        ? "asks for a reboot"
        : `has ${staged ?? "its image"} staged`;
  const because = `${dated(clause(message), now)}${passed(message, now)}`;
  switch (reason) {
    case "WaitingForWindow":
    case "OpeningNotFound":
      return finding(
        reason,
        `${has} and waits for a reboot window: ${because}`,
        commands.windows(groupName),
        rebootNow(name, "reboots it once, outside of windows"),
      );
    case "ChangeFreeze":
      return finding(
        reason,
        `${has} and waits out a change freeze: ${because}`,
        advise("kubectl get rebootwindows", "lists the windows of mode Deny"),
        commands.windows(groupName),
      );
    case "WindowTooShort":
      return finding(
        reason,
        `${has} and fits into no reboot window: ${because}; it needs ${needs(member)}`,
        advise("kubectl edit rebootwindow", "lengthens spec.duration"),
        commands.editGroup(groupName, "shortens spec.drain.timeout or spec.health.bootDeadline"),
      );
    case "WaitingForBudget":
      return finding(reason, `${has} and waits for room: ${because}`, commands.locks, ...whoIs(message));
    case "MachinesUnconfirmed":
      return finding(
        reason,
        `${has} and waits for a person: ${because}`,
        advise(
          `kubectl slipway machines confirm ${/ group (\S+) /.exec(message)?.[1] ?? groupName}`,
          "says that none of those machines is down, once you have seen that",
        ),
      );
    case "WaitingForTurn":
      return finding(reason, `${has} and waits for its turn: ${because}`, commands.locks);
    case "WaitingForRate":
      return finding(
        reason,
        `${has} and waits for the rate: ${because}`,
        commands.editGroup(groupName, "changes spec.rate"),
      );
    case "WaitingForSettle":
      return finding(
        reason,
        `${has} and waits until the group has settled: ${because}`,
        commands.editGroup(groupName, "changes spec.settle"),
      );
    case "WaitingForEvidence":
      return finding(reason, `${has} and waits for evidence: ${because}`, commands.group(groupName));
    case "BackingOff":
      return finding(reason, `${has} and backs off: ${because}${lastAttempt(member)}`, commands.why(name));
    case "BlockedByDisruptionBudget": {
      const budget = disruptionBudgetOf(message);
      return finding(
        reason,
        `${has} and takes no slot, because ${budget === undefined ? "a PodDisruptionBudget" : `PodDisruptionBudget ${budget}`} would refuse every eviction: ${because}`,
        advise(
          budget === undefined
            ? "kubectl get pdb -A"
            : `kubectl get pdb -A --field-selector metadata.name=${budget}`,
          "shows how many disruptions it allows",
        ),
      );
    }
    case "EvictionRefused":
      return finding(
        reason,
        `${has} and takes no slot, because no Pod of it may be evicted: ${because}`,
        commands.webhooks,
      );
    case "Blocked":
    case "BlockerFailed":
      return finding(
        reason,
        `${has} and is held back: ${because}`,
        commands.editGroup(
          groupName,
          reason === "Blocked"
            ? "changes spec.blockers"
            : "mends spec.blockers, or sets onFailure: Allow there",
        ),
        rebootNow(name, "reboots it once, whatever blocks"),
      );
    case "RebootRequested":
    case "RebootAsked":
      return finding(reason, `${has} and asks for a slot next`, commands.locks);
    case "SlotNotAsked":
      return finding(
        reason,
        `${has} and asks for a slot again within a minute: ${because}`,
        commands.why(name),
        commands.doctor,
      );
    case "AlreadyGranted":
    case "DesiredChanged":
      return finding(reason, `${has} and asks for a slot again: ${because}`, commands.why(name));
    case "BeingRemoved":
      return finding(
        reason,
        `${has} and is given no slot: ${because}`,
        advise(`kubectl describe node ${name}`, "shows the taint ToBeDeletedByClusterAutoscaler"),
      );
    case "OtherCoordinator":
      return finding(
        reason,
        `${has} and is given no slot: ${because}`,
        advise(
          "kubectl slipway migrate kured",
          "prints kured's settings as ours, to let one of the two do it",
        ),
      );
    case "WaitingForGates":
    case "EtcdUnavailable":
    case "LeaderChanged":
      return finding(reason, `${has} and can't be given a slot now: ${because}`, commands.doctor);
    case "TooManyBudgets":
      return finding(
        reason,
        `${has} and is bound by too much: ${because}`,
        advise("kubectl get rebootbudgets", "lists the budgets; let fewer select it"),
      );
    case "AgentLost":
      return finding(reason, `${has}, and its agent is away: ${because}`, commands.agentLogs(name));
    default: {
      const situation = Object.hasOwn(reasons, reason) ? (reason as keyof typeof reasons) : "WaitingForTurn";
      return finding(situation, `${has} and waits: ${because}`, commands.locks);
    }
  }
}

function rebootNow(name: string, effect: string): Advice {
  return advise(`kubectl slipway node reboot ${name} --now --reason "..."`, effect);
}

/** What is added where the first time that the message waits for is over: the manager looks every few seconds. */
function passed(message: string, now: number): string {
  const time = /(?:until|at) (\d{4}-\d{2}-\d{2}T[\d:]+Z)/.exec(message)?.[1];
  return time === undefined || Date.parse(time) > now
    ? ""
    : "; that is over, and its next look takes the node on";
}

function needs({ group, node }: Member): string {
  const { drain, health } = group.spec;
  const boot = `2 x (${health.rebootTime} + ${health.bootDeadline}) for the reboot and a fallback`;
  if (node === undefined || !drain.enabled) return boot;
  return `${drain.timeout} for the drain and ${boot}, ${Math.ceil((parseDuration(drain.timeout) + 2 * (parseDuration(health.rebootTime) + parseDuration(health.bootDeadline))) / 60_000)} min in all`;
}

/** Names in a budget's message that can be asked about in turn. */
function whoIs(message: string): Finding["advice"] {
  const who = /down: ([a-z0-9][a-z0-9.-]*) (?:holds|is|goes)/.exec(message)?.[1];
  return who === undefined ? [] : [advise(`kubectl slipway why ${who}`, "says why that one is down")];
}

/** Why the last slot was given back. */
function lastAttempt({ update }: Member): string {
  const given = update.status?.transitions?.find(({ step }) => step === "Draining" || step === "Rebooting");
  return given === undefined ? "" : `; the last time: ${clause(given.message)}`;
}
