/**
 * The manager: every controller on one runtime, led by one Lease and one epoch. Stores
 * follow the API server before it leads; everything else runs only while it does.
 */
import type { Channel } from "../api/channel.ts";
import { channel } from "../api/channel.ts";
import { MANAGER_LEASE } from "../api/labels.ts";
import { type NodeUpdate, nodeUpdate } from "../api/node-update.ts";
import { type RebootBudget, rebootBudget } from "../api/reboot-budget.ts";
import { type RebootWindow, rebootWindow } from "../api/reboot-window.ts";
import { type Release, release } from "../api/release.ts";
import { type UpdateGroup, updateGroup } from "../api/update-group.ts";
import type { FleetSnapshot } from "../coordination/coordination.ts";
import { createCoordination } from "../coordination/create.ts";
import type { EtcdPort } from "../coordination/etcd.ts";
import type { Clock } from "../ports/clock.ts";
import type { Logger } from "../ports/log.ts";
import type { Random } from "../ports/random.ts";
import { sameJson } from "../runtime/apply-status.ts";
import type { KubeClient } from "../runtime/client.ts";
import { NODES, type Node } from "../runtime/core.ts";
import type { LeaderElectionOptions } from "../runtime/leader-election.ts";
import { createManager, type Manager } from "../runtime/manager.ts";
import type { RuntimeMetrics } from "../runtime/metrics.ts";
import { keyOf } from "../runtime/store.ts";
import type { WatchSources } from "../runtime/watch-source.ts";
import { Prober } from "./blockers/prober.ts";
import { createBudgetReconciler } from "./budget/controller.ts";
import { channelWatches, createChannelReconciler } from "./channel/controller.ts";
import type { CrdWatch } from "./crds/watch.ts";
import { Drainer } from "./drain/drainer.ts";
import { FleetCache } from "./fleet-cache.ts";
import { GatesController } from "./gates/controller.ts";
import { Planner } from "./grants/planner.ts";
import type { Plan } from "./grants/policy.ts";
import { HookRunner } from "./hooks/runner.ts";
import { Housekeeper } from "./housekeeper.ts";
import { type HttpCaller, httpCaller } from "./http/caller.ts";
import { FleetLeadership } from "./leadership.ts";
import { MachinesController } from "./machines/controller.ts";
import { Identities } from "./machines/identities.ts";
import { createFleetMetrics, type FleetMetrics } from "./metrics/fleet.ts";
import { NodeUpdateReconciler } from "./node-update/controller.ts";
import { bindsOthers, NODE_UPDATE_INDEXES, nodeUpdateWatches, pruneNode } from "./node-update/watch.ts";
import { Notifier } from "./notify/notifier.ts";
import type { WebhookKeys } from "./notify/signature.ts";
import { createReleaseReconciler, releaseWatches } from "./release/controller.ts";
import type { RivalWatch } from "./rivals/watch.ts";
import { createRolloutReconciler } from "./rollout/controller.ts";
import { rolloutWatches } from "./rollout/watch.ts";
import { type UpstreamDeps, UpstreamReconciler, upstreamWatches } from "./upstream/controller.ts";
import { createWindowReconciler, windowWatches } from "./window/controller.ts";
import type { World } from "./world.ts";

export interface FleetManagerOptions {
  client: KubeClient;
  watches: WatchSources;
  etcd: EtcdPort;
  clock: Clock;
  random: Random;
  log: Logger;
  metrics: RuntimeMetrics;
  /** Namespace of the leader Lease. */
  namespace: string;
  /** Unique per process. */
  identity: string;
  /** Leader election's times, where not client-go's. */
  election?: Pick<LeaderElectionOptions, "leaseDuration" | "renewDeadline" | "retryPeriod">;
  /** Calls to blockers, hooks and webhooks; the process's own fetch if absent. */
  http?: HttpCaller;
  /** Keys that notices and calls of hooks are signed with; none if absent, and then nothing that must be signed is sent. */
  webhookKeys?: WebhookKeys;
  /** URLs of upstreams by their `urlKey`. */
  upstreamUrls?: UpstreamDeps["urls"];
  /** Looks for others that reboot nodes; nobody looks if absent. */
  rivals?: RivalWatch;
  /** Whether the cluster's CustomResourceDefinitions let this manager lead; nobody looks if absent. */
  crds?: Pick<CrdWatch, "mayLead" | "guard" | "refusal">;
  /** Nodes worked on at once; 16 if absent. */
  workers?: number;
}

const WORKERS = 16;
/** Upstreams asked at once: one that is slow holds up only few others. */
const UPSTREAM_WORKERS = 4;
/** For all steps of one channel, ms: each answer has 20 s, and there are few. */
const UPSTREAM_DEADLINE = 180_000;
/** Gates older than this make the manager unready, ms: nothing is granted any more. */
const GATES_TOO_OLD = 30_000;

/**
 * The manager, not started yet, so that its probes and metrics can be served. `start` rejects
 * when it no longer leads, in the cluster or in the fleet: the process then starts anew.
 */
export function createFleetManager(options: FleetManagerOptions): Manager {
  const { client, watches, etcd, clock, random, log, metrics, namespace, identity, rivals, crds } = options;
  const coordination = createCoordination({ etcd, clock, random, log: log.with({ part: "coordination" }) });
  const leadership = new FleetLeadership({ client, coordination, log });
  const manager = createManager({
    client,
    watches,
    clock,
    random,
    log,
    metrics,
    reporter: { controller: "slipway.dev/manager", instance: identity },
    leaderElection: {
      name: MANAGER_LEASE,
      namespace,
      identity,
      ...options.election,
      async beforeAcquire() {
        await crds?.mayLead();
        await leadership.beforeAcquire();
      },
      onElected: (tenure) => leadership.onElected(tenure),
    },
  });
  const stores = {
    releases: manager.store<Release>(release),
    channels: manager.store<Channel>(channel),
    groups: manager.store<UpdateGroup>(updateGroup),
    budgets: manager.store<RebootBudget>(rebootBudget),
    windows: manager.store<RebootWindow>(rebootWindow),
    nodeUpdates: manager.store<NodeUpdate>(nodeUpdate, { indexes: NODE_UPDATE_INDEXES }),
    nodes: manager.store<Node>(NODES, { transform: pruneNode }),
  };
  const recorder = manager.events;
  const common = { client, stores, recorder, clock, log };
  manager.controller("window", createWindowReconciler(common), { watches: windowWatches(stores) });
  const http = options.http ?? httpCaller(clock);
  const upstreams = new UpstreamReconciler({
    ...common,
    http,
    ...(options.upstreamUrls === undefined ? {} : { urls: options.upstreamUrls }),
    log: log.with({ part: "upstreams" }),
    looked: (name) => channels.enqueue(name),
  });
  const channels = manager.controller(
    "channel",
    createChannelReconciler({ ...common, upstream: (name) => upstreams.conditions(name) }),
    { watches: channelWatches(stores) },
  );
  const settings = {
    watches: upstreamWatches(stores),
    workers: UPSTREAM_WORKERS,
    deadline: UPSTREAM_DEADLINE,
  };
  manager.controller("upstream", upstreams, settings);
  manager.controller("release", createReleaseReconciler(common), { watches: releaseWatches(stores) });
  const rollout = createRolloutReconciler({
    ...common,
    coordination,
    tallies: () => cache.snapshot?.tallies,
    ...(rivals === undefined ? {} : { rivals: () => rivals.found }),
  });
  const rollouts = manager.controller("rollout", rollout, { watches: rolloutWatches(stores) });

  const cache = new FleetCache({
    coordination,
    clock,
    log: log.with({ part: "fleet" }),
    floor: () => leadership.floor,
    check: (fleet, floor) => leadership.check(fleet, floor),
  });
  const keys = options.webhookKeys ?? (() => Promise.resolve(undefined));
  const prober = new Prober({ client, http, clock, log: log.with({ part: "blockers" }) });
  const planner = new Planner(clock, () => prober.readings());
  let latest: { world: World; fleet: FleetSnapshot; plan: Plan } | undefined;
  let fleetMetrics: FleetMetrics | undefined;
  const nodes = manager.controller(
    "node-update",
    new NodeUpdateReconciler({
      ...common,
      coordination,
      leader: () => leadership.current(),
      fleet: () => cache.snapshot,
      planner,
      drainer: new Drainer(client, clock, namespace),
      prober,
      hooks: new HookRunner({ client, http, keys, clock, log: log.with({ part: "hooks" }) }),
      random,
      onTransition: (step, why) => fleetMetrics?.transition(step, why),
    }),
    { watches: nodeUpdateWatches(stores), workers: options.workers ?? WORKERS },
  );
  const budgets = manager.controller(
    "budget",
    createBudgetReconciler({ client, budgets: stores.budgets, latest: () => latest }),
    { watches: [] },
  );
  const housekeeper = new Housekeeper({
    client,
    coordination,
    leader: () => leadership.current(),
    clock,
    log: log.with({ part: "housekeeper" }),
  });
  const machines = new MachinesController({
    client,
    coordination,
    identities: new Identities({ coordination, leader: () => leadership.current() }),
    leader: () => leadership.current(),
    clock,
    random,
    log: log.with({ part: "machines" }),
  });
  const gates = new GatesController({
    client,
    coordination,
    leader: () => leadership.current(),
    namespace,
    readFleet: () => cache.read(),
    clock,
    log: log.with({ part: "gates" }),
    async onRenewed(world, fleet, startedAt, signal) {
      for (const name of changedTallies(latest?.fleet, fleet)) rollouts.enqueue(name);
      latest = { world, fleet, plan: planner.make(world, fleet, startedAt, clock.now()) };
      for (const budget of world.budgets) budgets.enqueue(keyOf(budget));
      await leadership.remember();
      void machines.tend(world, fleet);
      void housekeeper.tidy(world, fleet);
      const waits = new Set(
        world.nodeUpdates.flatMap(({ spec, status }) => (status?.step === "Staged" ? spec.group : [])),
      );
      void prober.look(
        world.groups.filter(({ metadata }) => waits.has(metadata.name)),
        signal,
      );
    },
  });
  const wake = (uids: readonly string[]): void => {
    for (const uid of uids)
      for (const found of stores.nodeUpdates.byIndex("uid", uid)) nodes.enqueue(keyOf(found));
  };
  cache.onChange(wake);
  planner.onChange(wake);
  for (const store of [
    stores.groups,
    stores.channels,
    stores.budgets,
    stores.windows,
    stores.releases,
    stores.nodes,
    stores.nodeUpdates,
  ]) {
    store.onChange((change) => {
      if (bindsOthers(change)) gates.poke();
    });
  }
  const notifier = new Notifier({
    groups: stores.groups,
    nodeUpdates: stores.nodeUpdates,
    http,
    keys,
    recorder,
    clock,
    log: log.with({ part: "notifications" }),
    told: (outcome) => fleetMetrics?.notified(outcome),
  });
  if (rivals !== undefined) manager.loop("rivals", (signal) => rivals.run(signal));
  if (crds !== undefined) {
    manager.loop("crds", (signal) => crds.guard(signal));
    manager.ready.set("crds", () => crds.refusal);
  }
  manager.loop("notifications", (signal) => notifier.run(signal));
  manager.loop("fleet", (signal) => cache.run(signal));
  manager.loop("gates", (signal) => gates.run(signal));
  manager.ready.set("gates", () => {
    const { renewedAt } = gates;
    if (renewedAt === undefined || clock.now() - renewedAt < GATES_TOO_OLD) return undefined;
    return "The gates have not been renewed for 30 s: nothing is granted";
  });
  fleetMetrics = createFleetMetrics(metrics.registry, {
    clock,
    nodeUpdates: stores.nodeUpdates,
    groups: stores.groups,
    releases: stores.releases,
    fleet: () => cache.snapshot,
    plan: () => planner.plan,
    gatesRenewedAt: () => gates.renewedAt,
    fleetReadAt: () => cache.readAt,
  });
  return manager;
}

/** Groups on whose machines without our agent a release came further, or failed. */
function changedTallies(before: FleetSnapshot | undefined, { tallies }: FleetSnapshot): string[] {
  return [...tallies].flatMap(([group, now]) =>
    sameJson([...(before?.tallies.get(group) ?? [])], [...now]) ? [] : [group],
  );
}
