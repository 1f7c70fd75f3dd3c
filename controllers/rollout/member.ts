/**
 * Who is in a group, and who acts on a node. One group writes a NodeUpdate at a time: the
 * one whose grant is in flight; else the only one that selects the node; else the one
 * that it belonged to, which then keeps its hands off (`SelectedTwice`) or removes it.
 */
import { HOLD_ANNOTATION } from "../../api/labels.ts";
import type { NodeUpdate } from "../../api/node-update.ts";
import { matches } from "../../api/selector.ts";
import type { UpdateGroup } from "../../api/update-group.ts";

/** What the rollout needs to know of a Node. */
export interface NodeFacts {
  name: string;
  uid: string;
  labels: Readonly<Record<string, string>>;
  architecture: string | undefined;
  /** Ready and schedulable. */
  available: boolean;
  /** A person holds it. */
  held: boolean;
}

/** A plain machine that joined: its token fixed group and labels. */
export interface MachineFacts {
  id: string;
  group: string;
  labels: Readonly<Record<string, string>>;
  /** As `machineRef` has it; undefined where it is not known. */
  joinedAt?: string | undefined;
}

/** A node or machine of a group. */
export interface Member {
  /** Name of its NodeUpdate. */
  name: string;
  /** UID of the Node, or machine id. */
  uid: string;
  /** Name of the Node; undefined for a plain machine. */
  nodeName: string | undefined;
  /** When a plain machine joined. */
  joinedAt?: string | undefined;
  labels: Readonly<Record<string, string>>;
  architecture: string | undefined;
  available: boolean;
  held: boolean;
  update: NodeUpdate | undefined;
  /** Whether its NodeUpdate may be written: it is not being deleted, and no other machine's has its name. */
  writable: boolean;
  /** Groups that select it, if there are several. */
  claimants: readonly string[];
}

export interface Membership {
  /** What the group acts on, or has in flight. */
  members: Member[];
  /** NodeUpdates of the group that belong to nothing any more. */
  leaving: NodeUpdate[];
  /** Nodes that this and other groups select, by name, with the names of all of them. */
  contested: { node: string; groups: readonly string[] }[];
}

export interface Population {
  groups: readonly UpdateGroup[];
  nodes: readonly NodeFacts[];
  /** Undefined while they can't be read: those with a NodeUpdate then stay as they are. */
  machines: readonly MachineFacts[] | undefined;
  nodeUpdates: readonly NodeUpdate[];
}

/** Whether a reboot of it is under way or about to be. */
export function inFlight(update: NodeUpdate | undefined): boolean {
  return update?.status?.grant !== undefined;
}

/** The membership of the group `name`, which may be gone. */
export function membershipOf(name: string, population: Population): Membership {
  const { nodeUpdates } = population;
  const byName = new Map(nodeUpdates.map((update) => [update.metadata.name, update]));
  const selecting = population.groups.filter((group) => group.metadata.deletionTimestamp === undefined);
  const ownSelector = selecting.find((group) => group.metadata.name === name)?.spec.nodeSelector;
  const result: Membership = { members: [], leaving: [], contested: [] };
  /** NodeUpdates that stay: ours, and those that another group takes over with what failed there. */
  const staying = new Set<string>();
  const place = (member: Member, claimants: readonly string[]): void => {
    if (claimants.length > 1 && claimants.includes(name)) {
      result.contested.push({ node: member.nodeName ?? member.name, groups: claimants });
    }
    const own = member.update?.spec.group;
    const owner = inFlight(member.update) ? own : claimants.length === 1 ? claimants[0] : own;
    const ours = owner === name && (claimants.includes(name) || inFlight(member.update));
    if (ours) result.members.push(member);
    if (member.update !== undefined && (ours || claimants.length === 1)) staying.add(member.name);
  };
  for (const node of population.nodes) {
    const named = byName.get(node.name);
    const selected = ownSelector !== undefined && matches(ownSelector, node.labels);
    if (!selected && named?.spec.group !== name) continue;
    const update = named?.spec.nodeUID === node.uid ? named : undefined;
    const claimants = selecting
      .filter((group) => matches(group.spec.nodeSelector, node.labels))
      .map((group) => group.metadata.name)
      .toSorted();
    place(
      {
        name: node.name,
        uid: node.uid,
        nodeName: node.name,
        labels: node.labels,
        architecture: update?.status?.architecture ?? node.architecture,
        available: node.available,
        held: node.held || isHeld(update),
        update,
        writable: named === undefined || (update !== undefined && !deleting(update)),
        claimants: claimants.length > 1 ? claimants : [],
      },
      claimants,
    );
  }
  const taken = new Set(byName.keys());
  const byMachine = new Map(nodeUpdates.map((update) => [update.spec.machineRef?.machineId, update]));
  for (const machine of machinesOf(population)) {
    const exists = selecting.some((group) => group.metadata.name === machine.group);
    const update = byMachine.get(machine.id);
    const free = update === undefined ? freeName(machine, taken) : undefined;
    place(
      {
        name: update?.metadata.name ?? free ?? "",
        uid: machine.id,
        nodeName: undefined,
        joinedAt: machine.joinedAt,
        labels: machine.labels,
        architecture: update?.status?.architecture,
        available: update?.status?.connected === true,
        held: isHeld(update),
        update,
        writable: update === undefined ? free !== undefined : !deleting(update),
        claimants: [],
      },
      exists ? [machine.group] : [],
    );
  }
  result.leaving = nodeUpdates.filter(
    (update) => update.spec.group === name && !staying.has(update.metadata.name),
  );
  return result;
}

/**
 * Machines that etcd knows, and those that have a NodeUpdate although it doesn't: etcd may
 * have lost its data, and a NodeUpdate remembers what failed there and who is away (rule 9).
 * Whoever removes a machine deletes its NodeUpdate.
 */
function machinesOf({ machines = [], nodeUpdates }: Population): readonly MachineFacts[] {
  const joined = new Set(machines.map(({ id }) => id));
  const remembered = nodeUpdates.flatMap(({ spec, metadata }) => {
    const { machineRef, group } = spec;
    if (machineRef === undefined || joined.has(machineRef.machineId)) return [];
    if (metadata.deletionTimestamp !== undefined) return [];
    const { machineId: id, labels = {}, joinedAt } = machineRef;
    return [{ id, group, labels, joinedAt }];
  });
  return [...machines, ...remembered];
}

function isHeld(update: NodeUpdate | undefined): boolean {
  return update?.metadata.annotations?.[HOLD_ANNOTATION] !== undefined;
}

function deleting(update: NodeUpdate): boolean {
  return update.metadata.deletionTimestamp !== undefined;
}

/** `machine-` and the first 12 characters of the id; all of it where that name is taken; undefined if both are. */
function freeName(machine: MachineFacts, taken: Set<string>): string | undefined {
  const id = machine.id.toLowerCase();
  const name = [`machine-${id.slice(0, 12)}`, `machine-${id}`].find((candidate) => !taken.has(candidate));
  if (name !== undefined) taken.add(name);
  return name;
}
