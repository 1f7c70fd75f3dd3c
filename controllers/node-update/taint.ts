/** The taint of nodes that wait for their reboot: schedulers then prefer others, so that less has to move. */
import { PENDING_TAINT } from "../../api/labels.ts";
import type { Step } from "../../api/node-update.ts";
import type { Reason } from "../../api/reasons.ts";
import type { UpdateGroup } from "../../api/update-group.ts";
import type { Patch } from "../../runtime/client.ts";
import type { Node } from "../../runtime/core.ts";

/** Reasons for which a node with a staged image does not reboot soon, whatever else happens. */
const NOT_SOON: ReadonlySet<Reason> = new Set(["StrategyOff", "Held"]);
/** From the wait to the reboot. */
const PENDING: ReadonlySet<Step> = new Set(["Staged", "Granting", "Draining", "Rebooting", "Suspect"]);

/** Whether a node in `step` for `reason` carries the taint. */
export function wantsTaint(group: UpdateGroup | undefined, step: Step, reason: Reason): boolean {
  const leaves = group === undefined || group.metadata.deletionTimestamp !== undefined;
  return !leaves && group.spec.preferNoSchedule === true && PENDING.has(step) && !NOT_SOON.has(reason);
}

export function isTainted({ spec }: Node): boolean {
  return spec?.taints?.some(({ key }) => key === PENDING_TAINT) === true;
}

/** What makes it so; undefined where it is. All other taints stay as they are: the patch is compared by resourceVersion. */
export function planTaint(node: Node, wanted: boolean): Patch | undefined {
  if (isTainted(node) === wanted) return undefined;
  const others = (node.spec?.taints ?? []).filter(({ key }) => key !== PENDING_TAINT);
  const taints = wanted ? [...others, { key: PENDING_TAINT, effect: "PreferNoSchedule" }] : others;
  const { uid, resourceVersion } = node.metadata;
  const body = { metadata: { uid, resourceVersion }, spec: { taints: taints.length === 0 ? null : taints } };
  return { type: "merge", body };
}
