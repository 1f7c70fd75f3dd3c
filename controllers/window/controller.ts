/** Observes RebootWindows; writes their status, and looks again when they open or close. */
import { type RebootWindow, rebootWindow } from "../../api/reboot-window.ts";
import type { Clock } from "../../ports/clock.ts";
import { applyStatus } from "../../runtime/apply-status.ts";
import type { KubeClient } from "../../runtime/client.ts";
import { objectOf, type Watching, watching } from "../../runtime/manager.ts";
import type { Reconciler } from "../../runtime/reconciler.ts";
import { keyOf, type Store } from "../../runtime/store.ts";
import { decideWindow } from "./policy.ts";

export interface WindowStores {
  windows: Store<RebootWindow>;
}

export interface WindowDeps {
  client: KubeClient;
  stores: WindowStores;
  clock: Clock;
}

/** Wait while the store has no complete list yet, ms. */
const UNSYNCED = 1000;

/** Keys are names of RebootWindows. */
export function createWindowReconciler({ client, stores, clock }: WindowDeps): Reconciler {
  return {
    async reconcile(key, signal) {
      if (!stores.windows.synced) return { requeueAfter: UNSYNCED };
      const window = stores.windows.get(key);
      if (window === undefined || window.metadata.deletionTimestamp !== undefined) return {};
      const now = clock.now();
      const { status, nextEdge } = decideWindow(window, now);
      await applyStatus(client, rebootWindow, window, status, { fieldManager: "slipway-window", signal });
      return nextEdge === undefined ? {} : { requeueAfter: Math.max(1, nextEdge - now) };
    },
  };
}

/** What makes it look at a window. */
export function windowWatches({ windows }: WindowStores): Watching[] {
  return [watching(windows, (change) => [keyOf(objectOf(change))])];
}
