/** What the hooks of a grant let a node do next, before its commit and after its return. */
import type { HookPhase } from "../../api/hook.ts";
import type { NodeUpdateStatus, Step } from "../../api/node-update.ts";
import type { Why } from "../../api/reasons.ts";
import type { LiveGrant } from "../../coordination/coordination.ts";
import { decideHooks, hooksOf, runningOf } from "../hooks/policy.ts";
import { type Act, decided, type NodeDecision, type NodeView, policyOf } from "./decision.ts";

/** How often a hook is looked at, ms; what was asked or ended just now, sooner. */
const LOOK = 2000;
const SOON = 500;
/** Times in objects have whole seconds. */
const SECOND = 1000;

export type HookStep =
  /** All are done, or there are none. */
  { is: "over" } | { is: "stopped"; why: Why } | { is: "running"; decision: NodeDecision };

export function hookStep(
  view: NodeView,
  live: LiveGrant,
  status: NodeUpdateStatus,
  phase: HookPhase,
  now: number,
): HookStep {
  const step: Step = phase === "Before" ? "Draining" : "Verifying";
  const runs = status.grant?.hooks ?? [];
  const run = runningOf(runs);
  const verdict = decideHooks({
    group: live.grant.group,
    phase,
    hooks: hooksOf(policyOf(view).hooks, phase),
    runs,
    answer: view.hook?.answer,
    elapsed: elapsedOf(view, phase, run?.since, now),
    now,
  });
  if (verdict.is !== "running") return verdict;
  const { act, hook, why } = verdict;
  const { grant } = status;
  const next = grant === undefined ? status : { ...status, grant: { ...grant, hooks: [...verdict.runs] } };
  const then: Act =
    act === "wait" ? { do: "none" } : { do: act === "begin" ? "beginHook" : "endHook", hook, phase };
  const again = act === "wait" ? LOOK : SOON;
  return { is: "running", decision: decided(view, next, step, why, then, now, again) };
}

/**
 * Milliseconds that count against the timeout. Before the commit by the clock of the wall too: to give
 * a slot back early costs nothing. After it a failure is the release's, so only while somebody could ask (rule 10).
 */
function elapsedOf({ hook }: NodeView, phase: HookPhase, since: string | undefined, now: number): number {
  const watched = hook?.watched ?? 0;
  if (phase === "After" || since === undefined) return watched;
  return Math.max(watched, now - Date.parse(since) - SECOND);
}
