/** What Helm does to a cluster with the chart, but for the hooks, which need kubelets. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { parseAllDocuments } from "yaml";
import type { Crd } from "../../api/crd-fields.ts";
import { kinds } from "../../api/kinds.ts";
import { crdsRefusal } from "../../controllers/crds/policy.ts";
import { CHART, FIRST_CHART, helm, NAMESPACE } from "../../hack/chart/golden.ts";
import { type Plane, startPlane } from "../../hack/plane/plane.ts";

/** Seven calls of Helm on a busy machine, ms. */
const LONG = 180_000;

/** A control plane of its own: the shared one has the CRDs already. */
let plane: Plane;
let home: string;
beforeAll(async () => {
  home = mkdtempSync(join(tmpdir(), "slipway-helm-"));
  plane = await startPlane({ components: [] });
});
afterAll(async () => {
  await plane?.stop();
  rmSync(home, { recursive: true });
});

/** Helm against the plane; what it caches goes into a folder of the test. */
function run(...args: string[]): Promise<string> {
  return helm([...args, "--namespace", NAMESPACE, "--no-hooks"], {
    ...{ KUBECONFIG: plane.kubeconfig, HELM_CACHE_HOME: home, HELM_CONFIG_HOME: home, HELM_DATA_HOME: home },
  });
}

const install = (chart = CHART, ...more: string[]): Promise<string> =>
  run("install", "slipway", chart, "--create-namespace", "--wait=false", ...more);

test("a manager of this build leads on the first version's CRDs, as the end-to-end test has it", async () => {
  // Of all that it renders: two of one name would be applied in any order.
  const text = await helm(["template", "slipway", FIRST_CHART]);
  const objects = parseAllDocuments(text).map((document) => document.toJS() as Crd & { kind: string });
  const documents = objects.filter(({ kind }) => kind === "CustomResourceDefinition");
  expect(documents).toHaveLength(kinds.length);
  const found = new Map(documents.map((crd) => [crd.metadata.name, crd]));
  expect(
    crdsRefusal(kinds, found),
    "put this version's NodeUpdate into test/charts, until one is published",
  ).toBe(undefined);
});

const CRDS = resolve(import.meta.dirname, "../../crds");

/** In what the cluster's CRDs differ from those of this version. */
const differences = (): Promise<string> =>
  plane.kubectl(["diff", "--server-side", "--force-conflicts", "--filename", CRDS]).then(
    () => "",
    (error: unknown) => String(error),
  );

async function names(kind: string): Promise<string[]> {
  const text = await plane.kubectl(["get", kind, "--all-namespaces", "-o", "name"]);
  return text
    .trim()
    .split("\n")
    .filter((line) => /slipway/.test(line));
}

const group = {
  apiVersion: "slipway.dev/v1alpha1",
  kind: "UpdateGroup",
  metadata: { name: "slipway-group" },
  spec: {
    driver: "sentinel",
    nodeSelector: { matchLabels: { a: "b" } },
    maxUnavailable: 1,
    windows: "Always",
  },
};

test("CRDs that somebody applied by hand are taken over when Helm is told to", async () => {
  await plane.applyCrds();
  await expect(install()).rejects.toThrow(/CustomResourceDefinition "\w+\.slipway\.dev".*cannot be imported/);
  expect(await install(CHART, "--take-ownership")).toContain("kubectl get updategroups,nodeupdates");
  await plane.kubectl(["apply", "-f", "-"], JSON.stringify(group));
});

test("an upgrade and its rollback change what they must", async () => {
  const replicas = (): Promise<string> =>
    plane.kubectl(["get", "deployment/slipway-manager", "-n", NAMESPACE, "-o", "jsonpath={.spec.replicas}"]);
  await run("upgrade", "slipway", CHART, "--set", "manager.replicas=3", "--wait=false");
  expect(await replicas()).toBe("3");
  await run("rollback", "slipway", "1", "--wait=false");
  expect(await replicas()).toBe("2");
});

test("after an uninstall the CRDs and the objects of their kinds are there, and nothing else", async () => {
  await run("uninstall", "slipway", "--wait=false", "--cascade=background");
  expect(await names("crd")).toHaveLength(6);
  expect(await names("updategroups")).toEqual(["updategroup.slipway.dev/slipway-group"]);
  const kinds =
    "deployments,daemonsets,statefulsets,services,poddisruptionbudgets,networkpolicies,cronjobs,jobs";
  expect(await names(kinds)).toEqual([]);
  expect(await names("clusterroles,clusterrolebindings,roles,rolebindings,serviceaccounts")).toEqual([]);
});

test("installed again, it finds its CRDs and their objects", async () => {
  await install();
  expect(await names("updategroups")).toHaveLength(1);
});

test(
  "an upgrade from the first version brings the CRDs of this one, a rollback those of then; objects stay",
  async () => {
    await plane.stop();
    plane = await startPlane({ components: [] });
    await install(FIRST_CHART);
    await plane.kubectl(["apply", "-f", "-"], JSON.stringify(group));
    expect(await differences()).toMatch(/exit code 1/);
    await run("upgrade", "slipway", CHART, "--wait=false");
    expect(await differences()).toBe("");
    expect(await names("updategroups")).toHaveLength(1);
    await run("rollback", "slipway", "1", "--wait=false");
    expect(await differences()).toMatch(/exit code 1/);
    expect(await names("updategroups")).toHaveLength(1);
  },
  LONG,
);
