/** Three real nodes with a workload and its client, on which Slipway is installed: what the tests of an installation share. */
import { expect } from "vitest";
import type { NodeUpdate } from "../../api/node-update.ts";
import type { UpdateGroup } from "../../api/update-group.ts";
import { NAMESPACE } from "../../hack/chart/golden.ts";
import { channel } from "../../hack/demo/manifests.ts";
import { waitUntil } from "../../hack/plane/wait.ts";
import { RealCluster } from "../../hack/real/cluster.ts";
import { Installation, localVolumes } from "../../hack/real/installation.ts";
import type { Node } from "../../runtime/core.ts";
import { Client } from "./client.ts";
import { GROUP, WORKER } from "./examples.ts";
import { disruptionBudget, service, webDeployment } from "./manifests.ts";

export const NODES = ["node-1", "node-2", "node-3"];
const ROLLOUT_WITHIN = 9 * 60_000;
const LOOK_EVERY = 1_000;

export const say = (line: string): void => void process.stderr.write(`${new Date().toISOString()} ${line}\n`);

export class Fleet {
  readonly cluster: RealCluster;
  readonly slipway: Installation;
  readonly client: Client;
  /** Seconds that each part took. */
  readonly took: Record<string, number> = {};

  private constructor(cluster: RealCluster) {
    this.cluster = cluster;
    this.slipway = new Installation(cluster);
    this.client = new Client();
  }

  static async start(): Promise<Fleet> {
    const machines = NODES.map((name, index) => ({ name, zone: ["east", "north", "west"][index] ?? "" }));
    const fleet = new Fleet(await RealCluster.start({ machines, onProgress: say }));
    try {
      const { cluster } = fleet;
      await fleet.apply(
        ...localVolumes(NODES),
        webDeployment("web", 3),
        disruptionBudget("web"),
        service("web"),
      );
      await cluster.kubectl(["label", "nodes", "--all", WORKER]);
      await cluster.kubectl(["rollout", "status", "deployment/web", "--timeout=150s"]);
      fleet.client.start(cluster.plane.kubeconfig, "web");
      return fleet;
    } catch (error) {
      await fleet.stop();
      throw error;
    }
  }

  async stop(): Promise<void> {
    await this.client.stop();
    await this.cluster.stop();
  }

  /** What there is to see after a failure. */
  async tellAll(): Promise<void> {
    const looks = [
      ["get", "pods", "--all-namespaces", "-o", "wide"],
      ["get", "nodeupdates,updategroups", "-o", "wide"],
      ...["manager", "gateway", "agent"].map((component) => [
        ...["logs", "--namespace", NAMESPACE, "--prefix", "--tail=30"],
        ...["-l", `app.kubernetes.io/component=${component}`],
      ]),
    ];
    for (const look of looks) say(await this.cluster.kubectl(look).catch(String));
  }

  async timed(part: string, work: () => Promise<unknown>): Promise<void> {
    const begin = performance.now();
    await work();
    this.took[part] = Math.round((performance.now() - begin) / 100) / 10;
    say(`${part}: ${this.took[part]} s`);
  }

  async apply(...items: readonly object[]): Promise<void> {
    const list = { apiVersion: "v1", kind: "List", items };
    await this.cluster.kubectl(["apply", "-f", "-"], JSON.stringify(list));
  }

  async list<T>(...args: string[]): Promise<T[]> {
    const text = await this.cluster.kubectl(["get", ...args, "-o", "json"]);
    return (JSON.parse(text) as { items: T[] }).items;
  }

  /** Publishes a release, and points the channel at it. */
  async promote(version: string, defect?: "service"): Promise<void> {
    const { manifest } = await this.cluster.foundry.release(version, defect);
    await this.apply(manifest, channel(manifest.metadata.name));
  }

  /** Changes fields of the group's spec; a list takes the place of the one there. */
  async patchGroup(spec: object): Promise<void> {
    const patch = JSON.stringify({ spec });
    await this.cluster.kubectl(["patch", "updategroup", GROUP, "--type=merge", "--patch", patch]);
  }

  /** Waits, and tells each step of each node once. */
  async follow(
    what: string,
    done: (nodes: readonly NodeUpdate[]) => boolean | Promise<boolean>,
    deadline = ROLLOUT_WITHIN,
  ): Promise<void> {
    const told = new Map<string, string>();
    await waitUntil(
      async () => {
        const nodes = await this.list<NodeUpdate>("nodeupdates");
        for (const { metadata, status } of nodes) {
          const line = `${status?.running} ${status?.step} ${status?.reason}`;
          if (told.get(metadata.name) !== line) say(`${metadata.name}: ${line}`);
          told.set(metadata.name, line);
        }
        return await done(nodes);
      },
      { what, deadline, interval: LOOK_EVERY },
    );
  }

  async group(): Promise<UpdateGroup> {
    return JSON.parse(await this.cluster.kubectl(["get", "updategroup", GROUP, "-o", "json"])) as UpdateGroup;
  }

  async halted(target: string): Promise<boolean> {
    const { status } = await this.group();
    const condition = status?.conditions?.find(({ type }) => type === "Halted");
    return status?.target === target && condition?.status === "True";
  }

  /** The first sentence of `kubectl slipway why NODE`. */
  async why(node: string): Promise<string> {
    const { code, text } = await this.slipway.plugin("why", node);
    expect(code).toBe(0);
    const [sentence = ""] = text.split("\n", 1);
    say(sentence);
    return sentence;
  }

  /** Neither a cordon nor a taint is on any Node. */
  async expectNodesFree(): Promise<void> {
    const nodes = await this.list<Node>("nodes");
    expect(nodes.map(({ spec }) => [spec?.unschedulable ?? false, spec?.taints ?? []])).toEqual(
      NODES.map(() => [false, []]),
    );
  }

  /** No request of the client failed since the last look. */
  expectNoFailure(): void {
    const failures = this.client.failures.splice(0);
    for (const failure of failures) say(`a request failed: ${failure}`);
    expect(failures).toEqual([]);
  }
}

export function runs({ status }: NodeUpdate, version: string): boolean {
  return status?.running === version && status.step === "Idle" && status.grant === undefined;
}

export function allRun(nodes: readonly NodeUpdate[], version: string): boolean {
  return nodes.length === NODES.length && nodes.every((node) => runs(node, version));
}
