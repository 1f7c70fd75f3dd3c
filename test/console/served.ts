/**
 * A gateway that serves the console, over a control plane and an etcd of its own: other tests count the same objects.
 * Two people may sign in: `operator`, who may do everything that the page offers, and `viewer`, who may only read.
 */
import { rmSync } from "node:fs";
import { extname } from "node:path";
import { buildConsole } from "../../console/build.ts";
import { createCoordination } from "../../coordination/create.ts";
import { connectEtcd } from "../../coordination/etcd3-port.ts";
import type { ConsoleSettings } from "../../gateway/console/console.ts";
import type { PageFiles } from "../../gateway/console/files.ts";
import { type Gateway, startGateway } from "../../gateway/gateway.ts";
import { startEtcd } from "../../hack/plane/etcd.ts";
import { type Plane, startPlane, temporaryDirectory } from "../../hack/plane/plane.ts";
import { removeAtExit } from "../../hack/plane/process.ts";
import { systemClock } from "../../ports/clock.ts";
import { silentLogger } from "../../ports/log.ts";
import { systemRandom } from "../../ports/random.ts";
import { loadKubeConfig } from "../../runtime/kubeconfig.ts";
import { createRestClient, type RestClient } from "../../runtime/rest-client.ts";

export type PersonName = "operator" | "viewer";

/** A gateway of the test's own process, that serves the console of `plane`. */
export interface ConsoleServer {
  /** Of the page. */
  url: string;
  /** What a person signs in with. */
  token(person: PersonName): Promise<string>;
  /** Ends the gateway and starts another at the same address, after `meanwhile`. */
  restart(meanwhile?: () => Promise<void>): Promise<void>;
  stop(): Promise<void>;
}

export interface Served extends ConsoleServer {
  plane: Plane;
  admin: RestClient;
}

const KINDS = ["updategroups", "channels", "releases", "rebootwindows", "rebootbudgets", "nodeupdates"];

/** As the docs say them (docs/console.md). Whoever an identity provider says is in `fleet` may read, too. */
const RBAC = [
  ...(["operator", "viewer"] as const).flatMap((name) => [
    { apiVersion: "v1", kind: "ServiceAccount", metadata: { name, namespace: "default" } },
    {
      ...{ apiVersion: "rbac.authorization.k8s.io/v1", kind: "ClusterRoleBinding", metadata: { name } },
      roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: `console-${name}` },
      subjects: [
        { kind: "ServiceAccount", name, namespace: "default" },
        { apiGroup: "rbac.authorization.k8s.io", kind: "Group", name: name === "viewer" ? "fleet" : name },
      ],
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

const ports = { clock: systemClock, random: systemRandom, log: silentLogger };

function clientOf(plane: Plane): RestClient {
  return createRestClient(loadKubeConfig(plane.kubeconfig), { ...ports, rate: 5000, burst: 5000 });
}

interface ServeOptions {
  /** A free one if absent. */
  port?: number;
  settings?: Partial<ConsoleSettings>;
}

/** `endpoints` are those of Slipway's etcd. The two people are there afterwards. */
export async function serveConsole(
  plane: Plane,
  endpoints: readonly string[],
  options: ServeOptions = {},
): Promise<ConsoleServer> {
  const files = await pageFiles();
  const directory = temporaryDirectory("served");
  const cleanup = removeAtExit(directory);
  const [forAgents, forPeople] = [clientOf(plane), clientOf(plane)];
  const etcd = connectEtcd({ endpoints, ...ports });
  const start = async (port: number): Promise<Gateway> =>
    await startGateway({
      client: forAgents,
      etcd,
      coordination: createCoordination({ etcd, ...ports }),
      listen: { host: "127.0.0.1", port: 0 },
      console: {
        ...{ listen: { host: "127.0.0.1", port }, tls: false, secure: false, client: forPeople, files, etcd },
        ...{ keys: [Buffer.alloc(32, "console")], ...options.settings },
      },
      ...{ certificateDirectory: directory, hosts: ["localhost"], name: "served", drainWithin: 100 },
      ...{ serviceAccounts: ["slipway-system:slipway-agent"], audience: "slipway", ...ports },
    });
  await plane.kubectl(["apply", "-f", "-"], RBAC.map((object) => JSON.stringify(object)).join("\n---\n"));
  let gateway = await start(options.port ?? 0);
  const port = gateway.consolePort ?? 0;
  return {
    url: `http://127.0.0.1:${port}/`,
    token: async (person) => (await plane.kubectl(["create", "token", person])).trim(),
    restart: async (meanwhile) => {
      await gateway.stop();
      await meanwhile?.();
      gateway = await start(port);
    },
    stop: async () => {
      await gateway.stop();
      await Promise.all([forAgents.close(), forPeople.close(), etcd.close()]);
      rmSync(directory, { recursive: true, force: true });
      cleanup.forget();
    },
  };
}

export async function startServed(options: ServeOptions = {}): Promise<Served> {
  const [plane, etcd] = await Promise.all([startPlane({ components: [] }), startEtcd()]);
  await plane.applyCrds();
  const server = await serveConsole(plane, etcd.endpoints, options);
  const admin = clientOf(plane);
  return {
    ...server,
    plane,
    admin,
    stop: async () => {
      await Promise.all([server.stop(), admin.close()]);
      await Promise.all([plane.stop(), etcd.stop()]);
    },
  };
}
