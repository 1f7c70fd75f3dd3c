/**
 * Everything at once: a control plane, Slipway's own etcd, managers, gateways, machines, and a
 * mirror with images. What the demo, the bad days and the benchmarks start.
 */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { channel } from "../../api/channel.ts";
import type { Resource } from "../../api/kind.ts";
import type { KubeObject } from "../../api/meta.ts";
import { nodeUpdate } from "../../api/node-update.ts";
import { rebootBudget } from "../../api/reboot-budget.ts";
import { rebootWindow } from "../../api/reboot-window.ts";
import { release } from "../../api/release.ts";
import { updateGroup } from "../../api/update-group.ts";
import { systemClock } from "../../ports/clock.ts";
import { systemRandom } from "../../ports/random.ts";
import { isApiError } from "../../runtime/client.ts";
import { DEPLOYMENTS, EVENTS, LEASES, NODES, PODS } from "../../runtime/core.ts";
import { loadKubeConfig } from "../../runtime/kubeconfig.ts";
import { createRestClient, type RestClient } from "../../runtime/rest-client.ts";
import { type EtcdCluster, type EtcdTls, startEtcd } from "../plane/etcd.ts";
import { type FaultProxy, startFaultProxy } from "../plane/fault-proxy.ts";
import { type Plane, startPlane, temporaryDirectory } from "../plane/plane.ts";
import { freePorts } from "../plane/ports.ts";
import { removeAtExit } from "../plane/process.ts";
import { waitUntil } from "../plane/wait.ts";
import { Foundry } from "./foundry.ts";
import { MachineHandle, machineIdOf } from "./machines.ts";
import { type Mirror, startMirror } from "./mirror.ts";
import { Service } from "./service.ts";

export interface MachineSpec {
  name: string;
  zone: string;
  /** Outside of the cluster: no Node; joins by a token for this group. */
  plainGroup?: string;
  driver?: "fastpatch" | "sentinel";
}

export interface ClusterOptions {
  machines: readonly MachineSpec[];
  managers?: number;
  gateways?: number;
  etcdMembers?: 1 | 3;
  /** etcd serves TLS and asks for client certificates; see `etcdFiles`. */
  etcdTls?: boolean;
  /** Whether agents tell metrics too; that takes memory. */
  agentMetrics?: boolean;
  /** Each machine reaches the first gateway by a network of its own, that a test may break: `roads`. */
  roads?: boolean;
  onProgress?: (line: string) => void;
}

const NODES_READY_WITHIN = 60_000;
/** 127.1.0.0/16: each machine has a loopback address of its own for its services. */
const FIRST_ADDRESS = 10;

/** Who reaches etcd, each by files of its own. */
type EtcdRole = "manager" | "gateway" | "person";

export const POOL_LABEL = "slipway.dev/pool";

const policy = { group: "policy", version: "v1", namespaced: true };
/** What tests look at, by plural. A name that is none of these must not compile: a test would wait for it. */
const RESOURCES = {
  channels: channel,
  nodeupdates: nodeUpdate,
  rebootbudgets: rebootBudget,
  rebootwindows: rebootWindow,
  releases: release,
  updategroups: updateGroup,
  nodes: NODES,
  pods: PODS,
  leases: LEASES,
  events: EVENTS,
  deployments: DEPLOYMENTS,
  poddisruptionbudgets: { ...policy, kind: "PodDisruptionBudget", plural: "poddisruptionbudgets" },
} satisfies Record<string, Resource>;
type Plural = keyof typeof RESOURCES;

export class Cluster {
  readonly directory: string;
  readonly plane: Plane;
  readonly etcd: EtcdCluster;
  readonly mirror: Mirror;
  readonly foundry: Foundry;
  readonly managers: Service[] = [];
  readonly gateways: Service[] = [];
  readonly machines: MachineHandle[] = [];
  /** By name of the machine: its way to the gateway; empty without the option. */
  readonly roads = new Map<string, FaultProxy>();
  /** Port of harbor.service on every machine. */
  servicePort = 0;
  /** Tests look several times a second: a kubectl for each look would take a processor. */
  readonly #client: RestClient;
  readonly #cleanup: { forget(): void };
  #gatewayAddresses: string[] = [];
  /** Of each gateway, where machines without our agent reach it: `http://HOST:PORT`. */
  readonly edges: string[] = [];

  private constructor(directory: string, plane: Plane, etcd: EtcdCluster, mirror: Mirror, foundry: Foundry) {
    this.directory = directory;
    this.plane = plane;
    this.etcd = etcd;
    this.mirror = mirror;
    this.foundry = foundry;
    this.#client = createRestClient(loadKubeConfig(plane.kubeconfig), {
      clock: systemClock,
      random: systemRandom,
    });
    this.#cleanup = removeAtExit(directory);
  }

  static async start(options: ClusterOptions): Promise<Cluster> {
    const progress = options.onProgress ?? (() => undefined);
    const directory = temporaryDirectory("cluster");
    const images = join(directory, "images");
    mkdirSync(images);
    const [plane, etcd, mirror] = await Promise.all([
      startPlane(options.onProgress === undefined ? {} : { onProgress: options.onProgress }),
      startEtcd({ members: options.etcdMembers ?? 1, tls: options.etcdTls === true }),
      startMirror(images),
    ]);
    const cluster = new Cluster(directory, plane, etcd, mirror, new Foundry(images, mirror.url));
    try {
      await plane.applyCrds();
      await plane.kubectl(
        ["apply", "-f", "-"],
        readFileSync(join(import.meta.dirname, "slipway.yaml"), "utf8"),
      );
      progress("control plane is ready");
      await cluster.#startSlipway(options.managers ?? 1, options.gateways ?? 1);
      progress("manager and gateway are ready");
      if (options.roads === true) await cluster.#layRoads(options.machines);
      await cluster.#powerOn(options.machines, options.agentMetrics === true);
      progress(`${options.machines.length} machines are up`);
      return cluster;
    } catch (error) {
      await cluster.stop({ keepLogs: true });
      throw error;
    }
  }

  async #startSlipway(managers: number, gateways: number): Promise<void> {
    const ports = await freePorts(managers + gateways * 3);
    const port = (): string => `127.0.0.1:${ports.pop()}`;
    const certificates = join(this.directory, "gateway");
    mkdirSync(certificates);
    writeFileSync(this.machineKeys, `${Buffer.alloc(32, "machines").toString("base64")}\n`);
    const gatewayConfig = await this.plane.kubeconfigFor({ name: "slipway-gateway", groups: [] });
    for (let i = 0; i < gateways; i++) {
      const [listen, metrics, edge] = [port(), port(), port()];
      this.#gatewayAddresses.push(listen);
      this.edges.push(`http://${edge}`);
      this.gateways.push(
        new Service(`gateway-${i}`, this.directory, metrics, [
          ...["gateway", "--listen", listen, "--kubeconfig", gatewayConfig, ...this.#etcdFlags("gateway")],
          ...["--cert-dir", certificates, "--advertise", "127.0.0.1,localhost"],
          ...[
            "--service-account",
            "slipway-system:slipway-agent",
            "--audience",
            "slipway",
            "--metrics",
            metrics,
          ],
          ...["--machines", edge, "--machines-key", this.machineKeys],
        ]),
      );
    }
    const managerConfig = await this.plane.kubeconfigFor({ name: "slipway-manager", groups: [] });
    for (let i = 0; i < managers; i++) {
      const metrics = port();
      this.managers.push(
        new Service(`manager-${i}`, this.directory, metrics, [
          ...["manager", "--kubeconfig", managerConfig, ...this.#etcdFlags("manager"), "--metrics", metrics],
          ...["--leader-elect-namespace", "slipway-system", "--identity", `manager-${i}`],
          ...["--webhook-keys", this.webhookKeys],
        ]),
      );
    }
    // The first gateway makes the authority that the others find.
    for (const service of [...this.gateways, ...this.managers]) {
      await service.start();
      await service.ready();
    }
  }

  async #powerOn(specs: readonly MachineSpec[], agentMetrics: boolean): Promise<void> {
    const [servicePort = 0, metricsPort = 0] = await freePorts(2);
    this.servicePort = servicePort;
    const trust = await this.foundry.writeTrust(join(this.directory, "trust.json"));
    const first = await this.foundry.release("1.0.0");
    await Promise.all(
      specs.map(async (spec, index) => {
        const directory = join(this.directory, "m", String(index));
        mkdirSync(directory, { recursive: true });
        const kubeconfig =
          spec.plainGroup === undefined
            ? await this.plane.kubeconfigFor({ name: `system:node:${spec.name}`, groups: ["system:nodes"] })
            : undefined;
        const joinToken = join(directory, "join-token");
        if (spec.plainGroup !== undefined)
          writeFileSync(joinToken, await this.#joinToken(spec.plainGroup, spec.zone));
        const machine = new MachineHandle({
          name: spec.name,
          directory,
          machineId: machineIdOf(spec.name),
          zone: spec.zone,
          address: `127.1.0.${FIRST_ADDRESS + index}`,
          servicePort: this.servicePort,
          gateway: this.#wayOf(spec.name),
          gatewayCa: join(this.directory, "gateway", "ca.crt"),
          trust,
          ...(kubeconfig === undefined ? { joinToken } : { kubeconfig, labels: { [POOL_LABEL]: "harbor" } }),
          driver: spec.driver ?? "fastpatch",
          ...(agentMetrics ? { agentMetrics: `127.1.0.${FIRST_ADDRESS + index}:${metricsPort}` } : {}),
          bootTime: 300,
          offTime: 700,
        });
        await this.foundry.installFirst(machine.paths.disk, first);
        await machine.start();
        this.machines.push(machine);
        await machine.powerOn();
      }),
    );
    this.machines.sort((a, b) => (a.name < b.name ? -1 : 1));
    const nodes = specs
      .filter(({ plainGroup }) => plainGroup === undefined)
      .map(({ name }) => `node/${name}`);
    await waitUntil(
      async () => {
        const text = await this.plane.kubectl(["wait", "--for=condition=Ready", "--timeout=5s", ...nodes]);
        return text.split("\n").filter((line) => line.includes("condition met")).length === nodes.length;
      },
      { what: "all Nodes are Ready", deadline: NODES_READY_WITHIN, interval: 250 },
    );
  }

  async #layRoads(specs: readonly MachineSpec[]): Promise<void> {
    const port = Number(this.#gatewayAddresses[0]?.split(":")[1]);
    for (const { name } of specs) this.roads.set(name, await startFaultProxy({ port }));
  }

  #wayOf(machine: string): string {
    const road = this.roads.get(machine);
    return road === undefined ? this.#gatewayAddresses.join(",") : `127.0.0.1:${road.port}`;
  }

  async #joinToken(group: string, zone: string): Promise<string> {
    const { run } = await import("./run.ts");
    const labels = ["--label", `topology.kubernetes.io/zone=${zone}`];
    const text = await run([
      "join-token",
      "create",
      ...this.#etcdFlags("person"),
      "--group",
      group,
      ...labels,
      "--ttl",
      "1h",
    ]);
    return text.trim().split("\n").at(-1) ?? "";
  }

  /** Files by which those in a role reach an etcd with TLS: ca.crt, tls.crt, tls.key. A test may replace them. */
  etcdFiles(role: EtcdRole): { ca: string; certificate: string; key: string } {
    const at = (name: string): string => join(this.directory, "etcd-client", role, name);
    return { ca: at("ca.crt"), certificate: at("tls.crt"), key: at("tls.key") };
  }

  /** Writes what `etcdFiles` names: `tls`, or what etcd asks for. */
  writeEtcdFiles(role: EtcdRole, tls: EtcdTls | undefined = this.etcd.tls): void {
    if (tls === undefined) return;
    const { ca, certificate, key } = this.etcdFiles(role);
    mkdirSync(dirname(ca), { recursive: true });
    writeFileSync(ca, tls.ca);
    writeFileSync(certificate, tls.certificate);
    writeFileSync(key, tls.key, { mode: 0o600 });
  }

  #etcdFlags(role: EtcdRole): string[] {
    const { endpoints, tls } = this.etcd;
    if (tls === undefined) return ["--etcd", endpoints.join(",")];
    this.writeEtcdFiles(role);
    const { ca, certificate, key } = this.etcdFiles(role);
    // A certificate is for a name: an address is not asked for (RFC 6066).
    const named = endpoints.map((endpoint) => endpoint.replace("127.0.0.1", "localhost"));
    return ["--etcd", named.join(","), "--etcd-ca", ca, "--etcd-cert", certificate, "--etcd-key", key];
  }

  /** Keys of the secrets that machines without our agent show. */
  get machineKeys(): string {
    return join(this.directory, "machine-keys");
  }

  /** Keys that managers sign notices with, a file each; a test may write some. */
  get webhookKeys(): string {
    return join(this.directory, "webhook-keys");
  }

  machine(name: string): MachineHandle {
    const machine = this.machines.find((each) => each.name === name);
    if (machine === undefined) throw new Error(`there is no machine ${name}`);
    return machine;
  }

  /** Applies manifests, as kubectl does. */
  async apply(...manifests: readonly object[]): Promise<void> {
    await this.plane.kubectl(
      ["apply", "-f", "-"],
      manifests.map((manifest) => JSON.stringify(manifest)).join("\n---\n"),
    );
  }

  /** One object, as JSON; undefined if there is none. A namespaced one lies in "default". */
  async get<T extends KubeObject>(plural: Plural, name: string): Promise<T | undefined> {
    const resource: Resource = RESOURCES[plural];
    const key = resource.namespaced ? { name, namespace: "default" } : { name };
    try {
      return await this.#client.get<T>(resource, key);
    } catch (error) {
      if (isApiError(error, "NotFound")) return undefined;
      throw error;
    }
  }

  /** All objects of a kind, in all namespaces. */
  async list<T extends KubeObject>(plural: Plural): Promise<T[]> {
    return (await this.#client.list<T>(RESOURCES[plural])).items;
  }

  /** Ends every process; `keepLogs` leaves the directory for a look. */
  async stop(options: { keepLogs?: boolean } = {}): Promise<void> {
    await Promise.allSettled(this.machines.map((machine) => machine.stop()));
    await Promise.allSettled([...this.roads.values()].map((road) => road.close()));
    await Promise.allSettled([...this.managers, ...this.gateways].map((service) => service.kill()));
    await this.#client.close();
    await Promise.allSettled([this.mirror.close(), this.etcd.stop(), this.plane.stop(options)]);
    this.#cleanup.forget();
    if (options.keepLogs === true) process.stderr.write(`slipway: logs are kept in ${this.directory}\n`);
    else rmSync(this.directory, { recursive: true, force: true, maxRetries: 3 });
  }
}
