/**
 * One bug for each rule of design section 5, planted by wrapping a port: the simulation
 * must find it, and name the rule. The shipped code has no switch for this.
 */
import { describe, expect, it } from "vitest";
import type { Driver, SlotMachine } from "../../agent/driver.ts";
import { HOLD_ANNOTATION, INFRASTRUCTURE_LABEL } from "../../api/labels.ts";
import type { NodeUpdate } from "../../api/node-update.ts";
import type { Compare, EtcdPort, KeyValue } from "../../coordination/etcd.ts";
import { keys } from "../../coordination/keys.ts";
import type { KubeClient } from "../../runtime/client.ts";
import type { Node } from "../../runtime/core.ts";
import type { FaultPlan } from "./faults.ts";
import { runSchedule, type ScheduleOptions } from "./run.ts";
import { Violation } from "./violation.ts";
import type { Settings } from "./world.ts";

/** Schedules that a bug may survive. */
const SEEDS = 40;

/** The first violation that the planted bug leads to. */
async function caught(options: ScheduleOptions): Promise<{ rule: number; message: string } | undefined> {
  for (let seed = 1; seed <= SEEDS; seed++) {
    try {
      await runSchedule(seed, options);
    } catch (error) {
      if (!(error instanceof Violation)) throw error;
      return { rule: error.rule, message: error.message };
    }
  }
  return undefined;
}

const calm: Partial<FaultPlan> = { length: 300_000, every: 100_000, kinds: ["killAgent"] };
const base: Partial<Settings> = {
  nodes: 3,
  plain: 0,
  zones: 3,
  managers: 1,
  gateways: 2,
  maxUnavailable: 1,
  zoneLimit: undefined,
  shared: undefined,
  staged: false,
  windows: false,
  defect: undefined,
  defectShare: 1,
  minAvailable: 2,
};

/** What `read` answers is changed by `change`, record by record; undefined hides one. */
function lies(etcd: EtcdPort, change: (kv: KeyValue) => KeyValue | undefined): EtcdPort {
  return wrap(etcd, {
    async read(ranges) {
      const { revision, results } = await etcd.read(ranges);
      return {
        revision,
        results: results.map((found) => found.flatMap((kv) => change({ ...kv }) ?? [])),
      };
    },
  });
}

/** Transactions without the compares that `forgotten` names. */
function forgets(etcd: EtcdPort, forgotten: (compare: Compare) => boolean): EtcdPort {
  return wrap(etcd, {
    txn: (compares, operations) => etcd.txn(compares.filter((compare) => !forgotten(compare)), operations),
  });
}

function wrap<T extends object>(port: T, over: Partial<T>): T {
  return new Proxy(port, {
    get(target, name) {
      const own = (over as Record<string | symbol, unknown>)[name];
      const value: unknown = own ?? Reflect.get(target, name);
      return typeof value === "function" ? value.bind(own === undefined ? target : over) : value;
    },
  });
}

/** What lists of `plural` answer is changed by `change`. */
function lists<T>(client: KubeClient, plural: string, change: (object: T) => T): KubeClient {
  return wrap(client, {
    async list(resource, options) {
      const found = await client.list(resource, options);
      if (resource.plural !== plural) return found as never;
      return { ...found, items: found.items.map((item) => change(item as T)) } as never;
    },
  });
}

const isManager = (process: string): boolean => process.startsWith("manager");

describe("the simulation finds a planted bug", () => {
  it("rule 1: holders are not counted", async () => {
    const found = await caught({
      settings: base,
      plan: calm,
      plants: {
        etcd: (etcd, process) =>
          isManager(process)
            ? lies(etcd, (kv) =>
                kv.key.includes("/holders/") || kv.key.startsWith(keys.grants) ? undefined : unavailableHidden(kv),
              )
            : etcd,
      },
    });
    expect(found?.message).toContain("rule 1 ");
  });

  it("rule 2: a former leader writes on", async () => {
    const found = await caught({
      settings: { ...base, managers: 2 },
      plan: { length: 600_000, every: 20_000, kinds: ["freezeManager"] },
      plants: {
        etcd: (etcd, process) =>
          isManager(process)
            ? forgets(
                wrap(etcd, {
                  read: async (ranges) => {
                    const result = await etcd.read(ranges);
                    return { ...result, results: result.results.map((found) => found.map((kv) => (kv.key === keys.epoch ? mine(etcd, kv) : kv))) };
                  },
                }),
                ({ key }) => key === keys.epoch || key === keys.incarnation,
              )
            : etcd,
        client: (client, process) =>
          isManager(process)
            ? wrap(client, {
                replace: async (resource, object, options) =>
                  resource.plural === "leases" && client !== undefined
                    ? client.replace(resource, { ...object, metadata: { ...object.metadata, resourceVersion: "" } } as never, options).catch(() => object as never)
                    : client.replace(resource, object, options),
              })
            : client,
      },
    });
    expect(found?.message).toContain("rule 2 ");
  });
