import { afterAll, beforeAll, expect, test } from "vitest";
import { CORDON_ANNOTATION, GROUP_FINALIZER, SLOT_FINALIZER } from "../../api/labels.ts";
import { type NodeUpdate, nodeUpdate } from "../../api/node-update.ts";
import { type UpdateGroup, updateGroup } from "../../api/update-group.ts";
import { type Plane, startPlane } from "../../hack/plane/plane.ts";
import { systemClock } from "../../ports/clock.ts";
import { silentLogger } from "../../ports/log.ts";
import { systemRandom } from "../../ports/random.ts";
import { DEPLOYMENTS, type Deployment, NODES, type Node } from "../../runtime/core.ts";
import { loadKubeConfig } from "../../runtime/kubeconfig.ts";
import { createRestClient, type RestClient } from "../../runtime/rest-client.ts";
import { uninstall } from "./uninstall.ts";

const clientOf = ({ kubeconfig }: Plane): RestClient =>
  createRestClient(loadKubeConfig(kubeconfig), { clock: systemClock, random: systemRandom });

/** A control plane of its own: `uninstall` pauses whatever groups there are. */
let plane: Plane;
let client: RestClient;
beforeAll(async () => {
  plane = await startPlane({ components: ["kube-controller-manager"] });
  await plane.applyCrds();
  client = clientOf(plane);
  await plane.kubectl(
    ["apply", "-f", "-"],
    JSON.stringify({ apiVersion: "v1", kind: "List", items: manifests() }),
  );
  const grant = { nonce: "n", budgets: ["group/workers"], phase: "Committed", since: "2026-01-01T00:00:00Z" };
  await client.patch(
    nodeUpdate,
    { name: "n1" },
    { type: "merge", body: { status: { step: "Rebooting", grant } } },
    { subresource: "status" },
  );
});
afterAll(async () => {
  await client?.close();
  await plane?.stop();
});

const API = "slipway.dev/v1alpha1";

function manifests(): object[] {
  const group = (name: string, paused: boolean) => ({
    apiVersion: API,
    kind: "UpdateGroup",
    metadata: { name, finalizers: [GROUP_FINALIZER] },
    spec: {
      ...{ driver: "sentinel", nodeSelector: { matchLabels: { pool: name } }, maxUnavailable: 1 },
      ...{ windows: "Always", paused },
    },
  });
  const cordon = JSON.stringify({ token: { incarnation: "i", revision: 1 }, unschedulable: false });
  const taints = ["slipway.dev/update-pending", "example.org/theirs"].map((key) => ({
    key,
    effect: "PreferNoSchedule",
  }));
  const node = (name: string, annotations: object, unschedulable: boolean) => ({
    ...{ apiVersion: "v1", kind: "Node", metadata: { name, annotations }, spec: { unschedulable, taints } },
  });
  const labels = { app: "manager" };
  return [
    group("workers", false),
    group("spare", true),
    node("n1", { [CORDON_ANNOTATION]: cordon }, true),
    node("n2", {}, true),
    {
      apiVersion: API,
      kind: "NodeUpdate",
      metadata: { name: "n1", finalizers: [SLOT_FINALIZER] },
      spec: { group: "workers", nodeName: "n1" },
    },
    { apiVersion: "v1", kind: "Namespace", metadata: { name: "slipway-system" } },
    {
      apiVersion: "apps/v1",
      kind: "Deployment",
      metadata: { name: "slipway-manager", namespace: "slipway-system" },
      spec: {
        replicas: 2,
        selector: { matchLabels: labels },
        template: {
          metadata: { labels },
          spec: { containers: [{ name: "manager", image: "slipway.test/none" }] },
        },
      },
    },
  ];
}

function options(deadline: number) {
  const where = { namespace: "slipway-system", fullname: "slipway" };
  return { client, clock: systemClock, log: silentLogger, ...where, deadline, force: false };
}

const get = <T extends UpdateGroup | NodeUpdate | Node>(
  kind: Parameters<RestClient["get"]>[0],
  name: string,
) => client.get<T>(kind, { name });

test("fails while a node is on its way through a reboot, and has only paused the groups", async () => {
  await expect(uninstall(options(0))).rejects.toThrow(
    /1 node\(s\) are still on their way through a reboot: n1\./,
  );
  expect((await get<UpdateGroup>(updateGroup, "workers")).spec.paused).toBe(true);
  expect((await get<NodeUpdate>(nodeUpdate, "n1")).metadata.finalizers).toEqual([SLOT_FINALIZER]);
  expect((await get<Node>(NODES, "n1")).spec?.unschedulable).toBe(true);
});

test("once it is back: ends the manager, and leaves no finalizer, no cordon, no taint and no pause of its own", async () => {
  const body = { status: { step: "Idle", grant: null } };
  await client.patch(nodeUpdate, { name: "n1" }, { type: "merge", body }, { subresource: "status" });
  const done = await uninstall(options(10_000));
  expect(done).toEqual({ groups: 2, nodeUpdates: 1, uncordoned: ["n1"], suspect: [] });
  for (const [name, paused] of [
    ["workers", false],
    ["spare", true],
  ] as const) {
    const { metadata, spec } = await get<UpdateGroup>(updateGroup, name);
    expect(metadata.finalizers ?? []).toEqual([]);
    expect(metadata.annotations?.["slipway.dev/paused-for-uninstall"]).toBeUndefined();
    expect(spec.paused).toBe(paused);
  }
  const ours = await get<Node>(NODES, "n1");
  expect(ours.spec?.unschedulable ?? false).toBe(false);
  expect(ours.metadata.annotations?.[CORDON_ANNOTATION]).toBeUndefined();
  const theirs = await get<Node>(NODES, "n2");
  expect(theirs.spec?.unschedulable).toBe(true);
  for (const { spec } of [ours, theirs]) {
    const keys = spec?.taints?.map(({ key }) => key);
    expect(keys).toContain("example.org/theirs");
    expect(keys).not.toContain("slipway.dev/update-pending");
  }
  const manager = await client.get<Deployment>(DEPLOYMENTS, {
    name: "slipway-manager",
    namespace: "slipway-system",
  });
  expect(manager.spec?.replicas).toBe(0);
  await plane.kubectl(["delete", "updategroups,nodeupdates", "--all", "--timeout=20s"]);
});

test("again, with nothing left to do, and without CRDs, it succeeds", async () => {
  const nothing = { groups: 0, nodeUpdates: 0, uncordoned: [] };
  expect(await uninstall(options(0))).toMatchObject(nothing);
  await client.close();
  await plane.stop();
  plane = await startPlane({ components: [] });
  client = clientOf(plane);
  expect(await uninstall(options(0))).toMatchObject(nothing);
});
