/**
 * What etcd is told of the Kubernetes API, so that a transaction there can refuse what
 * the API would not allow (design, section 4 "gates", rules 1 and 4).
 */

import { parseDuration } from "../../api/duration.ts";
import type { Release } from "../../api/release.ts";
import type { UpdateGroup } from "../../api/update-group.ts";
import type { FleetSnapshot } from "../../coordination/coordination.ts";
import type { BudgetGate, GroupGate } from "../../coordination/records.ts";
import { boundMachines, grantedBeside, tabulate } from "../budget/policy.ts";
import { isConfirmed } from "../machines/policy.ts";
import { openingsAt } from "../window/policy.ts";
import type { World } from "../world.ts";

/** Milliseconds from the *start* of the read that a gate rests on. */
export const GATE_VALIDITY = 30_000;

export interface Gates {
  groups: GroupGate[];
  budgets: BudgetGate[];
}

/**
 * The gates that follow from one consistent read of the API and one of etcd. `readAt`: wall
 * clock, ms, when they began.
 */
export function decideGates(
  world: World,
  { present, grants, incarnation }: Pick<FleetSnapshot, "present" | "grants" | "incarnation">,
  readAt: number,
): Gates {
  const table = tabulate(world, present);
  const bound = new Map(world.groups.map((group) => [group, boundMachines(world, table, group)]));
  const unconfirmed = new Map(
    world.groups.flatMap((group) =>
      isConfirmed(group, incarnation)
        ? []
        : (bound.get(group)?.names ?? []).map((name) => [name, group.metadata.name] as const),
    ),
  );
  const validUntil = readAt + GATE_VALIDITY;
  const quarantined = world.releases.filter(isBarred).map(({ metadata }) => metadata.name);
  const openingOf = openingsAt(world.windows, readAt);
  const groups = world.groups.map((group) => {
    const { open, openUntil, freezesAt } = openingOf(group);
    const { names = [], shared = false } = bound.get(group) ?? {};
    const { machines, health } = group.spec;
    const serves =
      machines !== undefined && group.status?.machines !== undefined && isConfirmed(group, incarnation);
    return {
      group: group.metadata.name,
      paused: group.spec.paused,
      halted: isHalted(group),
      deleting: group.metadata.deletionTimestamp !== undefined,
      quarantined,
      open,
      openUntil,
      freezesAt,
      ...(serves
        ? {
            machines: {
              budgets: names,
              needs: parseDuration(health.rebootTime) + parseDuration(health.bootDeadline),
              open: machines.authentication === "None" && !shared,
              ...(machines.slotFor === "Reboot" ? { slotFor: machines.slotFor } : {}),
            },
          }
        : {}),
      validUntil,
    };
  });
  const budgets = [...table.budgets.values()].map((budget) => ({
    ...(unconfirmed.has(budget.name) ? { unconfirmed: unconfirmed.get(budget.name) } : {}),
    budget: budget.name,
    max: budget.max,
    unavailable: budget.members.filter(({ down }) => down !== undefined).map(({ uid }) => uid),
    granted: grantedBeside(budget, grants),
    validUntil,
  }));
  return { groups, budgets };
}

/** Whether nothing may move to the release: it is quarantined, or being deleted. */
export function isBarred(release: Release): boolean {
  return release.metadata.deletionTimestamp !== undefined || holds(release.status, "Quarantined");
}

/** Whether the group stopped itself. */
export function isHalted(group: UpdateGroup): boolean {
  return holds(group.status, "Halted");
}

function holds(
  status: { conditions?: readonly { type: string; status: string }[] | undefined } | undefined,
  type: string,
): boolean {
  return status?.conditions?.find((condition) => condition.type === type)?.status === "True";
}
