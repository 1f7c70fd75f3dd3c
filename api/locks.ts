/** Who holds a slot in which budget, and who waits for it, from what the statuses say. */
import type { NodeUpdate } from "./node-update.ts";
import type { RebootBudget } from "./reboot-budget.ts";
import type { UpdateGroup } from "./update-group.ts";

/** A budget as the status of nodes, groups and RebootBudgets shows it. */
export interface Lock {
  /** `group/NAME`, `group/NAME/KEY=DOMAIN`, `budget/NAME`, `budget/NAME/KEY=DOMAIN`, `infrastructure`. */
  budget: string;
  limit: number | undefined;
  unavailable: number | undefined;
  holders: { node: string; phase: string; since: string; step: string; reason: string }[];
  /** Nodes whose status says that they wait for this budget. */
  waiting: string[];
}

/** Every budget that somebody holds or waits for, and every one that a status shows. */
export function locksOf(
  groups: readonly UpdateGroup[],
  budgets: readonly RebootBudget[],
  nodeUpdates: readonly NodeUpdate[],
): Lock[] {
  const locks = new Map<string, Lock>();
  const lock = (budget: string, limit?: number, unavailable?: number): Lock => {
    const known = locks.get(budget) ?? {
      budget,
      limit: undefined,
      unavailable: undefined,
      holders: [],
      waiting: [],
    };
    known.limit ??= limit;
    known.unavailable ??= unavailable;
    locks.set(budget, known);
    return known;
  };
  for (const { metadata, status } of groups) {
    if (status?.limit !== undefined) lock(`group/${metadata.name}`, status.limit, status.unavailable);
    for (const { machine, protocol, since, reason: told } of status?.machines?.holders ?? []) {
      const reason = told ?? `It asked by ${protocol}.`;
      lock(`group/${metadata.name}`).holders.push({
        node: machine,
        phase: protocol,
        since,
        step: "",
        reason,
      });
    }
  }
  for (const { metadata, spec, status } of budgets) {
    for (const domain of status?.domains ?? []) {
      const key = spec.topologyKey === undefined ? "" : `/${spec.topologyKey}=${domain.domain}`;
      lock(`budget/${metadata.name}${key}`, domain.limit, domain.unavailable);
    }
  }
  for (const { metadata, status } of nodeUpdates) {
    const grant = status?.grant;
    for (const budget of grant?.budgets ?? []) {
      lock(budget).holders.push({
        node: metadata.name,
        phase: grant?.phase ?? "",
        since: grant?.since ?? "",
        step: status?.step ?? "",
        reason: status?.message ?? "",
      });
    }
    const waits = status?.reason === "WaitingForBudget" || status?.reason === "WaitingForTurn";
    const [, budget] = /^Budget (\S+) allows/.exec(status?.message ?? "") ?? [];
    if (waits && budget !== undefined) lock(budget).waiting.push(metadata.name);
  }
  return [...locks.values()].toSorted((a, b) => (a.budget < b.budget ? -1 : 1));
}
