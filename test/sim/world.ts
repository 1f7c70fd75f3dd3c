/** Assembles one simulated world from a seed: machines in zones, managers, gateways, etcd, the API, a group and its limits. */

import { INFRASTRUCTURE_LABEL } from "../../api/labels.ts";
import { API_VERSION, type KubeObject } from "../../api/meta.ts";
import { ReleaseSpec } from "../../api/release.ts";
import { UpdateGroupSpec } from "../../api/update-group.ts";
import { GATEWAY_LABEL } from "../../controllers/foundation.ts";
import { createCoordination } from "../../coordination/create.ts";
import type { Identity } from "../../gateway/agents/authenticate.ts";
import { type Logger, silentLogger } from "../../ports/log.ts";
import type { Node } from "../../runtime/core.ts";
import type { ApiChange } from "./api-server.ts";
import { SimApiServer } from "./api-server.ts";
import { SimClock } from "./clock.ts";
import { Cluster, ZONE_LABEL } from "./cluster.ts";
import { DESK_HOOKS, Desk } from "./desk.ts";
import { type SimClient, SimEtcd } from "./etcd.ts";
import { type Defect, type MachineEvent, type MachinePlants, SimMachine } from "./machine.ts";
import { Network } from "./network.ts";
import { type EtcdFaults, type ProcessPlants, SimGateway, SimManager, type Surroundings } from "./process.ts";
import { SeededRandom } from "./random.ts";

export const GROUP_NAME = "harbor";

export interface Plants extends MachinePlants, ProcessPlants {}

/** Who is told what happens, at the moment in which it does. */
export interface Witness {
  machine(machine: SimMachine, event: MachineEvent): void;
  api(change: ApiChange): void;
  /** `by`: the process whose transaction it was; undefined where a lease ended. */
  etcd(changed: readonly string[], by: string | undefined): void;
}

export interface Settings {
  nodes: number;
  plain: number;
  zones: number;
  managers: number;
  gateways: number;
  maxUnavailable: number;
  /** Limit of each zone; undefined without. */
  zoneLimit: number | undefined;
  /** A RebootBudget over all nodes. */
  shared: number | undefined;
  staged: boolean;
  /** Reboots only in the first 8 of every 12 minutes. */
  windows: boolean;
  /** What release 2.0.0 does, and on how many of the machines, by lot. */
  defect: Defect | undefined;
  defectShare: number;
  /** Pods of a workload, and how many of them its disruption budget wants Ready. */
  web: number;
  minAvailable: number;
  /** A Pod on the first node whose evictions somebody else's webhook denies. */
  guarded: boolean;
  /** Somebody is asked before each reboot and after it. */
  hooked: boolean;
  /** Waiting nodes are tainted. */
  preferNoSchedule?: boolean;
}

/** A world in which little happens besides the rollout; what is not said is drawn. */
export const CALM = {
  nodes: 3,
  plain: 0,
  zones: 3,
  maxUnavailable: 1,
  staged: false,
  windows: false,
  defect: undefined,
} satisfies Partial<Settings>;

export function drawSettings(random: SeededRandom): Settings {
  const defects: (Defect | undefined)[] = [
    undefined,
    undefined,
    undefined,
    "checks",
    "panic",
    "hang",
    "notReady",
  ];
  const zones = 2 + random.below(2);
  const settings = {
    nodes: 3 + random.below(2),
    // Machines that serve until they commit: several in one budget show what counts them too late.
    plain: random.chance(0.3) ? 2 + random.below(3) : random.below(2),
    zones,
    managers: 1 + random.below(2),
    gateways: 1 + random.below(2),
    maxUnavailable: 1 + random.below(3),
    zoneLimit: random.chance(0.6) ? 1 : undefined,
    shared: random.chance(0.6) ? 1 + random.below(2) : undefined,
    staged: random.chance(0.4),
    windows: random.chance(0.3),
    defect: random.pick(defects),
    defectShare: random.chance(0.7) ? 1 : 0.5,
    web: 3,
    minAvailable: 2,
  };
  // In the first stage it would hold up those behind it.
  const guarded = !settings.staged && random.chance(0.15);
  return { ...settings, guarded, hooked: random.chance(0.25) };
}

/** Root hash of release `os-N`. */
export function rootHash(n: number): string {
  return String(n).repeat(64);
}

export class World {
  readonly seed: number;
  readonly settings: Settings;
  readonly sim = new SimClock();
  readonly random: SeededRandom;
  readonly api: SimApiServer;
  readonly etcd: SimEtcd;
  readonly etcdFaults: EtcdFaults = { down: false, flaky: 0 };
  readonly network: Network;
  readonly desk: Desk;
  readonly cluster: Cluster;
  readonly machines: SimMachine[] = [];
  readonly managers: SimManager[] = [];
  readonly gateways: SimGateway[] = [];
  readonly #log: Logger;
  readonly #plants: Plants;
  readonly #clients = new WeakMap<object, string>();
  readonly #sound = new Set<string>();
  witness: Witness = { machine: () => {}, api: () => {}, etcd: () => {} };

  constructor(seed: number, options: { settings?: Partial<Settings>; plants?: Plants; log?: Logger } = {}) {
    this.seed = seed;
    this.random = new SeededRandom(seed);
    this.settings = { ...drawSettings(this.random.fork()), ...options.settings };
    this.#plants = options.plants ?? {};
    this.#log = options.log ?? silentLogger;
    const { sim, random } = this;
    this.api = new SimApiServer(sim, random.fork());
    this.etcd = new SimEtcd(sim.process());
    this.desk = new Desk(seed);
    this.network = new Network(sim, random.fork());
    this.cluster = new Cluster({
      sim,
      api: this.api,
      random: random.fork(),
      ready: (machine) => this.defectOf(machine.image, machine) !== "notReady",
      gateway: (name, runs) => this.#runGateway(name, runs),
    });
    this.api.observer = (change) => {
      const { plural, before, after } = change;
      const pod = before?.metadata.name ?? "";
      if (plural === "pods" && after === undefined && pod.startsWith("gateway-"))
        this.#runGateway(pod, false);
      this.witness.api(change);
    };
    this.etcd.observe((changed, by) =>
      this.witness.etcd(changed, by === undefined ? undefined : (this.#clients.get(by) ?? "person")),
    );
  }

  /** Makes everything and turns it on. All nodes run 1.0.0; the channel points at 2.0.0 from the start. */
  async build(): Promise<void> {
    const { settings, random, sim } = this;
    const names = ["harbor-1", "harbor-2", "harbor-3", "harbor-4", "harbor-5"].slice(0, settings.nodes);
    const plain = ["quay-1", "quay-2", "quay-3", "quay-4"].slice(0, settings.plain);
    for (const [index, name] of [...names, ...plain].entries()) {
      const machine = new SimMachine({
        name,
        zone: `zone-${"abc"[index % settings.zones]}`,
        plain: plain.includes(name),
        sim,
        random: random.fork(),
        network: this.network,
        log: this.#log,
        defectOf: (image, of) => this.defectOf(image, of),
        observer: (of, event) => this.witness.machine(of, event),
        plants: this.#plants,
      });
      if (!random.chance(settings.defectShare)) this.#sound.add(name);
      this.machines.push(machine);
      if (!machine.plain) this.cluster.join(machine, index < settings.gateways);
      await machine.make("1.0.0", rootHash(1));
    }
    this.#declare();
    this.cluster.minAvailable = settings.minAvailable;
    for (let index = 0; index < settings.web; index++) this.cluster.run(`web-${index}`, { app: "web" });
    if (settings.guarded) this.cluster.run("guarded-0", { app: "guarded" }, names[0]);
    const around = this.#surroundings();
    for (let index = 0; index < settings.gateways; index++) {
      const name = `gateway-${index}`;
      this.gateways.push(new SimGateway(name, around));
      this.cluster.run(name, { [GATEWAY_LABEL.key]: GATEWAY_LABEL.value }, names[index]);
    }
    for (let index = 0; index < settings.managers; index++) {
      const manager = new SimManager(`manager-${index}`, around);
      this.managers.push(manager);
      sim.at(random.below(3000), () => manager.start());
    }
    for (const machine of this.machines) sim.at(random.below(5000), () => machine.powerOn());
    await this.enrol();
  }

  /** Plain machines join, with a token that a person made. */
  async enrol(): Promise<void> {
    const clock = this.sim.process();
    const etcd = this.etcd.connect({}, clock);
    const random = this.random.fork();
    const coordination = createCoordination({ etcd, clock, random, log: silentLogger });
    for (const machine of this.machines) {
      if (!machine.plain || machine.gone) continue;
      const token = random.uuid();
      const labels = { pool: GROUP_NAME, [ZONE_LABEL]: machine.zone };
      await coordination.putJoinToken(token, { group: GROUP_NAME, labels, expiresAt: clock.now() + 600_000 });
      await coordination.spendJoinToken(token, machine.machineId);
    }
    await etcd.close();
  }

  readonly defectOf = (image: string, machine: SimMachine): Defect | undefined => {
    if (image !== rootHash(2) || this.#sound.has(machine.name)) return undefined;
    return this.settings.defect;
  };

  /** The key of the machine's records in etcd now; undefined while it has no Node. */
  uidOf(machine: SimMachine): string | undefined {
    return machine.plain ? machine.machineId : this.api.peek<Node>("nodes", machine.name)?.metadata.uid;
  }

  get infrastructure(): Set<string> {
    return new Set(
      this.api
        .all<Node>("nodes")
        .filter(({ metadata }) => metadata.labels?.[INFRASTRUCTURE_LABEL] !== undefined)
        .map(({ metadata }) => metadata.name),
    );
  }

  #surroundings(): Surroundings {
    const { sim, random, api, etcd, etcdFaults, network, desk } = this;
    return {
      sim,
      desk,
      random: random.fork(),
      api,
      etcd,
      etcdFaults,
      network,
      log: this.#log,
      plants: this.#plants,
      connected: (client: SimClient, process: string) => this.#clients.set(client, process),
      identify: (name): Identity | undefined => {
        const machine = this.machines.find((each) => each.name === name);
        const uid = machine === undefined ? undefined : this.uidOf(machine);
        if (machine === undefined || uid === undefined) return undefined;
        return { uid, node: name, ...(machine.plain ? { machineId: machine.machineId } : {}) };
      },
    };
  }

  #runGateway(name: string, runs: boolean): void {
    const gateway = this.gateways.find((each) => each.name === name);
    if (gateway === undefined) return;
    gateway.stopped = !runs;
    if (runs) gateway.start();
    else gateway.kill();
  }

  /** What people have written before the world begins. */
  #declare(): void {
    const { settings } = this;
    const put = (plural: string, kind: string, name: string, spec: unknown): void => {
      const metadata = { name, labels: { fleet: "harbor" } };
      this.api.put(plural, { apiVersion: API_VERSION, kind, metadata, spec } as KubeObject);
    };
    const blob = { urls: ["https://images.example/x"], size: 1, sha256: "0".repeat(64) };
    for (const n of [1, 2, 3]) {
      const payloads = [{ architecture: "amd64", image: blob, manifest: blob, rootHash: rootHash(n) }];
      put(
        "releases",
        "Release",
        `os-${n}`,
        ReleaseSpec.parse({ version: `${n}.0.0`, product: "os", payloads }),
      );
    }
    put("channels", "Channel", "stable", { release: "os-2" });
    const pool = { matchLabels: { pool: GROUP_NAME } };
    const { zoneLimit, maxUnavailable, staged, windows, shared, hooked } = settings;
    const spec = UpdateGroupSpec.parse({
      nodeSelector: pool,
      channel: "stable",
      maxUnavailable,
      topology: zoneLimit === undefined ? [] : [{ key: ZONE_LABEL, maxUnavailable: zoneLimit }],
      stages: staged
        ? [
            { name: "canary", count: 1, soak: "15s" },
            { name: "rest", count: "100%" },
          ]
        : [],
      windows: windows ? "OnlyInWindows" : "Always",
      drain: { timeout: "60s" },
      ...(hooked ? { hooks: DESK_HOOKS } : {}),
      ...(settings.preferNoSchedule === true ? { preferNoSchedule: true } : {}),
      health: {
        bootChecks: [{ name: "harbor", unit: "harbor.service", timeout: "5s" }],
        bootDeadline: "60s",
        releaseDeadline: "120s",
      },
    });
    put("updategroups", "UpdateGroup", GROUP_NAME, spec);
    if (shared !== undefined) {
      put("rebootbudgets", "RebootBudget", "everything", { nodeSelector: pool, maxUnavailable: shared });
    }
    if (windows) {
      const window = {
        start: "0,12,24,36,48 0-3 * * 1",
        duration: "8m",
        timeZone: "UTC",
        exclude: [],
        mode: "Allow",
      };
      const groupSelector = { matchLabels: { fleet: "harbor" } };
      put("rebootwindows", "RebootWindow", "night", { ...window, groupSelector });
    }
  }
}

/** Whether the Allow window of the world is open, counted without the code under test. */
export function allowOpen(wall: number): boolean {
  return Math.floor(wall / 60_000) % 12 < 8;
}
