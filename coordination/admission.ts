/**
 * The decisions of design section 5, rules 1, 2 and 4: may this grant be taken, may this
 * commit be answered and for how long. Pure; what was read is given, and the transaction
 * compares that it still holds.
 */
import type { Why } from "../api/reasons.ts";
import type { BudgetGate, ForeignMachine, Grant, GroupGate, Phase, Token } from "./records.ts";
import { isStaged, sameToken } from "./records.ts";

/**
 * Gates are valid for at least so long when a grant is sent, ms: its transaction, whose
 * deadline is shorter, lands while they are.
 */
const LANDING = 6_000;

/** A commit's answer is never good for longer, nor worth giving for less, seconds. */
const COMMIT_AT_MOST = 30;
const COMMIT_AT_LEAST = 5;

/** Budgets that a commit's transaction can compare, with gate and `seq` each, of etcd's 128. */
const COMMIT_BUDGETS = 60;

export interface BudgetView {
  budget: string;
  /** Undefined where it is missing or can't be read: refuses. */
  gate: BudgetGate | undefined;
  holders: ReadonlySet<string>;
}

export interface GrantQuestion {
  uid: string;
  release: string;
  group: string;
  /** Undefined where it is missing or can't be read: refuses. */
  gate: GroupGate | undefined;
  budgets: readonly BudgetView[];
  /** From the grant to the end of a fallback boot, ms. */
  needs: number;
  /** A person asked for this reboot. */
  asked?: { inFreeze: boolean };
  /** Its own client asks, and goes down with the answer: it is up, whatever a gate says of it (rule 1). */
  isUp?: true;
}

/** Why the grant may not be taken now; undefined where it may. */
export function refuseGrant(asked: GrantQuestion, now: number): Why | undefined {
  const person = asked.asked;
  const closed = groupRefusal(asked.group, asked.gate, asked.release, now, LANDING, person !== undefined);
  if (closed !== undefined) return closed;
  const untilFreeze =
    person?.inFreeze === true ? Number.POSITIVE_INFINITY : timeUntil(asked.gate?.freezesAt, now);
  if (person !== undefined && untilFreeze < asked.needs) return tooLate(true, untilFreeze, asked.needs);
  const left = timeLeft(asked.gate, now);
  if (person === undefined && left < asked.needs) {
    return {
      reason: "WaitingForWindow",
      message: `the window closes in ${seconds(left)}; drain, boot and a fallback need up to ${seconds(asked.needs)}`,
    };
  }
  for (const budget of asked.budgets) {
    const why = budgetRefusal(budget, asked, now);
    if (why !== undefined) return why;
  }
  return undefined;
}

/** Why no machine of the group may go down now, whatever its budgets have room for; undefined where it may (rule 4). */
export function refuseReboot(
  uid: string,
  group: string,
  gate: GroupGate | undefined,
  now: number,
): Why | undefined {
  const needs = gate?.machines?.needs ?? 0;
  return refuseGrant({ uid, group, release: "", gate, budgets: [], needs }, now);
}

/** Whether an update of the group's machines takes no slot: each asks for one before it reboots. */
export function isWithoutSlot(gate: GroupGate | undefined): boolean {
  return gate?.machines?.slotFor === "Reboot";
}

/**
 * What a machine would come up with that asks before it reboots: its update has no slot that would say so. Empty for
 * what it runs.
 */
export function stagedRelease(
  gate: GroupGate | undefined,
  machine: Pick<ForeignMachine, "update"> | undefined,
): string {
  const update = machine?.update;
  return isWithoutSlot(gate) && update !== undefined && isStaged(update) ? update.release : "";
}

/** Why an update may not be offered now, whose slot it takes where no reboot asks for that: window and budgets bind who goes down. */
export function refuseOffer(asked: GrantQuestion, now: number): Why | undefined {
  if (!isWithoutSlot(asked.gate)) return refuseGrant(asked, now);
  return groupRefusal(asked.group, asked.gate, asked.release, now, LANDING, true);
}

/**
 * Rule 1: a node that is unavailable already adds nothing, so a repair fits a full budget. It
 * may recover before it reboots, so those with a slot alone never exceed the limit; one always may.
 */
function budgetRefusal(
  { budget, gate, holders }: BudgetView,
  { uid, isUp }: Pick<GrantQuestion, "uid" | "isUp">,
  now: number,
): Why | undefined {
  if (gate === undefined || gate.validUntil <= now + LANDING) return staleGate(`budget ${budget}`, gate, now);
  const { held, away } = others(gate, holders, uid);
  if (away.size < gate.max && gate.unconfirmed === undefined) return undefined;
  const isRepaired = isUp !== true && gate.unavailable.includes(uid);
  if (isRepaired && held.size < Math.max(1, gate.max)) return undefined;
  if (gate.unconfirmed !== undefined) return unconfirmed(budget, gate.unconfirmed);
  return {
    reason: "WaitingForBudget",
    message: `budget ${budget} allows ${gate.max} unavailable and has ${away.size}: ${some(away)}`,
  };
}

/**
 * Machines that wait longer go first: as many places as they need are theirs. `ahead`: uids with an older ticket.
 * Undefined where a place is left.
 */
export function refuseTurn(
  budgets: readonly BudgetView[],
  uid: string,
  ahead: ReadonlySet<string>,
): Why | undefined {
  for (const { budget, gate, holders } of budgets) {
    if (gate === undefined) continue;
    const { away } = others(gate, holders, uid);
    const waiting = [...ahead].filter((other) => !away.has(other));
    const room = gate.max - away.size;
    if (waiting.length > 0 && room <= waiting.length) {
      return {
        reason: "WaitingForTurn",
        message: `budget ${budget} has room for ${room}, and ${waiting.length} wait longer: ${some(new Set(waiting))}`,
      };
    }
  }
  return undefined;
}

/** Of a grant that is not refused: whether a budget is full but for the node's being unavailable already. */
export function isRepair({ uid, budgets }: Pick<GrantQuestion, "uid" | "budgets">): boolean {
  return budgets.some(
    ({ gate, holders }) => gate !== undefined && others(gate, holders, uid).away.size >= gate.max,
  );
}

/** Who but `uid` counts: `held` have a slot, `away` are unavailable too. */
function others(
  { unavailable, granted = [] }: BudgetGate,
  holders: ReadonlySet<string>,
  uid: string,
): { held: ReadonlySet<string>; away: ReadonlySet<string> } {
  const held = new Set([...holders, ...granted]);
  held.delete(uid);
  const away = new Set([...held, ...unavailable]);
  away.delete(uid);
  return { held, away };
}

export interface CommitQuestion {
  token: Token;
  session: number;
  boot: string;
  incarnation: string | undefined;
  /** Newest session of the node. */
  newest: number | undefined;
  grant: Grant | undefined;
  /** Token of the living grant. */
  living: Token | undefined;
  phase: Phase | undefined;
  gate: GroupGate | undefined;
  /** Those that the grant names, and those that came to bind its holder since. */
  budgets: readonly BudgetView[];
  /** Every living grant, by uid. */
  grants: ReadonlyMap<string, { grant: Grant; phase: Phase }>;
}

/**
 * Whether the agent may flip and reboot, and for how many seconds from its asking: not where
 * others went down since the grant, so that a machine that still serves would be one too many.
 */
export function answerCommit(asked: CommitQuestion, now: number): { goodForSeconds: number } | Why {
  const { grant, gate, phase } = asked;
  if (asked.newest !== asked.session) {
    return { reason: "StaleToken", message: "a newer session of this node exists" };
  }
  if (grant === undefined || phase === undefined || !sameToken(asked.token, asked.living)) {
    return { reason: "StaleToken", message: "the token names no living grant" };
  }
  if (asked.incarnation !== asked.token.incarnation) {
    return { reason: "StaleToken", message: "etcd's data was replaced since the grant was made" };
  }
  if (grant.supersedes !== null) {
    return {
      reason: "StaleToken",
      message: "the grant was rebuilt after a loss of etcd: it is to be taken anew",
    };
  }
  if (phase.phase === "Granted") {
    return { reason: "Draining", message: "the node is not drained yet" };
  }
  const again = phase.phase === "Committed" && phase.committedBoot === asked.boot;
  if (phase.phase !== "Drained" && !again) {
    return { reason: "StaleToken", message: `the grant is past its commit: ${phase.phase}` };
  }
  const finishes = grant.finishes === true || grant.asked !== undefined;
  const closed = groupRefusal(grant.group, gate, grant.release, now, 0, finishes);
  if (closed !== undefined) return closed;
  let valid = gate?.validUntil ?? now;
  if (asked.budgets.length > COMMIT_BUDGETS) {
    return { reason: "TooManyBudgets", message: `${asked.budgets.length} budgets bind the machine` };
  }
  for (const view of asked.budgets) {
    const { budget, gate: budgetGate } = view;
    if (budgetGate === undefined || budgetGate.validUntil <= now) {
      return staleGate(`budget ${budget}`, budgetGate, now);
    }
    const full = spent(view, budgetGate, grant, asked.grants);
    if (full !== undefined) return full;
    valid = Math.min(valid, budgetGate.validUntil);
  }
  const untilFreeze = grant.inFreeze === true ? Number.POSITIVE_INFINITY : timeUntil(gate?.freezesAt, now);
  const left = finishes ? untilFreeze : timeLeft(gate, now);
  const open = (left - grant.bootNeeds) / 1000;
  if (open < COMMIT_AT_LEAST) return tooLate(finishes, left, grant.bootNeeds);
  const fresh = (valid - now) / 1000;
  if (fresh < COMMIT_AT_LEAST) {
    return { reason: "WaitingForGates", message: `the gates are valid for ${fresh.toFixed(1)} s only` };
  }
  return { goodForSeconds: Math.min(COMMIT_AT_MOST, fresh, open) };
}

/**
 * Rule 1 at the commit. A Node that the gate shows as unavailable (its cordon is enough) adds
 * nothing. A plain machine always adds itself: it serves until it commits, and where a gate
 * counts it as away it was read while the machine, which asks, was between two gateways.
 */
function spent(
  { budget, holders }: BudgetView,
  gate: BudgetGate,
  { uid, plain }: Grant,
  grants: CommitQuestion["grants"],
): Why | undefined {
  if (plain !== true && gate.unavailable.includes(uid)) return undefined;
  const down = [...holders].filter((holder) => !serves(grants.get(holder)));
  const { away } = others(gate, new Set(down), uid);
  if (gate.unconfirmed !== undefined) return unconfirmed(budget, gate.unconfirmed);
  if (away.size < gate.max) return undefined;
  return {
    reason: "WaitingForBudget",
    message: `budget ${budget} allows ${gate.max} unavailable and meanwhile has ${away.size}: ${some(away)}`,
  };
}

/** Rule 9: what the machines of other protocols hold is in etcd alone, so that after a loss all of it counts as held. */
function unconfirmed(budget: string, group: string): Why {
  return {
    reason: "MachinesUnconfirmed",
    message: `etcd lost which machines of group ${group} hold a slot, so that budget ${budget} counts as full until a person confirms that none is down`,
  };
}

/** Whether a holder is up and stays so until it asks to commit: a Node is cordoned without asking again. */
function serves(held: { grant: Grant; phase: Phase } | undefined): boolean {
  if (held?.grant.plain !== true) return false;
  const { phase } = held.phase;
  return phase !== "Committed" && phase !== "Returned";
}

/** What a group's gate forbids, for a grant and a commit alike; one that `finishes` asks for no open window. */
export function groupRefusal(
  group: string,
  gate: GroupGate | undefined,
  release: string,
  now: number,
  validFor: number,
  finishes = false,
): Why | undefined {
  if (gate === undefined || gate.validUntil <= now + validFor) return staleGate(`group ${group}`, gate, now);
  if (gate.deleting) return { reason: "Deleting", message: `group ${group} is being deleted` };
  if (gate.paused) return { reason: "Paused", message: `group ${group} is paused` };
  if (gate.halted) return { reason: "FailureThresholdReached", message: `group ${group} is halted` };
  if (gate.quarantined.includes(release)) {
    return { reason: "ReleaseQuarantined", message: `release ${release} is quarantined` };
  }
  if (!finishes && (!gate.open || timeLeft(gate, now) <= 0)) {
    return { reason: "WaitingForWindow", message: `no reboot window of group ${group} is open` };
  }
  return undefined;
}

function staleGate(what: string, gate: { validUntil: number } | undefined, now: number): Why {
  const state =
    gate === undefined
      ? "has no gate that can be read"
      : gate.validUntil > now
        ? `has a gate that is valid for ${seconds(gate.validUntil - now)} only`
        : `has a gate that expired ${seconds(now - gate.validUntil)} ago`;
  return { reason: "WaitingForGates", message: `${what} ${state}; the manager renews it every 10 s` };
}

function tooLate(finishes: boolean, left: number, needs: number): Why {
  const need = `boot and a fallback need up to ${seconds(needs)}`;
  if (!finishes) {
    return { reason: "WindowClosing", message: `the window closes in ${seconds(left)}; ${need}` };
  }
  if (left <= 0) return { reason: "ChangeFreeze", message: "a change freeze holds" };
  return { reason: "ChangeFreeze", message: `a change freeze begins in ${seconds(left)}; ${need}` };
}

/** Ms until the opening ends. */
function timeLeft(gate: GroupGate | undefined, now: number): number {
  return timeUntil(gate?.openUntil, now);
}

/** Ms until `time`: for ever where it is null, none where it is not known. */
function timeUntil(time: number | null | undefined, now: number): number {
  return time === undefined ? 0 : time === null ? Number.POSITIVE_INFINITY : time - now;
}

function seconds(milliseconds: number): string {
  return `${Math.round(milliseconds / 1000)} s`;
}

/** Names enough to act on, in a message of bounded length. */
function some(uids: ReadonlySet<string>): string {
  const shown = [...uids].slice(0, 5).join(", ");
  return uids.size > 5 ? `${shown} and ${uids.size - 5} more` : shown;
}

/** Rule 8: a machine never gets again what failed on it, unless a person said since (wall clock, ms) that it may. */
export function refuseFailed(
  machine: Pick<ForeignMachine, "failed"> | undefined,
  release: string,
  retriedAt = 0,
): Why | undefined {
  const failed = machine?.failed.find((one) => one.release === release && one.at > retriedAt);
  if (failed === undefined) return undefined;
  return {
    reason: "NeverAgain",
    message: `Release ${release} failed on it with code ${failed.code}; it is not offered again unless a person says so: "kubectl slipway machines retry".`,
  };
}
