/** A gateway that serves the console, over a real API server and etcd, and people with rights of their own. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, inject, vi } from "vitest";
import type { Resource } from "../../api/kind.ts";
import { API_VERSION, type KubeObject } from "../../api/meta.ts";
import type { Coordination } from "../../coordination/coordination.ts";
import { createCoordination } from "../../coordination/create.ts";
import type { EtcdPort } from "../../coordination/etcd.ts";
import { connectEtcd } from "../../coordination/etcd3-port.ts";
import { openGate } from "../../coordination/fixtures.ts";
import { uidOf } from "../../coordination/identity.ts";
import type { ForeignMachine } from "../../coordination/records.ts";
import type { ConsoleSettings } from "../../gateway/console/console.ts";
import { TrustedProxies } from "../../gateway/edge/client-address.ts";
import { type Gateway, startGateway } from "../../gateway/gateway.ts";
import { type EtcdCluster, startEtcd } from "../../hack/plane/etcd.ts";
import { systemClock } from "../../ports/clock.ts";
import { silentLogger } from "../../ports/log.ts";
import { systemRandom } from "../../ports/random.ts";
import { loadKubeConfig } from "../../runtime/kubeconfig.ts";
import { createRestClient, type RestClient } from "../../runtime/rest-client.ts";
import { RealNamespace } from "../../runtime/test-namespace.ts";

const ports = { clock: systemClock, random: systemRandom, log: silentLogger };
export const WAIT = { timeout: 30_000, interval: 20 };

const RBAC = "rbac.authorization.k8s.io";
const ROLE: Resource = {
  ...{ group: RBAC, version: "v1", kind: "ClusterRole", plural: "clusterroles", namespaced: false },
};
const BINDING: Resource = { ...ROLE, kind: "ClusterRoleBinding", plural: "clusterrolebindings" };

const core = (kind: string, plural: string): Resource => ({
  ...{ group: "", version: "v1", kind, plural, namespaced: true },
});

/** What tests look at in an answer, whichever it is. */
export interface Body {
  message: string;
  items: { name: string; uid: string; state: string; by?: string }[];
  total: number;
  continue?: string;
  stale?: string;
  expiresAt: string;
  may: Record<string, boolean>;
  series: { version: string }[];
  openapi: string;
}

/** The same in an event. */
export interface Told {
  topic: string;
  end: boolean;
  stale?: string;
  changes: Record<string, { put: { name: string }[] }>;
}

export interface Answer {
  status: number;
  headers: Headers;
  /** Text where it is none. */
  json: Body;
}

export interface Ask {
  method?: string;
  token?: string;
  cookie?: string;
  body?: unknown;
  headers?: Record<string, string>;
}

export class Desk {
  readonly here: RealNamespace;
  readonly origin: string;
  readonly gateway: Gateway;
  readonly #cluster: EtcdCluster;
  readonly #etcd: EtcdPort;
  readonly #coordination: Coordination;
  readonly #client: RestClient;
  readonly #directory: string;
  readonly #made: { resource: Resource; name: string }[] = [];

  private constructor(
    here: RealNamespace,
    gateway: Gateway,
    rest: {
      cluster: EtcdCluster;
      etcd: EtcdPort;
      coordination: Coordination;
      client: RestClient;
      directory: string;
    },
  ) {
    this.here = here;
    this.gateway = gateway;
    this.origin = `http://127.0.0.1:${gateway.consolePort}`;
    this.#cluster = rest.cluster;
    this.#etcd = rest.etcd;
    this.#coordination = rest.coordination;
    this.#client = rest.client;
    this.#directory = rest.directory;
  }

  /** `kubeconfig`: of the gateway; a way through a proxy, for one. */
  static async open(
    options: {
      kubeconfig?: (here: RealNamespace) => Promise<string>;
      settings?: Partial<ConsoleSettings>;
      port?: number;
      /** With the gateway's certificate: `ask` does not know who signed it. */
      tls?: boolean;
    } = {},
  ): Promise<Desk> {
    const here = await RealNamespace.open();
    const cluster = await startEtcd();
    const directory = await mkdtemp(join(tmpdir(), "slipway-console-"));
    const etcd = connectEtcd({ endpoints: cluster.endpoints, ...ports, callTimeout: 2000 });
    const path = (await options.kubeconfig?.(here)) ?? inject("kubeconfig");
    const client = createRestClient(loadKubeConfig(path), { ...ports, rate: 1000, burst: 1000 });
    const coordination = createCoordination({ etcd, ...ports });
    const gateway = await startGateway({
      client,
      etcd,
      coordination,
      listen: { host: "127.0.0.1", port: 0 },
      console: {
        ...{
          listen: { host: "127.0.0.1", port: options.port ?? 0 },
          tls: options.tls ?? false,
          secure: options.tls ?? false,
          client,
          etcd,
        },
        keys: [Buffer.alloc(32, 7)],
        files: new Map([["/index.html", { type: "text/html", bytes: Buffer.from("<p>the page</p>") }]]),
        ...options.settings,
      },
      // Whoever asks from here may say that they stand in front of somebody.
      proxies: new TrustedProxies(["127.0.0.0/8"]),
      certificateDirectory: directory,
      ...{ hosts: ["localhost"], serviceAccounts: ["none:none"], audience: "slipway", name: "test" },
      drainWithin: 1000,
      ...ports,
    });
    return new Desk(here, gateway, { cluster, etcd, coordination, client, directory });
  }

  async close(): Promise<void> {
    await this.gateway.stop();
    await this.#etcd.close();
    await this.#cluster.stop();
    for (const { resource, name } of this.#made.toReversed())
      await this.here.admin.delete(resource, { name });
    await this.#client.close();
    await this.here.close();
    await rm(this.#directory, { recursive: true });
  }

  /** Where `ca.crt` is that of the gateway's certificate. */
  get certificates(): string {
    return this.#directory;
  }

  /** A machine without our agent, as a gateway writes it down when it asks by Omaha. */
  async omahaMachine(id: string, more: Partial<ForeignMachine>): Promise<void> {
    const at = systemClock.now();
    await this.#coordination.putForeignMachine(uidOf(id), {
      ...{ id, group: "", product: "p", version: "", track: "", board: "", oem: "", alias: "", bootId: "" },
      ...{ firstSeen: at, lastSeen: at, failed: [], history: [], ...more },
    });
  }

  /** Lets one machine after the other ask for a slot by FleetLock, of which `budgets` have room for one. */
  async askForSlots(group: string, budgets: string[], ids: readonly string[]): Promise<void> {
    const leader = await this.#coordination.raiseEpoch(await this.#coordination.readEpoch(), true);
    if (leader === undefined) throw new Error("somebody else leads");
    const validUntil = systemClock.now() + 30_000;
    await this.#coordination.writeGates(leader, {
      groups: [openGate(group, validUntil, { machines: { budgets, needs: 1000, open: true } })],
      budgets: budgets.map((budget) => ({ budget, max: 1, unavailable: [], validUntil })),
    });
    for (const id of ids) {
      const nonce = systemRandom.uuid();
      const ask = { uid: uidOf(id), name: id, group, protocol: "FleetLock", nonce } as const;
      await this.#coordination.takeForeign(ask);
    }
  }

  async ask(path: string, { method = "GET", token, cookie, body, headers = {} }: Ask = {}): Promise<Answer> {
    const response = await fetch(this.origin + path, {
      method,
      redirect: "manual",
      headers: {
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
        ...(cookie === undefined ? {} : { cookie }),
        ...headers,
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    const isJson = response.headers.get("content-type")?.startsWith("application/json") === true;
    return {
      status: response.status,
      headers: response.headers,
      json: (isJson ? JSON.parse(text) : text) as Body,
    };
  }

  /** An object of ours, with a name that nobody else has; `manager` is who declares it. */
  async declare<T extends KubeObject>(
    resource: Resource,
    name: string,
    spec: object,
    { status, manager = "kubectl-create" }: { status?: object; manager?: string } = {},
  ): Promise<T> {
    const full = this.name(name);
    const object = { apiVersion: API_VERSION, kind: resource.kind, metadata: { name: full } };
    const stored = await this.here.admin.apply<T>(resource, { ...object, spec } as never, {
      fieldManager: manager,
    });
    if (!this.#made.some((made) => made.name === full && made.resource === resource))
      this.#made.push({ resource, name: full });
    if (status === undefined) return stored;
    return await this.here.admin.apply<T>(resource, { ...object, status } as never, {
      ...{ fieldManager: "slipway-test", subresource: "status", force: true },
    });
  }

  name(name: string): string {
    return `${name}-${this.here.name}`;
  }

  /** A token of somebody who may do `rules`. */
  async person(
    name: string,
    rules: readonly { resources: string[]; verbs: string[]; group?: string }[],
  ): Promise<string> {
    const { admin, name: namespace } = this.here;
    const metadata = { name, namespace };
    await admin.create(core("ServiceAccount", "serviceaccounts"), {
      ...{ apiVersion: "v1", kind: "ServiceAccount", metadata },
    });
    if (rules.length > 0) await this.bind(name, { kind: "ServiceAccount", name, namespace }, rules);
    const request = { apiVersion: "authentication.k8s.io/v1", kind: "TokenRequest", metadata, spec: {} };
    const made = await admin.create(core("TokenRequest", `serviceaccounts/${name}/token`), request);
    return (made as unknown as { status: { token: string } }).status.token;
  }

  /** Lets `subject` do `rules`; `name` is that of the role. */
  async bind(
    name: string,
    subject: object,
    rules: readonly { resources: string[]; verbs: string[]; group?: string }[],
  ): Promise<void> {
    const { admin } = this.here;
    const full = this.name(name);
    await admin.create(ROLE, {
      ...{ apiVersion: `${RBAC}/v1`, kind: "ClusterRole", metadata: { name: full } },
      rules: rules.map(({ group = "slipway.dev", ...rule }) => ({ apiGroups: [group], ...rule })),
    } as never);
    this.#made.push({ resource: ROLE, name: full });
    await admin.create(BINDING, {
      ...{ apiVersion: `${RBAC}/v1`, kind: "ClusterRoleBinding", metadata: { name: full } },
      roleRef: { apiGroup: RBAC, kind: "ClusterRole", name: full },
      subjects: [subject],
    } as never);
    this.#made.push({ resource: BINDING, name: full });
  }

  /** Until the gateway has read everything, and answers this person. */
  async ready(token: string): Promise<void> {
    await vi.waitFor(
      async () => expect((await this.ask("/api/v1/groups", { token })).status).toBe(200),
      WAIT,
    );
  }
}

export const ALL = ["updategroups", "channels", "releases", "rebootwindows", "rebootbudgets", "nodeupdates"];
export const VIEWER = [{ resources: ALL, verbs: ["get", "list"] }];
export const OPERATOR = [{ resources: ALL, verbs: ["get", "list", "patch"] }];

export const SENTINEL = { driver: "sentinel", windows: "Always" };

/** A release with nothing that could be fetched. */
export function releaseOf(version: string): object {
  const blob = { urls: ["http://127.0.0.1/x"], size: 1, sha256: "0".repeat(64) };
  const payload = { architecture: "amd64", image: blob, manifest: blob, rootHash: "0".repeat(64) };
  return { version, product: "dev.slipway.test", payloads: [payload] };
}

export interface StreamEvent {
  id: string | undefined;
  name: string;
  data: Told;
}

/** Server-sent events, read until closed. */
export class Events {
  readonly events: StreamEvent[] = [];
  readonly #stop = new AbortController();
  #rest = "";
  #id: string | undefined;

  static async open(desk: Desk, path: string, token: string, lastEventId?: string): Promise<Events> {
    const events = new Events();
    const response = await fetch(desk.origin + path, {
      signal: events.#stop.signal,
      headers: {
        authorization: `Bearer ${token}`,
        ...(lastEventId === undefined ? {} : { "last-event-id": lastEventId }),
      },
    });
    expect(response.status).toBe(200);
    expect(response.headers.get("content-type")).toBe("text/event-stream");
    void events.#read(response);
    return events;
  }

  /** As EventSource keeps it. */
  get lastId(): string | undefined {
    return this.#id;
  }

  of(name: string): StreamEvent[] {
    return this.events.filter((event) => event.name === name);
  }

  close(): void {
    this.#stop.abort();
  }

  async #read(response: Response): Promise<void> {
    const decoder = new TextDecoder();
    try {
      for await (const chunk of response.body ?? []) {
        this.#rest += decoder.decode(chunk as Uint8Array, { stream: true });
        const whole = this.#rest.split("\n\n");
        this.#rest = whole.pop() ?? "";
        for (const block of whole) this.#take(block);
      }
    } catch {
      // Closed.
    }
  }

  #take(block: string): void {
    const fields = new Map(
      block.split("\n").map((line) => line.split(/: (.*)/s).slice(0, 2) as [string, string]),
    );
    this.#id = fields.get("id") ?? this.#id;
    const data = fields.get("data");
    if (data === undefined) return;
    this.events.push({
      id: fields.get("id"),
      name: fields.get("event") ?? "message",
      data: JSON.parse(data) as Told,
    });
  }
}
