import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import type { Resource } from "../api/kind.ts";
import type { KubeObject } from "../api/meta.ts";
import { silentLogger } from "../ports/log.ts";
import type { ApiError } from "./client.ts";
import { CONFIG_MAPS, type ConfigMap, EVENTS, NODES, PODS, type Pod } from "./core.ts";
import { Recorder } from "./recorder.ts";
import { ports, RealNamespace } from "./test-namespace.ts";

const SERVICE_ACCOUNTS: Resource = {
  group: "",
  version: "v1",
  kind: "ServiceAccount",
  plural: "serviceaccounts",
  namespaced: true,
};
const BUDGETS: Resource = {
  group: "policy",
  version: "v1",
  kind: "PodDisruptionBudget",
  plural: "poddisruptionbudgets",
  namespaced: true,
};

let here: RealNamespace;

beforeAll(async () => {
  here = await RealNamespace.open();
});

afterAll(() => here.close());

describe("calls", () => {
  test("objects are made, read, patched, replaced and deleted, and errors are told apart", async () => {
    const made = await here.admin.create(CONFIG_MAPS, here.configMap("crud", { a: "1" }));
    const patched = await here.admin.patch<ConfigMap>(CONFIG_MAPS, made.metadata, {
      type: "merge",
      body: { data: { b: "2" } },
    });
    expect(patched.data).toEqual({ a: "1", b: "2" });
    const kinds: Record<string, () => Promise<unknown>> = {
      AlreadyExists: () => here.admin.create(CONFIG_MAPS, here.configMap("crud", {})),
      Conflict: () => here.admin.replace(CONFIG_MAPS, { ...made, data: { a: "3" } }),
      NotFound: () => here.admin.get(CONFIG_MAPS, { name: "absent", namespace: here.name }),
      Invalid: () => here.admin.create(CONFIG_MAPS, here.configMap("Not_A_Name", {})),
    };
    for (const [kind, call] of Object.entries(kinds))
      await expect(call()).rejects.toMatchObject({ name: "ApiError", kind });
    const stored = await here.admin.replace(CONFIG_MAPS, { ...patched, data: { a: "3" } });
    expect(stored.data).toEqual({ a: "3" });
    await here.admin.delete(CONFIG_MAPS, made.metadata, { uid: "00000000-0000-0000-0000-000000000000" });
    expect((await here.admin.get(CONFIG_MAPS, made.metadata)).metadata.uid).toBe(made.metadata.uid);
    await here.admin.delete(CONFIG_MAPS, made.metadata, { uid: made.metadata.uid ?? "" });
    await here.admin.delete(CONFIG_MAPS, made.metadata);
    await expect(here.admin.get(CONFIG_MAPS, made.metadata)).rejects.toMatchObject({ kind: "NotFound" });
  });

  test("a list is complete beyond one page, and its items name their kind", async () => {
    await Promise.all(
      Array.from({ length: 620 }, (_, index) => here.admin.create(CONFIG_MAPS, paged(index))),
    );
    const { items } = await here.admin.list<ConfigMap>(CONFIG_MAPS, {
      namespace: here.name,
      labelSelector: "paged=yes",
    });
    expect(items).toHaveLength(620);
    expect(items.every(({ kind, apiVersion }) => kind === "ConfigMap" && apiVersion === "v1")).toBe(true);
  });

  test("two field managers that want the same field conflict, unless one takes it by force", async () => {
    const apply = (value: string, fieldManager: string, force: boolean): Promise<ConfigMap> =>
      here.admin.apply(CONFIG_MAPS, here.configMap("owned", { field: value }), { fieldManager, force });
    await apply("one", "slipway-one", false);
    const refused = await apply("two", "slipway-two", false).catch((error: unknown) => error as ApiError);
    expect(refused).toMatchObject({ kind: "Conflict", causes: [expect.stringContaining("slipway-one")] });
    expect((await apply("two", "slipway-two", true)).data).toEqual({ field: "two" });
  });

  test("a caller's abort ends the call", async () => {
    const stop = new AbortController();
    const call = here.admin.list(NODES, { signal: stop.signal });
    stop.abort(new Error("changed my mind"));
    await expect(call).rejects.toMatchObject({
      kind: "Timeout",
      message: expect.stringContaining("stopped") as string,
    });
  });

  test("a token is good for its own audience only", async () => {
    await here.admin.create(SERVICE_ACCOUNTS, {
      apiVersion: "v1",
      kind: "ServiceAccount",
      metadata: { name: "agent", namespace: here.name },
    });
    const token = await requestToken("agent", "slipway-gateway");
    expect(await here.admin.tokenReview(token, "slipway-gateway")).toMatchObject({
      authenticated: true,
      username: `system:serviceaccount:${here.name}:agent`,
      audiences: ["slipway-gateway"],
    });
    expect(await here.admin.tokenReview(token, "another")).toMatchObject({
      authenticated: false,
      username: "",
      extra: {},
    });
    expect((await here.admin.tokenReview("rubbish", "slipway-gateway")).authenticated).toBe(false);
  });
});

function paged(index: number): ConfigMap {
  return here.configMap(`paged-${index}`, {}, { paged: "yes" });
}

/** The `token` subresource is no call of `KubeClient`: this goes by `create` on a path of its own. */
async function requestToken(account: string, audience: string): Promise<string> {
  const resource: Resource = {
    ...SERVICE_ACCOUNTS,
    plural: `serviceaccounts/${account}/token`,
    kind: "TokenRequest",
  };
  const body = {
    apiVersion: "authentication.k8s.io/v1",
    kind: "TokenRequest",
    metadata: { name: account, namespace: here.name },
    spec: { audiences: [audience] },
  };
  const answer = (await here.admin.create(resource, body)) as typeof body & { status: { token: string } };
  return answer.status.token;
}

describe("evictions", () => {
  const labels = { app: "guarded" };
  const pod = (name: string): Pod => ({
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name, namespace: here.name, labels },
    spec: { containers: [{ name: "c", image: "none" }], terminationGracePeriodSeconds: 0 } as Pod["spec"] &
      object,
  });

  beforeAll(async () => {
    await vi.waitFor(
      () => here.admin.get(SERVICE_ACCOUNTS, { name: "default", namespace: here.name }),
      20_000,
    );
  });

  test("a Pod is evicted, is gone, or is another of the same name", async () => {
    const made = await here.admin.create(PODS, pod("free"));
    const target = { name: "free", namespace: here.name, uid: made.metadata.uid ?? "" };
    expect(await here.admin.evict(target, { dryRun: true })).toEqual({ outcome: "evicted" });
    expect((await here.admin.get(PODS, target)).metadata.deletionTimestamp).toBeUndefined();
    expect(await here.admin.evict({ ...target, uid: "other" })).toEqual({ outcome: "gone" });
    expect(await here.admin.evict(target, { gracePeriodSeconds: 0 })).toEqual({ outcome: "evicted" });
    await vi.waitFor(async () => expect(await here.admin.evict(target)).toEqual({ outcome: "gone" }), 20_000);
  });

  test("a PodDisruptionBudget's refusal is a result, and names the budget", async () => {
    await here.admin.create(BUDGETS, {
      apiVersion: "policy/v1",
      kind: "PodDisruptionBudget",
      metadata: { name: "guard", namespace: here.name },
      spec: { minAvailable: 1, selector: { matchLabels: labels } },
    } as KubeObject);
    const made = await here.admin.create(PODS, pod("guarded"));
    const target = { name: "guarded", namespace: here.name, uid: made.metadata.uid ?? "" };
    const status = { phase: "Running", conditions: [{ type: "Ready", status: "True" }] };
    await here.admin.patch(PODS, target, { type: "merge", body: { status } }, { subresource: "status" });
    await vi.waitFor(async () => {
      const result = await here.admin.evict(target, { dryRun: true });
      expect(result).toMatchObject({
        outcome: "blocked",
        message: expect.stringContaining("guard") as string,
      });
    }, 20_000);
    const second = {
      apiVersion: "policy/v1",
      kind: "PodDisruptionBudget",
      metadata: { name: "guard-2", namespace: here.name },
    };
    await here.admin.create(BUDGETS, {
      ...second,
      spec: { minAvailable: 1, selector: { matchLabels: labels } },
    } as KubeObject);
    await vi.waitFor(async () => {
      const result = await here.admin.evict(target, { dryRun: true });
      expect(result).toMatchObject({
        outcome: "blocked",
        message: expect.stringContaining("more than one") as string,
      });
    }, 20_000);
  });
});

test("events are recorded, repeated ones as a series, and never throw", async () => {
  const recorder = new Recorder({
    client: here.admin,
    ...ports,
    log: silentLogger,
    controller: "slipway.dev/manager",
    instance: "test",
  });
  const regarding = here.configMap("owned", {});
  const why = { reason: "Draining", message: "Pods leave the node" } as const;
  recorder.record(regarding, why, "Drain");
  await recorder.flush(5000);
  for (let index = 0; index < 3; index++) recorder.record(regarding, why, "Drain");
  recorder.record({ ...regarding, metadata: { name: "bad name", namespace: here.name } }, why, "Drain");
  await recorder.flush(5000);
  const { items } = await here.admin.list<
    KubeObject & { reason: string; note: string; series?: { count: number } }
  >(EVENTS, {
    namespace: here.name,
    fieldSelector: "reason=Draining",
  });
  expect(items).toMatchObject([{ reason: "Draining", note: why.message, series: { count: 4 } }]);
});
