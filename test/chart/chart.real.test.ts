import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { parseAllDocuments, stringify } from "yaml";
import { nodeEnvironment, nodeFlags } from "../../agent/node-flags.ts";
import {
  CHART,
  GOLDEN_CASES,
  goldenPath,
  helm,
  NAMESPACE,
  render,
  renderGolden,
} from "../../hack/chart/golden.ts";
import { tool } from "../../hack/tools.ts";
import { PEER_NAME } from "../../install/certificates/policy.ts";
import { badValues } from "./bad-values.ts";

const ROOT = join(import.meta.dirname, "../..");
const kubectl = await tool("kubectl");

interface Rendered {
  apiVersion: string;
  kind: string;
  metadata: { name: string; namespace?: string };
  rules?: object[];
  data?: Record<string, string>;
  spec?: { template?: { spec: PodSpec } };
}

interface PodSpec {
  containers: {
    image: string;
    command?: string[];
    args?: string[];
    env?: { name: string; value?: string }[];
  }[];
}

function objects(text: string): Rendered[] {
  return parseAllDocuments(text)
    .map((document) => document.toJS() as Rendered | null)
    .filter((object) => object !== null);
}

async function rendered(...sets: string[]): Promise<Rendered[]> {
  return objects(
    await render(
      undefined,
      sets.flatMap((set) => ["--set", set]),
    ),
  );
}

function find(list: readonly Rendered[], kind: string, name: string, namespace?: string): Rendered {
  const found = list.find(
    ({ kind: of, metadata }) =>
      of === kind && metadata.name === name && (namespace === undefined || metadata.namespace === namespace),
  );
  if (found === undefined) throw new Error(`no ${kind} ${name} was rendered`);
  return found;
}

function run(args: readonly string[], input = ""): { ok: boolean; stdout: string; stderr: string } {
  const all = ["--kubeconfig", inject("kubeconfig"), ...args];
  const { status, stdout, stderr } = spawnSync(kubectl, all, { input, encoding: "utf8", timeout: 60_000 });
  return { ok: status === 0, stdout, stderr };
}

test("helm lint finds nothing", async () => {
  expect(await helm(["lint", "--strict", CHART])).toContain("0 chart(s) failed");
});

describe.each(GOLDEN_CASES)("with the values $name", (golden) => {
  test("the render is the one that is checked in (`npm run generate` writes it)", async () => {
    expect(await renderGolden(golden)).toBe(readFileSync(join(ROOT, goldenPath(golden)), "utf8"));
  });
});

describe("the API server", () => {
  /** Of operators that this cluster does not have. */
  const foreign = /^(cert-manager\.io|monitoring\.coreos\.com|gateway\.networking\.k8s\.io)\//;
  beforeAll(() => {
    const labels = { "pod-security.kubernetes.io/enforce": "restricted" };
    const namespace = { apiVersion: "v1", kind: "Namespace", metadata: { name: NAMESPACE, labels } };
    // A Pod is refused without its account, and Helm makes that first.
    const accounts = ["slipway-test", "harbor-test"].map((name) => ({
      ...{ apiVersion: "v1", kind: "ServiceAccount", metadata: { name, namespace: NAMESPACE } },
    }));
    const list = { apiVersion: "v1", kind: "List", items: [namespace, ...accounts] };
    expect(run(["apply", "-f", "-"], JSON.stringify(list)).stderr).toBe("");
  });
  afterAll(() => void run(["delete", "namespace", NAMESPACE, "--wait=false"]));

  test.each(GOLDEN_CASES)(
    "accepts every object of $name, and finds only the agent unrestricted",
    (golden) => {
      const all = objects(readFileSync(join(ROOT, goldenPath(golden)), "utf8"));
      const own = all.filter(({ apiVersion }) => !foreign.test(apiVersion));
      const list = { apiVersion: "v1", kind: "List", items: own };
      const { ok, stdout, stderr } = run(["apply", "--dry-run=server", "-f", "-"], JSON.stringify(list));
      const warnings = stderr
        .split("\n")
        .filter((line) => line !== "" && !/would violate PodSecurity/.test(line));
      expect(warnings).toEqual([]);
      expect(ok).toBe(true);
      expect(stdout.trim().split("\n")).toHaveLength(own.length);
      const agents = own.filter(({ kind }) => kind === "DaemonSet").length;
      expect(stderr.match(/would violate PodSecurity/g) ?? []).toHaveLength(agents);
    },
  );

  test("accepts the CRDs as the chart has them", async () => {
    const crds = objects(await render(undefined)).filter(({ kind }) => kind === "CustomResourceDefinition");
    expect(crds).toHaveLength(readdirSync(join(ROOT, "crds")).length);
    const list = { apiVersion: "v1", kind: "List", items: crds };
    expect(
      run(
        ["apply", "--server-side", "--force-conflicts", "--dry-run=server", "-f", "-"],
        JSON.stringify(list),
      ),
    ).toMatchObject({ ok: true });
  });
});

describe("values that are refused", () => {
  test.each(badValues)("$sets", async ({ sets, message }) => {
    await expect(rendered(...sets)).rejects.toThrow(message);
  });
});

test("rules and dashboards are in it as they are, whatever braces they have", async () => {
  const directory = mkdtempSync(join(tmpdir(), "slipway-chart-"));
  try {
    cpSync(CHART, directory, { recursive: true });
    mkdirSync(join(directory, "files/dashboards"), { recursive: true });
    const annotations = { description: "{{ $value }} of {{ $labels.group }}" };
    const rules = { groups: [{ name: "g", rules: [{ alert: "A", expr: "up == 0", annotations }] }] };
    writeFileSync(join(directory, "files/rules.yaml"), stringify(rules));
    const dashboard = JSON.stringify({ title: "{{group}}" });
    writeFileSync(join(directory, "files/dashboards/one.json"), dashboard);
    const on = ["prometheusRule", "dashboards"].flatMap((name) => [
      "--set",
      `monitoring.${name}.enabled=true`,
    ]);
    const all = objects(await render(undefined, on, directory));
    expect(find(all, "PrometheusRule", "slipway-rules").spec).toEqual(rules);
    expect(find(all, "ConfigMap", "slipway-dashboards").data?.["slipway-one.json"]?.trim()).toBe(dashboard);
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test("monitors leave the label `instance` as Prometheus makes it, by which rules and dashboards join", async () => {
  const own = ["serviceMonitor", "podMonitor"].map((name) => `monitoring.${name}.enabled=true`);
  const monitors = (await rendered(...own)).filter(({ apiVersion }) =>
    apiVersion.startsWith("monitoring.coreos.com/"),
  );
  expect(monitors).toHaveLength(4);
  for (const { spec } of monitors) {
    const [endpoint] = Object.values({ ...spec }).find((value) => Array.isArray(value)) as object[];
    expect(endpoint).toEqual({ port: "metrics", interval: "30s" });
  }
});

describe("what must not drift", () => {
  test("the images of the defaults", async () => {
    const images = new Set(
      objects(await render(undefined)).flatMap(({ spec }) =>
        (spec?.template?.spec.containers ?? []).map(({ image }) => image),
      ),
    );
    expect([...images].toSorted()).toEqual([
      "ghcr.io/slipway-dev/slipway:0.1.0",
      "registry.k8s.io/etcd:3.7.0-0",
    ]);
  });

  test("how Node.js runs the agent", async () => {
    const [container] =
      find(await rendered(), "DaemonSet", "slipway-agent").spec?.template?.spec.containers ?? [];
    expect(container?.command).toEqual([
      "/usr/local/bin/node",
      ...nodeFlags,
      "/usr/lib/slipway/bin/agent.cjs",
    ]);
    for (const [name, value] of Object.entries(nodeEnvironment("/host/var/lib/slipway/compile-cache"))) {
      expect(container?.env).toContainEqual({ name, value });
    }
  });

  test("the name by which members of etcd know each other", async () => {
    const [container] =
      find(await rendered(), "StatefulSet", "slipway-etcd").spec?.template?.spec.containers ?? [];
    expect(container?.args).toContain(`--peer-cert-allowed-cn=${PEER_NAME}`);
  });

  test("what manager and gateway may do, from what all other tests run under", async () => {
    const chart = await rendered();
    const tests = objects(readFileSync(join(ROOT, "hack/cluster/slipway.yaml"), "utf8"));
    const roles: [string, string, string?][] = [
      ["ClusterRole", "slipway-manager"],
      ["ClusterRole", "slipway-gateway"],
      ["Role", "slipway-manager", NAMESPACE],
      ["Role", "slipway-manager", "kube-node-lease"],
      ["Role", "slipway-manager", "default"],
    ];
    for (const role of roles) expect(find(chart, ...role).rules).toEqual(find(tests, ...role).rules);
    const all = tests.filter(({ kind }) => kind === "Role" || kind === "ClusterRole");
    expect(all).toHaveLength(roles.length);
  });

  test("every flag that a role is given, from those that it knows", async () => {
    const help = new Map<string, string>();
    const all = GOLDEN_CASES.flatMap((golden) =>
      objects(readFileSync(join(ROOT, goldenPath(golden)), "utf8")),
    );
    for (const { args } of containers(all)) {
      const [role = "", ...flags] = args[0]?.startsWith("--") ? ["agent", ...args] : args;
      const text =
        help.get(role) ??
        spawnSync(process.execPath, [join(ROOT, "main.ts"), role, "--help"], { encoding: "utf8" }).stdout;
      help.set(role, text);
      for (const flag of flags) expect(text).toContain(`${flag.split("=")[0]} `);
    }
    expect([...help.keys()].toSorted()).toEqual([
      "agent",
      "certificates",
      "gateway",
      "manager",
      "probe",
      "uninstall",
    ]);
  });
});

/** Containers of our image, of workloads, Jobs, CronJobs and Pods. */
function containers(list: readonly Rendered[]): { args: string[] }[] {
  return JSON.stringify(list)
    .split('"containers":')
    .slice(1)
    .map((text) => {
      const args = /"args":(\[[^\]]*\])/.exec(text)?.[1] ?? "[]";
      const ours = (/"image":"([^"]*)"/.exec(text)?.[1] ?? "").includes("slipway-dev");
      return ours ? { args: JSON.parse(args) as string[] } : { args: [] };
    })
    .filter(({ args }) => args.length > 0);
}
