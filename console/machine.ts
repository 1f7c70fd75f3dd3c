/** A NodeUpdate as the JSON API shows its machine, and the filters of machines: the same for gateways and the plugin. */
import type { NodeUpdate } from "../api/node-update.ts";
import type { Machine } from "./contract.ts";
import type { MachineFilter } from "./operations.ts";

/** Characters of a message in a list; its story has all of it. */
const SHOWN_MESSAGE = 300;

/** How a NodeUpdate is known in etcd, and in this API: the Node's UID or the machine id. */
export function uidOf({ metadata, spec }: NodeUpdate): string {
  return spec.nodeUID ?? spec.machineRef?.machineId ?? metadata.uid ?? metadata.name;
}

export function viewMachine(update: NodeUpdate): Machine {
  const { metadata, spec, status } = update;
  return {
    uid: uidOf(update),
    name: spec.nodeName ?? metadata.name,
    kind: spec.machineRef === undefined ? "node" : "machine",
    group: spec.group,
    zone: status?.zone ?? spec.machineRef?.labels?.["topology.kubernetes.io/zone"] ?? "",
    version: status?.running ?? "",
    target: status?.target ?? "",
    state: status?.step ?? "Unknown",
    reason: status?.reason ?? "",
    message: clip(status?.message ?? ""),
    since: status?.since,
    progress: status?.progress,
    slot: status?.grant !== undefined,
    connected: status?.connected ?? false,
  };
}

/** A message as a list shows it. */
export function clip(text: string): string {
  return text.length > SHOWN_MESSAGE ? `${text.slice(0, SHOWN_MESSAGE)}…` : text;
}

/** Whether a machine passes each filter that is given. */
export function filterOf(filter: MachineFilter): (machine: Machine) => boolean {
  const states = filter.state?.split(",");
  const search = filter.search?.toLowerCase();
  return (machine) =>
    (filter.group === undefined || machine.group === filter.group) &&
    (states === undefined || states.includes(machine.state)) &&
    (filter.version === undefined || machine.version === filter.version) &&
    (filter.zone === undefined || machine.zone === filter.zone) &&
    (filter.kind === undefined || machine.kind === filter.kind) &&
    (search === undefined || machine.name.toLowerCase().includes(search));
}
