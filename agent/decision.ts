/** What the policy answers: the next act, and why. */
import type { Why } from "../api/reasons.ts";
import type { SlotName } from "../fastpatch/boot-control.ts";
import type { HealthCheck, Target } from "../proto/gen/agent_pb.ts";
import type { RebootMethod } from "./host.ts";
import type { GrantToken, Memory, Verdict } from "./memory.ts";
import type { AgentStep } from "./step.ts";

export type Next =
  /** For a message, the end of what runs, or `wakeAfter`. */
  | { kind: "Wait" }
  /** Writes the memory: always before the act that it names. */
  | { kind: "Save"; memory: Memory }
  | { kind: "Stage"; target: Target }
  | { kind: "AbortStage" }
  | { kind: "AskCommit"; token: GrantToken }
  /** A commit was not answered: on a new connection, no late answer can be taken for another's. */
  | { kind: "Reconnect" }
  | { kind: "Arm"; seconds: number }
  | { kind: "Disarm" }
  | { kind: "Flip"; slot: SlotName; tries: number }
  | { kind: "Unflip" }
  /** `before`: monotonic ms after which the commit's answer is spent; null for recovery alone. */
  | { kind: "Reboot"; method: RebootMethod; before: number | null }
  | { kind: "RunChecks"; checks: readonly HealthCheck[]; until: number }
  | { kind: "MarkGood"; slot: SlotName }
  | { kind: "MarkBad"; slot: SlotName }
  | { kind: "Withdraw"; token: GrantToken; why: Why }
  | { kind: "Return"; token: GrantToken; verdict: Verdict; why: Why };

export interface Decision {
  step: AgentStep;
  why: Why;
  next: Next;
  /** Milliseconds after which to decide again, where nothing else happens first. */
  wakeAfter?: number;
}

export function step(name: AgentStep, cause: Why, next: Next, wakeAfter?: number): Decision {
  return { step: name, why: cause, next, ...(wakeAfter !== undefined && { wakeAfter }) };
}
