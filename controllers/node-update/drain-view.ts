/** What the drain of a node under a grant is decided by, as far as the manager's own copies tell it. */
import type { HookRun } from "../../api/hook.ts";
import { timestamp } from "../../api/meta.ts";
import type { Why } from "../../api/reasons.ts";
import type { RebootWindow } from "../../api/reboot-window.ts";
import type { FleetSnapshot } from "../../coordination/coordination.ts";
import type { Grant } from "../../coordination/records.ts";
import type { Node } from "../../runtime/core.ts";
import type { DrainRequest } from "../drain/drainer.ts";
import { mustStop } from "../drain/policy.ts";
import { areEnded, hasBegun, hookNeeds, hooksOf } from "../hooks/policy.ts";
import { jobName, runKey } from "../hooks/run-name.ts";
import { freezesWithin, type GroupOpening, groupOpening } from "../window/policy.ts";
import { cordonOf } from "./cordon.ts";
import { bootNeeds, exclusionWait } from "./deadlines.ts";
import { type NodeView, nameOf, policyOf } from "./decision.ts";

/** Undefined where there is nothing to drain now: no grant, drained already, or not cordoned by us yet. Nothing leaves while hooks run; once they are over, what came to the node meanwhile does, but no Pod of theirs. */
export function drainOf(
  uid: string,
  view: NodeView,
  { grants }: Pick<FleetSnapshot, "grants">,
  windows: readonly RebootWindow[],
  now: number,
): DrainRequest | undefined {
  const { live, node, group } = view;
  const ours = node !== undefined && cordonOf(node) !== undefined;
  if (live?.phase.phase !== "Granted" || node === undefined || !ours || group === undefined) return undefined;
  const policy = policyOf(view);
  const runs = view.nodeUpdate.status?.grant?.hooks;
  const hooks = hooksOf(policy.hooks, "Before");
  const begun = hasBegun(runs, "Before");
  if (begun && !areEnded(hooks, runs, "Before")) return undefined;
  const excludedUntil = untilLetGo(node, exclusionWait(policy), now);
  return {
    uid,
    node: node.metadata.name,
    policy: policy.drain,
    startedAt: Math.max(live.phase.at, excludedUntil, begun ? endOf(runs, now) : 0),
    now,
    notBefore: excludedUntil,
    ...whileOpen(groupOpening(group, windows, now), live.grant, bootNeeds(policy), now),
    bootNeeds: bootNeeds(policy),
    hookJobs: hooks.flatMap(({ name, job }) =>
      job === undefined
        ? []
        : { namespace: job.namespace, name: jobName(runKey(nameOf(live), "Before", name), name) },
    ),
    revision: live.token.revision,
    rivals: [...grants].flatMap(([rival, { grant, phase, token }]) =>
      rival === uid || phase.phase !== "Granted"
        ? []
        : [{ uid: rival, node: grant.node, revision: token.revision }],
    ),
  };
}

/** Wall clock, ms: when the last of the hooks before the reboot was over; a moment that lies ahead is of a clock that was set back. */
function endOf(runs: readonly HookRun[] | undefined, now: number): number {
  const ends = runs?.flatMap(({ phase, until }) =>
    phase === "Before" && until !== undefined ? Date.parse(until) : [],
  );
  return Math.max(0, ...(ends ?? []).filter((at) => at <= now));
}

/** Wall clock, ms: until when load balancers have time to let go; a moment that lies ahead is of a clock that was set back. */
function untilLetGo(node: Node, wait: number | undefined, now: number): number {
  const at = cordonOf(node)?.excludedAt;
  return wait === undefined || at === undefined || at > now ? 0 : at + wait;
}

/** The window means nothing where a person asked for the reboot; a change freeze that comes too soon does, unless that person said otherwise. */
export function whileOpen(
  opening: GroupOpening,
  { asked, inFreeze }: Pick<Grant, "asked" | "inFreeze">,
  needs: number,
  now: number,
): { open: boolean; closes: number | null; frozen: boolean } {
  const frozen = freezesWithin(opening, needs, now);
  if (asked === undefined) return { open: opening.open, closes: opening.openUntil, frozen };
  return frozen && inFreeze !== true
    ? { open: false, closes: null, frozen }
    : { open: true, closes: null, frozen: false };
}

/** Why hooks before the reboot may not go on, as a drain may not; undefined where they may, or there are none. */
export function closingOf(view: NodeView, windows: readonly RebootWindow[], now: number): Why | undefined {
  const { live, group } = view;
  const policy = policyOf(view);
  if (live?.phase.phase !== "Granted" || group === undefined) return undefined;
  if (hookNeeds(policy.hooks, "Before") === 0) return undefined;
  const needs = bootNeeds(policy);
  const { open, closes, frozen } = whileOpen(groupOpening(group, windows, now), live.grant, needs, now);
  if (!mustStop({ policy: policy.drain, now, open, closes, bootNeeds: needs, frozen })) return undefined;
  const when = closes === null || !open ? "has closed" : `closes at ${timestamp(closes)}`;
  return {
    reason: "WindowClosing",
    message: `The window ${when}, and the hooks before the reboot are not done.`,
  };
}
