/** How long the parts of an update may take, milliseconds. */
import { parseDuration } from "../../api/duration.ts";
import type { FrozenPolicy, NodeUpdate } from "../../api/node-update.ts";
import type { UpdateGroup } from "../../api/update-group.ts";
import { isPlain } from "./identity.ts";

/** The part of a group's policy that a grant freezes. */
export function freeze(group: UpdateGroup): FrozenPolicy {
  const { drain, health, holderTTL } = group.spec;
  const { bootDeadline, rebootTime, releaseDeadline } = health;
  return {
    drain,
    bootDeadline,
    rebootTime,
    releaseDeadline,
    ...(holderTTL === undefined ? {} : { holderTTL }),
  };
}

/** A reboot into the target that fails until its deadline, and then the fallback's. */
export function bootNeeds({
  bootDeadline,
  rebootTime,
}: Pick<FrozenPolicy, "bootDeadline" | "rebootTime">): number {
  return 2 * (parseDuration(rebootTime) + parseDuration(bootDeadline));
}

export function drainNeeds({ drain }: Pick<FrozenPolicy, "drain">, plain: boolean): number {
  return plain || !drain.enabled ? 0 : parseDuration(drain.timeout);
}

/** From the grant to the end of a fallback boot: what must fit before a window closes. */
export function needsOf(group: UpdateGroup, nodeUpdate: NodeUpdate): { all: number; boot: number } {
  const policy = freeze(group);
  const boot = bootNeeds(policy);
  return { all: boot + drainNeeds(policy, isPlain(nodeUpdate)), boot };
}
