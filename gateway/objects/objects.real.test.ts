/** The view and the writes of our objects, on a real API server with RBAC. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { RESUME_ANNOTATION, TITLE_ANNOTATION } from "../../api/labels.ts";
import { API_VERSION, type KubeObject } from "../../api/meta.ts";
import { type UpdateGroup, updateGroup } from "../../api/update-group.ts";
import { startFaultProxy } from "../../hack/plane/fault-proxy.ts";
import { silentLogger } from "../../ports/log.ts";
import type { Person } from "../../runtime/access.ts";
import { loadKubeConfig } from "../../runtime/kubeconfig.ts";
import { createRestClient, type RestClient } from "../../runtime/rest-client.ts";
import { ports, RealNamespace } from "../../runtime/test-namespace.ts";
import { applyFile } from "../../test/apply-file.ts";
import { AccessReviewer } from "./review.ts";
import { ObjectView } from "./view.ts";
import { ObjectWriter, type WriteError } from "./write.ts";

const WAIT = { timeout: 20_000, interval: 20 };
const alice: Person = { username: "alice", groups: ["objects-operators"] };
const bob: Person = { username: "bob", groups: ["system:authenticated"] };
const AS = { fieldManager: "slipway-test-paused" };

let here: RealNamespace;
let writer: ObjectWriter;
const named: string[] = [];

const role = {
  group: "rbac.authorization.k8s.io",
  version: "v1",
  kind: "ClusterRole",
  plural: "clusterroles",
  namespaced: false,
};
const binding = { ...role, kind: "ClusterRoleBinding", plural: "clusterrolebindings" };

beforeAll(async () => {
  here = await RealNamespace.open();
  const reviewer = new AccessReviewer({ access: here.admin.access, clock: ports.clock });
  writer = new ObjectWriter({ client: here.admin, reviewer, log: silentLogger });
  const rbac = "rbac.authorization.k8s.io";
  const metadata = { name: `objects-${here.name}` };
  const rules = [{ apiGroups: ["slipway.dev"], resources: ["updategroups"], verbs: ["patch"] }];
  await here.admin.create(role, { apiVersion: `${rbac}/v1`, kind: "ClusterRole", metadata, ...{ rules } });
  await here.admin.create(binding, {
    ...{ apiVersion: `${rbac}/v1`, kind: "ClusterRoleBinding", metadata },
    ...{ roleRef: { apiGroup: rbac, kind: "ClusterRole", name: metadata.name } },
    ...{ subjects: [{ apiGroup: rbac, kind: "Group", name: "objects-operators" }] },
  });
});

afterAll(async () => {
  for (const name of named) await here.admin.delete(updateGroup, { name });
  await here.admin.delete(binding, { name: `objects-${here.name}` });
  await here.admin.delete(role, { name: `objects-${here.name}` });
  await here.close();
});

/** A group that nobody made yet. */
function manifest(spec: object, annotations: Record<string, string> = {}): KubeObject {
  const name = `objects-${named.length}-${here.name}`;
  named.push(name);
  const whole = {
    driver: "sentinel",
    windows: "Always",
    nodeSelector: { matchLabels: { a: name } },
    ...spec,
  };
  return {
    ...{ apiVersion: API_VERSION, kind: "UpdateGroup", metadata: { name, annotations } },
    ...{ spec: whole },
  };
}

/** A group as somebody's field manager declares it. */
async function declare(manager: string, spec: object = {}): Promise<UpdateGroup> {
  return await here.admin.apply<UpdateGroup>(updateGroup, manifest(spec) as never, { fieldManager: manager });
}

const read = ({ metadata }: KubeObject) => here.admin.get<UpdateGroup>(updateGroup, metadata);

function pausing({ metadata: { name, uid } }: UpdateGroup, paused: boolean): UpdateGroup {
  const metadata = { name, ...(uid === undefined ? {} : { uid }) };
  return { apiVersion: API_VERSION, kind: "UpdateGroup", metadata, spec: { paused } } as never;
}

describe("writes", () => {
  test("RBAC decides who may, and says so", async () => {
    const group = await declare("kustomize-controller");
    await expect(writer.apply(bob, updateGroup, pausing(group, true), AS)).rejects.toMatchObject({
      kind: "Forbidden",
      status: 403,
      message: `bob may not patch updategroups.slipway.dev ${group.metadata.name}: RBAC does not allow it.`,
    });
    const stored = await writer.apply<UpdateGroup>(alice, updateGroup, pausing(group, true), AS);
    expect(stored.spec.paused).toBe(true);
    expect(stored.spec.driver).toBe("sentinel");
    await writer.annotate(alice, updateGroup, group.metadata.name, { [RESUME_ANNOTATION]: "again" }, AS);
    const now = await here.admin.get<UpdateGroup>(updateGroup, group.metadata);
    expect(now.metadata.annotations?.[RESUME_ANNOTATION]).toBe("again");
    expect(now.spec.paused).toBe(true);
  });

  test("a field of GitOps is refused with its owner's name, and taken only if the person says so", async () => {
    const group = await declare("kustomize-controller", { paused: false });
    const refused = await writer.apply(alice, updateGroup, pausing(group, true), AS).catch((e: unknown) => e);
    expect(refused).toMatchObject({ kind: "Owned", status: 409, owner: "kustomize-controller" });
    expect((refused as WriteError).field).toBe("spec.paused");
    expect((refused as WriteError).message).toContain("belongs to kustomize-controller");
    const taken = await writer.apply<UpdateGroup>(alice, updateGroup, pausing(group, true), {
      ...{ ...AS, force: true },
    });
    expect(taken.spec.paused).toBe(true);
  });

  test("what somebody wrote by hand, or at another door, is no declaration", async () => {
    for (const manager of [
      "kubectl-edit",
      "slipway-console-paused",
      "locksmith-paused",
      "updateservicectl-paused",
    ]) {
      const group = await declare(manager, { paused: true });
      const stored = await writer.apply<UpdateGroup>(alice, updateGroup, pausing(group, false), AS);
      expect(stored.spec.paused).toBe(false);
    }
  });

  test("of an applied file what it names is refused, and what the API server added by default is not", async () => {
    const others = { stages: [{ name: "canary", count: 1 }] };
    const file = manifest(others, { [TITLE_ANNOTATION]: "Mine" });
    await applyFile(file);
    await writer.apply(alice, updateGroup, pausing(await read(file), true), AS);
    await applyFile(file);
    expect((await read(file)).spec.paused).toBe(true);
    const naming = manifest({ ...others, paused: false }, { [TITLE_ANNOTATION]: "Mine" });
    await applyFile(naming);
    const named = await read(naming);
    const { apiVersion, kind, metadata } = pausing(named, true);
    for (const [field, object] of [
      ["spec.paused", pausing(named, true)],
      [
        'spec.stages[name="canary"].count',
        { apiVersion, kind, metadata, ...{ spec: { stages: [{ name: "canary", count: 2 }] } } },
      ],
      [
        `metadata.annotations.${TITLE_ANNOTATION}`,
        { apiVersion, kind, metadata: { ...metadata, annotations: { [TITLE_ANNOTATION]: "Yours" } } },
      ],
    ] as const) {
      await expect(writer.apply(alice, updateGroup, object, AS)).rejects.toMatchObject({
        ...{ kind: "Owned", owner: "kubectl-client-side-apply", field },
      });
    }
    expect((await read(named)).spec).toEqual(named.spec);
  });

  test("what another tool wrote is its own, though no file that is applied names it", async () => {
    const file = manifest({});
    await applyFile(file);
    const group = await read(file);
    const patch = { type: "merge", body: { spec: { paused: true } } } as const;
    await here.admin.patch(updateGroup, group.metadata, patch, { fieldManager: "night-watch" });
    await expect(writer.apply(alice, updateGroup, pausing(group, false), AS)).rejects.toMatchObject({
      ...{ kind: "Owned", owner: "night-watch" },
    });
  });

  test("nothing is made by a write that means an object, nor by one who may not create", async () => {
    const group = await declare("kubectl-create");
    await here.admin.delete(updateGroup, group.metadata);
    const gone = () => here.admin.get(updateGroup, group.metadata);
    await expect
      .poll(
        () =>
          gone().then(
            () => "there",
            () => "gone",
          ),
        WAIT,
      )
      .toBe("gone");
    await expect(writer.apply(alice, updateGroup, pausing(group, true), AS)).rejects.toMatchObject({
      status: 409,
    });
    const { uid: _, ...metadata } = group.metadata;
    await expect(writer.apply(alice, updateGroup, pausing({ ...group, metadata }, true), AS)).rejects.toThrow(
      "alice may not create",
    );
    await expect(gone()).rejects.toMatchObject({ kind: "NotFound" });
  });

  test("what the API server finds wrong is told in its words", async () => {
    const group = await declare("kubectl-create");
    const wrong = { ...pausing(group, true), spec: { maxUnavailable: 0 } };
    await expect(writer.apply(alice, updateGroup, wrong as never, AS)).rejects.toMatchObject({
      kind: "Invalid",
      message: expect.stringContaining("spec.maxUnavailable") as string,
    });
  });
});

test("the view follows the API server, and knows how old it is when that is away", async () => {
  const proxy = await startFaultProxy({ port: here.port });
  const config = loadKubeConfig(await here.through(proxy));
  const client: RestClient = createRestClient(config, { ...ports, rate: 1000, burst: 1000 });
  const view = new ObjectView({ watches: client.watches, ...ports, log: silentLogger });
  const told: string[] = [];
  view.onChange(({ plural }) => told.push(plural));
  try {
    expect(view.asOf).toBeUndefined();
    view.start();
    await expect.poll(() => view.synced, WAIT).toBe(true);
    await expect.poll(() => view.asOf, WAIT).toBeDefined();
    const group = await declare("kubectl-create");
    await expect.poll(() => view.groups.get(group.metadata.name)?.spec.driver, WAIT).toBe("sentinel");
    expect(told).toContain("updategroups");
    await proxy.refuse(true);
    proxy.reset();
    await here.admin.delete(updateGroup, group.metadata);
    const age = (): number => ports.clock.now() - (view.asOf ?? 0);
    // Two looks: were the server there, the view would never be so old.
    await expect.poll(() => age() > 12_000, WAIT).toBe(true);
    expect(view.groups.get(group.metadata.name)).toBeDefined();
    await proxy.refuse(false);
    await expect.poll(() => view.groups.get(group.metadata.name), WAIT).toBeUndefined();
    await expect.poll(() => age() < 6000, WAIT).toBe(true);
  } finally {
    await view.stop();
    await client.close();
    await proxy.close();
  }
}, 60_000);
