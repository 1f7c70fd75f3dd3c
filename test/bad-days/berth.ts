/** A group of its own for some of a cluster's machines, so that several bad days share one cluster at one time. */
import { HOLD_ANNOTATION } from "../../api/labels.ts";
import { API_VERSION, type KubeObject } from "../../api/meta.ts";
import type { NodeUpdate } from "../../api/node-update.ts";
import type { UpdateGroup } from "../../api/update-group.ts";
import type { Defect } from "../../hack/cluster/foundry.ts";
import type { MachineHandle } from "../../hack/cluster/machines.ts";
import { observe } from "../../hack/cluster/observer.ts";
import { breaches, type Limits } from "./breach.ts";
import { board, type Day } from "./day.ts";
import { disruptionBudget, pinned } from "./pods.ts";

type Manifest = KubeObject & { spec: object };

export class Berth {
  readonly name: string;
  readonly nodes: readonly string[];
  readonly #day: Day;

  /** `name` becomes that of its group and of its channel. */
  constructor(day: Day, name: string, nodes: readonly string[]) {
    this.#day = day;
    this.name = name;
    this.nodes = nodes;
  }

  machine(node: string): MachineHandle {
    return this.#day.cluster.machine(node);
  }

  /** Applies the group: one node at a time, short deadlines, and `spec` on top. `labels` choose its windows; any time if absent. */
  async declare(spec: Record<string, unknown> = {}, labels: Record<string, string> = anyTime): Promise<void> {
    const { cluster } = this.#day;
    const group: Manifest = {
      apiVersion: API_VERSION,
      kind: "UpdateGroup",
      metadata: { name: this.name, labels },
      spec: {
        nodeSelector: {
          matchExpressions: [{ key: "kubernetes.io/hostname", operator: "In", values: this.nodes }],
        },
        channel: this.name,
        windows: "OnlyInWindows",
        drain: { timeout: "60s" },
        health: {
          bootChecks: [
            { name: "harbor", http: `http://localhost:${cluster.servicePort}/healthz`, timeout: "2s" },
          ],
          bootDeadline: "8s",
          rebootTime: "15s",
          releaseDeadline: "60s",
        },
        ...spec,
      },
    };
    await cluster.apply(group);
  }

  async patch(spec: Record<string, unknown>): Promise<void> {
    const body = JSON.stringify({ spec });
    await this.kubectl("patch", "updategroup", this.name, "--type=merge", "-p", body);
  }

  /** Sets an annotation, or removes it where `value` is undefined. */
  async annotate(kind: string, name: string, annotation: string, value: string | undefined): Promise<void> {
    const change = value === undefined ? `${annotation}-` : `${annotation}=${value}`;
    await this.kubectl("annotate", "--overwrite", kind, name, change);
  }

  /** Keeps a node out, with a reason, or lets it take part again. */
  async hold(node: string, reason: string | undefined): Promise<void> {
    await this.annotate("node", node, HOLD_ANNOTATION, reason);
  }

  async kubectl(...args: string[]): Promise<string> {
    return await this.#day.cluster.plane.kubectl(args);
  }

  /** Starts Pods that only `node` can run: one that may leave, and one that its PodDisruptionBudget never lets go. */
  async block(node: string): Promise<void> {
    const kept = `kept-${node}`;
    const free = `free-${node}`;
    const { cluster } = this.#day;
    await cluster.apply(pinned(free, node), pinned(kept, node), disruptionBudget(kept, { app: kept }, 0));
    await this.kubectl("rollout", "status", "--timeout=60s", `deployment/${free}`, `deployment/${kept}`);
    await this.#day.waitFor(`the PodDisruptionBudget ${kept} counts its Pod`, async () => {
      const budget = await cluster.get<KubeObject & { status?: { currentHealthy?: number } }>(
        "poddisruptionbudgets",
        kept,
      );
      return budget?.status?.currentHealthy === 1;
    });
  }

  /** Ends what `block` began. */
  async unblock(node: string): Promise<void> {
    await this.kubectl("delete", "pdb", `kept-${node}`);
    await this.kubectl("delete", "deployment", `kept-${node}`, `free-${node}`);
  }

  /** Sentences about disruptions of these machines that should not have begun. */
  breaches(limits: Limits): string[] {
    return breaches(observe(this.nodes.map((node) => this.machine(node))).outages, limits);
  }

  /** Makes `version`, and lets the channel point at it. `urls` gives mirrors for the URL of a good one. */
  async publish(
    version: string,
    options: { defect?: Defect; urls?: (good: string) => string[] } = {},
  ): Promise<void> {
    const { defect, urls = (good) => [good] } = options;
    const { manifest } = await this.#day.cluster.foundry.release(version, defect);
    for (const { image, manifest: blocks } of manifest.spec.payloads) {
      for (const blob of [image, blocks]) blob.urls = blob.urls.flatMap(urls);
    }
    await this.#day.cluster.apply(manifest);
    await this.point(manifest.metadata.name);
  }

  /** Lets the channel point at `release`. */
  async point(release: string): Promise<void> {
    await this.#day.cluster.apply(channelOf(this.name, release));
  }

  async group(): Promise<UpdateGroup | undefined> {
    return await this.#day.cluster.get<UpdateGroup>("updategroups", this.name);
  }

  async nodeUpdates(): Promise<NodeUpdate[]> {
    return (await this.#day.nodeUpdates()).filter(({ spec }) => spec.group === this.name);
  }

  /** Name of the NodeUpdate of `node`: a plain machine's follows from its id. */
  updateOf(node: string): string {
    const { kubeconfig, machineId } = this.machine(node).config;
    return kubeconfig === undefined ? `machine-${machineId.slice(0, 12)}` : node;
  }

  /** Waits until the NodeUpdate of `node` is as asked; its last state is part of the failure. */
  async until(node: string, what: string, condition: (update: NodeUpdate) => boolean): Promise<NodeUpdate> {
    let last: NodeUpdate | undefined;
    try {
      await this.#day.waitFor(`${node} ${what}`, async () => {
        last = await this.#day.nodeUpdate(this.updateOf(node));
        return last !== undefined && condition(last);
      });
    } catch (error) {
      throw new Error(`${String(error)}\n${board(last === undefined ? [] : [last])}`, { cause: error });
    }
    if (last === undefined) throw new Error(`there is no NodeUpdate ${node}`);
    return last;
  }

  /** Waits until every node but `except` runs `version`, verified, and holds no slot. */
  async done(version: string, except: readonly string[] = []): Promise<void> {
    for (const node of this.nodes.filter((name) => !except.includes(name))) {
      await this.until(
        node,
        `runs ${version}`,
        ({ status }) => status?.running === version && status.step === "Idle" && status.grant === undefined,
      );
    }
  }
}

/** What the window "any-time" selects. */
const anyTime = { tier: "harbor" };

function channelOf(name: string, release: string): Manifest {
  return { apiVersion: API_VERSION, kind: "Channel", metadata: { name }, spec: { release } };
}
