/** Between reboots: what is fetched into the passive slot, and why not. */
import type { Reason, Why } from "../api/reasons.ts";
import type { Target } from "../proto/gen/agent_pb.ts";
import type { Decision } from "./decision.ts";
import type { Memory } from "./memory.ts";
import { passiveLabel, runningLabel, type Situation, why } from "./situation.ts";
import type { AgentStep } from "./step.ts";

/** Whether `rootHash` failed on this machine and no person allowed it again. */
export function failedHere(
  { memory, link }: Situation,
  rootHash: string,
): Memory["machine"]["failed"][0] | undefined {
  if (link.desired?.retryRootHashes.includes(rootHash) === true) return undefined;
  return memory.machine.failed.find((failed) => failed.rootHash === rootHash);
}

/**
 * Why the staged image `rootHash` may not boot, though it was once permitted to be staged. Not
 * asked of a release that ran well here and lies in the other slot since: the firmware may boot
 * it anyway, and the way back to it stays open (design, section 6).
 */
export function refusedNow({ memory, objection }: Situation, rootHash: string): Why | undefined {
  if (objection?.rootHash !== rootHash || memory.machine.good.includes(rootHash)) return undefined;
  return objection.why;
}

/** A marker that asks for a reboot, unless a reboot for this very marker changed nothing. */
export function wantsReboot({ machine, memory }: Situation): boolean {
  return (
    machine.kind === "sentinel" &&
    machine.marker !== undefined &&
    machine.marker !== memory.machine.stillRequired
  );
}

export function stage(situation: Situation): Decision {
  const { machine, link, run, now } = situation;
  const rest = (step: AgentStep, reason: Reason, message: string, wakeAfter?: number): Decision => ({
    step,
    why: why(reason, message),
    next: run.staging === undefined ? { kind: "Wait" } : { kind: "AbortStage" },
    ...(wakeAfter !== undefined && { wakeAfter }),
  });

  if (machine.kind === "sentinel") return sentinel(situation);
  const { desired } = link;
  if (desired === undefined) {
    return rest("Idle", "WaitingForGateway", "No gateway has told yet what this machine should run.");
  }
  const { target, policy } = desired;
  if (target === undefined) return rest("Idle", "NoTarget", "The machine keeps what it runs.");
  if (policy !== undefined && policy.driver !== "fastpatch") {
    return rest("Idle", "InvalidSpec", `The group's driver is ${policy.driver}, this agent's is fastpatch.`);
  }
  if (runningLabel(machine)?.rootHash === target.rootHash) {
    return rest("Idle", "Current", `The machine runs ${target.version}.`);
  }
  if (target.architecture !== situation.architecture) {
    const message = `${target.release} is for ${target.architecture}; the machine is ${situation.architecture}.`;
    return rest("Idle", "NoPayload", message);
  }
  const failed = failedHere(situation, target.rootHash);
  if (failed !== undefined) {
    return rest("Failed", "NeverAgain", `${target.version} failed on this machine: ${failed.message}`);
  }
  if (passiveLabel(machine)?.rootHash === target.rootHash) {
    const refused = refusedNow(situation, target.rootHash);
    if (refused !== undefined) {
      const message = `${target.version} is staged and may not boot any more: ${refused.message}`;
      return rest("Idle", refused.reason, message);
    }
    return rest("Staged", "WaitingForTurn", `${target.version} is staged and waits for a grant.`);
  }
  if (!desired.mayStage) {
    return rest("Idle", "WaitingForStage", `${target.version} may not be staged yet.`);
  }
  const { stagingFailed, staging } = run;
  if (staging === undefined && stagingFailed?.rootHash === target.rootHash && now < stagingFailed.retryAt) {
    return rest("Idle", stagingFailed.why.reason, stagingFailed.why.message, stagingFailed.retryAt - now);
  }
  if (staging === undefined && (!link.connected || link.grant === undefined)) {
    return rest(
      "Idle",
      "WaitingForGateway",
      `${target.version} is fetched once a gateway told of the grant.`,
    );
  }
  return fetching(situation, target);
}

function fetching({ run, memory }: Situation, target: Target): Decision {
  const progress = run.staging?.progress;
  const verifying = progress?.phase === "Verifying";
  const decision: Decision = {
    step: verifying ? "Verifying" : "Fetching",
    why: verifying
      ? why("VerifyingImage", `${target.version} is read back and verified.`)
      : why("Fetching", `${target.version} is written into the passive slot.`),
    next: { kind: "Wait" },
  };
  const { machine } = memory;
  // What is staged anew must be permitted anew until it boots, even if it ran well here before.
  const good = machine.good.filter((rootHash) => rootHash !== target.rootHash);
  if (run.staging === undefined && good.length < machine.good.length)
    decision.next = { kind: "Save", memory: { ...memory, machine: { ...machine, good } } };
  else if (run.staging === undefined) decision.next = { kind: "Stage", target };
  else if (run.staging.rootHash !== target.rootHash) decision.next = { kind: "AbortStage" };
  return decision;
}

function sentinel(situation: Situation): Decision {
  const { machine, memory, link } = situation;
  const marker = machine.kind === "sentinel" ? machine.marker : undefined;
  const next = { kind: "Wait" } as const;
  const driver = link.desired?.policy?.driver;
  if (driver !== undefined && driver !== "" && driver !== "sentinel") {
    const message = `The group's driver is ${driver}, this agent's is sentinel.`;
    return { step: "Idle", why: why("InvalidSpec", message), next };
  }
  if (memory.machine.stillRequired !== null && marker !== memory.machine.stillRequired) {
    const fresh: Memory = { ...memory, machine: { ...memory.machine, stillRequired: null } };
    return {
      step: "Idle",
      why: why("Current", "What asked for a reboot in vain is gone."),
      next: { kind: "Save", memory: fresh },
    };
  }
  if (marker === undefined) {
    return { step: "Idle", why: why("Current", "Nothing asks for a reboot."), next };
  }
  if (!wantsReboot(situation)) {
    const message = `${marker} was still set after a reboot; the machine is not rebooted for it again.`;
    return { step: "Failed", why: why("StillRequired", message), next };
  }
  return { step: "Staged", why: why("RebootRequired", `${marker} asks for a reboot.`), next };
}
