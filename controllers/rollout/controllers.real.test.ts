import { afterAll, beforeAll, describe, expect, inject, test, vi } from "vitest";
import { type Channel, channel as channelKind } from "../../api/channel.ts";
import { GROUP_FINALIZER, GROUP_LABEL, RESUME_ANNOTATION, SLOT_FINALIZER } from "../../api/labels.ts";
import { API_VERSION, type KubeObject } from "../../api/meta.ts";
import {
  type NodeUpdate,
  type NodeUpdateStatus,
  nodeUpdate as nodeUpdateKind,
} from "../../api/node-update.ts";
import { type RebootWindow, rebootWindow } from "../../api/reboot-window.ts";
import { type Release, release as releaseKind } from "../../api/release.ts";
import { updateGroup as groupKind, type UpdateGroup } from "../../api/update-group.ts";
import type { Coordination } from "../../coordination/coordination.ts";
import { createCoordination } from "../../coordination/create.ts";
import type { EtcdPort } from "../../coordination/etcd.ts";
import { connectEtcd } from "../../coordination/etcd3-port.ts";
import { systemClock as clock } from "../../ports/clock.ts";
import { silentLogger as log } from "../../ports/log.ts";
import { systemRandom as random } from "../../ports/random.ts";
import { isApiError } from "../../runtime/client.ts";
import { NODES, type Node } from "../../runtime/core.ts";
import { loadKubeConfig } from "../../runtime/kubeconfig.ts";
import { createManager } from "../../runtime/manager.ts";
import { createMetrics } from "../../runtime/metrics.ts";
import type { Reconciler } from "../../runtime/reconciler.ts";
import { createRestClient, type RestClient } from "../../runtime/rest-client.ts";
import { channelWatches, createChannelReconciler } from "../channel/controller.ts";
import { createReleaseReconciler, releaseWatches } from "../release/controller.ts";
import { createWindowReconciler, windowWatches } from "../window/controller.ts";
import { createRolloutReconciler } from "./controller.ts";
import { releaseOf, rootHashOf } from "./test-fleet.ts";
import { rolloutWatches } from "./watch.ts";

/** Tells this file's objects from those of other tests on the same API server. */
const run = `r${random.uuid().slice(0, 8)}`;
const LABELS = { "slipway.test/run": run };
const WITHIN = { timeout: 20_000, interval: 50 };

const name = (part: string): string => `${run}-${part}`;
const machineId = `${run}4f5aabcdef0123456789`;

let api: RestClient;
let etcd: EtcdPort;
let coordination: Coordination;
let rollout: Reconciler;
const stop = new AbortController();
let running: Promise<void>;

beforeAll(async () => {
  api = createRestClient(loadKubeConfig(inject("kubeconfig")), { clock, random, rate: 1000, burst: 1000 });
  etcd = connectEtcd({ endpoints: [inject("etcd")], clock, random });
  coordination = createCoordination({ etcd, clock, random, log });
  await coordination.putJoinToken(run, { group: name("web"), labels: {}, expiresAt: clock.now() + 600_000 });
  await coordination.spendJoinToken(run, machineId);

  const metrics = createMetrics();
  const reporter = { controller: "slipway.dev/test", instance: run };
  const manager = createManager({ client: api, watches: api.watches, clock, random, log, metrics, reporter });
  const ours = { labelSelector: `slipway.test/run=${run}` };
  const stores = {
    groups: manager.store<UpdateGroup>(groupKind, ours),
    channels: manager.store<Channel>(channelKind, ours),
    releases: manager.store<Release>(releaseKind, ours),
    windows: manager.store<RebootWindow>(rebootWindow, ours),
    nodes: manager.store<Node>(NODES, ours),
    nodeUpdates: manager.store<NodeUpdate>(nodeUpdateKind, {
      labelSelector: `${GROUP_LABEL}=${name("web")}`,
    }),
  };
  const deps = { client: api, stores, coordination, recorder: manager.events, clock, log };
  rollout = createRolloutReconciler(deps);
  manager.controller("rollout", rollout, { watches: rolloutWatches(stores) });
  manager.controller("channel", createChannelReconciler(deps), { watches: channelWatches(stores) });
  manager.controller("release", createReleaseReconciler(deps), { watches: releaseWatches(stores) });
  manager.controller("window", createWindowReconciler(deps), { watches: windowWatches(stores) });
  running = manager.start(stop.signal);
});

afterAll(async () => {
  stop.abort(new Error("the tests are done"));
  await running;
  const { items: left } = await api.list<NodeUpdate>(nodeUpdateKind, {
    labelSelector: `${GROUP_LABEL}=${name("web")}`,
  });
  for (const update of left) {
    await api.patch(nodeUpdateKind, update.metadata, {
      type: "merge",
      body: { metadata: { finalizers: null } },
    });
    await api.delete(nodeUpdateKind, update.metadata);
  }
  for (const resource of [groupKind, channelKind, releaseKind, rebootWindow, NODES]) {
    const { items } = await api.list(resource, { labelSelector: `slipway.test/run=${run}` });
    for (const { metadata } of items) {
      await api.patch(resource, metadata, { type: "merge", body: { metadata: { finalizers: null } } });
      await api.delete(resource, metadata);
    }
  }
  await etcd.close();
  await api.close();
});

function made<T extends KubeObject>(object: T): T {
  return { ...object, metadata: { ...object.metadata, labels: { ...object.metadata.labels, ...LABELS } } };
}

async function createRelease(version: string): Promise<void> {
  await api.create(releaseKind, made(releaseOf(name(`os-${version}`), `${version}.0.0`)));
}

async function createNode(part: string): Promise<void> {
  const node: Node = {
    apiVersion: "v1",
    kind: "Node",
    metadata: { name: name(part), labels: { pool: run } },
  };
  await api.create(NODES, made(node));
}

async function setReady(part: string): Promise<void> {
  const condition = { type: "Ready", status: "True", reason: "Test", message: "", lastHeartbeatTime: now() };
  const body = { status: { conditions: [{ ...condition, lastTransitionTime: now() }] } };
  await api.patch(NODES, { name: name(part) }, { type: "merge", body }, { subresource: "status" });
}

function now(): string {
  return new Date(clock.now()).toISOString();
}

/** Writes a status as the controller of NodeUpdates does. */
async function report(part: string, status: Partial<Record<keyof NodeUpdateStatus, unknown>>): Promise<void> {
  const body = { status };
  await api.patch(nodeUpdateKind, { name: name(part) }, { type: "merge", body }, { subresource: "status" });
}

function runs(release: string): Partial<NodeUpdateStatus> {
  return {
    running: `${release}.0.0`,
    runningRootHash: rootHashOf(name(`os-${release}`)),
    architecture: "amd64",
    connected: true,
    step: "Idle",
  };
}

const updateOf = (part: string): Promise<NodeUpdate> => api.get(nodeUpdateKind, { name: name(part) });
const groupNow = (): Promise<UpdateGroup> => api.get(groupKind, { name: name("web") });

async function conditionOf(type: string): Promise<string> {
  const { status } = await groupNow();
  const condition = status?.conditions?.find((candidate) => candidate.type === type);
  return `${condition?.status ?? ""} ${condition?.reason ?? ""}`;
}

async function exists(resource: typeof groupKind, part: string): Promise<boolean> {
  try {
    await api.get(resource, { name: name(part) });
    return true;
  } catch (error) {
    if (isApiError(error, "NotFound")) return false;
    throw error;
  }
}

describe("on a real API server", () => {
  test("a channel and its release get their status", async () => {
    await createRelease("1");
    await createRelease("2");
    await api.create<Channel>(
      channelKind,
      made({
        apiVersion: API_VERSION,
        kind: "Channel",
        metadata: { name: name("stable") },
        spec: { release: name("os-2") },
      }),
    );
    await vi.waitFor(async () => {
      const { status } = await api.get<Channel>(channelKind, { name: name("stable") });
      expect(status).toMatchObject({ current: name("os-2"), observedGeneration: 1 });
      const release = await api.get<Release>(releaseKind, { name: name("os-2") });
      expect(release.status?.conditions?.map(({ type, status: is }) => `${type} ${is}`)).toEqual([
        "Accepted True",
        "Available True",
        "Quarantined False",
      ]);
    }, WITHIN);
  });

  test("a window gets its openings", async () => {
    await api.create(
      rebootWindow,
      made({
        apiVersion: API_VERSION,
        kind: "RebootWindow",
        metadata: { name: name("nights") },
        spec: {
          start: "Mon-Fri 02:00",
          duration: "2h",
          timeZone: "Europe/Berlin",
          groupSelector: { matchLabels: { tier: "none" } },
        },
      }),
    );
    await vi.waitFor(async () => {
      const { status } = await api.get<RebootWindow>(rebootWindow, { name: name("nights") });
      expect(status?.nextOpenings).toHaveLength(5);
      expect(status?.conditions).toMatchObject([{ type: "Accepted", status: "True" }]);
    }, WITHIN);
  });

  test("each node of a group, and each machine that joined it, gets a NodeUpdate with the release of its stage", async () => {
    for (const part of ["a", "b", "c"]) await createNode(part);
    await api.create(
      groupKind,
      made({
        apiVersion: API_VERSION,
        kind: "UpdateGroup",
        metadata: { name: name("web") },
        spec: {
          nodeSelector: { matchLabels: { pool: run } },
          channel: name("stable"),
          windows: "Always",
          stages: [{ name: "canary", count: 1, soak: "0s" }],
        },
      }),
    );
    await vi.waitFor(async () => {
      const { items } = await api.list<NodeUpdate>(nodeUpdateKind, {
        labelSelector: `${GROUP_LABEL}=${name("web")}`,
      });
      expect(items).toHaveLength(4);
      expect(items.filter((update) => update.spec.release === name("os-2"))).toHaveLength(1);
      expect(items.map((update) => update.spec.machineRef?.machineId).filter(Boolean)).toEqual([machineId]);
      const group = await groupNow();
      expect(group.metadata.finalizers).toEqual([GROUP_FINALIZER]);
      expect(group.status).toMatchObject({
        target: name("os-2"),
        stage: "canary",
        nodes: 4,
        observedGeneration: 1,
      });
    }, WITHIN);
  });

  test("what is settled is not written again", async () => {
    for (const part of ["a", "b", "c"]) await report(part, runs("1"));
    await vi.waitFor(
      async () => expect(await conditionOf("Progressing")).toMatch(/True RollingOut|False WaitingForAgent/),
      WITHIN,
    );
    let version: string | undefined;
    await vi.waitFor(async () => {
      const before = version;
      await rollout.reconcile(name("web"), AbortSignal.timeout(10_000));
      version = (await groupNow()).metadata.resourceVersion;
      expect(version).toBe(before);
    }, WITHIN);
  });

  test("a failure in the first stage halts the group and quarantines the release", async () => {
    const { items } = await api.list<NodeUpdate>(nodeUpdateKind, {
      labelSelector: `${GROUP_LABEL}=${name("web")}`,
    });
    const canary = items.find((update) => update.spec.release !== undefined)?.metadata.name ?? "";
    const failure = {
      version: "2.0.0",
      rootHash: rootHashOf(name("os-2")),
      reason: "FellBack",
      message: "no kubelet",
    };
    await api.patch(
      nodeUpdateKind,
      { name: canary },
      { type: "merge", body: { status: { ...runs("1"), failed: [{ ...failure, time: now() }] } } },
      { subresource: "status" },
    );
    await vi.waitFor(async () => {
      expect(await conditionOf("Halted")).toBe("True FailureThresholdReached");
      const release = await api.get<Release>(releaseKind, { name: name("os-2") });
      const quarantined = release.status?.conditions?.find((condition) => condition.type === "Quarantined");
      expect(quarantined).toMatchObject({ status: "True", reason: "ReleaseQuarantined" });
      expect(release.status?.failed).toBe(1);
      const { items: after } = await api.list<NodeUpdate>(nodeUpdateKind, {
        labelSelector: `${GROUP_LABEL}=${name("web")}`,
      });
      expect(after.map((update) => update.spec.release)).toEqual([
        undefined,
        undefined,
        undefined,
        undefined,
      ]);
    }, WITHIN);
  });

  test("a word lifts the halt, and the channel's next release starts at the first stage", async () => {
    const annotations = { [RESUME_ANNOTATION]: "corrected" };
    await api.patch(groupKind, { name: name("web") }, { type: "merge", body: { metadata: { annotations } } });
    await vi.waitFor(async () => {
      expect(await conditionOf("Halted")).toBe("False NotHalted");
      expect((await groupNow()).status?.resumed).toBe("corrected");
    }, WITHIN);
    await createRelease("3");
    const body = { spec: { release: name("os-3") } };
    await api.patch(channelKind, { name: name("stable") }, { type: "merge", body });
    await vi.waitFor(async () => {
      const { status } = await groupNow();
      expect(status).toMatchObject({ target: name("os-3"), stage: "canary", failures: [] });
      const { items } = await api.list<NodeUpdate>(nodeUpdateKind, {
        labelSelector: `${GROUP_LABEL}=${name("web")}`,
      });
      expect(items.filter((update) => update.spec.release === name("os-3"))).toHaveLength(1);
    }, WITHIN);
  });

  test("the next stage opens when the first one is verified", async () => {
    for (const part of ["a", "b", "c"]) await setReady(part);
    const { items } = await api.list<NodeUpdate>(nodeUpdateKind, {
      labelSelector: `${GROUP_LABEL}=${name("web")}`,
    });
    const canary = items.find((update) => update.spec.release === name("os-3"))?.metadata.name ?? "";
    const body = { status: { ...runs("3"), verifiedRelease: name("os-3"), verifiedAt: now() } };
    await api.patch(nodeUpdateKind, { name: canary }, { type: "merge", body }, { subresource: "status" });
    await vi.waitFor(async () => {
      const { status } = await groupNow();
      expect(status).toMatchObject({ stage: "rest", updated: 1 });
      expect(status?.stages?.[0]).toMatchObject({ name: "canary", size: 1, verified: 1 });
      expect(status?.stages?.[0]?.passedAt).toBeDefined();
      for (const part of ["a", "b", "c"]) expect((await updateOf(part)).spec.release).toBe(name("os-3"));
    }, WITHIN);
  });

  test("a node that is deleted takes its NodeUpdate with it", async () => {
    await api.delete(NODES, { name: name("c") });
    await vi.waitFor(async () => expect(await exists(nodeUpdateKind, "c")).toBe(false), WITHIN);
  });

  test("a group that is deleted stays until nothing is in flight, and then takes its NodeUpdates with it", async () => {
    const slot = { metadata: { finalizers: [SLOT_FINALIZER] } };
    await api.patch(nodeUpdateKind, { name: name("a") }, { type: "merge", body: slot });
    await report("a", { grant: { nonce: "n", budgets: [], phase: "Committed", since: now() } });
    await vi.waitFor(async () => expect((await groupNow()).status?.inFlight).toBe(1), WITHIN);
    await api.delete(groupKind, { name: name("web") });
    await vi.waitFor(async () => {
      expect(await conditionOf("Progressing")).toBe("False Deleting");
      expect(await exists(nodeUpdateKind, "b")).toBe(false);
    }, WITHIN);
    expect((await updateOf("a")).metadata.deletionTimestamp).toBeUndefined();
    await report("a", { grant: null });
    await vi.waitFor(
      async () => expect((await updateOf("a")).metadata.deletionTimestamp).toBeDefined(),
      WITHIN,
    );
    const freed = { metadata: { finalizers: null } };
    await api.patch(nodeUpdateKind, { name: name("a") }, { type: "merge", body: freed });
    await vi.waitFor(async () => expect(await exists(groupKind, "web")).toBe(false), WITHIN);
  });
});
