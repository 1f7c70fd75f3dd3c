/** From the grant to the reboot (design, rules 4, 7 and 11), and the way back out. */
import { create } from "@bufbuild/protobuf";
import type { Why } from "../api/reasons.ts";
import { type Grant, type Policy, PolicySchema } from "../proto/gen/agent_pb.ts";
import { type Decision, type Next, step } from "./decision.ts";
import type { RebootMethod } from "./host.ts";
import { type Act, type GrantToken, sameToken } from "./memory.ts";
import { failedHere, refusedNow, wantsReboot } from "./policy-stage.ts";
import {
  bits,
  bootIsGood,
  flipped,
  other,
  passiveLabel,
  runningLabel,
  type Situation,
  sameBoot,
  why,
} from "./situation.ts";

/** The boot deadline that a grant froze, ms. */
export function bootDeadline(act: Act, situation: Situation): number {
  return act.policy.bootDeadlineSeconds * 1000 || situation.limits.bootDeadline;
}

/**
 * The time of a reboot where no policy is known, ms: services that stop late and a server's
 * firmware. Too long only delays another try; too short would count a machine that is on its
 * way down as one that stayed up.
 */
const REBOOT_TIME = 180_000;

/** From the request to reboot to the first user process, at most, ms. */
export function rebootTime(policy: Policy | undefined): number {
  return (policy?.rebootTimeSeconds ?? 0) * 1000 || REBOOT_TIME;
}

/**
 * Seconds of the dead man's switch: the way down and up again, and the boot deadline. The
 * host counts them anew from the start of each boot, so a fallback boot has as long to disarm it.
 */
export function deadManSeconds(act: Act, situation: Situation): number {
  return Math.ceil((bootDeadline(act, situation) + rebootTime(act.policy)) / 1000);
}

export function rebootMethod(act: Act): RebootMethod {
  const method = act.policy.rebootMethod;
  return method === "Kexec" || method === "SoftReboot" ? method : "Reboot";
}

/** Why the machine may not reboot for `target` now, whatever a gateway says. */
function unready(situation: Situation, { target, policy }: Act): Why | undefined {
  const { machine } = situation;
  const driver = machine.kind === "sentinel" ? "sentinel" : "fastpatch";
  if (policy.driver !== driver) {
    return why("InvalidSpec", `The grant is for the driver ${policy.driver}, this agent's is ${driver}.`);
  }
  if (machine.kind === "sentinel") {
    if (policy.rebootAsked || wantsReboot(situation)) return undefined;
    return why("RebootNotRequired", "Nothing asks for a reboot, or one for it changed nothing.");
  }
  if (target === null && policy.rebootAsked) {
    return bootIsGood(machine) ? undefined : why("BootNotGood", "The running slot is not marked good.");
  }
  if (target === null || passiveLabel(machine)?.rootHash !== target.rootHash) {
    return why("NothingStaged", `${target?.version ?? "The target"} is not in the passive slot.`);
  }
  if (!bootIsGood(machine)) return why("BootNotGood", "The running slot is not marked good.");
  const failed = failedHere(situation, target.rootHash);
  if (failed !== undefined)
    return why("NeverAgain", `${target.version} failed on this machine: ${failed.message}`);
  return refusedNow(situation, target.rootHash);
}

/** With no act of ours: what a grant asks for. Undefined where it asks for nothing now. */
export function takeGrant(situation: Situation): Decision | undefined {
  const { link, memory, run } = situation;
  const { grant } = link;
  if (!link.connected || !grant?.token) return undefined;
  const told = run.asked?.answered === true && sameToken(run.asked.token, grant.token);
  if (told || grant.phase === "Returned") {
    const message = "The boot is good; the node's release checks run.";
    return { step: "Idle", why: why("VerifyingRelease", message), next: { kind: "Wait" } };
  }
  if (grant.phase !== "Drained" && grant.phase !== "Committed") {
    const next: Next = run.staging === undefined ? { kind: "Wait" } : { kind: "AbortStage" };
    return { step: "Staged", why: why("Draining", "The node is being drained."), next };
  }
  const act = adopt(situation, grant, grant.token);
  const name = act.target?.version ?? "A reboot";
  return {
    step: "Committing",
    why: act.withdraw ?? why("Drained", `${name} is granted; the agent asks to commit.`),
    next: run.staging === undefined ? { kind: "Save", memory: { ...memory, act } } : { kind: "AbortStage" },
  };
}

/**
 * The act for a grant. `Committed` without an act means that the memory was lost: then
 * the boot bits decide whether the reboot has happened.
 */
function adopt(situation: Situation, grant: Grant, token: GrantToken): Act {
  const { machine, boot } = situation;
  const { target } = grant;
  const act: Act = {
    token: { incarnation: token.incarnation, revision: token.revision },
    target: target ? { release: target.release, version: target.version, rootHash: target.rootHash } : null,
    policy: grant.policy ?? create(PolicySchema),
    step: "Committing",
    bootAtCommit: { id: boot.id, softReboots: boot.softReboots },
    slot: machine.kind === "slots" && target !== undefined ? other(machine.running) : null,
    verdict: null,
    withdraw: null,
  };
  if (grant.phase === "Committed" && machine.kind === "slots" && target) {
    const lost: Pick<Act, "step" | "bootAtCommit"> = {
      step: "Rebooting",
      bootAtCommit: { id: "", softReboots: 0 },
    };
    if (runningLabel(machine)?.rootHash === target.rootHash) {
      return { ...act, ...lost, slot: machine.running };
    }
    const slot = bits(machine, other(machine.running));
    const tried = slot !== undefined && slot.priority > 0 && slot.tries === 0 && !slot.successful;
    if (tried && passiveLabel(machine)?.rootHash === target.rootHash) return { ...act, ...lost };
  }
  const refusal = unready(situation, act);
  return refusal === undefined ? act : { ...act, withdraw: refusal };
}

/** Whether a good answer is in hand. One that did not lead down for long is void. */
function licensed(situation: Situation, act: Act): number | undefined {
  const { run, now } = situation;
  const { commit, rebootAskedAt } = run;
  if (!commit?.answer || commit.answer.goodForMs <= 0 || !sameToken(commit.token, act.token))
    return undefined;
  const patience = deadManSeconds(act, situation) * 1000 + rebootTime(act.policy);
  if (rebootAskedAt !== undefined && now > rebootAskedAt + patience) return undefined;
  return commit.sentAt + commit.answer.goodForMs;
}

const save = (situation: Situation, act: Act | null): Next => ({
  kind: "Save",
  memory: { ...situation.memory, act },
});

function giveUp(situation: Situation, act: Act, cause: Why): Decision {
  const withdrawn: Act = {
    ...act,
    step: "Committing",
    withdraw: { reason: cause.reason, message: cause.message },
  };
  return step("Withdrawing", cause, save(situation, withdrawn));
}

/** The reboot of `act` has not happened. */
export function beforeReboot(situation: Situation, act: Act): Decision {
  const { run, now } = situation;
  if (act.withdraw !== null) return withdrawing(situation, act, act.withdraw);
  if (run.failure !== undefined) return giveUp(situation, act, run.failure);
  const before = licensed(situation, act);
  if (before === undefined) return unlicensed(situation, act);
  if (run.rebootAskedAt !== undefined) {
    return step("Rebooting", why("Rebooting", "The reboot was asked for."), { kind: "Wait" }, 10_000);
  }
  if (now >= before) {
    const spent = Math.round((now - (run.commit?.sentAt ?? now)) / 1000);
    return giveUp(situation, act, why("CommitExpired", `The commit was asked ${spent} s ago and is spent.`));
  }
  return licensedAct(situation, act, before);
}

function licensedAct(situation: Situation, act: Act, before: number): Decision {
  const { machine, run } = situation;
  const { slot } = act;
  const go = (next: Next): Decision =>
    step("Committing", why("Committed", "The machine may reboot now."), next);
  const method = rebootMethod(act);
  if (machine.kind === "sentinel" || slot === null) {
    if (act.step !== "Rebooting") return go(save(situation, { ...act, step: "Rebooting" }));
    return go({ kind: "Reboot", method, before });
  }
  switch (act.step) {
    case "Committing":
      return go(save(situation, { ...act, step: "Armed" }));
    case "Armed":
      if (run.switch !== "armed") return go({ kind: "Arm", seconds: deadManSeconds(act, situation) });
      return go(save(situation, { ...act, step: "Flipped" }));
    case "Flipped":
    case "Rebooting": {
      if (run.switch !== "armed") return unlicensed(situation, act);
      const target = bits(machine, slot);
      const isNext = flipped(machine, slot);
      if (act.step === "Flipped") {
        if (isNext) return go(save(situation, { ...act, step: "Rebooting" }));
        const refusal = refusedNow(situation, act.target?.rootHash ?? "");
        return refusal === undefined ? go({ kind: "Flip", slot, tries: 1 }) : giveUp(situation, act, refusal);
      }
      if (!isNext) return unlicensed(situation, act);
      // The firmware does not see these boots: what it would have counted is counted here.
      if (method !== "Reboot" && (target?.tries ?? 0) > 0) return go({ kind: "Flip", slot, tries: 0 });
      return go({ kind: "Reboot", method, before });
    }
  }
}

/** Puts the boot entry and the switch back, as far as the evidence says that it is needed. */
function undo({ machine, run }: Situation, act: Act, cause: Why): Decision | undefined {
  if (machine.kind === "sentinel") return undefined;
  if (flipped(machine, act.slot)) return step("Withdrawing", cause, { kind: "Unflip" });
  if (run.switch !== "disarmed") return step("Withdrawing", cause, { kind: "Disarm" });
  return undefined;
}

/** Without a good answer nothing stays flipped or armed; then the agent asks, again if need be. */
function unlicensed(situation: Situation, act: Act): Decision {
  const { link, run, now, limits, boot } = situation;
  const asking = why("Drained", "The agent asks to commit.");
  if (act.step !== "Committing") {
    return step("Committing", asking, save(situation, { ...act, step: "Committing" }));
  }
  const undone = undo(situation, act, asking);
  if (undone !== undefined) return undone;
  if (!sameBoot(act.bootAtCommit, boot)) {
    const moved: Act = { ...act, bootAtCommit: { id: boot.id, softReboots: boot.softReboots } };
    return step("Committing", asking, save(situation, moved));
  }
  const { commit } = run;
  const mine = commit !== undefined && sameToken(commit.token, act.token) ? commit : undefined;
  if (mine?.answer !== undefined && mine.answer.goodForMs <= 0)
    return giveUp(situation, act, mine.answer.why);
  const { grant } = link;
  const waiting = why("WaitingForGateway", "A commit needs a gateway.");
  if (!link.connected || grant === undefined) return step("Committing", waiting, { kind: "Wait" });
  if (over(situation, act)) {
    return step("Idle", why("Revoked", "The grant was taken back."), save(situation, null));
  }
  if (grant?.phase === "Granted") {
    return step("Committing", why("Draining", "The node is being drained."), { kind: "Wait" });
  }
  const refusal = unready(situation, act);
  if (refusal !== undefined) return giveUp(situation, act, refusal);
  // Before that, what people allow is not known, and nobody was asked whether the image may boot.
  if (act.target !== null && link.desired === undefined) return step("Committing", waiting, { kind: "Wait" });
  if (mine !== undefined && mine.answer === undefined && mine.session === link.session) {
    const wait = mine.sentAt + limits.answerWait - now;
    return wait > 0
      ? step("Committing", asking, { kind: "Wait" }, wait)
      : step("Committing", asking, { kind: "Reconnect" });
  }
  return step("Committing", asking, { kind: "AskCommit", token: act.token });
}

/** Whether this session's gateway says that the act's grant needs nothing more of us before a reboot. */
function over({ link: { grant } }: Situation, act: Act): boolean {
  if (grant === undefined) return false;
  if (!grant?.token || !sameToken(grant.token, act.token)) return true;
  return grant.phase === "Withdrawn" || grant.phase === "Returned";
}

function withdrawing(situation: Situation, act: Act, cause: Why): Decision {
  const { link } = situation;
  const undone = undo(situation, act, cause);
  if (undone !== undefined) return undone;
  if (link.connected && (over(situation, act) || answered(situation, act, "withdraw"))) {
    return step("Idle", cause, save(situation, null));
  }
  return ask(
    situation,
    act,
    "withdraw",
    step("Withdrawing", cause, { kind: "Withdraw", token: act.token, why: cause }),
  );
}

export function answered({ run: { asked } }: Situation, act: Act, kind: "withdraw" | "return"): boolean {
  return asked?.kind === kind && asked.answered && sameToken(asked.token, act.token);
}

/** `send`, unless it was sent in this session and its answer may still come, or there is no session. */
export function ask(
  { link, run, now, limits }: Situation,
  act: Act,
  kind: "withdraw" | "return",
  send: Decision,
): Decision {
  const { asked } = run;
  if (!link.connected) return { ...send, next: { kind: "Wait" } };
  const sent = asked?.kind === kind && asked.session === link.session && sameToken(asked.token, act.token);
  const wait = sent ? asked.at + limits.answerWait - now : 0;
  return wait > 0 ? { ...send, next: { kind: "Wait" }, wakeAfter: wait } : send;
}
