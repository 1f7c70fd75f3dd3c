/** What budgets are called, and which of them bind the machines of a group that run no agent of ours. */
import type { RebootBudget } from "./reboot-budget.ts";
import { matches } from "./selector.ts";
import type { UpdateGroup } from "./update-group.ts";

/** Names of budgets. A group's own limits are budgets too. */
export const budgetNames = {
  group: (group: string): string => `group/${group}`,
  groupDomain: (group: string, key: string, domain: string): string => `group/${group}/${key}=${domain}`,
  shared: (budget: string): string => `budget/${budget}`,
  sharedDomain: (budget: string, key: string, domain: string): string => `budget/${budget}/${key}=${domain}`,
  /** Nodes that Slipway itself stands on (design, rule 12). */
  infrastructure: "infrastructure",
} as const;

/**
 * Names of the budgets that bind a group's machines without our agent, which have the labels that the group gives them.
 * A topology limit of a label that they lack would hold each of them alone.
 */
export function budgetsOfMachines(
  { metadata, spec: { machines, topology } }: UpdateGroup,
  budgets: readonly RebootBudget[],
): string[] {
  if (machines === undefined) return [];
  const { labels } = machines;
  const group = metadata.name;
  return [
    budgetNames.group(group),
    ...topology.flatMap(({ key }) => {
      const domain = labels[key];
      return domain === undefined ? [] : [budgetNames.groupDomain(group, key, domain)];
    }),
    ...budgets.flatMap(({ metadata: { name }, spec: { nodeSelector, topologyKey: key } }) => {
      if (!matches(nodeSelector, labels)) return [];
      if (key === undefined) return [budgetNames.shared(name)];
      const domain = labels[key];
      return domain === undefined ? [] : [budgetNames.sharedDomain(name, key, domain)];
    }),
  ];
}
