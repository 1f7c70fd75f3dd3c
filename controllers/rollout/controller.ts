/**
 * Observes UpdateGroups, Channels, Releases, RebootWindows, Nodes, NodeUpdates and the
 * plain machines; writes NodeUpdates (all but their status) and the status of UpdateGroups.
 */
import type { Channel } from "../../api/channel.ts";
import { GROUP_FINALIZER, HOLD_ANNOTATION } from "../../api/labels.ts";
import { API_VERSION, timestamp } from "../../api/meta.ts";
import { type NodeUpdate, nodeUpdate as nodeUpdateKind } from "../../api/node-update.ts";
import type { RebootWindow } from "../../api/reboot-window.ts";
import type { Release } from "../../api/release.ts";
import { updateGroup as kind, type UpdateGroup } from "../../api/update-group.ts";
import type { Coordination, FleetSnapshot } from "../../coordination/coordination.ts";
import { EtcdUnavailable } from "../../coordination/etcd.ts";
import type { Clock } from "../../ports/clock.ts";
import type { Logger } from "../../ports/log.ts";
import { applyStatus } from "../../runtime/apply-status.ts";
import { isApiError, type KubeClient } from "../../runtime/client.ts";
import type { Node } from "../../runtime/core.ts";
import type { EventRecorder } from "../../runtime/events.ts";
import type { Reconciler, Result } from "../../runtime/reconciler.ts";
import { isNewer } from "../../runtime/reflector.ts";
import type { Store } from "../../runtime/store.ts";
import type { Rivals } from "../rivals/policy.ts";
import { differs } from "./differs.ts";
import type { MachineFacts, NodeFacts } from "./member.ts";
import { decideOrphans, decideRollout, type Removal, type RolloutDecision } from "./policy.ts";

export interface RolloutStores {
  groups: Store<UpdateGroup>;
  channels: Store<Channel>;
  releases: Store<Release>;
  windows: Store<RebootWindow>;
  nodes: Store<Node>;
  nodeUpdates: Store<NodeUpdate>;
}

export interface RolloutDeps {
  client: KubeClient;
  stores: RolloutStores;
  /** Where plain machines are read. */
  coordination: Pick<Coordination, "readMachines">;
  /** How releases go on machines without our agent, by group, as last read. */
  tallies?: () => FleetSnapshot["tallies"] | undefined;
  /** Who else reboots nodes, as last seen; undefined where nobody looks. */
  rivals?: () => Rivals | undefined;
  recorder: EventRecorder;
  clock: Clock;
  log: Logger;
}

const FIELD_MANAGER = "slipway-rollout";
/** Wait while a store has no complete list, or has not seen our own last write, ms. */
const UNSYNCED = 1000;
/** How long a store may lag behind our own write before it is believed, ms. */
const LAG = 10_000;
/** How long a list of machines is good, ms; also the longest time between two looks: etcd tells nobody of a new one. */
const MACHINES = 30_000;
/** Writes at once, and in one reconciliation. */
const PARALLEL = 8;
const BATCH = 2000;

/** Keys are names of UpdateGroups. */
export function createRolloutReconciler(deps: RolloutDeps): Reconciler {
  const rollout = new Rollout(deps);
  return { reconcile: (key, signal) => rollout.reconcile(key, signal) };
}

/** What the policy needs of a Node. */
export function nodeFacts({ metadata, spec, status }: Node): NodeFacts {
  const architecture = status?.nodeInfo?.architecture;
  const ready = status?.conditions?.find((condition) => condition.type === "Ready")?.status === "True";
  return {
    name: metadata.name,
    uid: metadata.uid ?? "",
    labels: metadata.labels ?? {},
    // Empty until the kubelet reports.
    architecture: architecture === "" ? undefined : architecture,
    available: ready && spec?.unschedulable !== true,
    held: metadata.annotations?.[HOLD_ANNOTATION] !== undefined,
  };
}

class Rollout {
  readonly #deps: RolloutDeps;
  /** Per group: the resourceVersion of the last status that we wrote, and when (monotonic ms). */
  readonly #written = new Map<string, { resourceVersion: string; at: number }>();
  #machines: { read: MachineFacts[] | undefined; at: number } | undefined;

  constructor(deps: RolloutDeps) {
    this.#deps = deps;
  }

  async reconcile(key: string, signal: AbortSignal): Promise<Result> {
    const { stores, clock, recorder, client } = this.#deps;
    if (!Object.values(stores).every((store: Store<never>) => store.synced))
      return { requeueAfter: UNSYNCED };
    const group = stores.groups.get(key);
    const population = {
      groups: stores.groups.list(),
      nodes: stores.nodes.list().map(nodeFacts),
      machines: await this.#readMachines(),
      nodeUpdates: stores.nodeUpdates.list(),
    };
    if (group === undefined) {
      this.#written.delete(key);
      await this.#remove(decideOrphans(key, population), signal);
      return {};
    }
    if (this.#isStale(key, group)) return { requeueAfter: UNSYNCED };
    const now = clock.now();
    const decision = decideRollout(
      {
        ...population,
        group,
        channels: byName(stores.channels.list()),
        releases: byName(stores.releases.list()),
        windows: stores.windows.list(),
        tallies: this.#deps.tallies?.()?.get(key),
        rivals: this.#deps.rivals?.(),
      },
      now,
    );
    if (decision.finished) {
      await this.#setFinalizer(group, false, signal);
      return {};
    }
    // The finalizer stands before anything can be in flight, the halt before anything else is written.
    if (group.metadata.deletionTimestamp === undefined && !holdsFinalizer(group)) {
      await this.#setFinalizer(group, true, signal);
    }
    const owner = { fieldManager: FIELD_MANAGER, others: ["gate"], signal };
    const stored = await applyStatus(client, kind, group, decision.groupStatus, owner);
    if (stored !== group) {
      const { resourceVersion = "" } = stored.metadata;
      this.#written.set(key, { resourceVersion, at: clock.monotonic() });
      for (const { why, action } of decision.events) recorder.record(group, why, action);
    }
    const more = await this.#applyNodes(decision, signal);
    await this.#remove(decision.removals, signal);
    const next = decision.nextLook === undefined ? MACHINES : Math.max(1, decision.nextLook - now);
    return { requeueAfter: more ? 1 : Math.min(next, MACHINES) };
  }

  /** Whether the store has not seen our last status: deciding on the one before would date things anew. */
  #isStale(key: string, group: UpdateGroup): boolean {
    const last = this.#written.get(key);
    if (last === undefined) return false;
    const lagging =
      isNewer(last.resourceVersion, group.metadata.resourceVersion ?? "") &&
      this.#deps.clock.monotonic() - last.at < LAG;
    if (!lagging) this.#written.delete(key);
    return lagging;
  }

  async #readMachines(): Promise<MachineFacts[] | undefined> {
    const { coordination, clock, log } = this.#deps;
    if (this.#machines !== undefined && clock.monotonic() - this.#machines.at < MACHINES / 2) {
      return this.#machines.read;
    }
    let read: MachineFacts[] | undefined;
    try {
      const joined = await coordination.readMachines();
      read = [...joined].map(([id, { group, labels, joinedAt }]) => ({
        id,
        group,
        labels,
        joinedAt: joinedAt === 0 ? undefined : timestamp(joinedAt),
      }));
    } catch (error) {
      if (!(error instanceof EtcdUnavailable)) throw error;
      log.error("machines can't be read, those with a NodeUpdate stay as they are", error);
    }
    this.#machines = { read, at: clock.monotonic() };
    return read;
  }

  /** Writes what differs; true if there is more than one reconciliation may write. */
  async #applyNodes({ nodeSpecs }: RolloutDecision, signal: AbortSignal): Promise<boolean> {
    const { stores, client } = this.#deps;
    const changed = nodeSpecs.filter((wanted) => differs(stores.nodeUpdates.get(wanted.name), wanted));
    await inParallel(changed.slice(0, BATCH), async ({ name, uid, labels, annotations, spec }) => {
      const metadata = { name, labels, annotations, ...(uid === undefined ? {} : { uid }) };
      const body = { apiVersion: API_VERSION, kind: nodeUpdateKind.kind, metadata, spec };
      await client.apply(nodeUpdateKind, body, { fieldManager: FIELD_MANAGER, force: true, signal });
    });
    return changed.length > BATCH;
  }

  async #remove(removals: readonly Removal[], signal: AbortSignal): Promise<void> {
    await inParallel(removals, async ({ name, uid }) => {
      await this.#deps.client.delete(
        nodeUpdateKind,
        { name },
        uid === undefined ? { signal } : { uid, signal },
      );
    });
  }

  async #setFinalizer(group: UpdateGroup, wanted: boolean, signal: AbortSignal): Promise<void> {
    const { name, resourceVersion, finalizers = [] } = group.metadata;
    const others = finalizers.filter((finalizer) => finalizer !== GROUP_FINALIZER);
    const body = {
      metadata: { resourceVersion, finalizers: wanted ? [...others, GROUP_FINALIZER] : others },
    };
    try {
      await this.#deps.client.patch(kind, { name }, { type: "merge", body }, { signal });
    } catch (error) {
      if (!isApiError(error, "NotFound")) throw error;
    }
  }
}

function holdsFinalizer(group: UpdateGroup): boolean {
  return group.metadata.finalizers?.includes(GROUP_FINALIZER) === true;
}

/** Works through `items`, a few at once; all are tried, then the first failure is thrown. */
async function inParallel<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const failures: unknown[] = [];
  const queue = items.values();
  const worker = async (): Promise<void> => {
    for (const item of queue) {
      try {
        await work(item);
      } catch (error) {
        failures.push(error);
      }
    }
  };
  await Promise.all(Array.from({ length: PARALLEL }, worker));
  if (failures.length > 0) throw failures[0];
}

function byName<T extends { metadata: { name: string } }>(objects: readonly T[]): Map<string, T> {
  return new Map(objects.map((object) => [object.metadata.name, object]));
}
