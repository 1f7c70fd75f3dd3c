/**
 * Machines without our agent: which of them hold slots, whether that is known, and whom a person frees (design, rules
 * 3 and 9). Who holds is in etcd alone, because the machine itself takes and gives back.
 */
import { MACHINES_ANNOTATION, STEAL_MACHINE_ANNOTATION } from "../../api/labels.ts";
import { type MachineWord, readMachineWord } from "../../api/machine-word.ts";
import type { MachinesStatus } from "../../api/machines.ts";
import { timestamp } from "../../api/meta.ts";
import type { UpdateGroup } from "../../api/update-group.ts";
import type { FleetSnapshot, LiveGrant } from "../../coordination/coordination.ts";

/** Holders that a status names. */
const SHOWN = 50;

/**
 * Whether it is known which of the group's machines hold slots: whoever took one under this incarnation of etcd is in
 * etcd, and nobody could before the status named it. A group that serves none, or for the first time, has nothing
 * to confirm.
 */
export function isConfirmed({ status }: UpdateGroup, incarnation: string | undefined): boolean {
  return status?.machines === undefined || status.machines.incarnation === incarnation;
}

/**
 * What the group's status says of its machines; undefined where nothing is to be said. It must name the incarnation of
 * etcd before a gate lets one take a slot, or a loss of etcd would be taken for a first start.
 */
export function machinesStatus(
  group: UpdateGroup,
  { grants, incarnation, machineTotals }: Pick<FleetSnapshot, "grants" | "incarnation" | "machineTotals">,
): MachinesStatus | undefined {
  const told = group.status?.machines;
  if (incarnation === undefined || (group.spec.machines === undefined && told === undefined)) return told;
  const confirmed = group.metadata.annotations?.[MACHINES_ANNOTATION];
  if (told !== undefined && !isConfirmed(group, incarnation) && confirmed !== incarnation) {
    return { ...told, ...counted(machineTotals.get(group.metadata.name)), unconfirmed: incarnation };
  }
  const held = heldBy(group, grants);
  return {
    incarnation,
    held: held.length,
    holders: held.slice(0, SHOWN).map(({ grant: { node, foreign, at } }) => ({
      ...{ machine: node, protocol: foreign?.protocol ?? "", since: timestamp(at) },
      ...(foreign?.reason === undefined ? {} : { reason: foreign.reason }),
    })),
    ...counted(told),
    ...counted(machineTotals.get(group.metadata.name)),
  };
}

/** What is counted; nothing where no gateway tells: what it told last stays. */
function counted(
  of: Pick<MachinesStatus, "known" | "updating" | "failed" | "versions"> | undefined,
): Pick<MachinesStatus, "known" | "updating" | "failed" | "versions"> {
  if (of?.known === undefined) return {};
  const { known, updating, failed, versions } = of;
  return { known, updating, failed, versions };
}

/** Longest first. */
function heldBy({ metadata }: UpdateGroup, grants: FleetSnapshot["grants"]): LiveGrant[] {
  return [...grants.values()]
    .filter(({ grant }) => grant.foreign !== undefined && grant.group === metadata.name)
    .toSorted((a, b) => a.grant.at - b.grant.at || (a.grant.node < b.grant.node ? -1 : 1));
}

export interface Steal extends MachineWord {
  /** Undefined where the machine holds no slot of the group. */
  live: LiveGrant | undefined;
}

/** Whose slot a person frees. */
export function stealOf(group: UpdateGroup, { grants }: Pick<FleetSnapshot, "grants">): Steal | undefined {
  const word = wordOf(group, STEAL_MACHINE_ANNOTATION);
  if (word === undefined) return undefined;
  return { ...word, live: heldBy(group, grants).find(({ grant }) => grant.node === word.machine) };
}

/** What a person says of one machine. */
export function wordOf(group: UpdateGroup, annotation: string): MachineWord | undefined {
  const asked = group.metadata.annotations?.[annotation];
  return asked === undefined ? undefined : readMachineWord(asked);
}
