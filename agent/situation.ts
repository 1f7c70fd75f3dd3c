/** What the agent's decisions rest on: one snapshot, gathered by `agent.ts`, read by `policy.ts`. */
import type { Reason, Why } from "../api/reasons.ts";
import type { BootSlot, SlotName } from "../fastpatch/boot-control.ts";
import type { Desired, Grant } from "../proto/gen/agent_pb.ts";
import type { Label, Machine, SlotMachine, StageProgress } from "./driver.ts";
import type { Boot } from "./host.ts";
import type { Act, GrantToken, Memory } from "./memory.ts";

/** What a gateway said. The desired state and nothing else outlives a session. */
export interface Link {
  connected: boolean;
  /** Counts this process's sessions. */
  session: number;
  /** When the session began, on the monotonic clock. */
  since: number;
  /** Whether a gateway answered the TLS handshake since the process began. */
  handshake: boolean;
  desired: Desired | undefined;
  /** Undefined until this session told; null where there is none. */
  grant: Grant | null | undefined;
}

/** The answer to a commit: good for a while, and never written down. */
export interface Commit {
  token: GrantToken;
  session: number;
  /** Monotonic ms, read before the request was handed to the connection. */
  sentAt: number;
  answer: { goodForMs: number; why: Why } | undefined;
}

export interface Asked {
  kind: "withdraw" | "return";
  token: GrantToken;
  session: number;
  at: number;
  answered: boolean;
}

/** Why the image with that root hash, which waits in the passive slot, may not boot. */
export interface Objection {
  rootHash: string;
  why: Why;
}

/** What this process knows and forgets when it ends. Times are monotonic ms. */
export interface Run {
  startedAt: number;
  /** The dead man's switch: what this process did last. */
  switch: "unknown" | "armed" | "disarmed";
  commit: Commit | undefined;
  asked: Asked | undefined;
  rebootAskedAt: number | undefined;
  /** What failed between the commit and the reboot: the grant is given back. */
  failure: Why | undefined;
  /** The last round of boot checks: what failed, by name. */
  checks: { at: number; failing: readonly string[] } | undefined;
  staging: { rootHash: string; progress: StageProgress | undefined } | undefined;
  stagingFailed: { rootHash: string; retryAt: number; why: Why } | undefined;
}

export interface Limits {
  /** Between two rounds of boot checks, ms. */
  checkInterval: number;
  /** Time that a new session has to tell the policy, before a boot without known policy is judged, ms. */
  policyWait: number;
  /** Boot deadline where no policy is known, ms. */
  bootDeadline: number;
  /** Before an unanswered request is sent again, ms. */
  answerWait: number;
}

export const defaultLimits: Limits = {
  checkInterval: 5_000,
  policyWait: 10_000,
  bootDeadline: 300_000,
  answerWait: 15_000,
};

export interface Situation {
  memory: Memory;
  boot: Boot;
  architecture: string;
  /** Of os-release, for a running slot without a label. */
  runningVersion: string;
  machine: Machine;
  link: Link;
  /** The driver's, asked with each look: what permitted staging may have ended since. */
  objection: Objection | undefined;
  run: Run;
  /** Monotonic ms. */
  now: number;
  /** Wall clock, ms: for what people read. */
  wall: number;
  limits: Limits;
}

export function why(reason: Reason, message: string): Why {
  return { reason, message };
}

export function other(slot: SlotName): SlotName {
  return slot === "A" ? "B" : "A";
}

export function bits(machine: SlotMachine, name: SlotName): BootSlot | undefined {
  return machine.slots.find((slot) => slot.name === name);
}

/** Whether the running slot was marked good; a machine without slots has nothing to mark. */
export function bootIsGood(machine: Machine): boolean {
  return machine.kind === "sentinel" || bits(machine, machine.running)?.successful === true;
}

/** Whether the next boot may come from `name` instead of the running slot. */
export function flipped(machine: Machine, name: SlotName | null): boolean {
  if (machine.kind === "sentinel" || name === null || name === machine.running) return false;
  const running = bits(machine, machine.running);
  const slot = bits(machine, name);
  return slot !== undefined && slot.priority > 0 && slot.priority >= (running?.priority ?? 0);
}

/** Whether the other slot would boot, and ran well before. */
export function canFallBack(machine: SlotMachine): boolean {
  const slot = bits(machine, other(machine.running));
  return slot?.successful === true && slot.priority > 0;
}

export function passiveLabel(machine: Machine): Label | undefined {
  return machine.kind === "slots" ? machine.labels[other(machine.running)] : undefined;
}

export function runningLabel(machine: Machine): Label | undefined {
  return machine.kind === "slots" ? machine.labels[machine.running] : undefined;
}

export function sameBoot(a: Boot, b: Boot): boolean {
  return a.id === b.id && a.softReboots === b.softReboots;
}

/**
 * What a boot proves about an act (design, rule 5).
 * `Before`: the reboot that the act is for has not happened, or went by the new slot.
 * `New`: the target's slot runs. `Fell`: it was tried, or judged, and does not run.
 * `Rebooted`: a machine without slots booted anew.
 */
export type Evidence = "Before" | "New" | "Fell" | "Rebooted";

export function judge(act: Act, boot: Boot, machine: Machine): Evidence {
  const same = sameBoot(act.bootAtCommit, boot);
  if (machine.kind === "sentinel" || act.slot === null) {
    return same || act.step === "Committing" ? "Before" : "Rebooted";
  }
  if (machine.running === act.slot) return "New";
  if (act.verdict !== null) return "Fell";
  if (same) return "Before";
  const slot = bits(machine, act.slot);
  if (slot === undefined || slot.successful || slot.tries > 0) return "Before";
  return slot.priority > 0 || act.step === "Rebooting" ? "Fell" : "Before";
}
