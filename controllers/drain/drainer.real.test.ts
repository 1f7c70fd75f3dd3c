import { afterAll, beforeAll, expect, inject, test, vi } from "vitest";
import type { Resource } from "../../api/kind.ts";
import { CORDON_ANNOTATION } from "../../api/labels.ts";
import type { KubeObject } from "../../api/meta.ts";
import type { NodeUpdate } from "../../api/node-update.ts";
import type { Token } from "../../coordination/records.ts";
import { PLAYED_LABEL } from "../../hack/plane/components.ts";
import { type Cancel, systemClock } from "../../ports/clock.ts";
import { systemRandom } from "../../ports/random.ts";
import { DEPLOYMENTS, LEASES, type Lease, NODES, type Node, PODS, type Pod } from "../../runtime/core.ts";
import { loadKubeConfig } from "../../runtime/kubeconfig.ts";
import { createRestClient, type RestClient } from "../../runtime/rest-client.ts";
import { nodeUpdate } from "../fixtures.ts";
import { planCordon, planUncordon } from "../node-update/cordon.ts";
import { NodeApi } from "../node-update/node-api.ts";
import { Drainer } from "./drainer.ts";
import type { DrainDecision } from "./policy.ts";

const NAMESPACE = "drainer";
const POOL = "drainer-pool";
const budgets = {
  group: "policy",
  version: "v1",
  kind: "PodDisruptionBudget",
  plural: "poddisruptionbudgets",
  namespaced: true,
};
const namespaces: Resource = {
  group: "",
  version: "v1",
  kind: "Namespace",
  plural: "namespaces",
  namespaced: false,
};
const token: Token = { incarnation: "first", revision: 7 };
const signal = AbortSignal.timeout(120_000);

let client: RestClient;
let drainer: Drainer;
const hearts = new Map<string, Cancel>();

interface Budget extends KubeObject {
  spec: object;
  status?: {
    currentHealthy: number;
    desiredHealthy: number;
    disruptionsAllowed: number;
    observedGeneration: number;
  };
}

beforeAll(async () => {
  client = createRestClient(loadKubeConfig(inject("kubeconfig")), {
    clock: systemClock,
    random: systemRandom,
  });
  drainer = new Drainer(client, systemClock, NAMESPACE);
  await client.create(namespaces, { apiVersion: "v1", kind: "Namespace", metadata: { name: NAMESPACE } });
});

afterAll(async () => {
  for (const cancel of hearts.values()) cancel();
  await client.delete(DEPLOYMENTS, { name: "web", namespace: NAMESPACE });
  for (const name of ["drainer-a", "drainer-b", "drainer-c"]) await client.delete(NODES, { name });
  await client.close();
});

/** A Ready node whose Pods kwok plays. */
async function register(name: string): Promise<NodeUpdate> {
  const labels = { [PLAYED_LABEL]: "", [POOL]: "" };
  const made = await client.create<Node>(NODES, {
    apiVersion: "v1",
    kind: "Node",
    metadata: { name, labels },
    spec: {},
  });
  const now = new Date().toISOString();
  const ready = {
    type: "Ready",
    status: "True",
    reason: "KubeletReady",
    lastHeartbeatTime: now,
    lastTransitionTime: now,
  };
  const capacity = { cpu: "8", memory: "8Gi", pods: "110" };
  const status = { conditions: [ready], capacity, allocatable: capacity };
  await client.patch(NODES, { name }, { type: "merge", body: { status } }, { subresource: "status" });
  const lease: Lease = {
    apiVersion: "coordination.k8s.io/v1",
    kind: "Lease",
    metadata: { name, namespace: "kube-node-lease" },
    spec: { holderIdentity: name },
  };
  await client.create(LEASES, lease);
  beat(name);
  const update = nodeUpdate(name, "pool", undefined);
  return { ...update, spec: { ...update.spec, nodeName: name, nodeUID: made.metadata.uid } };
}

/** Renews the node's Lease as a kubelet does, or the node would become NotReady. */
function beat(name: string): void {
  const body = {
    spec: { leaseDurationSeconds: 40, renewTime: new Date().toISOString().replace("Z", "000Z") },
  };
  const renewed = client.patch<Lease>(
    LEASES,
    { name, namespace: "kube-node-lease" },
    { type: "merge", body },
  );
  renewed
    .catch(() => {})
    .finally(() =>
      hearts.set(
        name,
        systemClock.after(1000, () => beat(name)),
      ),
    );
}

async function podsOn(name: string): Promise<Pod[]> {
  const { items } = await client.list<Pod>(PODS, {
    namespace: NAMESPACE,
    fieldSelector: `spec.nodeName=${name}`,
  });
  return items.filter(({ metadata }) => metadata.deletionTimestamp === undefined);
}

const budgetNow = (): Promise<Budget> => client.get<Budget>(budgets, { name: "web", namespace: NAMESPACE });

async function protect(spec: object): Promise<void> {
  await client.delete(budgets, { name: "web", namespace: NAMESPACE });
  const selector = { matchLabels: { app: "web" } };
  const body: Budget = {
    apiVersion: "policy/v1",
    kind: "PodDisruptionBudget",
    metadata: { name: "web", namespace: NAMESPACE },
    spec: { selector, ...spec },
  };
  await client.create(budgets, body);
  await vi.waitFor(async () => expect((await budgetNow()).status?.currentHealthy).toBe(3), {
    timeout: 20_000,
  });
}

test("a node is cordoned, drained within its disruption budget, and given back as it was", async () => {
  const a = await register("drainer-a");
  const pods = {
    metadata: { labels: { app: "web" } },
    spec: {
      nodeSelector: { [POOL]: "" },
      terminationGracePeriodSeconds: 0,
      containers: [{ name: "web", image: "web" }],
    },
  };
  const web = {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { name: "web", namespace: NAMESPACE },
    spec: { replicas: 3, selector: { matchLabels: { app: "web" } }, template: pods },
  };
  await client.create(DEPLOYMENTS, web);
  await vi.waitFor(async () => expect(await podsOn("drainer-a")).toHaveLength(3), { timeout: 30_000 });

  await protect({ minAvailable: 3 });
  expect(await drainer.dryRun("drainer-a", signal)).toMatchObject({
    reason: "BlockedByDisruptionBudget",
    message: expect.stringContaining("web needs 3"),
  });

  const nodes = new NodeApi(client);
  await vi.waitFor(() => nodes.patch(a, (node) => planCordon(node, token), signal));
  const policy = { enabled: true, timeout: "10m", onTimeout: "Abort", onWindowClose: "Abort" } as const;
  const startedAt = Date.now();
  const view = {
    uid: "uid-a",
    node: "drainer-a",
    policy,
    startedAt,
    open: true,
    closes: null,
    frozen: false,
    notBefore: 0,
    bootNeeds: 0,
    revision: 7,
    rivals: [],
  };
  let fewest = 3;
  const step = async (): Promise<DrainDecision> => {
    const decision = await drainer.decide({ ...view, now: Date.now() }, signal);
    if (decision.act === "evict") await drainer.evict(view.uid, decision.pods, policy, signal);
    fewest = Math.min(fewest, (await budgetNow()).status?.currentHealthy ?? 0);
    return decision;
  };
  await vi.waitFor(async () => expect((await step()).why.reason).toBe("BlockedByDisruptionBudget"), {
    timeout: 20_000,
    interval: 100,
  });
  expect(await podsOn("drainer-a")).toHaveLength(3);

  await register("drainer-b");
  await protect({ maxUnavailable: 1 });
  fewest = 3;
  expect(await drainer.dryRun("drainer-a", signal)).toBeUndefined();
  await vi.waitFor(async () => expect((await step()).act).toBe("done"), { timeout: 40_000, interval: 100 });
  expect(fewest).toBeGreaterThanOrEqual(2);
  await vi.waitFor(async () => expect(await podsOn("drainer-b")).toHaveLength(3), { timeout: 20_000 });

  await vi.waitFor(() => nodes.uncordon(a, signal));
  const after = await nodes.read(a, signal);
  expect(after?.spec?.unschedulable).toBeUndefined();
  expect(after?.metadata.annotations).not.toHaveProperty([CORDON_ANNOTATION]);
});

test("what refuses an eviction besides a disruption budget is that Pod's refusal, and the others leave", async () => {
  const admission = { group: "admissionregistration.k8s.io", version: "v1", namespaced: false };
  const policies = {
    ...admission,
    kind: "ValidatingAdmissionPolicy",
    plural: "validatingadmissionpolicies",
  };
  const bindings = {
    ...admission,
    kind: "ValidatingAdmissionPolicyBinding",
    plural: "validatingadmissionpolicybindings",
  };
  const apiVersion = "admissionregistration.k8s.io/v1";
  const metadata = { name: "drainer-guard" };
  const rule = {
    apiGroups: [""],
    apiVersions: ["v1"],
    operations: ["CREATE"],
    resources: ["pods/eviction"],
  };
  const expression = "!object.metadata.name.startsWith('guarded')";
  const policy = {
    failurePolicy: "Fail",
    matchConstraints: { resourceRules: [rule] },
    validations: [{ expression, message: "somebody else guards it", reason: "Forbidden" }],
  };
  const bound = {
    policyName: metadata.name,
    validationActions: ["Deny"],
    matchResources: {
      namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": NAMESPACE } },
    },
  };
  await client.create(policies, { apiVersion, kind: policies.kind, metadata, spec: policy } as KubeObject);
  await client.create(bindings, { apiVersion, kind: bindings.kind, metadata, spec: bound } as KubeObject);
  await register("drainer-c");
  const make = (name: string): Promise<KubeObject> =>
    client.create(PODS, {
      apiVersion: "v1",
      kind: "Pod",
      metadata: { name, namespace: NAMESPACE },
      spec: {
        nodeName: "drainer-c",
        terminationGracePeriodSeconds: 0,
        containers: [{ name: "x", image: "x" }],
      },
    } as KubeObject);
  try {
    await make("guarded");
    await vi.waitFor(
      async () =>
        expect(await drainer.dryRun("drainer-c", signal)).toEqual({
          reason: "EvictionRefused",
          message: expect.stringContaining("somebody else guards it") as string,
        }),
      { timeout: 30_000, interval: 200 },
    );
    await make("free");
    expect(await drainer.dryRun("drainer-c", signal)).toBeUndefined();
    const drain = { enabled: true, timeout: "10m", onTimeout: "Abort", onWindowClose: "Abort" } as const;
    await drainer.evict("uid-c", await podsOn("drainer-c"), drain, signal);
    await vi.waitFor(async () => expect(await podsOn("drainer-c")).toHaveLength(1), { timeout: 20_000 });
    const decision = await drainer.decide(
      {
        uid: "uid-c",
        node: "drainer-c",
        policy: drain,
        startedAt: Date.now(),
        now: Date.now(),
        open: true,
        closes: null,
        frozen: false,
        notBefore: 0,
        bootNeeds: 0,
        revision: 8,
        rivals: [],
      },
      signal,
    );
    expect(decision).toMatchObject({
      act: "evict",
      why: { reason: "EvictionRefused", message: expect.stringContaining("drainer/guarded") },
    });
  } finally {
    await client.delete(bindings, metadata);
    await client.delete(policies, metadata);
    await client.delete(PODS, { name: "guarded", namespace: NAMESPACE });
  }
});

test("a cordon of a person's survives ours, and a Node that changed meanwhile is not patched", async () => {
  const b = await client.get<Node>(NODES, { name: "drainer-b" });
  const update = nodeUpdate("drainer-b", "pool", undefined);
  update.spec = { ...update.spec, nodeName: "drainer-b", nodeUID: b.metadata.uid };
  const nodes = new NodeApi(client);
  const stale = await nodes.read(update, signal);
  await client.patch(
    NODES,
    { name: "drainer-b" },
    { type: "merge", body: { spec: { unschedulable: true } } },
  );
  await expect(
    nodes.patch(update, () => (stale === undefined ? undefined : planCordon(stale, token)), signal),
  ).rejects.toMatchObject({ kind: "Conflict" });
  // Kubernetes' own controllers write the Node too: as in a reconciliation, the next look does it.
  await vi.waitFor(() => nodes.patch(update, (node) => planCordon(node, token), signal));
  expect(planUncordon((await nodes.read(update, signal)) ?? b, [token])).toBeUndefined();
  await vi.waitFor(() => nodes.uncordon(update, signal));
  expect((await nodes.read(update, signal))?.spec?.unschedulable).toBe(true);
});

test("a Node of the same name with another UID is another machine", async () => {
  const update = nodeUpdate("drainer-b", "pool", undefined);
  update.spec = { ...update.spec, nodeName: "drainer-b", nodeUID: "former" };
  expect(await new NodeApi(client).read(update, signal)).toBeUndefined();
});
