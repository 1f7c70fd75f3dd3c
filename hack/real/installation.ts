/** Slipway in a cluster with real nodes as people have it: installed by Helm, looked at with `kubectl slipway`. */
import { execFile } from "node:child_process";
import { writeFileSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";
import { promisify } from "node:util";
import { bundlePlugin } from "../bundle.ts";
import { CHART, NAMESPACE } from "../chart/golden.ts";
import { tool } from "../tools.ts";
import type { RealCluster } from "./cluster.ts";
import { ETCD_IMAGE, SLIPWAY_IMAGE } from "./images.ts";

const RELEASE = "slipway";
const HELM_WITHIN = 9 * 60_000;
const PLUGIN_WITHIN = 180_000;
const MAX_OUTPUT = 16 * 1024 * 1024;

export interface Outcome {
  code: number;
  /** Standard output, then standard error. */
  text: string;
}

export class Installation {
  readonly #cluster: RealCluster;
  #bundle: Promise<string> | undefined;

  constructor(cluster: RealCluster) {
    this.#cluster = cluster;
  }

  /** Waits until everything is ready. */
  install(chart = CHART): Promise<string> {
    return this.#helm("install", RELEASE, chart, ...this.#values({}), "--create-namespace", "--wait");
  }

  /** To the present chart. `more` are values in which it differs. */
  upgrade(more: object = {}): Promise<string> {
    return this.#helm("upgrade", RELEASE, CHART, ...this.#values(more), "--wait");
  }

  /** To what was installed as `revision`, from 1. */
  rollback(revision: number): Promise<string> {
    return this.#helm("rollback", RELEASE, String(revision), "--wait");
  }

  /** Name and version of the chart that is installed. */
  async chart(): Promise<string> {
    const [release] = JSON.parse(await this.#helm("list", "--output", "json")) as [{ chart: string }];
    return release.chart;
  }

  test(): Promise<string> {
    return this.#helm("test", RELEASE, "--logs");
  }

  uninstall(): Promise<string> {
    return this.#helm("uninstall", RELEASE, "--wait");
  }

  /** `kubectl slipway ARGS`. */
  async plugin(...args: string[]): Promise<Outcome> {
    this.#bundle ??= this.#bundlePlugin();
    const all = [await this.#bundle, ...args, "--kubeconfig", this.#cluster.plane.kubeconfig];
    // A plugin has the kubectl that it is one of.
    const PATH = [dirname(await tool("kubectl")), process.env["PATH"]].join(delimiter);
    const options = { timeout: PLUGIN_WITHIN, env: { ...process.env, PATH } };
    return await new Promise((settle) => {
      execFile(process.execPath, all, options, (error, stdout, stderr) => {
        settle({ code: error === null ? 0 : Number(error.code ?? 1), text: `${stdout}${stderr}` });
      });
    });
  }

  /** As it is shipped: one file, which starts in a tenth of the time. */
  async #bundlePlugin(): Promise<string> {
    const file = join(this.#cluster.directory, "kubectl-slipway.mjs");
    await bundlePlugin(file, "esm");
    return file;
  }

  #values(more: object): string[] {
    const files = { base: chartValues(), more };
    return Object.entries(files).flatMap(([name, values]) => {
      const file = join(this.#cluster.directory, `values-${name}.json`);
      writeFileSync(file, JSON.stringify(values));
      return ["--values", file];
    });
  }

  async #helm(command: string, ...args: string[]): Promise<string> {
    const where = ["--kubeconfig", this.#cluster.plane.kubeconfig, "--namespace", NAMESPACE];
    const deadline = command === "list" ? [] : ["--timeout", `${HELM_WITHIN / 1000}s`];
    const { stdout } = await promisify(execFile)(
      await tool("helm"),
      [command, ...args, ...where, ...deadline],
      { timeout: HELM_WITHIN + 30_000, maxBuffer: MAX_OUTPUT },
    );
    return stdout;
  }
}

/** What the chart must be told of these nodes: an image of etcd that they have, and machines without systemd. */
export const NODE_VALUES = {
  etcd: { image: imageOf(ETCD_IMAGE), command: ["/usr/local/bin/etcd"] },
  agent: {
    host: { kind: "hook", hook: "/host/opt/slipway/hook" },
    extraArgs: ["--boot-id=/host/proc/sys/kernel/random/boot_id", "--cmdline=/host/proc/cmdline"],
  },
};

/** As values of the chart have it, never pulled. */
function imageOf(reference: string): object {
  const [repository, tag] = reference.split(":");
  return { repository, tag, pullPolicy: "Never" };
}

/** The defaults, but for images that are there, volumes that are there, and machines that the hook reboots. */
function chartValues(): object {
  const { etcd, agent } = NODE_VALUES;
  return {
    image: imageOf(SLIPWAY_IMAGE),
    etcd: { ...etcd, persistence: { storageClassName: STORAGE_CLASS } },
    agent: { ...agent, driver: "fastpatch", fastpatch: { disk: "/dev/sda" } },
  };
}

const STORAGE_CLASS = "local";

/** A volume for etcd on each node's own disk, which hack/real/node.sh has a folder for. */
export function localVolumes(nodes: readonly string[]): object[] {
  return [
    {
      apiVersion: "storage.k8s.io/v1",
      kind: "StorageClass",
      metadata: { name: STORAGE_CLASS },
      provisioner: "kubernetes.io/no-provisioner",
      volumeBindingMode: "WaitForFirstConsumer",
    },
    ...nodes.map((name) => ({
      apiVersion: "v1",
      kind: "PersistentVolume",
      metadata: { name },
      spec: {
        capacity: { storage: "4Gi" },
        accessModes: ["ReadWriteOnce"],
        storageClassName: STORAGE_CLASS,
        local: { path: "/var/lib/volume" },
        nodeAffinity: {
          required: {
            nodeSelectorTerms: [
              { matchExpressions: [{ key: "kubernetes.io/hostname", operator: "In", values: [name] }] },
            ],
          },
        },
      },
    })),
  ];
}
