import { existsSync } from "node:fs";
import { request } from "node:https";
import { connect } from "node:net";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { PLAYED_LABEL, type Plane, startPlane } from "./plane.ts";

let plane: Plane;

beforeAll(async () => {
  plane = await startPlane();
  await startMachine("neighbour");
});

afterAll(async () => {
  await plane.stop();
  expect(existsSync(plane.directory)).toBe(false);
});

/** kubectl as somebody else. */
async function as(kubeconfig: string, args: readonly string[], stdin?: string): Promise<string> {
  return await plane.kubectl(["--kubeconfig", kubeconfig, ...args], stdin);
}

/** What a machine does when it starts: registers and reports, with the rights of a kubelet. */
async function startMachine(name: string): Promise<void> {
  const kubelet = await plane.kubeconfigFor({ name: `system:node:${name}`, groups: ["system:nodes"] });
  const node = { apiVersion: "v1", kind: "Node", metadata: { name, labels: { [PLAYED_LABEL]: "running" } } };
  await as(kubelet, ["create", "-f", "-"], JSON.stringify(node));
  expect(await report(name)).toBe(200);
}

/** One heartbeat as `reporter`; the HTTP status. kubectl can't: it reads the subresource first, a kubelet may not. */
async function report(name: string, reporter = name): Promise<number> {
  const { certificate, key } = await plane.certificateFor({
    name: `system:node:${reporter}`,
    groups: ["system:nodes"],
  });
  const now = new Date().toISOString();
  const resources = { cpu: "4", memory: "8Gi", pods: "110" };
  const status = {
    addresses: [{ type: "InternalIP", address: "192.0.2.1" }],
    capacity: resources,
    allocatable: resources,
    conditions: [{ type: "Ready", status: "True", lastHeartbeatTime: now, lastTransitionTime: now }],
  };
  return await new Promise((resolve, reject) => {
    const patch = request(`${plane.url}/api/v1/nodes/${name}/status`, {
      method: "PATCH",
      headers: { "content-type": "application/strategic-merge-patch+json" },
      ca: plane.ca,
      cert: certificate,
      key,
      agent: false,
    });
    patch.once("response", (response) => {
      response.resume();
      resolve(response.statusCode ?? 0);
    });
    patch.once("error", reject);
    patch.end(JSON.stringify({ status }));
  });
}

async function get(path: string, ...args: readonly string[]): Promise<string> {
  return await plane.kubectl(["get", ...args, `-o=jsonpath=${path}`]);
}

async function readiness(kind: string, name: string): Promise<string> {
  return await get('{.status.conditions[?(@.type=="Ready")].status}', kind, name);
}

async function phase(name: string): Promise<string> {
  return await get("{.status.phase}", "pod", name);
}

function pod(
  name: string,
  node: string,
  more: object = {},
  annotations: Record<string, string> = {},
): string {
  const spec = { nodeName: node, containers: [{ name: "main", image: "example.invalid/main" }], ...more };
  return JSON.stringify({ apiVersion: "v1", kind: "Pod", metadata: { name, annotations }, spec });
}

const patience = { timeout: 40_000, interval: 200 };

test("says its pinned version and obeys the default RBAC", async () => {
  expect(JSON.parse(await plane.kubectl(["version", "-o=json"]))).toMatchObject({
    serverVersion: { major: "1", minor: "37", gitVersion: "v1.37.2" },
  });
  const stranger = await plane.kubeconfigFor({ name: "stranger", groups: [] });
  await expect(as(stranger, ["get", "nodes"])).rejects.toThrow(/Forbidden/);
});

test("a machine registers as its node and may not touch another", async () => {
  await startMachine("alone");
  await vi.waitFor(async () => expect(await readiness("node", "alone")).toBe("True"), patience);
  expect(await report("neighbour", "alone")).toBe(403);
  await plane.kubectl(["delete", "node", "alone"]);
});

test("a Pod on a machine that is not kwok's runs, and restarts after the machine was away", async () => {
  const name = "played";
  await startMachine(name);
  await plane.kubectl(["create", "-f", "-"], pod("evicted", name));
  await plane.kubectl(["create", "-f", "-"], pod("patient", name, { tolerations: [{ operator: "Exists" }] }));
  await plane.kubectl(
    ["create", "-f", "-"],
    pod("failing", name, { tolerations: [{ operator: "Exists" }] }, { "slipway.dev/play": "unready" }),
  );
  await vi.waitFor(async () => expect(await readiness("pod", "evicted")).toBe("True"), patience);
  await vi.waitFor(async () => expect(await readiness("pod", "patient")).toBe("True"), patience);
  await vi.waitFor(async () => expect(await phase("failing")).toBe("Running"), patience);
  expect(await readiness("pod", "failing")).toBe("False");

  // The power goes: nobody renews, and nobody plays the Pods.
  await plane.kubectl(["label", "node", name, `${PLAYED_LABEL}-`]);
  await plane.kubectl(["create", "-f", "-"], pod("late", name, { tolerations: [{ operator: "Exists" }] }));
  await vi.waitFor(async () => {
    // Where more than 55% of a zone's nodes are lost, Kubernetes suspects itself and evicts nothing.
    await report("neighbour");
    expect(await readiness("node", name)).toBe("Unknown");
    expect(await get("{.metadata.deletionTimestamp}", "pod", "evicted")).not.toBe("");
    expect(await readiness("pod", "patient")).toBe("False");
  }, patience);
  expect(await phase("late")).toBe("Pending");

  expect(await report(name)).toBe(200);
  await plane.kubectl(["label", "node", name, `${PLAYED_LABEL}=running`]);
  await vi.waitFor(async () => expect(await readiness("node", name)).toBe("True"), patience);
  await vi.waitFor(async () => expect(await readiness("pod", "patient")).toBe("True"), patience);
  expect(await get("{.status.containerStatuses[0].restartCount}", "pod", "patient")).toBe("1");
  await vi.waitFor(async () => expect(await phase("late")).toBe("Running"), patience);
  await vi.waitFor(
    async () => expect(await plane.kubectl(["get", "pods"])).not.toContain("evicted"),
    patience,
  );
  expect(await readiness("pod", "failing")).toBe("False");
});

test("a killed API server comes back with its data and its address", async () => {
  const { url } = plane;
  await plane.kubectl(["create", "configmap", "kept"]);
  await plane.kill("kube-apiserver");
  await expect(plane.kubectl(["get", "configmap", "kept"])).rejects.toThrow(/refused/);
  await plane.start("kube-apiserver");
  expect(plane.url).toBe(url);
  expect(await plane.kubectl(["get", "configmap", "kept", "-o=name"])).toBe("configmap/kept\n");
});

test("a killed etcd comes back with its data, and the API server finds it again", async () => {
  await plane.kubectl(["create", "configmap", "kept-too"]);
  await plane.kill("etcd");
  await plane.start("etcd");
  await vi.waitFor(async () => {
    expect(await plane.kubectl(["get", "configmap", "kept-too", "-o=name"])).toBe("configmap/kept-too\n");
  }, patience);
});

test("nothing listens outside of the loopback interface", async () => {
  const port = Number(new URL(plane.url).port);
  const code = await new Promise<string | undefined>((resolve) => {
    const socket = connect({ host: "127.0.0.2", port });
    socket.once("error", (error: NodeJS.ErrnoException) => resolve(error.code));
    socket.once("connect", () => {
      socket.destroy();
      resolve(undefined);
    });
  });
  expect(code).toBe("ECONNREFUSED");
});
