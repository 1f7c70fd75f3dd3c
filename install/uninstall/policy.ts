/** What has to end before Slipway may go, and what of its own it takes along. */
import { GROUP_FINALIZER, SLOT_FINALIZER, UNINSTALL_ANNOTATION } from "../../api/labels.ts";
import type { KubeObject } from "../../api/meta.ts";
import type { NodeUpdate } from "../../api/node-update.ts";
import type { UpdateGroup } from "../../api/update-group.ts";

/** Names of NodeUpdates that hold a slot. */
export interface Holders {
  /** A reboot, or the way to one, is under way. */
  under: string[];
  /** They did not come back from one: nothing is gained by waiting. */
  suspect: string[];
}

export function holdersOf(nodeUpdates: readonly NodeUpdate[]): Holders {
  const holders = nodeUpdates.filter(({ status }) => status?.grant !== undefined);
  const isSuspect = ({ status }: NodeUpdate): boolean => status?.suspectSince !== undefined;
  const names = (list: readonly NodeUpdate[]): string[] =>
    list.map(({ metadata }) => metadata.name).toSorted();
  return {
    under: names(holders.filter((holder) => !isSuspect(holder))),
    suspect: names(holders.filter(isSuspect)),
  };
}

/** The body of a merge patch that is compared by resourceVersion; undefined where nothing is to do. */
export type Change = { metadata: object; spec?: object } | undefined;

/** Pauses a group, and remembers that it was us. */
export function pause({ metadata, spec }: UpdateGroup): Change {
  if (spec.paused) return undefined;
  const { resourceVersion } = metadata;
  return {
    metadata: { resourceVersion, annotations: { [UNINSTALL_ANNOTATION]: "true" } },
    spec: { paused: true },
  };
}

/** Once nobody acts on it: the group as its people left it, without our finalizer. */
export function leaveGroup(group: UpdateGroup): Change {
  const { metadata } = group;
  const ours = metadata.annotations?.[UNINSTALL_ANNOTATION] !== undefined;
  const finalizers = without(group, GROUP_FINALIZER);
  if (!ours && finalizers === undefined) return undefined;
  return {
    metadata: {
      resourceVersion: metadata.resourceVersion,
      ...(finalizers === undefined ? {} : { finalizers }),
      ...(ours ? { annotations: { [UNINSTALL_ANNOTATION]: null } } : {}),
    },
    ...(ours ? { spec: { paused: false } } : {}),
  };
}

export function leaveNodeUpdate(nodeUpdate: NodeUpdate): Change {
  const finalizers = without(nodeUpdate, SLOT_FINALIZER);
  if (finalizers === undefined) return undefined;
  return { metadata: { resourceVersion: nodeUpdate.metadata.resourceVersion, finalizers } };
}

/** The other finalizers; undefined where ours is not among them. */
function without({ metadata }: KubeObject, finalizer: string): string[] | undefined {
  if (!metadata.finalizers?.includes(finalizer)) return undefined;
  return metadata.finalizers.filter((other) => other !== finalizer);
}
