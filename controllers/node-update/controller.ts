/**
 * Carries one node through its update. Observes NodeUpdates, Nodes, UpdateGroups,
 * Releases, RebootWindows, etcd and the plan; writes `NodeUpdate.status`, the cordon, evictions,
 * and in etcd `desired` and the node's grant. Each act may be cut short anywhere: the next
 * look decides anew from what is there.
 */
import { equals } from "@bufbuild/protobuf";
import { SLOT_FINALIZER } from "../../api/labels.ts";
import type { NodeUpdate } from "../../api/node-update.ts";
import { nodeUpdate as kind } from "../../api/node-update.ts";
import type { Why } from "../../api/reasons.ts";
import type { RebootWindow } from "../../api/reboot-window.ts";
import type { Release } from "../../api/release.ts";
import type { UpdateGroup } from "../../api/update-group.ts";
import type { Coordination, FleetSnapshot, Leadership, LiveGrant } from "../../coordination/coordination.ts";
import type { Clock } from "../../ports/clock.ts";
import type { Logger } from "../../ports/log.ts";
import type { Random } from "../../ports/random.ts";
import { type Desired, DesiredSchema } from "../../proto/gen/agent_pb.ts";
import { isApiError, type KubeClient } from "../../runtime/client.ts";
import type { Node } from "../../runtime/core.ts";
import type { EventRecorder } from "../../runtime/events.ts";
import { LeadershipLost } from "../../runtime/leader-election.ts";
import type { Reconciler, Result } from "../../runtime/reconciler.ts";
import type { Store } from "../../runtime/store.ts";
import type { Prober } from "../blockers/prober.ts";
import type { Drainer } from "../drain/drainer.ts";
import type { DrainDecision } from "../drain/policy.ts";
import { isLost } from "../fleet-cache.ts";
import type { Planner } from "../grants/planner.ts";
import type { TakePlan } from "../grants/policy.ts";
import { requestOf } from "../grants/queue.ts";
import { askerOf, runningAsker, unfinishedJobs } from "../hooks/asker.ts";
import type { HookRunner } from "../hooks/runner.ts";
import { planCordon } from "./cordon.ts";
import { type Act, type NodeDecision, type NodeView, policyOf } from "./decision.ts";
import { desiredOf } from "./desired.ts";
import { closingOf, drainOf } from "./drain-view.ts";
import { hindranceOf, notAsked } from "./hindrance.ts";
import { nodeOf, uidOf } from "./identity.ts";
import { withLostVerdict } from "./lost-verdict.ts";
import { NodeMemory } from "./memory.ts";
import { heartbeatOf, NodeApi } from "./node-api.ts";
import { decideNode } from "./policy.ts";
import { StatusWriter } from "./status-writer.ts";
import { isTainted, wantsTaint } from "./taint.ts";
import { wantedOf } from "./target.ts";

export interface NodeUpdateStores {
  nodeUpdates: Store<NodeUpdate>;
  nodes: Store<Node>;
  groups: Store<UpdateGroup>;
  releases: Store<Release>;
  windows: Store<RebootWindow>;
}

export interface NodeUpdateDeps {
  client: KubeClient;
  stores: NodeUpdateStores;
  coordination: Coordination;
  leader: () => Leadership;
  /** The newest read of etcd. */
  fleet: () => FleetSnapshot | undefined;
  planner: Planner;
  drainer: Drainer;
  prober: Pick<Prober, "ask">;
  hooks: HookRunner;
  recorder: EventRecorder;
  clock: Clock;
  random: Random;
  log: Logger;
  /** Counts what was decided, by step and reason. */
  onTransition: (step: string, why: Why) => void;
}

/** Acts of one reconciliation: the longest way without waiting is take, cordon, evict. */
const MAX_ACTS = 8;
/**
 * How long a node loses its place in the queue, ms: where its Pods may not leave or asking failed, and
 * where etcd refused the slot or the copy of the NodeUpdate was out of date, as its agent had just reported.
 */
const BLOCKED = 60_000;
const REFUSED = 5000;
/** Wait where a store or etcd has not been read yet, ms. */
const UNSYNCED = 1000;
/** Shortest and longest time to the next look of a node under a grant, ms. */
const LOOK = { least: 500, most: 60_000 } as const;

/** Keys are names of NodeUpdates. */
export class NodeUpdateReconciler implements Reconciler {
  readonly #deps: NodeUpdateDeps;
  readonly #memory: NodeMemory;
  readonly #nodes: NodeApi;
  readonly #status: StatusWriter;

  constructor(deps: NodeUpdateDeps) {
    this.#deps = deps;
    this.#memory = new NodeMemory(deps.clock);
    this.#nodes = new NodeApi(deps.client);
    this.#status = new StatusWriter(deps);
  }

  async reconcile(key: string, signal: AbortSignal): Promise<Result> {
    const { stores, planner, fleet } = this.#deps;
    const synced = Object.values(stores).every((store: Store<never>) => store.synced);
    const snapshot = fleet();
    if (!synced || snapshot === undefined) return { requeueAfter: UNSYNCED };
    const nodeUpdate = stores.nodeUpdates.get(key);
    const uid = nodeUpdate === undefined ? undefined : uidOf(nodeUpdate);
    if (nodeUpdate === undefined || uid === undefined) {
      this.#memory.forget(key);
      this.#deps.hooks.forget(key);
      return {};
    }
    const take = planner.claim(uid);
    const work = { key, uid, nodeUpdate, take, snapshot, signal };
    try {
      return await this.#work(work);
    } catch (error) {
      // Or it would stand at the head of the next plan again, and nobody behind it would ever be asked for.
      if (work.take !== undefined && !signal.aborted && !isLost(error)) {
        planner.block(uid, notAsked(error), isApiError(error, "Conflict") ? REFUSED : BLOCKED);
      }
      throw error;
    } finally {
      if (take !== undefined) planner.settle(uid);
    }
  }

  /** Takes `work.take` away once the slot was asked for. */
  async #work(work: Work): Promise<Result> {
    const { clock } = this.#deps;
    const held = await this.#holdBack(work);
    const nodeUpdate = await this.#nodes.moveAsked(held, nodeOf(held, this.#deps.stores.nodes), work.signal);
    let current = { ...work, nodeUpdate };
    for (let acts = 0; acts < MAX_ACTS; acts++) {
      current.signal.throwIfAborted();
      const seen = await this.#look(current);
      if (seen.view.live === undefined && (await this.#putDesired(current, seen))) continue;
      const decision = decideNode(seen.view, clock.now());
      const nodeUpdate = await this.#status.write(current.nodeUpdate, decision, current.signal);
      current = { ...current, nodeUpdate };
      const go = await this.#perform(current, seen, decision);
      await this.#taint(current, seen, decision);
      if (decision.act.do === "take") work.take = undefined;
      if (go === "again") continue;
      if (go === "refused") {
        current = { ...current, take: undefined };
        continue;
      }
      if (decision.again === undefined) return {};
      if (decision.again > 0 || acts > 0) {
        return { requeueAfter: Math.min(LOOK.most, Math.max(LOOK.least, decision.again)) };
      }
    }
    return { requeueAfter: LOOK.least };
  }

  /** The NodeUpdate with the finalizer that keeps it until its slot is free. */
  async #holdBack({ key, nodeUpdate, signal }: Work): Promise<NodeUpdate> {
    const { finalizers = [], resourceVersion, deletionTimestamp } = nodeUpdate.metadata;
    if (deletionTimestamp !== undefined || finalizers.includes(SLOT_FINALIZER)) return nodeUpdate;
    const body = { metadata: { resourceVersion, finalizers: [...finalizers, SLOT_FINALIZER] } };
    return this.#deps.client.patch<NodeUpdate>(kind, { name: key }, { type: "merge", body }, { signal });
  }

  /** Reads what the decision rests on: from etcd where a slot is at stake, else from the copies. */
  async #look({ key, uid, nodeUpdate, take, snapshot, signal }: Work): Promise<Seen> {
    const { stores, coordination, planner, random, fleet } = this.#deps;
    const newest = fleet() ?? snapshot;
    const atStake =
      newest.grants.has(uid) ||
      nodeUpdate.status?.grant !== undefined ||
      take !== undefined ||
      nodeUpdate.metadata.deletionTimestamp !== undefined;
    const truth = atStake ? await coordination.readNode(uid) : undefined;
    const observed = newest.observed.get(uid);
    const live =
      truth?.grant && withLostVerdict({ releases: stores.releases, observed, nodeUpdate }, truth.grant);
    const desired = truth === undefined ? newest.desired.get(uid) : truth.desired;
    let node = nodeOf(nodeUpdate, stores.nodes);
    let nodeGone = false;
    const { nodeName } = nodeUpdate.spec;
    if (
      nodeName !== undefined &&
      (take !== undefined || node === undefined || live?.phase.phase === "Returned")
    ) {
      node = await this.#nodes.read(nodeUpdate, signal);
      nodeGone = node === undefined;
    }
    const present = newest.present.has(uid);
    let asks = take;
    if (take !== undefined && live === undefined && nodeUpdate.status?.grant === undefined) {
      const blocked = await hindranceOf(this.#deps, nodeUpdate, node, take, signal);
      if (blocked !== undefined) {
        planner.block(uid, blocked, BLOCKED);
        asks = undefined;
      }
    }
    const view: NodeView = {
      nodeUpdate,
      node,
      nodeGone,
      group: stores.groups.get(nodeUpdate.spec.group),
      releases: stores.releases,
      live,
      observed,
      present,
      absentFor: this.#memory.absentFor(key, newest.present, uid),
      connectedFor:
        live?.phase.phase === "Committed" ? this.#memory.connectedFor(key, live.token.revision, present) : 0,
      connected: newest.present.size,
      take: asks,
      waiting: planner.waiting(uid),
      request: requestOf(newest, nodeUpdate, uid),
      mayStage: planner.mayStage(uid),
      drain: undefined,
      closing: undefined,
      hook: undefined,
      look: undefined,
      othersVerified: this.#othersVerified(key, live),
      nonce: random.uuid(),
    };
    if (live?.phase.phase === "Returned") {
      const lease = node === undefined ? undefined : await this.#nodes.readLease(node.metadata.name, signal);
      view.look = this.#memory.look(key, live.token.revision, heartbeatOf(node, lease));
    }
    view.drain = await this.#drain(uid, view, newest, signal);
    view.closing = closingOf(view, stores.windows.list(), this.#deps.clock.now());
    const asker = runningAsker(view);
    view.hook = asker && (await this.#deps.hooks.look(asker, signal));
    return { view, desired };
  }

  async #drain(
    uid: string,
    view: NodeView,
    fleet: FleetSnapshot,
    signal: AbortSignal,
  ): Promise<DrainDecision | undefined> {
    const { stores, clock, drainer } = this.#deps;
    const asked = drainOf(uid, view, fleet, stores.windows.list(), clock.now());
    return asked === undefined ? undefined : drainer.decide(asked, signal);
  }

  #othersVerified(key: string, live: LiveGrant | undefined): boolean {
    if (live?.phase.phase !== "Returned" || live.grant.release === "") return false;
    return this.#deps.stores.nodeUpdates
      .list()
      .some(
        ({ metadata, status }) => metadata.name !== key && status?.verifiedRelease === live.grant.release,
      );
  }

  /** True if `desired` had to be written: look again, what was planned rests on it. */
  async #putDesired({ uid, nodeUpdate }: Work, { view, desired }: Seen): Promise<boolean> {
    if (view.nodeGone || nodeUpdate.metadata.deletionTimestamp !== undefined) return false;
    const next = nextDesired(view);
    if (desired !== undefined && equals(DesiredSchema, desired, next)) return false;
    const { coordination, leader } = this.#deps;
    must(await coordination.putDesired(leader(), uid, next));
    return view.take !== undefined;
  }

  async #taint({ nodeUpdate, signal }: Work, { view }: Seen, { step, why }: NodeDecision): Promise<void> {
    const { node, group } = view;
    const leaves = nodeUpdate.metadata.deletionTimestamp !== undefined;
    const wanted = !leaves && wantsTaint(group, step, why.reason);
    if (node === undefined || isTainted(node) === wanted) return;
    await this.#nodes.taint(nodeUpdate, wanted, this.#deps.log, signal);
  }

  /** Whether to look again at once. */
  async #perform(work: Work, seen: Seen, { act }: NodeDecision): Promise<"again" | "refused" | "wait"> {
    const { coordination, leader, drainer, hooks } = this.#deps;
    const { uid, signal } = work;
    const { live } = seen.view;
    switch (act.do) {
      case "none":
        return "wait";
      case "take":
        return (await this.#take(work, seen, act)) ? "again" : "refused";
      case "uncordon":
        if ((await coordination.readNode(uid)).grant === undefined)
          await this.#nodes.uncordon(work.nodeUpdate, signal);
        return "wait";
      case "unask":
        await this.#nodes.unask(work.nodeUpdate, signal);
        return "wait";
      case "forget":
        await this.#forget(work);
        return "wait";
      default:
    }
    if (live === undefined) return "wait";
    const { token } = live;
    switch (act.do) {
      case "cordon":
        await this.#nodes.patch(work.nodeUpdate, (node) => planCordon(node, token, act.exclude), signal);
        return "wait";
      case "reopen":
        await this.#nodes.uncordon(work.nodeUpdate, signal);
        return "wait";
      case "evict":
        await drainer.evict(uid, act.pods, policyOf(seen.view).drain, signal);
        return "wait";
      case "beginHook":
        drainer.forget(uid);
        await hooks.begin(askerOf(seen.view, live, act.hook, act.phase), signal);
        return "wait";
      case "endHook":
        await hooks.end(askerOf(seen.view, live, act.hook, act.phase), signal);
        return "again";
      case "markDrained":
        drainer.forget(uid);
        await hooks.quiet(seen.view, signal);
        await coordination.markDrained(leader(), uid, token);
        return "again";
      case "revoke":
        await coordination.revoke(leader(), uid, token, act.why);
        return "again";
      case "finish":
        drainer.forget(uid);
        for (const asker of unfinishedJobs(seen.view, live)) await hooks.end(asker, signal);
        await this.#nodes.uncordon(work.nodeUpdate, signal);
        await coordination.release(leader(), uid, token);
        return "again";
      case "free":
        drainer.forget(uid);
        for (const asker of unfinishedJobs(seen.view, live)) await hooks.end(asker, signal);
        return (await coordination.free(leader(), uid, token, act.cause)) === "done" ? "again" : "wait";
    }
  }

  /** False where the slot was not given. */
  async #take(
    { uid }: Work,
    { view }: Seen,
    { take, nonce }: Extract<Act, { do: "take" }>,
  ): Promise<boolean> {
    const { coordination, leader, planner, log } = this.#deps;
    const { why, ...request } = take;
    const desired = nextDesired(view);
    const result = await coordination.takeGrant(leader(), {
      ...request,
      desired,
      nonce,
      reason: why.message,
    });
    if (result.outcome === "granted") return true;
    log.info("no slot", { node: take.node, reason: result.why.reason, why: result.why.message });
    planner.block(uid, result.why, REFUSED);
    return false;
  }

  async #forget(work: Work): Promise<void> {
    const { coordination, leader, client } = this.#deps;
    const { uid, key, signal } = work;
    const { finalizers = [], resourceVersion } = work.nodeUpdate.metadata;
    if (!finalizers.includes(SLOT_FINALIZER)) return;
    // Another NodeUpdate may have taken the machine over: then its records are not ours to remove.
    const others = this.#deps.stores.nodeUpdates
      .list()
      .some((other) => other.metadata.name !== key && uidOf(other) === uid);
    if (!others) must(await coordination.forgetNode(leader(), uid));
    const left = finalizers.filter((finalizer) => finalizer !== SLOT_FINALIZER);
    const body = { metadata: { resourceVersion, finalizers: left } };
    await client.patch(kind, { name: key }, { type: "merge", body }, { signal });
    this.#memory.forget(key);
    this.#deps.hooks.forget(key);
  }
}

interface Work {
  key: string;
  uid: string;
  nodeUpdate: NodeUpdate;
  take: TakePlan | undefined;
  snapshot: FleetSnapshot;
  signal: AbortSignal;
}

interface Seen {
  view: NodeView;
  desired: Desired | undefined;
}

/** A write that was refused because another leads. */
function must(led: boolean): void {
  if (!led) throw new LeadershipLost("etcd refused a write: another manager leads");
}

function nextDesired({ nodeUpdate, group, releases, observed, mayStage }: NodeView): Desired {
  return desiredOf(nodeUpdate, group, wantedOf(nodeUpdate, group, releases, observed), observed, mayStage);
}
