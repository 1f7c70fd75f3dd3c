/**
 * Stages: which are open, which passed. A stage passes when each of its nodes is verified
 * on the target, or failed or can't be reached and these are fewer than the threshold, and
 * one node was healthy for the whole soak, counted from the stage's last verified return.
 * What is open stays open and what passed stays passed: newcomers join the last open stage.
 */
import type { Cohort } from "../../api/cohort.ts";
import { parseDuration } from "../../api/duration.ts";
import { liesAhead, timestamp } from "../../api/meta.ts";
import type { StageStatus, UpdateGroup } from "../../api/update-group.ts";

/** How a member stands to the target. */
export interface Standing {
  uid: string;
  /**
   * `Good`: runs it, verified. `Failed`: it failed here. `Unreachable`: its agent is away.
   * `Out`: takes no part (held, in conflict, or no way leads to the target). `Pending`: the rest.
   */
  state: "Good" | "Failed" | "Unreachable" | "Out" | "Pending";
  /** Whether its failure was forgiven by a resume: it then counts against nothing. */
  forgiven: boolean;
  /** Wall clock, ms: when it was verified on the target; undefined where it ran it before we looked. */
  verifiedAt: number | undefined;
  /** Whether it is well now: evidence for the soak. */
  healthy: boolean;
}

export interface Progress {
  stages: StageStatus[];
  /** Index of the last open stage; -1 while none is. */
  open: number;
  /** Whether the last open stage waits for nothing but its soak; until when, wall clock ms. */
  soakingUntil: number | undefined;
  /** uids of the members of open stages. */
  opened: ReadonlySet<string>;
  /** Names of stages that opened just now. */
  news: string[];
}

export interface StageRules {
  failureThreshold: number;
  /** Whether stages were declared: the first of those tolerates no failure. */
  declared: boolean;
  /** Whether a stage may open or pass now (not paused, not halted). */
  moving: boolean;
}

/** How many failures stop a rollout in stage `index`. */
export function thresholdIn(index: number, rules: Pick<StageRules, "failureThreshold" | "declared">): number {
  return rules.declared && index <= 0 ? 1 : rules.failureThreshold;
}

/** How many failures stop the group now. `status` is the one for its present target. */
export function thresholdOf({
  spec,
  status,
}: {
  spec: UpdateGroup["spec"];
  status?: UpdateGroup["status"] | undefined;
}): number {
  const first = status?.stages?.find((stage) => stage.name === spec.stages[0]?.name);
  const rules = { failureThreshold: spec.failureThreshold, declared: spec.stages.length > 0 };
  return thresholdIn(first?.passedAt === undefined ? 0 : 1, rules);
}

/**
 * `before` is the status for the same target; stages are known by name. `machines`: those without our agent that came
 * back with the target: evidence like a Node's, and their last return begins the soak anew. How many a stage lets in
 * nobody knows, so none is waited for: each soaks from its opening at the earliest, or one soak would pass them all.
 */
export function progressOf(
  cohorts: readonly Cohort[],
  standings: ReadonlyMap<string, Standing>,
  before: readonly StageStatus[],
  rules: StageRules,
  now: number,
  machines?: { good: number; lastGoodAt?: number | undefined },
): Progress {
  const progress: Progress = { stages: [], open: -1, soakingUntil: undefined, opened: new Set(), news: [] };
  const opened = new Set<string>();
  const members: Standing[] = [];
  let mayOpen = rules.moving;
  for (const [index, cohort] of cohorts.entries()) {
    const known = before.find((stage) => stage.name === cohort.name);
    const added = cohort.members.flatMap((uid) => standings.get(uid) ?? []);
    members.push(...added);
    const good = members.filter((member) => member.state === "Good");
    const stage: StageStatus = { name: cohort.name, size: cohort.size, verified: good.length };
    const last = Math.max(newestReturn(good, known, now), Math.min(machines?.lastGoodAt ?? 0, now));
    if (last > 0) stage.lastReturnAt = timestamp(last);
    progress.stages.push(stage);

    const openedAt = known?.openedAt ?? (mayOpen ? timestamp(now) : undefined);
    if (openedAt === undefined) {
      mayOpen = false;
      continue;
    }
    stage.openedAt = openedAt;
    if (known?.openedAt === undefined) progress.news.push(cohort.name);
    progress.open = index;
    for (const uid of cohort.members) opened.add(uid);
    if (known?.passedAt !== undefined) {
      stage.passedAt = known.passedAt;
      continue;
    }
    mayOpen = false;
    if (!rules.moving || !settled(members, thresholdIn(index, rules))) continue;
    const soak = parseDuration(cohort.soak);
    const began = Date.parse(openedAt);
    const came = (machines?.good ?? 0) > 0;
    if (!came && !good.some((member) => member.healthy)) continue;
    const until = (came ? Math.max(last, began) : last > 0 ? last : began) + soak;
    if (until > now) {
      progress.soakingUntil ??= until;
      continue;
    }
    stage.passedAt = timestamp(now);
    mayOpen = true;
  }
  // Members of passed stages that aren't done yet are newcomers: they are in the last open one.
  progress.opened = opened;
  return progress;
}

/**
 * When the last of `good` returned; 0 if none did. A return that lies ahead was dated by a clock
 * that has been set back since: it counts from when that is noticed, which the status remembers.
 */
function newestReturn(good: readonly Standing[], known: StageStatus | undefined, now: number): number {
  const times = good.flatMap(({ verifiedAt }) => verifiedAt ?? []);
  const past = times.filter((time) => !liesAhead(time, now));
  if (past.length === times.length) return Math.max(...past, 0);
  return Math.max(...past, Math.min(now, Date.parse(known?.lastReturnAt ?? timestamp(now))));
}

/** Whether no node is left to wait for, and few enough are missing. */
function settled(members: readonly Standing[], threshold: number): boolean {
  if (members.some((member) => member.state === "Pending")) return false;
  const missing = members.filter(
    (member) => (member.state === "Failed" && !member.forgiven) || member.state === "Unreachable",
  );
  return missing.length < threshold;
}
