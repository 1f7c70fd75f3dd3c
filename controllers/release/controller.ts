/** Observes Releases, NodeUpdates and the halts of UpdateGroups; writes the status of Releases. */
import type { NodeUpdate } from "../../api/node-update.ts";
import { release as kind, type Release } from "../../api/release.ts";
import type { UpdateGroup } from "../../api/update-group.ts";
import type { Clock } from "../../ports/clock.ts";
import { applyStatus, sameJson } from "../../runtime/apply-status.ts";
import type { KubeClient } from "../../runtime/client.ts";
import type { EventRecorder } from "../../runtime/events.ts";
import { objectOf, type Watching, watching } from "../../runtime/manager.ts";
import type { Reconciler } from "../../runtime/reconciler.ts";
import { keyOf, type Store } from "../../runtime/store.ts";
import { blamedBy, decideRelease, isImageOf } from "./policy.ts";

export interface ReleaseStores {
  releases: Store<Release>;
  nodeUpdates: Store<NodeUpdate>;
  groups: Store<UpdateGroup>;
}

export interface ReleaseDeps {
  client: KubeClient;
  stores: ReleaseStores;
  recorder: EventRecorder;
  clock: Clock;
}

/** Wait while a store has no complete list yet, ms. */
const UNSYNCED = 1000;

/** Keys are names of Releases. */
export function createReleaseReconciler({ client, stores, recorder, clock }: ReleaseDeps): Reconciler {
  return {
    async reconcile(key, signal) {
      const { releases, nodeUpdates, groups } = stores;
      if (!releases.synced || !nodeUpdates.synced || !groups.synced) return { requeueAfter: UNSYNCED };
      const release = releases.get(key);
      if (release === undefined || release.metadata.deletionTimestamp !== undefined) return {};
      const status = decideRelease(release, nodeUpdates.list(), groups.list(), clock.now());
      const owner = { fieldManager: "slipway-release", signal };
      const stored = await applyStatus(client, kind, release, status, owner);
      const now = status.conditions?.find((condition) => condition.type === "Quarantined");
      const before = release.status?.conditions?.find((condition) => condition.type === "Quarantined");
      if (stored !== release && now !== undefined && now.status !== (before?.status ?? "False")) {
        const reason = now.status === "True" ? "ReleaseQuarantined" : "NotQuarantined";
        recorder.record(release, { reason, message: now.message }, "Quarantine");
      }
      return {};
    },
  };
}

/** What makes it look at a release. */
export function releaseWatches({ releases, nodeUpdates, groups }: ReleaseStores): Watching[] {
  return [
    watching(releases, (change) => [keyOf(objectOf(change))]),
    watching(nodeUpdates, (change) => {
      const before = change.type === "added" ? undefined : imagesOf(change.before);
      const after = change.type === "deleted" ? undefined : imagesOf(change.object);
      if (sameJson(before, after)) return [];
      const hashes = [...(before ?? []), ...(after ?? [])];
      return releases
        .list()
        .filter((release) => hashes.some((hash) => isImageOf(release, hash)))
        .map(keyOf);
    }),
    watching(groups, (change) => {
      const before = change.type === "added" ? [] : blamedBy(change.before);
      const after = change.type === "deleted" ? [] : blamedBy(change.object);
      return sameJson(before, after) ? [] : [...new Set([...before, ...after])];
    }),
  ];
}

/** Root hashes that a NodeUpdate speaks of. */
function imagesOf({ status }: NodeUpdate): string[] {
  const failed = (status?.failed ?? []).map((failure) => failure.rootHash);
  return status?.runningRootHash === undefined ? failed : [status.runningRootHash, ...failed];
}
