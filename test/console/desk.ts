/**
 * A control plane and an etcd of their own, with a gateway that serves the console: other tests count the same objects.
 * Two people may sign in: `operator`, who may do everything that the page offers, and `viewer`, who may only read.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { extname, join } from "node:path";
import { buildConsole } from "../../console/build.ts";
import { createCoordination } from "../../coordination/create.ts";
import { connectEtcd } from "../../coordination/etcd3-port.ts";
import type { PageFiles } from "../../gateway/console/files.ts";
import { type Gateway, startGateway } from "../../gateway/gateway.ts";
import { startEtcd } from "../../hack/plane/etcd.ts";
import { type Plane, startPlane } from "../../hack/plane/plane.ts";
import { systemClock } from "../../ports/clock.ts";
import { silentLogger } from "../../ports/log.ts";
import { systemRandom } from "../../ports/random.ts";
import { loadKubeConfig } from "../../runtime/kubeconfig.ts";
import { createRestClient, type RestClient } from "../../runtime/rest-client.ts";

export type PersonName = "operator" | "viewer";

export interface Desk {
  plane: Plane;
  admin: RestClient;
  /** Of the page. */
  url: string;
  /** What a person signs in with. */
  token(person: PersonName): Promise<string>;
  /** Ends the gateway and starts another at the same address, after `meanwhile`. */
  restartGateway(meanwhile?: () => Promise<void>): Promise<void>;
  stop(): Promise<void>;
}

const KINDS = ["updategroups", "channels", "releases", "rebootwindows", "rebootbudgets", "nodeupdates"];

/** As the docs say them (docs/console.md). */
const RBAC = [
  ...(["operator", "viewer"] as const).flatMap((name) => [
    { apiVersion: "v1", kind: "ServiceAccount", metadata: { name, namespace: "default" } },
    {
      ...{ apiVersion: "rbac.authorization.k8s.io/v1", kind: "ClusterRoleBinding", metadata: { name } },
      roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: `console-${name}` },
      subjects: [{ kind: "ServiceAccount", name, namespace: "default" }],
    },
  ]),
  role("console-viewer", [{ apiGroups: ["slipway.dev"], resources: KINDS, verbs: ["get", "list", "watch"] }]),
  role("console-operator", [
    { apiGroups: ["slipway.dev"], resources: KINDS, verbs: ["get", "list", "watch", "patch"] },
    { apiGroups: [""], resources: ["nodes"], verbs: ["get", "list", "watch", "patch"] },
  ]),
];

function role(name: string, rules: readonly object[]): object {
  return { apiVersion: "rbac.authorization.k8s.io/v1", kind: "ClusterRole", metadata: { name }, rules };
}

const TYPES: Record<string, string> = {
  ...{ ".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css" },
  ".svg": "image/svg+xml",
};

async function pageFiles(): Promise<PageFiles> {
  const { files } = await buildConsole();
  return new Map(
    [...files].map(([path, bytes]) => [
      `/${path}`,
      { type: TYPES[extname(path)] ?? "text/plain", bytes: Buffer.from(bytes) },
    ]),
  );
}

export async function startDesk(): Promise<Desk> {
  const [plane, etcd, files] = await Promise.all([startPlane({ components: [] }), startEtcd(), pageFiles()]);
  const directory = mkdtempSync(join(tmpdir(), "slipway-desk-"));
  const ports = { clock: systemClock, random: systemRandom, log: silentLogger };
  const connect = (): RestClient =>
    createRestClient(loadKubeConfig(plane.kubeconfig), { ...ports, rate: 5000, burst: 5000 });
  const [admin, forAgents, forPeople] = [connect(), connect(), connect()];
  const port = connectEtcd({ endpoints: etcd.endpoints, ...ports });
  const start = async (at: number): Promise<Gateway> =>
    await startGateway({
      client: forAgents,
      etcd: port,
      coordination: createCoordination({ etcd: port, ...ports }),
      listen: { host: "127.0.0.1", port: 0 },
      console: {
        ...{ listen: { host: "127.0.0.1", port: at }, tls: false, secure: false, client: forPeople, files },
        keys: [Buffer.alloc(32, "console")],
      },
      ...{ certificateDirectory: directory, hosts: ["localhost"], name: "desk", drainWithin: 100 },
      ...{ serviceAccounts: ["slipway-system:slipway-agent"], audience: "slipway", ...ports },
    });
  await plane.applyCrds();
  await plane.kubectl(["apply", "-f", "-"], RBAC.map((object) => JSON.stringify(object)).join("\n---\n"));
  let gateway = await start(0);
  const at = gateway.consolePort ?? 0;
  return {
    plane,
    admin,
    url: `http://127.0.0.1:${at}/`,
    token: async (person) => (await plane.kubectl(["create", "token", person])).trim(),
    restartGateway: async (meanwhile) => {
      await gateway.stop();
      await meanwhile?.();
      gateway = await start(at);
    },
    stop: async () => {
      await gateway.stop();
      await Promise.all([admin, forAgents, forPeople].map((client) => client.close()));
      await port.close();
      await Promise.all([plane.stop(), etcd.stop()]);
      rmSync(directory, { recursive: true, force: true });
    },
  };
}
