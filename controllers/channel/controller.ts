/** Observes Channels and Releases; writes the status of Channels. */
import { type Channel, channel as kind } from "../../api/channel.ts";
import type { ConditionUpdate } from "../../api/meta.ts";
import type { Release } from "../../api/release.ts";
import type { Clock } from "../../ports/clock.ts";
import { applyStatus } from "../../runtime/apply-status.ts";
import type { KubeClient } from "../../runtime/client.ts";
import type { EventRecorder } from "../../runtime/events.ts";
import { objectOf, type Watching, watching } from "../../runtime/manager.ts";
import type { Reconciler } from "../../runtime/reconciler.ts";
import { keyOf, type Store } from "../../runtime/store.ts";
import { decideChannel } from "./policy.ts";

export interface ChannelStores {
  channels: Store<Channel>;
  releases: Store<Release>;
}

export interface ChannelDeps {
  client: KubeClient;
  stores: ChannelStores;
  recorder: EventRecorder;
  clock: Clock;
  /** What the last look at a channel's upstream gave, by the channel's name; nobody looks if absent. */
  upstream?: (channel: string) => readonly ConditionUpdate[];
}

/** Wait while a store has no complete list yet, ms. */
const UNSYNCED = 1000;

/** Keys are names of Channels. */
export function createChannelReconciler({
  client,
  stores,
  recorder,
  clock,
  upstream,
}: ChannelDeps): Reconciler {
  return {
    async reconcile(key, signal) {
      const { channels, releases } = stores;
      if (!channels.synced || !releases.synced) return { requeueAfter: UNSYNCED };
      const channel = channels.get(key);
      if (channel === undefined || channel.metadata.deletionTimestamp !== undefined) return {};
      const byName = new Map(releases.list().map((release) => [release.metadata.name, release]));
      const status = decideChannel(channel, byName, clock.now(), upstream?.(key));
      const owner = { fieldManager: "slipway-channel", signal };
      const stored = await applyStatus(client, kind, channel, status, owner);
      const { current } = status;
      if (stored !== channel && current !== undefined && current !== channel.status?.current) {
        const from = channel.status?.current === undefined ? "" : ` instead of ${channel.status.current}`;
        const message = `The channel points at ${current}${from}.`;
        recorder.record(channel, { reason: "Accepted", message }, "Promote");
      }
      return {};
    },
  };
}

/** What makes it look at a channel. */
export function channelWatches({ channels, releases }: ChannelStores): Watching[] {
  return [
    watching(channels, (change) => [keyOf(objectOf(change))]),
    // A release that only changes its status changes no channel: its spec never does.
    watching(releases, (change) => (change.type === "updated" ? [] : channels.list().map(keyOf))),
  ];
}
