/** What the tests on a real API server share: a client, and a namespace of their own. */
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inject } from "vitest";
import { parse, stringify } from "yaml";
import type { Resource } from "../api/kind.ts";
import { systemClock } from "../ports/clock.ts";
import { systemRandom } from "../ports/random.ts";
import type { ConfigMap } from "./core.ts";
import { loadKubeConfig } from "./kubeconfig.ts";
import { createRestClient, type RestClient } from "./rest-client.ts";

const NAMESPACES: Resource = {
  group: "",
  version: "v1",
  kind: "Namespace",
  plural: "namespaces",
  namespaced: false,
};

export const ports = { clock: systemClock, random: systemRandom };

/** A namespace, removed with all that is in it by `close`. */
export class RealNamespace {
  readonly name: string;
  /** For files. */
  readonly directory: string;
  /** Straight to the API server. */
  readonly admin: RestClient;
  readonly kubeconfig: string;

  private constructor(name: string, directory: string, admin: RestClient, kubeconfig: string) {
    this.name = name;
    this.directory = directory;
    this.admin = admin;
    this.kubeconfig = kubeconfig;
  }

  static async open(): Promise<RealNamespace> {
    const path = inject("kubeconfig");
    const admin = createRestClient(loadKubeConfig(path), { ...ports, rate: 1000, burst: 1000 });
    const name = `runtime-${systemRandom.uuid().slice(0, 8)}`;
    await admin.create(NAMESPACES, { apiVersion: "v1", kind: "Namespace", metadata: { name } });
    const directory = await mkdtemp(join(tmpdir(), "slipway-runtime-"));
    return new RealNamespace(name, directory, admin, await readFile(path, "utf8"));
  }

  async close(): Promise<void> {
    await this.admin.delete(NAMESPACES, { name: this.name });
    await this.admin.close();
    await rm(this.directory, { recursive: true });
  }

  configMap(name: string, data: Record<string, string>, labels?: Record<string, string>): ConfigMap {
    const metadata = { name, namespace: this.name, ...(labels === undefined ? {} : { labels }) };
    return { apiVersion: "v1", kind: "ConfigMap", metadata, data };
  }

  /** Port of the API server. */
  get port(): number {
    const config = parse(this.kubeconfig) as { clusters: { cluster: { server: string } }[] };
    return Number(new URL(config.clusters[0]?.cluster.server ?? "").port);
  }

  /** Path of a kubeconfig for the same server by way of `proxy`. */
  async through(proxy: { readonly port: number }): Promise<string> {
    const config = parse(this.kubeconfig) as { clusters: { cluster: { server: string } }[] };
    for (const { cluster } of config.clusters) cluster.server = `https://127.0.0.1:${proxy.port}`;
    const path = join(this.directory, `proxy-${proxy.port}.yaml`);
    await writeFile(path, stringify(config));
    return path;
  }
}
