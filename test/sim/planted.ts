/** One bug for each rule of design section 5, planted by wrapping a port. The shipped code has no switch for any of them. */
import { CORDON_ANNOTATION, INFRASTRUCTURE_LABEL } from "../../api/labels.ts";
import type { NodeUpdate } from "../../api/node-update.ts";
import type { RebootWindow } from "../../api/reboot-window.ts";
import type { UpdateGroup } from "../../api/update-group.ts";
import type { EtcdPort, KeyValue, Operation } from "../../coordination/etcd.ts";
import { keys } from "../../coordination/keys.ts";
import type { KubeClient } from "../../runtime/client.ts";
import type { Lease, Node } from "../../runtime/core.ts";
import type { ScheduleOptions } from "./run.ts";
import { CALM, type Settings } from "./world.ts";

const settings: Partial<Settings> = {
  ...CALM,
  managers: 1,
  gateways: 2,
  zoneLimit: undefined,
  shared: undefined,
  defectShare: 1,
  guarded: false,
  hooked: false,
};
const plan = { length: 240_000, every: 30_000, kinds: ["killManager"] as const };

export interface Planted extends ScheduleOptions {
  rule: number;
  bug: string;
}

/** `port` with some of its methods replaced. */
function over<T extends object>(port: T, methods: Partial<T>): T {
  return new Proxy(port, {
    get(target, name) {
      const own: unknown = (methods as Record<string | symbol, unknown>)[name];
      const value: unknown = own ?? Reflect.get(target, name, target);
      return own === undefined && typeof value === "function" ? value.bind(target) : value;
    },
  });
}

/** Managers' consistent lists of `plural` show `change`d objects. */
function lists<T>(
  plural: string,
  change: (object: T) => T,
): (client: KubeClient, process: string) => KubeClient {
  return (client) =>
    over(client, {
      list: async (resource, options) => {
        const found = await client.list(resource, options);
        if (resource.plural !== plural) return found as never;
        return { ...found, items: found.items.map((item) => change(item as unknown as T)) } as never;
      },
    });
}

/** The manager's reads of etcd show `change`d records. */
function reads(change: (kv: KeyValue) => KeyValue): (etcd: EtcdPort, process: string) => EtcdPort {
  return (etcd, process) => {
    if (!process.startsWith("manager")) return etcd;
    const read: EtcdPort["read"] = async (ranges) => {
      const { revision, results } = await etcd.read(ranges);
      return { revision, results: results.map((found) => found.map((kv) => change({ ...kv }))) };
    };
    return over(etcd, { read });
  };
}

/** A manager whose grants pass a plain machine off as a Node. */
function asNode(etcd: EtcdPort, process: string): EtcdPort {
  if (!process.startsWith("manager")) return etcd;
  const turned = (operation: Operation): Operation =>
    "put" in operation && operation.put.startsWith(keys.grants)
      ? { ...operation, value: operation.value.replace('"plain":true,', "") }
      : operation;
  return over(etcd, { txn: (compares, operations) => etcd.txn(compares, operations.map(turned)) });
}

/** A manager that takes its own epoch for the living one, and compares none. */
function unfenced(etcd: EtcdPort, process: string): EtcdPort {
  if (!process.startsWith("manager")) return etcd;
  let own: string | undefined;
  return over(etcd, {
    read: async (ranges) => {
      const { revision, results } = await etcd.read(ranges);
      const mine = (kv: KeyValue): KeyValue =>
        kv.key === keys.epoch && own !== undefined ? { ...kv, value: own } : kv;
      return { revision, results: results.map((found) => found.map(mine)) };
    },
    txn: async (compares, operations) => {
      const raised = operations.find((operation) => "put" in operation && operation.put === keys.epoch);
      const kept = raised === undefined ? compares.filter(({ key }) => key !== keys.epoch) : compares;
      const result = await etcd.txn(kept, operations);
      if (result.outcome === "committed" && raised !== undefined && "value" in raised) own = raised.value;
      return result;
    },
  });
}

/** Sees neither what the leader Lease remembers of etcd, nor the grants in the statuses. */
function forgetful(client: KubeClient): KubeClient {
  const forget = (item: unknown): void => {
    const { status, metadata } = item as NodeUpdate;
    delete status?.grant;
    if (metadata.name === "slipway-manager") delete metadata.annotations;
  };
  return over(client, {
    list: async (resource, options) => {
      const found = await client.list(resource, options);
      found.items.forEach(forget);
      return found as never;
    },
    get: async (resource, key, options) => {
      const found = await client.get(resource, key, options);
      forget(found);
      return found as never;
    },
  });
}

export const planted: Planted[] = [
  {
    rule: 1,
    bug: "a group's maxUnavailable is read wrongly",
    settings,
    plan,
    plants: {
      client: lists<UpdateGroup>("updategroups", (group) => ({
        ...group,
        spec: { ...group.spec, maxUnavailable: 9 },
      })),
    },
  },
  {
    rule: 1,
    bug: "a plain machine between two gateways passes for one that is away",
    settings: { ...settings, nodes: 2, plain: 4, zones: 2 },
    plan: { length: 600_000, every: 8000, kinds: ["gatewaysAway", "powerCut", "repoint"] },
    plants: { etcd: asNode },
  },
  {
    rule: 2,
    bug: "a manager does not notice that another leads",
    settings: { ...settings, managers: 2 },
    plan: { length: 1_800_000, every: 5000, kinds: ["freezeManager"] },
    plants: { etcd: unfenced },
  },
  {
    rule: 3,
    bug: "a committed grant counts as withdrawn",
    settings,
    plan,
    plants: {
      etcd: reads((kv) =>
        kv.key.startsWith(keys.phases)
          ? { ...kv, value: kv.value.replace('"Committed"', '"Withdrawn"') }
          : kv,
      ),
    },
  },
  {
    rule: 4,
    bug: "an agent reboots when it starts, without asking",
    settings,
    plan,
    plants: {
      host: (host) =>
        over(host, { disarmDeadMan: () => host.disarmDeadMan().then(() => host.reboot("Reboot")) }),
    },
  },
  {
    rule: 4,
    bug: "windows never close",
    settings: { ...settings, windows: true, nodes: 4 },
    plan: { length: 900_000, every: 60_000, kinds: ["repoint"] },
    plants: {
      client: lists<RebootWindow>("rebootwindows", (window) => ({
        ...window,
        spec: { ...window.spec, start: "00:00", duration: "24h" },
      })),
    },
  },
  {
    rule: 4,
    bug: "a hook that nobody asked counts as done",
    settings: { ...settings, hooked: true },
    plan,
    plants: { http: () => () => Promise.resolve({ status: 200, body: "" }) },
  },
  {
    rule: 5,
    bug: "a try that was used up counts as not used",
    settings: { ...settings, defect: "panic" },
    plan,
    plants: {
      driver: (driver) =>
        over(driver, {
          observe: async () => {
            const machine = await driver.observe();
            if (machine.kind !== "slots") return machine;
            const unused = (slot: (typeof machine.slots)[number]): typeof slot =>
              slot.successful || slot.name === machine.running ? slot : { ...slot, tries: 1 };
            return { ...machine, slots: machine.slots.map(unused) };
          },
        }),
    },
  },
  {
    rule: 6,
    bug: "every cordon is undone, whoever made it",
    settings,
    plan: { ...plan, kinds: ["cordon"] },
    plants: {
      client: (client) =>
        over(client, {
          patch: (resource, key, patch, options) => {
            const body = patch.body as { metadata?: { annotations?: object }; spec?: object };
            const uncordons = resource.plural === "nodes" && patch.type === "merge" && "spec" in body;
            const { annotations = {} } = body.metadata ?? {};
            if (!uncordons || (annotations as Record<string, unknown>)[CORDON_ANNOTATION] !== null)
              return client.patch(resource, key, patch, options);
            const undone = { ...body, spec: { unschedulable: null } };
            return client.patch(resource, key, { type: "merge", body: undone }, options);
          },
        }),
    },
  },
  {
    rule: 7,
    bug: "the boot priority flips when the image is staged",
    settings,
    plan,
    plants: {
      driver: (driver) =>
        over(driver, {
          stage: async (target, options) => {
            await driver.stage(target, options);
            const machine = await driver.observe();
            if (machine.kind === "slots") await driver.flip(machine.running === "A" ? "B" : "A", 1);
          },
        }),
    },
  },
  {
    rule: 7,
    bug: "a flush does not flush",
    settings,
    plan: { length: 600_000, every: 4000, kinds: ["powerCut"] },
    plants: { disk: (disk) => over(disk, { flush: async () => {} }) },
  },
  {
    rule: 8,
    bug: "failures and missing verdicts are not counted",
    settings: { ...settings, nodes: 4, maxUnavailable: 3, defect: "checks", web: 0 },
    plan,
    plants: {
      client: lists<NodeUpdate>("nodeupdates", (nodeUpdate) => ({
        ...nodeUpdate,
        status: {
          ...nodeUpdate.status,
          failed: [],
          verifiedRelease: "os-2",
          runningRootHash: "2".repeat(64),
        },
      })),
    },
  },
  {
    rule: 9,
    bug: "a loss of etcd passes for a first start",
    settings: { ...settings, defect: "checks" },
    plan: { length: 240_000, every: 20_000, kinds: ["etcdWipe"] },
    plants: { client: forgetful },
  },
  {
    rule: 10,
    bug: "a kubelet's signs are not seen",
    settings,
    plan,
    plants: {
      client: (client) =>
        over(client, {
          get: async (resource, key, options) => {
            const found = await client.get(resource, key, options);
            if (key.namespace === "kube-node-lease") (found as unknown as Lease).spec = {};
            return found as never;
          },
        }),
    },
  },
  {
    rule: 11,
    bug: "the switch is not armed",
    settings,
    plan,
    plants: { host: (host) => over(host, { armDeadMan: async () => {} }) },
  },
  {
    rule: 12,
    bug: "the nodes that Slipway stands on are not known",
    settings: { ...settings, nodes: 4, maxUnavailable: 3, web: 0 },
    plan,
    plants: {
      client: lists<Node>("nodes", (node) => {
        const labels = { ...node.metadata.labels };
        delete labels[INFRASTRUCTURE_LABEL];
        return { ...node, metadata: { ...node.metadata, labels } };
      }),
    },
  },
  {
    rule: 13,
    bug: "evictions are not tried dry",
    settings: { ...settings, web: 3, minAvailable: 3 },
    plan,
    plants: {
      client: (client) =>
        over(client, {
          evict: async (pod, options) =>
            options?.dryRun === true ? { outcome: "evicted" } : client.evict(pod, options),
        }),
    },
  },
];
