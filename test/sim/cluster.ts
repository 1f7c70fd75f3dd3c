/** What surrounds Slipway in the cluster: kubelets, the node controller, workloads with a disruption budget. */
import { INFRASTRUCTURE_LABEL } from "../../api/labels.ts";
import type { KubeObject } from "../../api/meta.ts";
import { ApiError } from "../../runtime/client.ts";
import type { Lease, Node, Pod } from "../../runtime/core.ts";
import type { SimApiServer, Stored } from "./api-server.ts";
import type { SimClock } from "./clock.ts";
import type { SimMachine } from "./machine.ts";
import type { SeededRandom } from "./random.ts";

/** Milliseconds. */
const HEARTBEAT = 10_000;
/** Without a renewed Lease a node is not Ready (kube-controller-manager: --node-monitor-grace-period). */
const GRACE = 40_000;
const NODE_MONITOR = 5000;
/** A Pod that was evicted is scheduled anew after this long, and Ready after as long again. */
const RESCHEDULE = 4000;
/** Pods of a node that is away are moved after this (a short tolerationSeconds). */
const TOLERATION = 90_000;

export const ZONE_LABEL = "topology.kubernetes.io/zone";
/** Slipway's own, and that of every Pod. */
export const NAMESPACE = "slipway";
const NODE_LEASES = "kube-node-lease";

export interface ClusterOptions {
  sim: SimClock;
  api: SimApiServer;
  random: SeededRandom;
  /** Whether the kubelet of the machine can be Ready. */
  ready: (machine: SimMachine) => boolean;
  /** A gateway's Pod came to run on the machine, or stopped. */
  gateway: (name: string, runs: boolean) => void;
}

interface Workload {
  /** Name of the Pod. */
  name: string;
  labels: Record<string, string>;
  /** It runs there where it can. */
  home: string | undefined;
}

export class Cluster {
  readonly #options: ClusterOptions;
  readonly #machines = new Map<string, SimMachine>();
  readonly #workloads: Workload[] = [];
  /** Pods that may be away at once. */
  minAvailable = 0;
  /** How long the API server has answered, in whole monitor periods. */
  #answeredSince = 0;
  readonly #awaySince = new Map<string, number>();

  constructor(options: ClusterOptions) {
    this.#options = options;
    options.api.evictionPolicy = (pod) => this.#refusal(pod);
    this.#every(NODE_MONITOR, () => this.#monitor());
    this.#every(RESCHEDULE, () => this.#schedule());
  }

  join(machine: SimMachine, infrastructure: boolean): void {
    this.#machines.set(machine.name, machine);
    let life = 0;
    machine.onPower = (up) => {
      const mine = ++life;
      for (const pod of this.#podsOn(machine.name)) this.#setReady(pod, up);
      if (!up) return;
      const beat = (first: boolean): void => {
        if (mine !== life || machine.power !== "up") return;
        this.#heartbeat(machine, infrastructure, first);
        this.#options.sim.at(HEARTBEAT, () => beat(false));
      };
      this.#options.sim.at(1000 + this.#options.random.below(6000), () => beat(true));
    };
  }

  /** A workload of one Pod, which is scheduled anew when it was evicted. */
  run(name: string, labels: Record<string, string>, home?: string): void {
    this.#workloads.push({ name, labels, home });
  }

  /** Whether a Pod that nobody may evict is on the node. */
  guarded(node: string): boolean {
    return this.#podsOn(node).some(({ metadata }) => metadata.labels?.["app"] === "guarded");
  }

  /** Whether there are Pods on the node, and none of them could be evicted now. */
  blocked(node: string): boolean {
    const pods = this.#podsOn(node).filter(({ metadata }) => metadata.labels?.["app"] !== undefined);
    return pods.length > 0 && pods.every((pod) => this.#refusal(pod as unknown as Stored) !== undefined);
  }

  #every(period: number, work: () => void): void {
    this.#options.sim.at(period, () => {
      work();
      this.#every(period, work);
    });
  }

  #heartbeat(machine: SimMachine, infrastructure: boolean, first: boolean): void {
    const { api, ready, sim } = this.#options;
    if (api.faults.down) return;
    const now = new Date(sim.wall).toISOString();
    const known = api.peek<Node>("nodes", machine.name);
    if (known === undefined && !first) return;
    if (known === undefined) {
      const labels: Record<string, string> = { pool: "harbor", [ZONE_LABEL]: machine.zone };
      if (infrastructure) labels[INFRASTRUCTURE_LABEL] = "true";
      api.put("nodes", { apiVersion: "v1", kind: "Node", metadata: { name: machine.name, labels } });
    }
    const lease: Lease = {
      apiVersion: "coordination.k8s.io/v1",
      kind: "Lease",
      metadata: { name: machine.name, namespace: NODE_LEASES },
      spec: { holderIdentity: machine.name, renewTime: now, leaseDurationSeconds: 40 },
    };
    api.put("leases", lease);
    this.#setNodeReady(machine.name, ready(machine) ? "True" : "False", machine.bootId);
  }

  #setNodeReady(name: string, status: string, bootId: string | undefined): void {
    const { api, sim } = this.#options;
    const node = api.peek<Node>("nodes", name);
    if (node === undefined) return;
    const before = node.status?.conditions?.find(({ type }) => type === "Ready");
    const told = node.status?.nodeInfo?.bootID;
    if (before?.status === status && (bootId === undefined || told === bootId)) return;
    const time = new Date(sim.wall).toISOString();
    const condition = { type: "Ready", status, lastHeartbeatTime: time, lastTransitionTime: time };
    api.edit<Node>("nodes", name, (object) => {
      object.status = { ...object.status, conditions: [condition] };
      const info = { bootID: bootId ?? told ?? "", machineID: "", osImage: "", architecture: "amd64" };
      object.status.nodeInfo = info;
    });
  }

  /** The node controller. */
  #monitor(): void {
    const { api, sim } = this.#options;
    if (api.faults.down) {
      this.#answeredSince = sim.time;
      return;
    }
    for (const node of api.all<Node>("nodes")) {
      const { name } = node.metadata;
      const lease = api.peek<Lease>("leases", name, NODE_LEASES);
      const renewed = Date.parse(lease?.spec?.renewTime ?? "") || 0;
      const silent = sim.wall - Math.max(renewed, sim.wall - sim.time + this.#answeredSince);
      if (silent > GRACE) this.#setNodeReady(name, "Unknown", undefined);
    }
  }

  /** Deployment, scheduler and Pod garbage collection in one. */
  #schedule(): void {
    const { api, sim, random } = this.#options;
    if (api.faults.down) return;
    const nodes = api
      .all<Node>("nodes")
      .filter(({ spec, status }) => spec?.unschedulable !== true && isReady(status?.conditions));
    for (const workload of this.#workloads) {
      const pod = api.peek<Pod>("pods", workload.name, NAMESPACE);
      if (pod !== undefined) {
        this.#keep(workload, pod);
        continue;
      }
      const home = nodes.filter(({ metadata }) => metadata.name === workload.home);
      const places = home.length > 0 ? home : nodes;
      if (places.length === 0) continue;
      const spec = { nodeName: random.pick(places).metadata.name };
      const metadata = { name: workload.name, namespace: NAMESPACE, labels: workload.labels };
      const ready = { phase: "Running", conditions: [{ type: "Ready", status: "False" }] };
      const made = { apiVersion: "v1", kind: "Pod", metadata, spec, status: ready } as KubeObject;
      api.put("pods", made);
      const { uid } = api.peek<Pod>("pods", workload.name, NAMESPACE)?.metadata ?? {};
      sim.at(RESCHEDULE, () => {
        const now = api.peek<Pod>("pods", workload.name, NAMESPACE);
        if (now?.metadata.uid === uid && now !== undefined)
          this.#setReady(now, this.#machines.get(spec.nodeName)?.power === "up");
      });
    }
  }

  /** Moves the Pod of a node that is gone, or has been away too long. */
  #keep({ name, home }: Workload, pod: Pod): void {
    const { api, sim } = this.#options;
    const node = api.peek<Node>("nodes", pod.spec?.nodeName ?? "");
    const here = node !== undefined && isReady(node.status?.conditions);
    if (here) this.#awaySince.delete(name);
    const since = this.#awaySince.get(name) ?? sim.time;
    if (!here) this.#awaySince.set(name, since);
    if (node !== undefined && (home === node.metadata.name || sim.time - since < TOLERATION)) return;
    this.#awaySince.delete(name);
    this.#setReady(pod, false);
    api.remove("pods", name, NAMESPACE);
  }

  #podsOn(node: string): Pod[] {
    return this.#options.api.all<Pod>("pods").filter(({ spec }) => spec?.nodeName === node);
  }

  #setReady(pod: Pod, ready: boolean): void {
    const { api, gateway } = this.#options;
    const { name } = pod.metadata;
    api.edit<Pod>(
      "pods",
      name,
      (object) => {
        object.status = {
          ...object.status,
          conditions: [{ type: "Ready", status: ready ? "True" : "False" }],
        };
      },
      NAMESPACE,
    );
    if (name.startsWith("gateway-")) gateway(name, ready);
  }

  #refusal(pod: Stored): string | ApiError | undefined {
    if (pod.metadata.labels?.["app"] === "guarded") {
      return new ApiError("Forbidden", "the webhook of somebody else denies it", { status: 403 });
    }
    if (pod.metadata.labels?.["app"] !== "web") return undefined;
    const web = this.#options.api
      .all<Pod>("pods")
      .filter(({ metadata }) => metadata.labels?.["app"] === "web");
    const ready = web.filter(({ status }) => isReady(status?.conditions));
    const self = ready.some(({ metadata }) => metadata.uid === pod.metadata.uid);
    if (!self || ready.length > this.minAvailable) return undefined;
    return "Cannot evict pod as it would violate the pod's disruption budget.";
  }
}

function isReady(conditions: readonly { type: string; status: string }[] | undefined): boolean {
  return conditions?.some(({ type, status }) => type === "Ready" && status === "True") === true;
}
