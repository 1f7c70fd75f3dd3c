/**
 * Two whole gateways that serve CoreUpdate's API, with the API server of the tests, its RBAC, and an etcd of their own.
 * alice may do everything with our kinds, bob may list them. For tests.
 */
import { createHash, randomBytes } from "node:crypto";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, vi } from "vitest";
import { stringify } from "yaml";
import { channel } from "../../api/channel.ts";
import type { Resource } from "../../api/kind.ts";
import type { KubeObject } from "../../api/meta.ts";
import { release } from "../../api/release.ts";
import { type UpdateGroup, updateGroup } from "../../api/update-group.ts";
import type { Coordination, Leadership } from "../../coordination/coordination.ts";
import { createCoordination } from "../../coordination/create.ts";
import type { EtcdPort } from "../../coordination/etcd.ts";
import { connectEtcd } from "../../coordination/etcd3-port.ts";
import { type Gateway, startGateway } from "../../gateway/gateway.ts";
import { PayloadFolder } from "../../gateway/payloads/folder.ts";
import { type EtcdCluster, startEtcd } from "../../hack/plane/etcd.ts";
import { silentLogger } from "../../ports/log.ts";
import { ports, RealNamespace } from "../../runtime/test-namespace.ts";
import { CallError, UpdateServiceClient } from "./client.ts";

export const WAIT = { timeout: 20_000, interval: 20 };
const LOOP = { host: "127.0.0.1", port: 0 };
const RBAC = "rbac.authorization.k8s.io";
const role: Resource = {
  ...{ group: RBAC, version: "v1", kind: "ClusterRole", plural: "clusterroles", namespaced: false },
};
const binding: Resource = { ...role, kind: "ClusterRoleBinding", plural: "clusterrolebindings" };

export const now = (): number => Math.floor(ports.clock.now() / 1000);

export class UpdateServiceRoom {
  readonly here: RealNamespace;
  readonly port: EtcdPort;
  readonly manager: Coordination;
  readonly keys = { alice: randomBytes(16).toString("hex"), bob: randomBytes(16).toString("hex") };
  /** Of this run: an application of its own. */
  readonly app: string;
  leader: Leadership = { epoch: 0, incarnation: "" };
  readonly #etcd: EtcdCluster;
  readonly #gateways: Gateway[] = [];
  readonly #made: [Resource, string][] = [];

  private constructor(here: RealNamespace, etcd: EtcdCluster) {
    this.here = here;
    this.#etcd = etcd;
    this.port = connectEtcd({ endpoints: etcd.endpoints, ...ports });
    this.manager = createCoordination({ etcd: this.port, ...ports, log: silentLogger });
    this.app = `e96281a6-d1af-4bde-9a0a-${here.name.slice(-8).padStart(12, "0")}`;
  }

  /** With packages of these versions, and a channel `stable` that has the last of them. */
  static async open(...versions: string[]): Promise<UpdateServiceRoom> {
    const room = new UpdateServiceRoom(await RealNamespace.open(), await startEtcd());
    await room.#open();
    await room.pack(...versions);
    const last = versions.at(-1);
    if (last !== undefined) await room.follow("stable", last);
    return room;
  }

  /** What both serve as payloads; the first one takes uploads. */
  get payloads(): string {
    return join(this.here.directory, "payloads");
  }

  get gateway(): Gateway {
    return this.#gateways[0] as Gateway;
  }

  get other(): Gateway {
    return this.#gateways[1] as Gateway;
  }

  get alice(): UpdateServiceClient {
    return this.client(this.gateway, "alice");
  }

  get bob(): UpdateServiceClient {
    return this.client(this.gateway, "bob");
  }

  /** URL of the first gateway. */
  get url(): string {
    return `http://127.0.0.1:${this.gateway.edgePort}`;
  }

  /** A name of this run: others may run beside it. */
  own(name: string): string {
    return `${name}-${this.here.name.slice(-8)}`;
  }

  client(at: Gateway, user: "alice" | "bob", more: object = {}): UpdateServiceClient {
    return new UpdateServiceClient({ port: at.edgePort ?? 0, user, key: this.keys[user], now, ...more });
  }

  async #open(): Promise<void> {
    const raised = await this.manager.raiseEpoch(await this.manager.readEpoch(), true);
    if (raised === undefined) throw new Error("nobody else leads here");
    this.leader = raised;
    const users = [
      { name: "alice", token: this.keys.alice, as: "alice", groups: [this.own("operators")] },
      { name: "bob", token: this.keys.bob, as: "bob", groups: [this.own("readers")] },
    ];
    await writeFile(join(this.here.directory, "users.yaml"), stringify({ users }));
    for (const [title, verbs] of [
      ["operators", ["list", "create", "patch", "delete"]],
      ["readers", ["list"]],
    ] as const) {
      const name = this.own(title);
      const rules = [{ apiGroups: ["slipway.dev"], resources: ["*"], verbs }];
      const kind = { apiVersion: `${RBAC}/v1`, metadata: { name } };
      await this.create(role, { ...kind, kind: "ClusterRole", ...{ rules } });
      await this.create(binding, {
        ...{ ...kind, kind: "ClusterRoleBinding" },
        ...{ roleRef: { apiGroup: RBAC, kind: "ClusterRole", name } },
        ...{ subjects: [{ apiGroup: RBAC, kind: "Group", name }] },
      });
    }
    await mkdir(this.payloads);
    for (const name of ["one", "two"]) this.#gateways.push(await this.#start(name));
    for (const at of this.#gateways) await vi.waitFor(() => this.client(at, "bob").appList(), WAIT);
  }

  async close(): Promise<void> {
    await Promise.all(this.#gateways.map((gateway) => gateway.stop()));
    for (const [resource, name] of this.#made.toReversed()) await this.here.admin.delete(resource, { name });
    await this.port.close();
    await this.#etcd.stop();
    await this.here.close();
  }

  #start(name: string): Promise<Gateway> {
    const { admin, directory } = this.here;
    const { port: etcd } = this;
    return startGateway({
      client: admin,
      etcd,
      coordination: createCoordination({ etcd, ...ports, log: silentLogger }),
      listen: LOOP,
      edge: {
        ...{ listen: LOOP, tls: false, keys: [], etcd },
        payloads: [new PayloadFolder(this.payloads, ports.clock)],
        coreupdate: {
          ...{ usersFile: join(directory, "users.yaml"), client: admin },
          ...(name === "one" ? { uploads: this.payloads } : {}),
        },
      },
      certificateDirectory: join(directory, "pki"),
      ...{ hosts: ["localhost"], serviceAccounts: ["a:b"], audience: "slipway", name },
      ...{ drainWithin: 1000, ...ports, log: silentLogger },
    });
  }

  /** Is removed by `close`. */
  remember(resource: Resource, name: string): void {
    this.#made.push([resource, name]);
  }

  async create(resource: Resource, object: KubeObject): Promise<void> {
    this.remember(resource, object.metadata.name);
    await this.here.admin.create(resource, object);
  }

  groupNow(name: string): Promise<UpdateGroup> {
    return this.here.admin.get<UpdateGroup>(updateGroup, { name });
  }

  /** A package, and with it a Release. */
  async pack(...versions: string[]): Promise<void> {
    for (const version of versions) {
      this.remember(release, `${this.app}-${version}`);
      const sent = file(`payload ${version}`, `https://files.test/${version}/update.gz`);
      await this.alice.packageCreate(this.app, version, sent);
    }
  }

  /** A channel; gives its label. */
  async follow(title: string, version: string, publish = false): Promise<string> {
    const label = this.own(title);
    this.remember(channel, label);
    await this.alice.channelCreate(this.app, label, version, publish);
    return label;
  }

  /** A group; gives its id. */
  async group(title: string, label: string, name = ""): Promise<string> {
    const id = this.own(title);
    this.remember(updateGroup, id);
    await this.alice.groupCreate(this.app, label, id, name);
    return id;
  }
}

/** As `package create --file --url --meta --release-notes` sends it. */
export function file(content: string, url: string) {
  const sum = (kind: string): string => createHash(kind).update(content).digest("base64");
  return {
    ...{ url, size: String(content.length), sha1Sum: sum("sha1"), sha256Sum: sum("sha256") },
    ...{ metadataSize: "1024", metadataSignatureRsa: "c2lnbmF0dXJl", releaseNotes: "Better." },
  };
}

/** What a call is refused with: the status, and what the CLI prints. */
export async function refusal(call: Promise<unknown>): Promise<string> {
  const error = await call.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(CallError);
  const { code, message } = error as CallError;
  return `${code} ${message}`;
}
