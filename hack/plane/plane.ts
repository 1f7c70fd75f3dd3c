/**
 * A real Kubernetes control plane on the loopback interface, unprivileged, in about three
 * seconds: etcd, kube-apiserver, kube-controller-manager, kube-scheduler, and kwok in place of
 * the kubelets' work on Pods. Nodes are whoever registers one (see `PLAYED_LABEL`).
 */

import { spawn } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { request } from "node:https";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { type Tool, tools } from "../tools.ts";
import { COMPONENTS, type Component, componentArgs, type Endpoint, layout, writePki } from "./components.ts";
import type { Authority, KeyPair } from "./pki.ts";
import { freePorts, isPortTaken } from "./ports.ts";
import { Child, removeAtExit } from "./process.ts";
import { waitUntil } from "./wait.ts";

export { type Component, PLAYED_LABEL } from "./components.ts";

export interface User {
  name: string;
  groups: string[];
}

export interface Plane {
  /** Logs, certificates, kubeconfigs; removed by `stop`. */
  readonly directory: string;
  /** https://ADDRESS:PORT */
  readonly url: string;
  /** The authority's certificate, PEM. */
  readonly ca: string;
  /** Path of a kubeconfig in the group system:masters. */
  readonly kubeconfig: string;
  /** Path of a kubeconfig with a client certificate for `user`, as system:node:NAME in system:nodes. */
  kubeconfigFor(user: User): Promise<string>;
  /** A client certificate for `user`, PEM; with `hosts` it serves under those names too. */
  certificateFor(user: User, hosts?: readonly string[]): Promise<KeyPair>;
  /** Standard output of kubectl as admin; rejects with its standard error. */
  kubectl(args: readonly string[], stdin?: string): Promise<string>;
  /** Applies crds/ as they are, whatever was applied before, and waits until all of them are Established. */
  applyCrds(): Promise<void>;
  /** SIGKILL; state on disk stays. */
  kill(component: Component): Promise<void>;
  /** Starts a killed component again and waits until it serves. `binary`: path of another build of it, for this start only. */
  start(component: Component, binary?: string): Promise<void>;
  /** SIGTERM, then `start`. */
  restart(component: Component): Promise<void>;
  /** SIGSTOP: connections stay open and nothing answers. */
  pause(component: Component): void;
  resume(component: Component): void;
  /** Ends everything and removes the directory; `keepLogs` leaves it, after a failure. */
  stop(options?: { keepLogs?: boolean }): Promise<void>;
}

export interface PlaneOptions {
  /** Those beside etcd and kube-apiserver, which always run; all by default. */
  components?: readonly Component[];
  /** Where the API server listens, in a network namespace of one's own; a free port of the loopback by default. */
  endpoint?: Endpoint;
  onProgress?: (line: string) => void;
}

const LOOPBACK = "127.0.0.1";
const READY_WITHIN = 60_000;
const PORT_ATTEMPTS = 5;
const KUBECTL_DEADLINE = 60_000;
const CRDS = resolve(import.meta.dirname, "../../crds");

export async function startPlane(options: PlaneOptions = {}): Promise<Plane> {
  const wanted = COMPONENTS.filter((name) => isCore(name) || (options.components?.includes(name) ?? true));
  const paths = await tools(["kubectl", ...wanted], options);
  const directory = temporaryDirectory("plane");
  const cleanup = removeAtExit(directory);
  const plane = new LocalPlane(directory, paths, cleanup, options.endpoint);
  try {
    await plane.boot(wanted);
    return plane;
  } catch (error) {
    await plane.stop({ keepLogs: true });
    throw error;
  }
}

/** A short path, because socket addresses have room for 107 characters (unix(7)). */
export function temporaryDirectory(purpose: string): string {
  const base = tmpdir().length > 60 ? "/tmp" : tmpdir();
  return mkdtempSync(join(base, `slipway-${purpose}-`));
}

function isCore(component: Component): boolean {
  return component === "etcd" || component === "kube-apiserver";
}

class LocalPlane implements Plane {
  readonly directory: string;
  url = "";
  ca = "";
  readonly kubeconfig: string;
  readonly #layout: ReturnType<typeof layout>;
  readonly #binaries: Partial<Record<Tool, string>> & { kubectl: string };
  readonly #cleanup: { forget(): void };
  readonly #children = new Map<Component, Child>();
  readonly #issued = new Map<string, Promise<string>>();
  #authority: Authority | undefined;
  #admin: KeyPair | undefined;
  readonly #fixed: Endpoint | undefined;
  #endpoint: Endpoint = { address: LOOPBACK, port: 0 };

  constructor(
    directory: string,
    binaries: Partial<Record<Tool, string>> & { kubectl: string },
    cleanup: { forget(): void },
    endpoint: Endpoint | undefined,
  ) {
    this.directory = directory;
    this.#layout = layout(directory);
    this.kubeconfig = this.#layout.kubeconfig("admin");
    this.#binaries = binaries;
    this.#cleanup = cleanup;
    this.#fixed = endpoint;
  }

  async boot(components: readonly Component[]): Promise<void> {
    this.#authority = await writePki(this.directory, this.#fixed?.address ?? LOOPBACK);
    this.ca = this.#authority.certificate;
    this.#admin = await this.certificateFor({ name: "admin", groups: ["system:masters"] });
    await this.start("etcd");
    await this.#startServer();
    await this.#writeKubeconfig("admin", this.#admin);
    const users: Partial<Record<Component, User>> = {
      "kube-controller-manager": { name: "system:kube-controller-manager", groups: [] },
      "kube-scheduler": { name: "system:kube-scheduler", groups: [] },
      kwok: { name: "kwok", groups: ["system:masters"] },
    };
    const rest = components.filter((component) => !isCore(component));
    await Promise.all(
      rest.map(async (component) => {
        const user = users[component];
        if (user !== undefined) await this.#writeKubeconfig(component, await this.certificateFor(user));
        await this.start(component);
      }),
    );
  }

  /** The port may be taken between the look and the start; then another is tried. */
  async #startServer(): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      const [port = 0] = await freePorts(1);
      this.#endpoint = this.#fixed ?? { address: LOOPBACK, port };
      this.url = `https://${this.#endpoint.address}:${this.#endpoint.port}`;
      try {
        await this.start("kube-apiserver");
        return;
      } catch (error) {
        if (attempt >= PORT_ATTEMPTS || !isPortTaken(String(error))) throw error;
      }
    }
  }

  async start(component: Component, binary = this.#binaries[component] ?? component): Promise<void> {
    const running = this.#children.get(component);
    if (running !== undefined && running.exit === undefined) return;
    if (component === "etcd") {
      for (const socket of [this.#layout.etcdSocket, this.#layout.etcdPeerSocket])
        rmSync(socket, { force: true });
    }
    const child = await Child.start({
      name: component,
      command: binary,
      args: componentArgs(component, this.directory, this.#endpoint),
      logFile: this.#layout.log(component),
      cwd: this.directory,
      env: { PATH: process.env.PATH, HOME: this.directory },
    });
    this.#children.set(component, child);
    const condition = this.#readiness(component);
    if (condition === undefined) return;
    await waitUntil(condition.look, {
      what: condition.what,
      deadline: READY_WITHIN,
      hopeless: () => child.obituary(),
    });
  }

  #readiness(component: Component): { what: string; look: () => Promise<boolean> } | undefined {
    if (component === "kube-apiserver") {
      return {
        what: "kube-apiserver answers /readyz",
        look: async () => (await this.#get("/readyz")) === 200,
      };
    }
    if (component === "kube-controller-manager") {
      const path = "/api/v1/namespaces/default/serviceaccounts/default";
      return {
        what: "kube-controller-manager made the default service account",
        look: async () => (await this.#get(path)) === 200,
      };
    }
    // The API server waits for etcd by itself; scheduler and kwok catch up with what they missed.
    return undefined;
  }

  #get(path: string): Promise<number> {
    const admin = this.#admin;
    return new Promise((fulfil, reject) => {
      const req = request(
        `${this.url}${path}`,
        { ca: this.ca, cert: admin?.certificate, key: admin?.key, timeout: 2_000, agent: false },
        (response) => {
          response.resume();
          response.once("end", () => fulfil(response.statusCode ?? 0));
        },
      );
      req.once("timeout", () => req.destroy(new Error(`no answer to ${path} within 2 s`)));
      req.once("error", reject);
      req.end();
    });
  }

  async certificateFor(user: User, hosts: readonly string[] = []): Promise<KeyPair> {
    if (this.#authority === undefined) throw new Error("the plane has not started yet");
    return await this.#authority.issue({ commonName: user.name, organizations: user.groups, hosts });
  }

  kubeconfigFor(user: User): Promise<string> {
    const key = JSON.stringify([user.name, ...user.groups]);
    let issued = this.#issued.get(key);
    if (issued === undefined) {
      const name = `user-${this.#issued.size}-${user.name.replaceAll(/[^a-z0-9.-]/gi, "-").slice(0, 40)}`;
      issued = this.certificateFor(user).then((pair) => this.#writeKubeconfig(name, pair));
      this.#issued.set(key, issued);
    }
    return issued;
  }

  async #writeKubeconfig(name: string, pair: KeyPair): Promise<string> {
    const path = this.#layout.kubeconfig(name);
    const base64 = (text: string): string => Buffer.from(text).toString("base64");
    // JSON is YAML: no emitter is needed.
    const config = {
      apiVersion: "v1",
      kind: "Config",
      "current-context": "local",
      clusters: [
        { name: "local", cluster: { server: this.url, "certificate-authority-data": base64(this.ca) } },
      ],
      contexts: [{ name: "local", context: { cluster: "local", user: "local" } }],
      users: [
        {
          name: "local",
          user: { "client-certificate-data": base64(pair.certificate), "client-key-data": base64(pair.key) },
        },
      ],
    };
    await writeFile(path, `${JSON.stringify(config, null, 2)}\n`, { mode: 0o600 });
    return path;
  }

  kubectl(args: readonly string[], stdin?: string): Promise<string> {
    const child = spawn(
      this.#binaries.kubectl,
      ["--kubeconfig", this.kubeconfig, "--cache-dir", join(this.directory, "kubectl"), ...args],
      {
        stdio: [stdin === undefined ? "ignore" : "pipe", "pipe", "pipe"],
        timeout: KUBECTL_DEADLINE,
        env: { PATH: process.env.PATH, HOME: this.directory },
      },
    );
    return new Promise((fulfil, reject) => {
      let out = "";
      let err = "";
      child.stdout?.setEncoding("utf8").on("data", (text: string) => (out += text));
      child.stderr?.setEncoding("utf8").on("data", (text: string) => (err += text));
      child.once("error", reject);
      child.once("close", (code, signal) => {
        if (code === 0) fulfil(out);
        else reject(new Error(`kubectl ${args.join(" ")}: ${signal ?? `exit code ${code}`}: ${err.trim()}`));
      });
      child.stdin?.on("error", () => undefined);
      child.stdin?.end(stdin);
    });
  }

  async applyCrds(): Promise<void> {
    let files: string[] = [];
    try {
      files = readdirSync(CRDS).filter((file) => file.endsWith(".yaml"));
    } catch {
      // No kinds are generated yet.
    }
    if (files.length === 0) return;
    const sources = files.map((file) => `--filename=${join(CRDS, file)}`);
    await this.kubectl(["apply", "--server-side", "--force-conflicts", ...sources]);
    await this.kubectl(["wait", "--for=condition=Established", "--timeout=30s", ...sources]);
  }

  async kill(component: Component): Promise<void> {
    await this.#child(component).kill();
  }

  async restart(component: Component): Promise<void> {
    await this.#child(component).stop();
    await this.start(component);
  }

  pause(component: Component): void {
    this.#child(component).signal("SIGSTOP");
  }

  resume(component: Component): void {
    this.#child(component).signal("SIGCONT");
  }

  #child(component: Component): Child {
    const child = this.#children.get(component);
    if (child === undefined) throw new Error(`${component} is no part of this plane`);
    return child;
  }

  async stop(options: { keepLogs?: boolean } = {}): Promise<void> {
    await Promise.all([...this.#children.values()].map((child) => child.kill()));
    this.#cleanup.forget();
    if (options.keepLogs || process.env.SLIPWAY_KEEP_LOGS) {
      process.stderr.write(`slipway: logs of the control plane are kept in ${this.directory}\n`);
      return;
    }
    rmSync(this.directory, { recursive: true, force: true, maxRetries: 3 });
  }
}
