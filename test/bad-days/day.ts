/**
 * A bad day: one cluster per file, faults by the test, and after each day a rest, at which
 * the real world is asked whether anything happened that must never happen.
 */
import { afterAll, afterEach, beforeAll, expect } from "vitest";
import type { KubeObject } from "../../api/meta.ts";
import type { NodeUpdate } from "../../api/node-update.ts";
import type { UpdateGroup } from "../../api/update-group.ts";
import { Cluster, type ClusterOptions, type MachineSpec } from "../../hack/cluster/cluster.ts";
import type { Defect } from "../../hack/cluster/foundry.ts";
import { observe } from "../../hack/cluster/observer.ts";
import { channel, GROUP, rebootWindow, updateGroup, workloads } from "../../hack/demo/manifests.ts";
import { waitUntil } from "../../hack/plane/wait.ts";
import type { Node } from "../../runtime/core.ts";
import { breaches, type Limits } from "./breach.ts";

export interface DayOptions extends Partial<Omit<ClusterOptions, "onProgress">> {
  /** What the group declares, and what the observer holds it to: 2 in all, 1 per zone if absent. */
  limits?: Limits;
  /** Two dozen Pods with a PodDisruptionBudget; none if absent. */
  workloads?: boolean;
}

/** What a day may leave behind. */
export interface Leftovers {
  /** Machines that are off, or whose agent is away, because the test wants it so. */
  absent?: readonly string[];
  /** Machines that hold a slot and say why: they are Suspect. */
  suspects?: readonly string[];
  /** Machines whose firmware found nothing to boot because the test broke them. */
  stuck?: readonly string[];
}

const CORDON = "slipway.dev/cordon";
/** Two cores, a dozen machines, and whoever else runs tests: only for what hangs. */
const DEADLINE = 180_000;
const START_WITHIN = 120_000;
const LOOK_EVERY = 300;

/** `count` machines, in turn in the zones east, north and west. */
export function machines(count: number): MachineSpec[] {
  const zones = ["east", "north", "west"];
  return Array.from({ length: count }, (_, index) => ({
    name: `node-${String(index + 1).padStart(2, "0")}`,
    zone: zones[index % zones.length] ?? "east",
  }));
}

export class Day {
  readonly cluster: Cluster;
  readonly limits: Limits;
  readonly #cordoned = new Set<string>();
  /** Wall clock, ms: the observer looks at what happened since. */
  #since = Date.now();

  constructor(cluster: Cluster, limits: Limits) {
    this.cluster = cluster;
    this.limits = limits;
  }

  /** Applies the group, with `spec` on top of the demo's, and `spec.health` on top of its health. */
  async declare(spec: Record<string, unknown> = {}): Promise<void> {
    const group = updateGroup(this.cluster.servicePort);
    const topology = [{ key: "topology.kubernetes.io/zone", maxUnavailable: this.limits.perZone }];
    const quiet = { stages: [], maxUnavailable: this.limits.total, topology };
    const health = { ...group.spec.health, ...(spec["health"] as object | undefined) };
    await this.cluster.apply({ ...group, spec: { ...group.spec, ...quiet, ...spec, health } });
  }

  /** Makes `version`, and lets the channel point at it. */
  async publish(version: string, defect?: Defect): Promise<void> {
    const { manifest } = await this.cluster.foundry.release(version, defect);
    await this.cluster.apply(manifest, channel(manifest.metadata.name));
  }

  async group(): Promise<UpdateGroup | undefined> {
    return await this.cluster.get<UpdateGroup>("updategroups", GROUP);
  }

  async nodeUpdates(): Promise<NodeUpdate[]> {
    return await this.cluster.list<NodeUpdate>("nodeupdates");
  }

  async nodeUpdate(name: string): Promise<NodeUpdate | undefined> {
    return await this.cluster.get<NodeUpdate>("nodeupdates", name);
  }

  /** Waits until `condition` holds; errors of a control plane that is away count as "not yet". */
  async waitFor(
    what: string,
    condition: () => boolean | Promise<boolean>,
    deadline = DEADLINE,
  ): Promise<void> {
    await waitUntil(condition, { what, deadline, interval: LOOK_EVERY });
  }

  /** Waits until every machine but `except` runs `version`, verified, and holds no slot. */
  async waitUntilDone(version: string, except: readonly string[] = []): Promise<void> {
    let last: readonly NodeUpdate[] = [];
    try {
      await this.waitFor(`all machines run ${version}`, async () => {
        last = await this.nodeUpdates();
        const asked = last.filter(({ metadata }) => !except.includes(metadata.name));
        return (
          last.length === this.cluster.machines.length &&
          asked.every(
            ({ status }) =>
              status?.running === version && status.step === "Idle" && status.grant === undefined,
          )
        );
      });
    } catch (error) {
      throw new Error(`${String(error)}\n${board(last)}`, { cause: error });
    }
  }

  /** Waits until at least `count` machines run `version`, by their firmware. */
  async waitUntilBooted(version: string, count: number): Promise<void> {
    await this.waitFor(`${count} machines booted ${version}`, () => this.booted(version).length >= count);
  }

  /** Names of the machines that ever booted `version`, by their firmware. */
  booted(version: string): string[] {
    return this.cluster.machines
      .filter((machine) =>
        machine.events().some((event) => event.event === "boot" && event.version === version),
      )
      .map(({ name }) => name);
  }

  /** How often a machine booted since the day began. */
  boots(name: string): number {
    return this.cluster
      .machine(name)
      .events()
      .filter(({ event, time }) => event === "boot" && time >= this.#since).length;
  }

  /** Whether its power is off, by its firmware. */
  isDown(name: string): boolean {
    return this.cluster.machine(name).events().at(-1)?.event === "off";
  }

  /** Milliseconds since its user space came up; 0 while it is down. */
  upFor(name: string): number {
    const last = this.cluster.machine(name).events().at(-1);
    return last?.event === "up" ? Date.now() - last.time : 0;
  }

  /**
   * A person's `kubectl cordon`: it must stand until the person undoes it. The node counts as
   * unavailable: its zone's other nodes wait.
   */
  async cordonByHand(node: string): Promise<void> {
    await this.cluster.plane.kubectl(["cordon", node]);
    this.#cordoned.add(node);
  }

  async uncordonByHand(node: string): Promise<void> {
    const found = await this.cluster.get<Node>("nodes", node);
    expect(found?.spec?.unschedulable, `the cordon that a person put on ${node}`).toBe(true);
    await this.cluster.plane.kubectl(["uncordon", node]);
    this.#cordoned.delete(node);
  }

  /** Events about the object `name`, as a person reads them. */
  async events(name: string): Promise<{ reason: string; note: string }[]> {
    const all = await this.cluster.list<
      KubeObject & { reason: string; note: string; regarding: { name: string } }
    >("events");
    return all
      .filter(({ regarding }) => regarding.name === name)
      .map(({ reason, note }) => ({ reason, note }));
  }

  /** Keys of Slipway's etcd under `prefix`, as `grants/`. */
  async etcdKeys(prefix: string): Promise<string[]> {
    const text = await this.cluster.etcd.etcdctl(["get", `/slipway/${prefix}`, "--prefix", "--keys-only"]);
    return text.split("\n").filter((line) => line !== "");
  }

  /** uids that hold a place in `budget`, by Slipway's etcd. */
  async holders(budget: string): Promise<string[]> {
    const prefix = `budgets/${encodeURIComponent(budget)}/holders/`;
    return (await this.etcdKeys(prefix)).map((key) => key.slice(key.lastIndexOf("/") + 1));
  }

  /** Ends the day: waits until all is quiet, then asks the real world. */
  async rest(left: Leftovers = {}): Promise<void> {
    const { absent = [], suspects = [], stuck = [] } = left;
    const away = new Set([...absent, ...suspects, ...stuck]);
    const explained = new Set(suspects);
    await this.#quiet("no machine holds a slot", async () => {
      const holders = (await this.nodeUpdates()).filter(({ status }) => status?.grant !== undefined);
      const unexplained = holders.filter(
        ({ metadata, status }) =>
          !explained.has(metadata.name) || status?.step !== "Suspect" || (status.message ?? "") === "",
      );
      return [
        ...unexplained.map(({ metadata }) => `NodeUpdate ${metadata.name}`),
        ...(await this.etcdKeys("grants/")).slice(explained.size),
        ...(await this.etcdKeys("phases/")).slice(explained.size),
        ...(explained.size === 0
          ? (await this.etcdKeys("budgets/")).filter((key) => key.includes("/holders/"))
          : []),
      ];
    });
    await this.#quiet("every agent is connected", async () => {
      const nodes = await this.nodeUpdates();
      const presence = await this.etcdKeys("presence/");
      const expected = this.cluster.machines.length - away.size;
      return [
        ...nodes
          .filter(({ metadata, status }) => !away.has(metadata.name) && status?.connected !== true)
          .map(({ metadata }) => metadata.name),
        ...(presence.length >= expected ? [] : [`${presence.length} of ${expected} have a session in etcd`]),
      ];
    });
    await this.#quiet("every cordon is a person's", async () =>
      (await this.cluster.list<Node>("nodes"))
        .filter(({ metadata }) => !explained.has(metadata.name))
        .filter(
          ({ metadata, spec }) =>
            metadata.annotations?.[CORDON] !== undefined ||
            (spec?.unschedulable === true) !== this.#cordoned.has(metadata.name),
        )
        .map(({ metadata }) => metadata.name),
    );
    const seen = observe(this.cluster.machines, this.#since);
    expect(seen.stuck.toSorted(), "machines without a bootable slot").toEqual(stuck.toSorted());
    expect(breaches(seen.outages, this.limits), "disruptions beyond the budget").toEqual([]);
    this.#since = Date.now();
  }

  async #quiet(what: string, violations: () => Promise<string[]>): Promise<void> {
    let last: string[] = [];
    try {
      await this.waitFor(what, async () => {
        last = await violations();
        return last.length === 0;
      });
    } catch (error) {
      throw new Error(`${String(error)}; but: ${last.join(", ")}\n${board(await this.nodeUpdates())}`, {
        cause: error,
      });
    }
  }
}

/** One line per machine, for messages. */
export function board(nodes: readonly NodeUpdate[]): string {
  return nodes
    .map(
      ({ metadata, status }) =>
        `  ${metadata.name}: ${status?.running ?? "?"} -> ${status?.target ?? "?"}, ${status?.step ?? "?"} (${status?.reason ?? "?"}): ${status?.message ?? ""}${status?.grant === undefined ? "" : ` [${status.grant.phase}]`}`,
    )
    .join("\n");
}

/**
 * Starts a cluster before the first test of the file and ends it after the last; logs are
 * kept when a test failed. The group is declared by the tests; machines run 1.0.0.
 */
export function days(options: DayOptions = {}): () => Day {
  let day: Day | undefined;
  let failed = false;
  beforeAll(async () => {
    const { limits = { total: 2, perZone: 1 }, workloads: busy = false, ...cluster } = options;
    const started = await Cluster.start({ machines: machines(6), ...cluster });
    day = new Day(started, limits);
    await started.apply(rebootWindow, ...(busy ? workloads() : []));
  }, START_WITHIN);
  afterEach(({ task }) => {
    failed ||= task.result?.state === "fail";
  });
  afterAll(async () => {
    await day?.cluster.stop({ keepLogs: failed });
  }, START_WITHIN);
  return () => {
    if (day === undefined) throw new Error("the cluster did not start");
    return day;
  };
}
