/** Slipway's own etcd, on TCP of the loopback interface, with one member or three that can be killed. */
import { execFile } from "node:child_process";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { request as httpRequest } from "node:http";
import { request as httpsRequest } from "node:https";
import { join } from "node:path";
import { promisify } from "node:util";
import { tools } from "../tools.ts";
import { Authority, type KeyPair, type Subject } from "./pki.ts";
import { temporaryDirectory } from "./plane.ts";
import { freePorts, isPortTaken } from "./ports.ts";
import { Child, removeAtExit } from "./process.ts";
import { waitUntil } from "./wait.ts";

export interface EtcdMember {
  /** URL of the client port. */
  readonly endpoint: string;
  /** Its data; gone when it is removed while the member is down. */
  readonly directory: string;
  /** SIGKILL. */
  kill(): Promise<void>;
  /** Starts it again with the same ports and data; waits until it serves, if the others allow a quorum. */
  start(): Promise<void>;
  /** SIGSTOP: connections stay open and nothing answers. */
  pause(): void;
  resume(): void;
}

/** Client credentials, PEM. */
export interface EtcdTls extends KeyPair {
  ca: string;
}

export interface EtcdCluster {
  readonly endpoints: string[];
  readonly members: EtcdMember[];
  /** What a client presents; undefined without TLS. */
  readonly tls: EtcdTls | undefined;
  /** A certificate of its authority: another client's, or a server's for `present`. With TLS only. */
  issue(subject: Subject): Promise<KeyPair>;
  /** What its members show from the next connection on. */
  present(server: KeyPair): void;
  /** Standard output of etcdctl against all endpoints. */
  etcdctl(args: readonly string[]): Promise<string>;
  /** Saves the data into `file`, as a backup does. */
  snapshot(file: string): Promise<void>;
  /** Kills all members, replaces their data by a snapshot's, or by none, and starts them again. */
  replaceData(snapshot?: string): Promise<void>;
  /** Ends all members and removes their data; `keepLogs` leaves the directory. */
  stop(options?: { keepLogs?: boolean }): Promise<void>;
}

export interface EtcdOptions {
  members?: 1 | 3;
  /** Serves TLS and asks for client certificates. */
  tls?: boolean;
  /** Waits for the disk on each write; off, because a test loses no power. */
  fsync?: boolean;
  onProgress?: (line: string) => void;
}

const READY_WITHIN = 30_000;
const PORT_ATTEMPTS = 5;

export async function startEtcd(options: EtcdOptions = {}): Promise<EtcdCluster> {
  const binaries = await tools(["etcd", "etcdctl", "etcdutl"], options);
  for (let attempt = 1; ; attempt++) {
    const cluster = await LocalCluster.create(options, binaries);
    try {
      await Promise.all(cluster.members.map((member) => member.start()));
      return cluster;
    } catch (error) {
      const again = attempt < PORT_ATTEMPTS && isPortTaken(String(error));
      await cluster.stop({ keepLogs: !again });
      if (!again) throw error;
    }
  }
}

interface Binaries {
  etcd: string;
  etcdctl: string;
  etcdutl: string;
}

class LocalCluster implements EtcdCluster {
  readonly members: LocalMember[];
  readonly endpoints: string[];
  readonly tls: EtcdTls | undefined;
  readonly #authority: Authority | undefined;
  readonly #directory: string;
  readonly #cleanup: { forget(): void };
  readonly #binaries: Binaries;

  private constructor(
    directory: string,
    members: LocalMember[],
    secrets: { tls: EtcdTls; authority: Authority } | undefined,
    binaries: Binaries,
    cleanup: { forget(): void },
  ) {
    this.#directory = directory;
    this.members = members;
    this.endpoints = members.map((member) => member.endpoint);
    this.tls = secrets?.tls;
    this.#authority = secrets?.authority;
    this.#binaries = binaries;
    this.#cleanup = cleanup;
  }

  static async create(options: EtcdOptions, binaries: Binaries): Promise<LocalCluster> {
    const count = options.members ?? 1;
    const directory = temporaryDirectory("etcd");
    const cleanup = removeAtExit(directory);
    const ports = await freePorts(count * 2);
    const secrets = options.tls ? await writeTls(directory) : undefined;
    const tls = secrets?.tls;
    const scheme = tls === undefined ? "http" : "https";
    const plan = Array.from({ length: count }, (_, i) => ({
      name: `m${i}`,
      client: `${scheme}://127.0.0.1:${ports[2 * i]}`,
      peer: `${scheme}://127.0.0.1:${ports[2 * i + 1]}`,
    }));
    const initial = plan.map(({ name, peer }) => `${name}=${peer}`).join(",");
    const members = plan.map(({ name, client, peer }) => {
      const data = join(directory, name);
      const identity = [
        `--name=${name}`,
        `--data-dir=${data}`,
        `--initial-advertise-peer-urls=${peer}`,
        `--initial-cluster=${initial}`,
      ];
      const args = [
        ...identity,
        `--listen-client-urls=${client}`,
        `--advertise-client-urls=${client}`,
        `--listen-peer-urls=${peer}`,
        ...(options.fsync ? [] : ["--unsafe-no-fsync"]),
        ...(tls === undefined
          ? []
          : [
              `--cert-file=${join(directory, "server.crt")}`,
              `--key-file=${join(directory, "server.key")}`,
              `--trusted-ca-file=${join(directory, "ca.crt")}`,
              "--client-cert-auth",
              "--peer-auto-tls",
            ]),
      ];
      return new LocalMember({
        ...{ name, command: binaries.etcd, args, identity },
        ...{ endpoint: client, directory: data, tls },
      });
    });
    return new LocalCluster(directory, members, secrets, binaries, cleanup);
  }

  issue(subject: Subject): Promise<KeyPair> {
    if (this.#authority === undefined) throw new Error("this etcd serves no TLS");
    return this.#authority.issue(subject);
  }

  present({ certificate, key }: KeyPair): void {
    writeFileSync(join(this.#directory, "server.crt"), certificate, { mode: 0o600 });
    writeFileSync(join(this.#directory, "server.key"), key, { mode: 0o600 });
  }

  etcdctl(args: readonly string[]): Promise<string> {
    return this.#etcdctl(this.endpoints, args);
  }

  async snapshot(file: string): Promise<void> {
    // A snapshot is one member's.
    await this.#etcdctl(this.endpoints.slice(0, 1), ["snapshot", "save", file]);
  }

  async replaceData(snapshot?: string): Promise<void> {
    await Promise.all(this.members.map((member) => member.kill()));
    for (const member of this.members) {
      rmSync(member.directory, { recursive: true, force: true, maxRetries: 3 });
      if (snapshot === undefined) continue;
      const args = ["snapshot", "restore", snapshot, ...member.identity];
      await promisify(execFile)(this.#binaries.etcdutl, args, { timeout: 30_000 });
    }
    await Promise.all(this.members.map((member) => member.start()));
  }

  async #etcdctl(endpoints: readonly string[], args: readonly string[]): Promise<string> {
    const credentials =
      this.tls === undefined
        ? []
        : ["ca.crt", "client.crt", "client.key"].map(
            (file, i) => `--${["cacert", "cert", "key"][i]}=${join(this.#directory, file)}`,
          );
    const { stdout } = await promisify(execFile)(
      this.#binaries.etcdctl,
      [`--endpoints=${endpoints.join(",")}`, ...credentials, ...args],
      { timeout: 30_000 },
    );
    return stdout;
  }

  async stop(options: { keepLogs?: boolean } = {}): Promise<void> {
    await Promise.all(this.members.map((member) => member.kill()));
    this.#cleanup.forget();
    if (options.keepLogs || process.env.SLIPWAY_KEEP_LOGS) {
      process.stderr.write(`slipway: logs of etcd are kept in ${this.#directory}\n`);
      return;
    }
    rmSync(this.#directory, { recursive: true, force: true, maxRetries: 3 });
  }
}

interface MemberOptions {
  name: string;
  command: string;
  args: readonly string[];
  /** Flags that say who it is, for etcdutl too. */
  identity: readonly string[];
  endpoint: string;
  directory: string;
  tls: EtcdTls | undefined;
}

class LocalMember implements EtcdMember {
  readonly endpoint: string;
  readonly directory: string;
  readonly #options: MemberOptions;
  #child: Child | undefined;

  constructor(options: MemberOptions) {
    this.#options = options;
    this.endpoint = options.endpoint;
    this.directory = options.directory;
  }

  get identity(): readonly string[] {
    return this.#options.identity;
  }

  async start(): Promise<void> {
    if (this.#child !== undefined && this.#child.exit === undefined) return;
    const { name, command, args, directory } = this.#options;
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    const child = await Child.start({
      name: `etcd ${name}`,
      command,
      args,
      logFile: `${directory}.log`,
      env: { PATH: process.env.PATH },
    });
    this.#child = child;
    await waitUntil(() => this.#healthy(), {
      what: `etcd ${name} answers /health`,
      deadline: READY_WITHIN,
      hopeless: () => child.obituary(),
    });
  }

  async kill(): Promise<void> {
    await this.#child?.kill();
  }

  pause(): void {
    this.#child?.signal("SIGSTOP");
  }

  resume(): void {
    this.#child?.signal("SIGCONT");
  }

  #healthy(): Promise<boolean> {
    const { tls } = this.#options;
    const options = { timeout: 2_000, agent: false } as const;
    return new Promise((resolve, reject) => {
      const url = `${this.endpoint}/health`;
      const req =
        tls === undefined
          ? httpRequest(url, options)
          : httpsRequest(url, { ...options, ca: tls.ca, cert: tls.certificate, key: tls.key });
      req.once("response", (response) => {
        response.resume();
        response.once("end", () => resolve(response.statusCode === 200));
      });
      req.once("timeout", () => req.destroy(new Error("no answer within 2 s")));
      req.once("error", reject);
      req.end();
    });
  }
}

async function writeTls(directory: string): Promise<{ tls: EtcdTls; authority: Authority }> {
  const authority = await Authority.create("slipway-etcd");
  const server = await authority.issue({ commonName: "etcd", hosts: ["127.0.0.1", "localhost"] });
  const client = await authority.issue({ commonName: "slipway" });
  const files = {
    "ca.crt": authority.certificate,
    "server.crt": server.certificate,
    "server.key": server.key,
    "client.crt": client.certificate,
    "client.key": client.key,
  };
  for (const [name, text] of Object.entries(files))
    writeFileSync(join(directory, name), text, { mode: 0o600 });
  return { tls: { ca: authority.certificate, ...client }, authority };
}
