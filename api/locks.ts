/** Who holds a slot in which budget, and who waits for it, from what the statuses say. */
import { budgetNames, budgetsOfMachines } from "./budgets.ts";
import type { NodeUpdate } from "./node-update.ts";
import type { RebootBudget } from "./reboot-budget.ts";
import type { UpdateGroup } from "./update-group.ts";

/** Machines without our agent that are named of a budget's line: as many as of its holders. */
const SHOWN_LINE = 50;

/** A machine without our agent that waits in the line of its group. Such lines stand in etcd alone. */
export interface InLine {
  machine: string;
  /** Where more is known of it. */
  uid?: string | undefined;
  group: string;
  protocol: string;
  /** Since its first asking. */
  since: string;
}

/** A budget as the status of nodes, groups and RebootBudgets shows it. */
export interface Lock {
  /** `group/NAME`, `group/NAME/KEY=DOMAIN`, `budget/NAME`, `budget/NAME/KEY=DOMAIN`, `infrastructure`. */
  budget: string;
  limit: number | undefined;
  unavailable: number | undefined;
  holders: { node: string; phase: string; since: string; step: string; reason: string }[];
  /** Nodes whose status says that they wait for this budget. */
  waiting: string[];
  /** Machines without our agent that wait for it as well, in their order: the first 50. */
  line: InLine[];
  /** How many there are of them; absent where that was not asked. */
  inLine?: number;
}

/**
 * Every budget that somebody holds or waits for, and every one that a status shows. Machines without our agent take a
 * place in each of the budgets that bind those of their group, so that they hold, and wait for, all of these. `inLine`
 * is in the order of the line.
 */
export function locksOf(
  groups: readonly UpdateGroup[],
  budgets: readonly RebootBudget[],
  nodeUpdates: readonly NodeUpdate[],
  inLine?: readonly InLine[],
): Lock[] {
  const locks = new Map<string, Lock>();
  const lock = (budget: string, limit?: number, unavailable?: number): Lock => {
    const known = locks.get(budget) ?? {
      budget,
      limit: undefined,
      unavailable: undefined,
      holders: [],
      waiting: [],
      line: [],
      ...(inLine === undefined ? {} : { inLine: 0 }),
    };
    known.limit ??= limit;
    known.unavailable ??= unavailable;
    locks.set(budget, known);
    return known;
  };
  const bound = new Map<string, readonly string[]>();
  for (const group of groups) {
    const { metadata, status } = group;
    const own = budgetNames.group(metadata.name);
    // Of a group that serves them no more some may hold a slot yet.
    const theirs = [...new Set([own, ...budgetsOfMachines(group, budgets)])];
    bound.set(metadata.name, theirs);
    if (status?.limit !== undefined) lock(`group/${metadata.name}`, status.limit, status.unavailable);
    for (const { machine, protocol, since, reason: told } of status?.machines?.holders ?? []) {
      const reason = told ?? `It asked by ${protocol}.`;
      for (const budget of theirs)
        lock(budget).holders.push({ node: machine, phase: protocol, since, step: "", reason });
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
  for (const one of inLine ?? []) {
    for (const budget of bound.get(one.group) ?? []) {
      const of = lock(budget);
      of.inLine = (of.inLine ?? 0) + 1;
      if (of.line.length < SHOWN_LINE) of.line.push(one);
    }
  }
  return [...locks.values()].toSorted((a, b) => (a.budget < b.budget ? -1 : 1));
}
