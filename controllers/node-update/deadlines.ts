/** How long the parts of an update may take, milliseconds. */
import { parseDuration } from "../../api/duration.ts";
import type { FrozenPolicy, NodeUpdate } from "../../api/node-update.ts";
import type { UpdateGroup } from "../../api/update-group.ts";
import { hookNeeds } from "../hooks/policy.ts";
import { isPlain } from "./identity.ts";

/** The part of a group's policy that a grant freezes. */
export function freeze(group: UpdateGroup): FrozenPolicy {
  const { drain, health, holderTTL, excludeFromLoadBalancers, hooks } = group.spec;
  const { bootDeadline, rebootTime, releaseDeadline } = health;
  return {
    drain,
    bootDeadline,
    rebootTime,
    releaseDeadline,
    ...(holderTTL === undefined ? {} : { holderTTL }),
    ...(excludeFromLoadBalancers === undefined ? {} : { excludeFromLoadBalancers }),
    ...(hooks === undefined ? {} : { hooks }),
  };
}

/** A reboot into the target that fails until its deadline, and then the fallback's. */
export function bootNeeds({
  bootDeadline,
  rebootTime,
}: Pick<FrozenPolicy, "bootDeadline" | "rebootTime">): number {
  return 2 * (parseDuration(rebootTime) + parseDuration(bootDeadline));
}

/** How long load balancers get to let go of a node; undefined where they are not asked to. */
export function exclusionWait({
  excludeFromLoadBalancers,
}: Pick<FrozenPolicy, "excludeFromLoadBalancers">): number | undefined {
  return excludeFromLoadBalancers === undefined ? undefined : parseDuration(excludeFromLoadBalancers.wait);
}

export function drainNeeds(
  policy: Pick<FrozenPolicy, "drain" | "excludeFromLoadBalancers">,
  plain: boolean,
): number {
  if (plain) return 0;
  return (exclusionWait(policy) ?? 0) + (policy.drain.enabled ? parseDuration(policy.drain.timeout) : 0);
}

/** From the grant to the end of a fallback boot: what must fit before a window closes. */
export function needsOf(group: UpdateGroup, nodeUpdate: NodeUpdate): { all: number; boot: number } {
  const policy = freeze(group);
  const boot = bootNeeds(policy);
  const drain = drainNeeds(policy, isPlain(nodeUpdate));
  return { all: drain + hookNeeds(policy.hooks, "Before") + boot, boot };
}
