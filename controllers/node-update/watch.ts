/** Which nodes need a look after a change in the cluster, and which changes bind others. */
import { DOOMED_TAINT, PENDING_TAINT } from "../../api/labels.ts";
import type { KubeObject } from "../../api/meta.ts";
import type { NodeUpdate } from "../../api/node-update.ts";
import type { Release } from "../../api/release.ts";
import type { UpdateGroup } from "../../api/update-group.ts";
import { sameJson } from "../../runtime/apply-status.ts";
import type { Node } from "../../runtime/core.ts";
import { objectOf, type Watching, watching } from "../../runtime/manager.ts";
import type { IndexFunction } from "../../runtime/memory-store.ts";
import { type Change, keyOf, type Store } from "../../runtime/store.ts";
import { downBecause } from "../budget/policy.ts";
import { isBarred, isHalted } from "../gates/policy.ts";
import { uidOf } from "./identity.ts";

function values(...list: (string | undefined)[]): string[] {
  return list.flatMap((value) => (value === undefined ? [] : [value]));
}

/** Indexes that the store of NodeUpdates must declare. */
export const NODE_UPDATE_INDEXES = {
  uid: (object) => values(uidOf(object)),
  node: ({ spec }) => values(spec.nodeName),
  group: ({ spec }) => values(spec.group),
  release: ({ spec }) => values(spec.release),
} satisfies Record<string, IndexFunction<NodeUpdate>>;

/** What makes the node controller look at a node, besides etcd and the plan. */
export function nodeUpdateWatches(stores: {
  nodeUpdates: Store<NodeUpdate>;
  nodes: Store<Node>;
  groups: Store<UpdateGroup>;
  releases: Store<Release>;
}): Watching[] {
  const { nodeUpdates, nodes, groups, releases } = stores;
  const by = (index: keyof typeof NODE_UPDATE_INDEXES, value: string): string[] =>
    nodeUpdates.byIndex(index, value).map(keyOf);
  return [
    watching(nodeUpdates, (change) => [keyOf(objectOf(change))]),
    watching(nodes, (change) => by("node", keyOf(objectOf(change)))),
    watching(groups, (change) => (concerns(change) ? by("group", keyOf(objectOf(change))) : [])),
    watching(releases, (change) => (concerns(change) ? by("release", keyOf(objectOf(change))) : [])),
  ];
}

function concerns<T extends UpdateGroup | Release>(change: Change<T>): boolean {
  return change.type !== "updated" || !sameJson(essence(change.before), essence(change.object));
}

/** Whether gates and plan have to be made anew. */
export function bindsOthers(change: Change<KubeObject>): boolean {
  return change.type !== "updated" || !sameJson(essence(change.before), essence(change.object));
}

/** The part of an object that gates and plans rest on. */
function essence(object: KubeObject): unknown {
  const { generation, labels, annotations, deletionTimestamp } = object.metadata;
  const common = { generation, labels, annotations, deletionTimestamp };
  switch (object.kind) {
    case "UpdateGroup": {
      const { stages, machines } = (object as UpdateGroup).status ?? {};
      return { ...common, halted: isHalted(object as UpdateGroup), stages, machines: machines?.incarnation };
    }
    case "Release":
      return { ...common, barred: isBarred(object as Release) };
    case "NodeUpdate": {
      const { step, grant, verifiedAt } = (object as NodeUpdate).status ?? {};
      return { ...common, step, phase: grant?.phase, verifiedAt };
    }
    case "Node":
      return { ...common, down: downBecause(object, undefined, true) };
    default:
      return common;
  }
}

/** Keeps of a Node what Slipway reads: a fleet's Nodes are most of the manager's memory. */
export function pruneNode({ apiVersion, kind, metadata, spec, status }: Node): Node {
  const { name, uid, resourceVersion, labels, annotations, deletionTimestamp, creationTimestamp } = metadata;
  const kept: Node = {
    apiVersion,
    kind,
    metadata: JSON.parse(
      JSON.stringify({
        name,
        uid,
        resourceVersion,
        labels,
        annotations,
        deletionTimestamp,
        creationTimestamp,
      }),
    ) as Node["metadata"],
  };
  if (spec?.unschedulable !== undefined) kept.spec = { unschedulable: spec.unschedulable };
  const taints = spec?.taints?.filter(({ key }) => key === PENDING_TAINT || key === DOOMED_TAINT) ?? [];
  if (taints.length > 0) kept.spec = { ...kept.spec, taints };
  if (status !== undefined) {
    const { conditions, nodeInfo } = status;
    kept.status = {
      ...(conditions === undefined ? {} : { conditions }),
      ...(nodeInfo === undefined ? {} : { nodeInfo }),
    };
  }
  return kept;
}
