/** What an agent remembers across restarts and boots; `state.ts` keeps it on the disk. */
import type { Reason } from "../api/reasons.ts";
import type { SlotName } from "../fastpatch/boot-control.ts";
import type { Policy } from "../proto/gen/agent_pb.ts";
import type { Boot } from "./host.ts";

/** Fencing token of a grant (design, rule 2). */
export interface GrantToken {
  incarnation: string;
  revision: bigint;
}

export function sameToken(a: GrantToken | undefined, b: GrantToken | undefined): boolean {
  return a !== undefined && b !== undefined && a.incarnation === b.incarnation && a.revision === b.revision;
}

export interface Failed {
  rootHash: string;
  version: string;
  reason: Reason;
  message: string;
  /** Wall clock, ms. */
  at: number;
}

export type Verdict = "Updated" | "FellBack" | "Rebooted" | "StillRequired";

/**
 * How far the act had come when it was last written: each word is written before what it
 * names is begun. None of them authorizes anything: only a commit's answer, which is
 * never written, does (design, rule 4).
 */
export type ActStep = "Committing" | "Armed" | "Flipped" | "Rebooting";

/** What the agent does under a grant, from asking to commit until its return or withdrawal is answered. */
export interface Act {
  token: GrantToken;
  /** Absent for the driver `sentinel`. */
  target: { release: string; version: string; rootHash: string } | null;
  policy: Policy;
  step: ActStep;
  bootAtCommit: Boot;
  /** The slot that the target lies in. */
  slot: SlotName | null;
  verdict: { verdict: Verdict; reason: Reason; message: string } | null;
  /** Set once the agent gives the grant back. */
  withdraw: { reason: Reason; message: string } | null;
}

export interface MachineMemory {
  /** Newest first, at most `maxFailed`. */
  failed: Failed[];
  /** Highest version that was ever marked good; "" if none. */
  floor: string;
  /** Root hashes that were marked good, and not staged anew since; newest first, at most `maxGood`. */
  good: string[];
  /** The marker that was still set after a reboot: it gets no second one. */
  stillRequired: string | null;
}

export interface Memory {
  machine: MachineMemory;
  act: Act | null;
}

export const maxFailed = 20;
export const maxGood = 20;

export function freshMemory(): Memory {
  return { machine: { failed: [], floor: "", good: [], stillRequired: null }, act: null };
}
