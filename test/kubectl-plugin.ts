/** The plugin on the PATH of a kubectl, and a small fleet of declared objects. No manager runs: what one would write, the tests write. */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { afterAll, beforeAll, inject } from "vitest";
import type { NodeUpdate, NodeUpdateStatus } from "../api/node-update.ts";
import { buildScript } from "../hack/kubectl-plugin/build.ts";
import { tool } from "../hack/tools.ts";
import type { Node } from "../runtime/core.ts";

export interface Run {
  code: number;
  out: string;
  err: string;
}

const API = "slipway.dev/v1alpha1";

/** RFC 3339, so many hours from now. */
export function soon(hours: number): string {
  return new Date(Date.now() + hours * 3_600_000).toISOString().replace(/\.\d{3}Z/, "Z");
}

/** A node that has everything but its turn. */
export const staged: NodeUpdateStatus = {
  architecture: "amd64",
  running: "1.0.0",
  runningRootHash: "a".repeat(64),
  target: "1.1.0",
  staged: "1.1.0",
  step: "Staged",
  reason: "WaitingForWindow",
  message: "No window is open.",
  since: soon(-1),
  connected: true,
};

/** kubectl with the plugin. */
export class Plugin {
  folder = "";
  kubectl = "";

  #environment(): Record<string, string> {
    const path = [
      join(this.folder, "bin"),
      dirname(this.kubectl),
      dirname(process.execPath),
      "/usr/bin",
      "/bin",
    ];
    return { HOME: this.folder, PATH: path.join(delimiter), KUBECONFIG: inject("kubeconfig") };
  }

  /** Goes on until it is killed; `onLine` is given what it writes. */
  start(args: readonly string[], onLine: (line: string) => void): ChildProcess {
    const child = spawn(this.kubectl, [...args], {
      env: this.#environment(),
      stdio: ["ignore", "pipe", "inherit"],
    });
    createInterface({ input: child.stdout }).on("line", onLine);
    return child;
  }

  run(args: readonly string[], options: { input?: string; env?: Record<string, string> } = {}): Promise<Run> {
    const env = { ...this.#environment(), ...options.env };
    return new Promise((fulfil) => {
      const child = execFile(this.kubectl, [...args], { env, timeout: 50_000 }, (error, out, err) => {
        fulfil({ code: error === null ? 0 : typeof error.code === "number" ? error.code : -1, out, err });
      });
      child.stdin?.end(options.input ?? "");
    });
  }

  slipway(...args: string[]): Promise<Run> {
    return this.run(["slipway", ...args]);
  }

  /** Standard output; throws where kubectl fails. */
  async done(...args: string[]): Promise<string> {
    const { code, out, err } = await this.run(args);
    if (code !== 0) throw new Error(`kubectl ${args.join(" ")}: ${err}`);
    return out;
  }

  async get<T>(kind: string, name: string): Promise<T> {
    return JSON.parse(await this.done("get", kind, name, "-o", "json")) as T;
  }

  async apply(...objects: readonly object[]): Promise<void> {
    const input = JSON.stringify({ apiVersion: "v1", kind: "List", items: objects });
    const { code, err } = await this.run(["apply", "-f", "-"], { input });
    if (code !== 0) throw new Error(err);
  }

  async setStatus(kind: string, name: string, status: object): Promise<void> {
    const patch = JSON.stringify({ status });
    await this.done("patch", kind, name, "--subresource=status", "--type=merge", "-p", patch);
  }
}

function releaseOf(fleet: string, version: string, rootHash: string): object {
  const blob = { urls: ["https://mirror.example/os"], size: 1, sha256: rootHash };
  const payloads = [{ architecture: "amd64", image: blob, manifest: blob, rootHash }];
  return {
    apiVersion: API,
    kind: "Release",
    metadata: { name: `${fleet}-${version}` },
    spec: { version, product: fleet, payloads },
  };
}

/**
 * Builds the plugin before the file's first test, and declares `fleet`: Nodes FLEET-1 (staged, waits for a
 * window) and FLEET-alone (in no group), a plain machine of id `machineId`, releases FLEET-1.0.0 and
 * FLEET-1.1.0, and channel, group and window of that name. All of it goes after the last test.
 */
export function pluginWith(fleet: string, machineId: string): Plugin {
  const plugin = new Plugin();
  const machine = `machine-${machineId.slice(0, 12)}`;
  const labels = { fleet };
  const objects = [
    { apiVersion: "v1", kind: "Node", metadata: { name: `${fleet}-1`, labels } },
    { apiVersion: "v1", kind: "Node", metadata: { name: `${fleet}-alone` } },
    releaseOf(fleet, "1.0.0", "a".repeat(64)),
    releaseOf(fleet, "1.1.0", "b".repeat(64)),
    { apiVersion: API, kind: "Channel", metadata: { name: fleet }, spec: { release: `${fleet}-1.1.0` } },
    {
      apiVersion: API,
      kind: "UpdateGroup",
      metadata: { name: fleet, labels },
      spec: { nodeSelector: { matchLabels: labels }, channel: fleet, windows: "OnlyInWindows" },
    },
    {
      apiVersion: API,
      kind: "RebootWindow",
      metadata: { name: fleet },
      spec: { start: "02:00", duration: "2h", groupSelector: { matchLabels: labels } },
    },
  ];

  beforeAll(async () => {
    plugin.kubectl = await tool("kubectl");
    plugin.folder = mkdtempSync(join(tmpdir(), "slipway-plugin-"));
    await buildScript(plugin.folder);
    await plugin.apply(...objects);
    const node = await plugin.get<Node>("node", `${fleet}-1`);
    const specs = {
      [`${fleet}-1`]: {
        nodeName: `${fleet}-1`,
        nodeUID: node.metadata.uid,
        group: fleet,
        release: `${fleet}-1.1.0`,
      },
      [machine]: { machineRef: { machineId }, group: fleet },
    };
    await plugin.apply(
      ...Object.entries(specs).map(([name, spec]) => ({
        apiVersion: API,
        kind: "NodeUpdate",
        metadata: { name },
        spec,
      })),
    );
    const { metadata } = await plugin.get<NodeUpdate>("nodeupdate", `${fleet}-1`);
    await plugin.setStatus("nodeupdate", `${fleet}-1`, {
      ...staged,
      observedGeneration: metadata.generation,
    });
    const counts = { nodes: 2, limit: 1, unavailable: 0 };
    await plugin.setStatus("updategroup", fleet, {
      observedGeneration: 1,
      target: `${fleet}-1.1.0`,
      ...counts,
    });
    await plugin.setStatus("channel", fleet, { current: `${fleet}-1.1.0`, previous: `${fleet}-1.0.0` });
    const nextOpenings = [
      { start: soon(3), end: soon(5) },
      { start: soon(27), end: soon(29) },
    ];
    await plugin.setStatus("rebootwindow", fleet, { open: false, next: soon(3), nextOpenings });
  });

  afterAll(async () => {
    for (const [kind, ...names] of [
      ["node", `${fleet}-1`, `${fleet}-alone`],
      ["nodeupdate", `${fleet}-1`, machine],
      ["updategroup", fleet],
      ["channel", fleet],
      ["rebootwindow", fleet],
      ["release", `${fleet}-1.0.0`, `${fleet}-1.1.0`],
    ] as const)
      await plugin.run(["delete", kind, ...names, "--ignore-not-found"]);
    rmSync(plugin.folder, { recursive: true, force: true });
  });
  return plugin;
}
