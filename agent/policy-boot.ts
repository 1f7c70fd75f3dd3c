/** A boot is judged by evidence, and its checks decide between mark-good and fallback (design, rules 5, 10 and 11). */

import type { Why } from "../api/reasons.ts";
import { compareVersions } from "../api/version.ts";
import type { HealthCheck, Policy } from "../proto/gen/agent_pb.ts";
import { type Decision, type Next, step } from "./decision.ts";
import type { SlotMachine } from "./driver.ts";
import {
  type Act,
  type Failed,
  type MachineMemory,
  maxFailed,
  maxGood,
  sameToken,
  type Verdict,
} from "./memory.ts";
import { answered, ask, bootDeadline, rebootTime } from "./policy-commit.ts";
import {
  bits,
  bootIsGood,
  canFallBack,
  type Evidence,
  runningLabel,
  type Situation,
  why,
} from "./situation.ts";

/** After the reboot that `act` is for. */
export function bootDecision(
  situation: Situation,
  act: Act,
  evidence: Exclude<Evidence, "Before">,
): Decision {
  const { machine } = situation;
  if (evidence === "Rebooted" || machine.kind === "sentinel") return rebooted(situation, act);
  if (evidence === "Fell") return fell(situation, act);
  if (!bootIsGood(machine)) {
    const checks = { policy: act.policy, deadline: bootDeadline(act, situation) };
    return bootChecks(situation, machine, checks, act);
  }
  const message = `The machine runs ${act.target?.version ?? "the target"} and marked it good.`;
  return learn(situation) ?? returning(situation, act, "Updated", why("Updated", message));
}

/** A boot that nobody knows of: its memory was lost, or the disk is new. */
export function recovery(situation: Situation, machine: SlotMachine): Decision {
  const { link, now, limits, run } = situation;
  const policy = toldPolicy(situation);
  if (policy === undefined) {
    const toldSoon = link.connected ? link.since + limits.policyWait : run.startedAt + limits.bootDeadline;
    if (now < toldSoon) {
      const message = "The running slot is not marked good, and its boot checks are not known yet.";
      return step("VerifyingBoot", why("BootNotGood", message), { kind: "Wait" }, toldSoon - now);
    }
  }
  const deadline = (policy?.bootDeadlineSeconds ?? 0) * 1000 || limits.bootDeadline;
  return bootChecks(situation, machine, { policy, deadline }, undefined);
}

/** The policy of a boot without an act, as far as a gateway told it. */
function toldPolicy({ link }: Situation): Policy | undefined {
  return link.grant?.policy ?? link.desired?.policy;
}

/** What a good boot teaches: floor and good releases. Undefined where it is known already. */
export function learn(situation: Situation): Decision | undefined {
  const { memory, machine, runningVersion } = situation;
  if (machine.kind === "sentinel" || !bootIsGood(machine)) return undefined;
  const label = runningLabel(machine);
  const version = label?.version ?? runningVersion;
  const { floor, good, failed } = memory.machine;
  const rises = version !== "" && (floor === "" || compareVersions(version, floor) > 0);
  const known =
    label === undefined || (good[0] === label.rootHash && !failed.some((f) => f.rootHash === label.rootHash));
  if (!rises && known) return undefined;
  const learned: MachineMemory = { ...memory.machine, floor: rises ? version : floor };
  if (label !== undefined) {
    learned.good = [label.rootHash, ...good.filter((hash) => hash !== label.rootHash)].slice(0, maxGood);
    learned.failed = failed.filter((release) => release.rootHash !== label.rootHash);
  }
  const message = `${version} is marked good.`;
  return step("VerifyingBoot", why("Updated", message), {
    kind: "Save",
    memory: { ...memory, machine: learned },
  });
}

interface Checks {
  policy: Policy | undefined;
  /** ms from the agent's start; the dead man's switch bounds what lies before that. */
  deadline: number;
}

function bootChecks(
  situation: Situation,
  machine: SlotMachine,
  checks: Checks,
  act: Act | undefined,
): Decision {
  const { run, now, limits } = situation;
  const until = run.startedAt + checks.deadline;
  const failing = run.checks?.failing;
  if (act?.verdict) return fallBack(situation, machine, act, act.verdict);
  if (failing?.length === 0) {
    const message = `Boot checks passed; slot ${machine.running} is marked good.`;
    return step("VerifyingBoot", why("VerifyingBoot", message), { kind: "MarkGood", slot: machine.running });
  }
  if (now >= until && failing !== undefined) {
    const failure = why("BootChecksFailed", `Failed until the deadline: ${failing.join(", ")}.`);
    if (canFallBack(machine)) return fallBack(situation, machine, act, failure);
    const stay = why(
      "BootChecksFailed",
      `${failure.message} No other slot ran well before, so this one stays.`,
    );
    return again(situation, stay, checks.policy?.bootChecks ?? [], now + limits.checkInterval);
  }
  const left = failing === undefined ? "" : ` Failing: ${failing.join(", ")}.`;
  const waiting = why("VerifyingBoot", `Boot checks run until the deadline.${left}`);
  return again(
    situation,
    waiting,
    checks.policy?.bootChecks ?? [],
    Math.max(until, now + limits.checkInterval),
  );
}

/** The next round of checks, when it is due. */
function again(
  { run, now, limits }: Situation,
  cause: Why,
  checks: readonly HealthCheck[],
  until: number,
): Decision {
  const due = run.checks === undefined ? now : run.checks.at + limits.checkInterval;
  if (now < due) return step("VerifyingBoot", cause, { kind: "Wait" }, due - now);
  return step("VerifyingBoot", cause, { kind: "RunChecks", checks, until });
}

/** The one reboot without a commit: the verdict is written, the slot given up, then the machine reboots. */
function fallBack(situation: Situation, machine: SlotMachine, act: Act | undefined, cause: Why): Decision {
  const { memory, run, now } = situation;
  const go = (next: Next, wakeAfter?: number): Decision => step("VerifyingBoot", cause, next, wakeAfter);
  if (!canFallBack(machine)) return go({ kind: "Wait" }, 60_000);
  const image = act?.target ?? runningLabel(machine);
  const noted =
    image === undefined || memory.machine.failed.some((failed) => failed.rootHash === image.rootHash);
  if ((act && act.verdict === null) || !noted) {
    return go({
      kind: "Save",
      memory: {
        machine: image === undefined ? memory.machine : fail(situation, image, cause),
        act: act === undefined ? memory.act : { ...act, verdict: { verdict: "FellBack", ...cause } },
      },
    });
  }
  if ((bits(machine, machine.running)?.priority ?? 0) > 0)
    return go({ kind: "MarkBad", slot: machine.running });
  const again = (run.rebootAskedAt ?? -Infinity) + rebootTime(act?.policy ?? toldPolicy(situation));
  if (now < again) return go({ kind: "Wait" }, again - now);
  return go({ kind: "Reboot", method: "Reboot", before: null });
}

/** The list of failed releases with `image` first. */
function fail(
  { memory, wall }: Situation,
  image: { rootHash: string; version: string },
  cause: Why,
): MachineMemory {
  const entry: Failed = {
    rootHash: image.rootHash,
    version: image.version,
    reason: cause.reason,
    message: cause.message,
    at: wall,
  };
  const rest = memory.machine.failed.filter((failed) => failed.rootHash !== image.rootHash);
  return { ...memory.machine, failed: [entry, ...rest].slice(0, maxFailed) };
}

/** The target was tried and does not run. */
function fell(situation: Situation, act: Act): Decision {
  const { memory } = situation;
  if (act.verdict === null) {
    const message = `Slot ${act.slot ?? "?"} was booted and ended without a verdict: a power cut, a panic, or the dead man's switch.`;
    const cause = why("PowerLost", message);
    const next: Next = {
      kind: "Save",
      memory: {
        machine: act.target === null ? memory.machine : fail(situation, act.target, cause),
        act: { ...act, verdict: { verdict: "FellBack", ...cause } },
      },
    };
    return step("Returning", cause, next);
  }
  return returning(situation, act, "FellBack", why(act.verdict.reason, act.verdict.message));
}

/** A machine without slots came back. */
function rebooted(situation: Situation, act: Act): Decision {
  const { memory, run, now, limits, machine } = situation;
  if (act.verdict !== null) {
    return returning(situation, act, act.verdict.verdict, why(act.verdict.reason, act.verdict.message));
  }
  const failing = run.checks?.failing;
  if (failing?.length !== 0) {
    const late = now >= run.startedAt + bootDeadline(act, situation);
    const list = failing === undefined ? "" : ` Failing: ${failing.join(", ")}.`;
    const cause = late
      ? why("BootChecksFailed", `The machine has no other slot to fall back to.${list}`)
      : why("VerifyingBoot", `Boot checks run.${list}`);
    return again(
      situation,
      cause,
      act.policy.bootChecks,
      now + bootDeadline(act, situation) + limits.checkInterval,
    );
  }
  const marker = machine.kind === "sentinel" ? machine.marker : undefined;
  const verdict: Verdict = marker === undefined ? "Rebooted" : "StillRequired";
  const cause =
    marker === undefined
      ? why("Rebooted", "The machine rebooted and needs no more reboot.")
      : why("StillRequired", `${marker} is still set after the reboot.`);
  const judged = {
    machine: { ...memory.machine, stillRequired: marker ?? null },
    act: { ...act, verdict: { verdict, ...cause } },
  };
  return step("Returning", cause, { kind: "Save", memory: judged });
}

/** The switch is put at rest first: a slot that is given back must not be followed by a reboot. */
function returning(situation: Situation, act: Act, verdict: Verdict, cause: Why): Decision {
  const { memory, machine, run, link } = situation;
  if (machine.kind === "slots" && run.switch !== "disarmed")
    return step("Returning", cause, { kind: "Disarm" });
  const { grant } = link;
  const over =
    grant !== undefined &&
    (!grant?.token || !sameToken(grant.token, act.token) || grant.phase !== "Committed");
  if (link.connected && (over || answered(situation, act, "return"))) {
    return step("Idle", cause, { kind: "Save", memory: { ...memory, act: null } });
  }
  const send: Next = { kind: "Return", token: act.token, verdict, why: cause };
  return ask(situation, act, "return", step("Returning", cause, send));
}
