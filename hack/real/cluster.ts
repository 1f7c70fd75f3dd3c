/**
 * A cluster of machines that run real containers: a control plane, DNS and a mirror in the box,
 * and nodes with a kubelet, a container runtime and a disk with slots each. It is started by a
 * process inside of the box (see box.ts), which reaches Pods, Services and nodes at their addresses.
 */
import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { POOL_LABEL } from "../cluster/cluster.ts";
import { Foundry } from "../cluster/foundry.ts";
import { MachineHandle, machineIdOf } from "../cluster/machines.ts";
import { type Mirror, startMirror } from "../cluster/mirror.ts";
import { type Plane, startPlane } from "../plane/plane.ts";
import { Child } from "../plane/process.ts";
import { waitUntil } from "../plane/wait.ts";
import { tools } from "../tools.ts";
import { boxFacts } from "./box.ts";
import { PAUSE_IMAGE } from "./images.ts";
import { API_PORT, BOX_ADDRESS, CLUSTER_DOMAIN, placeOf, SERVICE_RANGE } from "./network.ts";
import { writeNodeFiles } from "./node-files.ts";
import { plant, seed } from "./seed.ts";

export interface RealClusterOptions {
  machines: readonly { name: string; zone: string }[];
  onProgress?: (line: string) => void;
}

/** Port of harbor.service on every node. */
export const SERVICE_PORT = 9080;
/** The version in slot A at the beginning. */
export const FIRST_VERSION = "1.0.0";
const NODES_READY_WITHIN = 60_000;
const NODE_PROGRAMS = ["containerd", "containerd-shim-runc-v2", "ctr", "kubelet", "kube-proxy"] as const;

export class RealCluster {
  readonly directory: string;
  readonly plane: Plane;
  readonly mirror: Mirror;
  readonly foundry: Foundry;
  readonly machines: MachineHandle[] = [];
  #dns: Child | undefined;

  private constructor(directory: string, plane: Plane, mirror: Mirror, foundry: Foundry) {
    this.directory = directory;
    this.plane = plane;
    this.mirror = mirror;
    this.foundry = foundry;
  }

  static async start(options: RealClusterOptions): Promise<RealCluster> {
    const progress = options.onProgress ?? (() => undefined);
    const facts = boxFacts();
    // One box may have several clusters, one after the other.
    const directory = mkdtempSync(join(facts.directory, "cluster-"));
    const images = join(directory, "images");
    mkdirSync(images, { recursive: true });
    const quiet = { onProgress: progress };
    const programs = await tools([...NODE_PROGRAMS, "coredns"], quiet);
    const [plane, mirror, planted] = await Promise.all([
      startPlane({
        components: ["kube-controller-manager", "kube-scheduler"],
        endpoint: { address: BOX_ADDRESS, port: API_PORT },
        ...quiet,
      }),
      startMirror(images, BOX_ADDRESS),
      seed(facts.images, progress),
    ]);
    progress("control plane is ready");
    const noAgent = async (): Promise<Buffer> => Buffer.from("The agent is a Pod.\n");
    const cluster = new RealCluster(directory, plane, mirror, new Foundry(images, mirror.url, noAgent));
    try {
      const { coredns, ...onNodes } = programs;
      await Promise.all([
        cluster.#startDns(coredns),
        cluster.#powerOn(options.machines, Object.values(onNodes), planted),
      ]);
      await cluster.nodesReady();
      progress(`${options.machines.length} nodes are Ready`);
      return cluster;
    } catch (error) {
      await cluster.stop();
      throw error;
    }
  }

  async #startDns(program: string): Promise<void> {
    const kubeconfig = await this.plane.kubeconfigFor({ name: "coredns", groups: ["system:masters"] });
    const corefile = join(this.directory, "Corefile");
    writeFileSync(
      corefile,
      `. {
  bind ${BOX_ADDRESS}
  errors
  health ${BOX_ADDRESS}:8080
  kubernetes ${CLUSTER_DOMAIN} in-addr.arpa {
    kubeconfig ${kubeconfig}
    ttl 1
  }
}
`,
    );
    this.#dns = await Child.start({
      name: "coredns",
      command: program,
      args: ["-conf", corefile],
      logFile: join(this.directory, "coredns.log"),
      env: { PATH: process.env["PATH"] },
    });
  }

  async #powerOn(
    specs: RealClusterOptions["machines"],
    programs: readonly string[],
    planted: string,
  ): Promise<void> {
    const facts = boxFacts();
    const trust = await this.foundry.writeTrust(join(this.directory, "trust.json"));
    const first = await this.foundry.release(FIRST_VERSION);
    const places = specs.map((_, index) => placeOf(index));
    const proxy = await this.plane.kubeconfigFor({ name: "system:kube-proxy", groups: [] });
    await Promise.all(
      specs.map(async ({ name, zone }, index) => {
        const place = placeOf(index);
        const directory = join(this.directory, "m", String(index));
        const settings = join(directory, "etc");
        mkdirSync(directory, { recursive: true });
        const node = { name: `system:node:${name}`, groups: ["system:nodes"] };
        const kubeconfig = await this.plane.kubeconfigFor(node);
        writeNodeFiles(settings, {
          name,
          place,
          ca: this.plane.ca,
          serving: await this.plane.certificateFor(node, [place.address, name]),
          kubelet: readFileSync(kubeconfig, "utf8"),
          kubeProxy: readFileSync(proxy, "utf8"),
          trust: readFileSync(trust, "utf8"),
          pause: PAUSE_IMAGE,
        });
        const machine = new MachineHandle({
          name,
          directory,
          machineId: machineIdOf(name),
          zone,
          address: place.address,
          servicePort: SERVICE_PORT,
          gateway: "",
          gatewayCa: "",
          trust,
          kubeconfig,
          labels: { [POOL_LABEL]: "harbor" },
          driver: "fastpatch",
          node: {
            slice: `${facts.cgroup}/${name}`,
            hierarchies: facts.hierarchies,
            cable: place.cable,
            routes: [
              ...places
                .filter(({ address }) => address !== place.address)
                .map(({ address, podRange }) => `${podRange}=${address}`),
              // A process on the host needs some route to a Service, before kube-proxy turns its packets to a Pod.
              `${SERVICE_RANGE}=${BOX_ADDRESS}`,
            ],
            settings,
            programs: [...programs, process.execPath],
          },
          bootTime: 300,
          offTime: 700,
        });
        await Promise.all([
          this.foundry.installFirst(machine.paths.disk, first),
          plant(planted, join(directory, "var/lib/containerd")),
          // The box itself reaches Pods too.
          promisify(execFile)("ip", ["route", "replace", place.podRange, "via", place.address]),
        ]);
        await machine.start();
        this.machines.push(machine);
        await machine.powerOn();
      }),
    );
    this.machines.sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** Waits until all Nodes are Ready. */
  async nodesReady(): Promise<void> {
    const nodes = this.machines.map(({ name }) => `node/${name}`);
    await waitUntil(
      async () => {
        const args = ["wait", "--for=condition=Ready", "--timeout=5s", ...nodes];
        const lines = (await this.plane.kubectl(args)).split("\n");
        return lines.filter((line) => line.includes("condition met")).length === nodes.length;
      },
      { what: "all Nodes are Ready", deadline: NODES_READY_WITHIN, interval: 250 },
    );
  }

  machine(name: string): MachineHandle {
    const machine = this.machines.find((each) => each.name === name);
    if (machine === undefined) throw new Error(`there is no machine ${name}`);
    return machine;
  }

  /** Standard output of kubectl as admin. */
  kubectl(args: readonly string[], stdin?: string): Promise<string> {
    return this.plane.kubectl(args, stdin);
  }

  /** Ends every process; the files go with the box. */
  async stop(): Promise<void> {
    await Promise.allSettled(this.machines.map((machine) => machine.stop()));
    await Promise.allSettled([this.#dns?.kill(), this.mirror.close(), this.plane.stop()]);
  }
}
