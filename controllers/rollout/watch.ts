/** Which groups need a look after a change in the cluster. */
import { matches } from "../../api/selector.ts";
import type { UpdateGroup } from "../../api/update-group.ts";
import { sameJson } from "../../runtime/apply-status.ts";
import { objectOf, type Watching, watching } from "../../runtime/manager.ts";
import { type Change, keyOf } from "../../runtime/store.ts";
import { blamedBy, quarantinedBecause } from "../release/policy.ts";
import { nodeFacts, type RolloutStores } from "./controller.ts";

/** What makes the rollout controller look at a group. */
export function rolloutWatches(stores: RolloutStores): Watching[] {
  const { groups, channels, releases, windows, nodes, nodeUpdates } = stores;
  const all = (): string[] => groups.list().map(keyOf);
  const selecting = (labels: Readonly<Record<string, string>> | undefined): string[] =>
    labels === undefined
      ? []
      : groups
          .list()
          .filter((group) => matches(group.spec.nodeSelector, labels))
          .map(keyOf);
  return [
    watching(groups, (change) => {
      const { before, after } = sides(change);
      const alone = sameJson(concernsOthers(before), concernsOthers(after));
      return [keyOf(objectOf(change)), ...(alone ? [] : all())];
    }),
    watching(nodes, (change) => {
      const { before, after } = sides(change);
      if (sameJson(before && nodeFacts(before), after && nodeFacts(after))) return [];
      // A node that is gone, or that no group selects any more, leaves a NodeUpdate behind.
      const left = nodeUpdates.get(keyOf(objectOf(change)))?.spec.group;
      return [
        ...selecting(before?.metadata.labels),
        ...selecting(after?.metadata.labels),
        ...(left === undefined ? [] : [left]),
      ];
    }),
    watching(nodeUpdates, (change) => {
      const { before, after } = sides(change);
      const owners = [before, after].flatMap((update) => update?.spec.group ?? []);
      return [...owners, ...selecting(nodes.get(keyOf(objectOf(change)))?.metadata.labels)];
    }),
    watching(channels, (change) => {
      const { before, after } = sides(change);
      if (sameJson(before?.spec, after?.spec)) return [];
      const { name } = objectOf(change).metadata;
      return groups
        .list()
        .filter((group) => group.spec.channel === name)
        .map(keyOf);
    }),
    // A release never changes, but for whether a person quarantined it.
    watching(releases, (change) =>
      change.type === "updated" && quarantinedBecause(change.before) === quarantinedBecause(change.object)
        ? []
        : all(),
    ),
    watching(windows, (change) => {
      const { before, after } = sides(change);
      const same =
        sameJson(before?.spec, after?.spec) &&
        before?.metadata.deletionTimestamp === after?.metadata.deletionTimestamp;
      return same ? [] : all();
    }),
  ];
}

function sides<T>(change: Change<T>): { before: T | undefined; after: T | undefined } {
  return {
    before: change.type === "added" ? undefined : change.before,
    after: change.type === "deleted" ? undefined : change.object,
  };
}

/** The part of a group by which it binds others: whom it selects, and what it halted on. */
function concernsOthers(group: UpdateGroup | undefined): unknown {
  if (group === undefined) return undefined;
  return {
    selector: group.spec.nodeSelector,
    deleting: group.metadata.deletionTimestamp !== undefined,
    blamed: blamedBy(group),
  };
}
