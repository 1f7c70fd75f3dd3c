/** A node without a slot: what it should run, and why it does not get there. */
import { APPLY_ANNOTATION, WITHHELD_ANNOTATION } from "../../api/labels.ts";
import { reasons } from "../../api/reasons.ts";
import type { UpdateGroup } from "../../api/update-group.ts";
import type { Snapshot } from "../snapshot.ts";
import { advise, commands, type Finding, finding, type Situation } from "./finding.ts";
import { reasonOf } from "./grant.ts";
import { downgradeRefused, staging } from "./staging.ts";
import { conditionOf, holds, isImageOf, isRequested, type Member, rebootAskedFor } from "./subject.ts";
import { waiting } from "./waiting.ts";
import { clause, names, when } from "./words.ts";

/** `now`: wall clock, ms. */
export function withoutGrant(member: Member, snapshot: Snapshot, now: number): Finding {
  if (isRequested(member.update.status)) return stopped(member, now) ?? waiting(member, snapshot, now);
  return (
    agentAway(member, now) ??
    (member.group.spec.driver === "sentinel" ? sentinel(member) : image(member, snapshot, now)) ??
    stopped(member, now) ??
    (member.update.status?.step === "Staged"
      ? waiting(member, snapshot, now)
      : staging(member, snapshot, now))
  );
}

function agentAway({ name, update, node }: Member, now: number): Finding | undefined {
  const { status } = update;
  const logs = node === undefined ? [] : [commands.agentLogs(name)];
  if (status?.running === undefined || status.reason === "WaitingForAgent") {
    return finding(
      "WaitingForAgent",
      "waits for its agent: none has reported from there yet",
      ...logs,
      commands.doctor,
    );
  }
  if (status.connected !== false) return undefined;
  const since =
    status.reason === "AgentLost" && status.since !== undefined ? ` since ${when(status.since, now)}` : "";
  const freed = status.transitions?.find(({ reason }) => reason === "Stolen" || reason === "HolderExpired");
  const lost =
    freed === undefined || freed !== status.transitions?.[0]
      ? ""
      : `; its slot was ${freed.reason === "Stolen" ? "freed by a person" : "freed by the group's holderTTL"} at ${when(freed.time, now)}`;
  return finding(
    "AgentLost",
    `can't be updated, because its agent has been away${since}; it ran ${status.running || "an unknown version"} when last seen${lost}`,
    ...logs,
    advise(`kubectl get node ${name} -o wide`, "shows whether the machine is up"),
  );
}

function sentinel(member: Member): Finding | undefined {
  const { name, update, group, held } = member;
  const { rebootRequired, reason, message = "" } = update.status ?? {};
  const asked = rebootAskedFor(update);
  if (reason === "StillRequired") {
    return finding(
      "StillRequired",
      `still asks for a reboot after one, and that is not repeated: ${clause(message)}`,
      commands.agentLogs(name),
    );
  }
  if (reason === "MachineUnreadable") {
    return finding(
      "MachineUnreadable",
      `can't be read by its agent: ${clause(message)}`,
      commands.agentLogs(name),
    );
  }
  if (rebootRequired === true) return undefined;
  if (asked !== undefined) return update.status?.step === "Staged" ? undefined : askedForReboot(asked);
  return finding(
    "NoRebootRequired",
    `needs nothing: it asks for no reboot${held === undefined ? "" : `, and a person holds it${reasonOf(held)}`}`,
    commands.group(group.metadata.name),
  );
}

function askedForReboot(asked: string): Finding {
  return finding(
    "RebootAsked",
    `is about to be rebooted as soon as its budgets allow, because a person asked for it${reasonOf(asked)}`,
    commands.locks,
  );
}

/** Whether there is an image for it, and whether it has it already. */
function image(member: Member, snapshot: Snapshot, now: number): Finding | undefined {
  const { target, group, update } = member;
  const { running = "" } = update.status ?? {};
  const groupName = group.metadata.name;
  const channel = group.spec.channel ?? "";
  if (target?.missingChannel !== undefined) {
    return finding(
      "ChannelNotFound",
      `keeps ${running}, because UpdateGroup ${groupName} follows Channel ${channel}, which does not exist`,
      commands.editGroup(groupName, "names another channel"),
    );
  }
  if (target?.release === undefined) {
    const name = target?.name ?? "";
    return finding(
      name === "" ? "NoTarget" : "ReleaseNotFound",
      `keeps ${running}, because Release ${name}, which UpdateGroup ${groupName} should run, does not exist`,
      channel === "" ? commands.editGroup(groupName, "names another release") : commands.promote(channel),
    );
  }
  const { release } = target;
  if (isImageOf(release, update.status?.runningRootHash)) return current(member);
  // The reboot that a person asked for waits for no rollout.
  if (rebootAskedFor(update) !== undefined && update.status?.step === "Staged") return undefined;
  return (
    withheld(member) ??
    quarantined(member, running) ??
    // A stepping stone on the way is a release of its own.
    (update.spec.release === undefined ||
    group.status?.target !== release.metadata.name ||
    runsItsOwn(member, snapshot)
      ? notItsStage(member, now)
      : failedHere(member))
  );
}

function current({ update, held, group }: Member): Finding | undefined {
  const { running = "", reason, message = "" } = update.status ?? {};
  const asked = rebootAskedFor(update);
  if (asked !== undefined) return update.status?.step === "Staged" ? undefined : askedForReboot(asked);
  if (reason === "BootNotGood") {
    return finding("BootNotGood", `runs ${running}, and that boot is not marked good: ${clause(message)}`);
  }
  const also = held === undefined ? "" : `, and a person holds it${reasonOf(held)}`;
  return finding("Current", `runs ${running}, as it should${also}`, commands.group(group.metadata.name));
}

/** Why the rollout gives this one node nothing new, in its own words. */
function withheld({ name, update, group }: Member): Finding | undefined {
  const text = update.metadata.annotations?.[WITHHELD_ANNOTATION];
  const { running = "" } = update.status ?? {};
  if (text === undefined) return undefined;
  let why: { reason?: string; message?: string };
  try {
    why = JSON.parse(text) as typeof why;
  } catch {
    return finding(
      "InvalidSpec",
      `is given nothing, because its annotation ${WITHHELD_ANNOTATION} can't be read`,
      advise(`kubectl annotate nodeupdate ${name} ${WITHHELD_ANNOTATION}-`, "removes it"),
    );
  }
  const situation = known(why.reason);
  const advice = situation === "NeverAgain" ? [commands.retryNode(name)] : [];
  if (situation === "UpdateNotReachable")
    advice.push(advise("kubectl get releases", "lists what could be a stepping stone"));
  return finding(
    situation,
    `keeps ${running}: ${clause(why.message ?? "")}`,
    ...advice,
    commands.group(group.metadata.name),
  );
}

function quarantined(member: Member, running: string): Finding | undefined {
  const { target, group } = member;
  const release = target?.release;
  if (release === undefined) return undefined;
  const groupName = group.metadata.name;
  const { name } = release.metadata;
  if (release.metadata.deletionTimestamp !== undefined)
    return finding("ReleaseQuarantined", `keeps ${running}, because Release ${name} is being deleted`);
  const condition = conditionOf(release, "Quarantined");
  if (condition?.status !== "True") return undefined;
  if (holds(group, "Halted") && group.status?.target === name) return halted(group, member);
  const channel = group.spec.channel;
  return finding(
    "ReleaseQuarantined",
    `keeps ${running}, because Release ${name} is quarantined: ${clause(condition.message)}`,
    channel === undefined
      ? commands.editGroup(groupName, "names another release")
      : commands.promote(channel),
  );
}

function halted({ metadata, spec, status }: UpdateGroup, { update }: Member): Finding {
  const { running = "" } = update.status ?? {};
  const failures = status?.failures ?? [];
  const own = failures.find(({ node }) => node === update.metadata.name);
  const release = status?.target ?? "the release";
  const failed = failures.map(({ node, reason }) => `${node} (${reason})`);
  const because =
    own === undefined
      ? `UpdateGroup ${metadata.name} stopped itself after ${names(failed) || "failures"} on ${release}`
      : `${own.release} failed here (${own.reason}), and UpdateGroup ${metadata.name} stopped itself`;
  return finding(
    "FailureThresholdReached",
    `keeps ${running}, because ${because}`,
    spec.channel === undefined
      ? commands.editGroup(metadata.name, "names another release")
      : commands.promote(spec.channel),
    commands.retryGroup(metadata.name),
  );
}

/** Whether it runs what the rollout gave it last, which is not the target. */
function runsItsOwn({ update }: Member, { releases }: Snapshot): boolean {
  const own = releases.find(({ metadata }) => metadata.name === update.spec.release);
  return isImageOf(own, update.status?.runningRootHash);
}

function notItsStage(member: Member, now: number): Finding {
  const { group, target, update, held, name } = member;
  const { status } = group;
  const { running = "" } = update.status ?? {};
  const groupName = group.metadata.name;
  const to = target?.release?.spec.version ?? "";
  if (status?.target !== target?.name || group.metadata.generation !== status?.observedGeneration) {
    return finding(
      "NotObservedYet",
      `runs ${running} and will be given ${to}: the manager has not taken in what was asked of UpdateGroup ${groupName} yet`,
      commands.doctor,
    );
  }
  if (holds(group, "Halted")) return halted(group, member);
  if (group.spec.paused) return paused(group, `runs ${running}`);
  if (held !== undefined) {
    return finding(
      "Held",
      `runs ${running} and gets nothing new, because a person holds it${reasonOf(held)}`,
      commands.unhold(name),
    );
  }
  const open = status?.stages?.findLast(({ openedAt }) => openedAt !== undefined);
  const progressing = conditionOf(group, "Progressing");
  if (progressing?.reason === "StageSoaking" && open !== undefined) {
    const soak = group.spec.stages.find((stage) => stage.name === open.name)?.soak ?? "0s";
    const until = /until (\S+?)[.;]/.exec(progressing.message)?.[1];
    return finding(
      "StageSoaking",
      `runs ${running} and waits for its stage: ${open.name} soaks for ${soak}${until === undefined ? "" : `, until ${when(until, now)}`}`,
      commands.group(groupName),
    );
  }
  const state =
    open === undefined
      ? "no stage is open yet"
      : `stage ${open.name} is open, and ${open.verified} of its ${open.size} run ${target?.name ?? ""} verified`;
  const why = progressing?.status === "False" ? `; ${clause(progressing.message)}` : "";
  return finding(
    "WaitingForStage",
    `runs ${running} and waits for its stage: ${state}${why}`,
    commands.group(groupName),
  );
}

function failedHere({ name, update, group }: Member): Finding | undefined {
  const { step, reason, message = "", running = "" } = update.status ?? {};
  if (step !== "Failed") return undefined;
  const situation = known(reason);
  const advice = situation === "NeverAgain" ? [commands.retryNode(name)] : [];
  if (situation === "DowngradeRefused") return downgradeRefused(name, group.metadata.name, running, message);
  return finding(
    situation,
    `keeps ${running}: ${clause(message)}`,
    ...advice,
    commands.group(group.metadata.name),
  );
}

function paused({ metadata }: UpdateGroup, what: string): Finding {
  return finding(
    "Paused",
    `${what} and goes no further, because UpdateGroup ${metadata.name} is paused`,
    commands.resume(metadata.name),
  );
}

/** What a person, or the group itself, forbids a node that has something to do. */
function stopped(member: Member, now: number): Finding | undefined {
  const { name, held, group, update } = member;
  const { step, staged, running = "", reason, message = "" } = update.status ?? {};
  const sentinelDriver = group.spec.driver === "sentinel";
  const asked = rebootAskedFor(update);
  const what =
    asked !== undefined
      ? `was asked to reboot (${clause(asked)})`
      : sentinelDriver
        ? "asks for a reboot"
        : step === "Staged"
          ? `has ${staged ?? "the image"} staged`
          : `runs ${running}`;
  if (held !== undefined) {
    return finding(
      "Held",
      `${what} and goes no further, because a person holds it${reasonOf(held)}`,
      commands.unhold(name),
    );
  }
  if (holds(group, "Halted")) return halted(group, member);
  if (group.spec.paused) return paused(group, what);
  const applied = update.metadata.annotations?.[APPLY_ANNOTATION];
  const mayFlip = applied !== undefined && applied === update.spec.release;
  if (group.spec.strategy === "Off" && !mayFlip && (step === "Staged" || sentinelDriver)) {
    return finding(
      "StrategyOff",
      `${what} and does not reboot, because UpdateGroup ${group.metadata.name} has strategy Off`,
      advise(`kubectl slipway apply ${name}`, "lets this one node flip and reboot, within its budgets"),
      commands.editGroup(group.metadata.name, "strategy: Coordinated lets all its nodes reboot"),
    );
  }
  const stale = update.metadata.generation !== update.status?.observedGeneration;
  if (!stale || reason === undefined) return undefined;
  const since = update.status?.since;
  return finding(
    "NotObservedYet",
    `was given something that the manager has not acted on yet; before, since ${since === undefined ? "a while" : when(since, now)}: ${clause(message)}`,
    commands.doctor,
  );
}

function known(reason: string | undefined): Situation {
  return reason !== undefined && Object.hasOwn(reasons, reason) ? (reason as Situation) : "NoTarget";
}
