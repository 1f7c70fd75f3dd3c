/**
 * Which budgets bind a node, how large they are, and who is unavailable (design, rules 1
 * and 12). A group's `maxUnavailable` and each of its topology limits are budgets like
 * any RebootBudget.
 */
import { budgetNames, budgetsOfMachines } from "../../api/budgets.ts";
import { limitOf } from "../../api/int-or-percent.ts";
import { INFRASTRUCTURE_LABEL } from "../../api/labels.ts";
import type { Machines } from "../../api/machines.ts";
import type { NodeUpdate } from "../../api/node-update.ts";
import type { RebootBudget, RebootBudgetStatus } from "../../api/reboot-budget.ts";
import { matches } from "../../api/selector.ts";
import type { UpdateGroup } from "../../api/update-group.ts";
import type { LiveGrant } from "../../coordination/coordination.ts";
import type { Node } from "../../runtime/core.ts";
import { isPlain, uidOf } from "../node-update/identity.ts";
import { isDoomed } from "../node-update/others.ts";
import type { World } from "../world.ts";

/** A node of the cluster or a plain machine, whether Slipway updates it or not. */
export interface Member {
  uid: string;
  name: string;
  labels: Readonly<Record<string, string>>;
  group: string | undefined;
  /** Why it counts as unavailable, as the end of a sentence; undefined if it does not. */
  down: string | undefined;
}

export interface Budget {
  name: string;
  max: number;
  members: readonly Member[];
}

/** Every budget, and the names of those that a node is in. */
export interface BudgetTable {
  budgets: ReadonlyMap<string, Budget>;
  of: ReadonlyMap<string, readonly string[]>;
  members: ReadonlyMap<string, Member>;
}

/** Why a node counts against its budgets without holding a slot; undefined if it does not. */
export function downBecause(
  node: Node | undefined,
  nodeUpdate: NodeUpdate | undefined,
  present: boolean,
): string | undefined {
  if (nodeUpdate?.status?.step === "Suspect") return "is Suspect";
  if (nodeUpdate?.status?.step === "Verifying") return "is being verified";
  if (node === undefined) return present ? undefined : "is not connected";
  const ready = node.status?.conditions?.find(({ type }) => type === "Ready");
  if (ready?.status !== "True") return "is not Ready";
  if (node.spec?.unschedulable === true) return "is cordoned";
  return isDoomed(node) ? "is about to be deleted by cluster-autoscaler" : undefined;
}

/** uids of members that hold a slot without a place in this budget, which bound them later. */
export function grantedBeside(
  { name, members }: Budget,
  grants: ReadonlyMap<string, Pick<LiveGrant, "grant">>,
): string[] {
  return members.flatMap(({ uid }) => {
    const live = grants.get(uid);
    return live === undefined || live.grant.budgets.includes(name) ? [] : [uid];
  });
}

/** `present`: uids of machines whose agents are connected. */
export function tabulate(
  world: Pick<World, "groups" | "budgets" | "nodes" | "nodeUpdates" | "foundation">,
  present: ReadonlySet<string>,
): BudgetTable {
  const members = membersOf(world, present);
  const budgets = new Map<string, { name: string; max: number; members: Member[] }>();
  const of = new Map<string, string[]>();
  const declare = (name: string, limit: number | string, bound: Member[]): void => {
    budgets.set(name, { name, max: limitOf(limit, bound.length), members: bound });
    for (const { uid } of bound) {
      const names = of.get(uid);
      if (names === undefined) of.set(uid, [name]);
      else names.push(name);
    }
  };
  const all = [...members.values()];
  const foundation = new Set(
    world.nodes.flatMap(({ metadata: { uid, name } }) =>
      uid !== undefined && world.foundation?.has(name) === true ? [uid] : [],
    ),
  );
  const byGroup = Map.groupBy(all, ({ group }) => group);
  for (const { metadata, spec } of world.groups) {
    const bound = byGroup.get(metadata.name) ?? [];
    declare(budgetNames.group(metadata.name), spec.maxUnavailable, bound);
    for (const { key, maxUnavailable } of spec.topology) {
      for (const [domain, inside] of byDomain(bound, key, [spec.machines])) {
        declare(budgetNames.groupDomain(metadata.name, key, domain), maxUnavailable, inside);
      }
    }
  }
  for (const { metadata, spec } of world.budgets) {
    const bound = all.filter(({ labels }) => matches(spec.nodeSelector, labels));
    const key = spec.topologyKey;
    if (key === undefined) {
      declare(budgetNames.shared(metadata.name), spec.maxUnavailable, bound);
      continue;
    }
    const machines = world.groups.map((group) => group.spec.machines);
    const selected = machines.filter((of) => matches(spec.nodeSelector, of?.labels ?? {}));
    for (const [domain, inside] of byDomain(bound, key, selected)) {
      declare(budgetNames.sharedDomain(metadata.name, key, domain), spec.maxUnavailable, inside);
    }
  }
  const standsOn = all.filter(
    ({ labels, uid }) => labels[INFRASTRUCTURE_LABEL] !== undefined || foundation.has(uid),
  );
  if (standsOn.length > 0) declare(budgetNames.infrastructure, 1, standsOn);
  return { budgets, of, members };
}

/** The budgets that bind a group's machines without our agent, and whether one of them binds Nodes as well. */
export function boundMachines(
  world: Pick<World, "budgets" | "nodes">,
  table: BudgetTable,
  group: UpdateGroup,
): { names: string[]; shared: boolean } {
  const names = budgetsOfMachines(group, world.budgets);
  const nodes = new Set(world.nodes.map((node) => node.metadata.uid));
  const shared = names.some((name) => table.budgets.get(name)?.members.some(({ uid }) => nodes.has(uid)));
  return { names, shared };
}

function membersOf(
  { nodes, nodeUpdates }: Pick<World, "nodes" | "nodeUpdates">,
  present: ReadonlySet<string>,
): Map<string, Member> {
  const members = new Map<string, Member>();
  const byUid = new Map(nodeUpdates.map((nodeUpdate) => [uidOf(nodeUpdate), nodeUpdate]));
  for (const node of nodes) {
    const { uid, name, labels = {} } = node.metadata;
    if (uid === undefined) continue;
    const nodeUpdate = byUid.get(uid);
    const down = downBecause(node, nodeUpdate, present.has(uid));
    members.set(uid, { uid, name, labels, group: nodeUpdate?.spec.group, down });
  }
  for (const nodeUpdate of nodeUpdates) {
    const uid = uidOf(nodeUpdate);
    if (uid === undefined || !isPlain(nodeUpdate)) continue;
    const { metadata, spec } = nodeUpdate;
    const labels = spec.machineRef?.labels ?? {};
    const down = downBecause(undefined, nodeUpdate, present.has(uid));
    members.set(uid, { uid, name: metadata.name, labels, group: spec.group, down });
  }
  return members;
}

/** A node without the label is a domain of its own name: it must not share a limit with the others that lack it. */
export function domainOf({ labels, name }: Pick<Member, "labels" | "name">, key: string): string {
  return labels[key] ?? name;
}

/** `machines`: those without our agent, whose domains have limits although no member of ours may be in them. */
function byDomain(
  members: readonly Member[],
  key: string,
  machines: readonly (Machines | undefined)[],
): Map<string, Member[]> {
  const domains = Map.groupBy(members, (member) => domainOf(member, key));
  for (const { labels } of machines.filter((of) => of !== undefined)) {
    const domain = labels[key];
    if (domain !== undefined && !domains.has(domain)) domains.set(domain, []);
  }
  return domains;
}

/** Most domains, and most holders in one, that a status lists. */
const SHOWN = 100;

/**
 * Status of a RebootBudget. `holders`: uids that hold a slot, by budget. `waiting`: names of the
 * NodeUpdates that wait for a budget.
 */
export function decideBudgetStatus(
  budget: RebootBudget,
  table: BudgetTable,
  holders: (budget: Budget) => ReadonlySet<string>,
  waiting: (name: string) => number,
): RebootBudgetStatus {
  const { name } = budget.metadata;
  const key = budget.spec.topologyKey;
  const prefix = key === undefined ? budgetNames.shared(name) : budgetNames.sharedDomain(name, key, "");
  const parts = [...table.budgets.values()].filter((part) =>
    key === undefined ? part.name === prefix : part.name.startsWith(prefix),
  );
  const domains = parts.map((part) => {
    const held = holders(part);
    const down = new Set([...held, ...part.members.filter((member) => member.down).map(({ uid }) => uid)]);
    const names = [...held].map((uid) => table.members.get(uid)?.name ?? uid).toSorted();
    return {
      domain: key === undefined ? "" : part.name.slice(prefix.length),
      members: part.members.length,
      limit: part.max,
      unavailable: down.size,
      holders: names,
    };
  });
  const sum = (of: (domain: (typeof domains)[number]) => number): number =>
    domains.reduce((total, domain) => total + of(domain), 0);
  const shown = domains.toSorted((a, b) => b.unavailable - a.unavailable || (a.domain < b.domain ? -1 : 1));
  const status: RebootBudgetStatus = {
    members: sum(({ members }) => members),
    limit: sum(({ limit }) => limit),
    unavailable: sum(({ unavailable }) => unavailable),
    holders: sum((domain) => domain.holders.length),
    waiting: parts.reduce((total, part) => total + waiting(part.name), 0),
    domains: shown.slice(0, SHOWN).map((domain) => ({ ...domain, holders: domain.holders.slice(0, SHOWN) })),
  };
  if (budget.metadata.generation !== undefined) status.observedGeneration = budget.metadata.generation;
  return status;
}
