/** Two views of one real etcd: they follow each change, pages and feed, and read all again where the past is forgotten. */
import { afterAll, beforeAll, expect, it, vi } from "vitest";
import { type EtcdCluster, startEtcd } from "../hack/plane/etcd.ts";
import { type FaultProxy, startFaultProxy } from "../hack/plane/fault-proxy.ts";
import { systemClock } from "../ports/clock.ts";
import { silentLogger } from "../ports/log.ts";
import { systemRandom } from "../ports/random.ts";
import type { EtcdPort } from "./etcd.ts";
import { connectEtcd } from "./etcd3-port.ts";
import { keys } from "./keys.ts";
import { MachineView } from "./machine-view.ts";
import type { ForeignMachine } from "./records.ts";

const PATIENCE = { timeout: 40_000, interval: 20 };
const COUNT = 350;

let etcd: EtcdCluster;
let proxy: FaultProxy;
const ports: EtcdPort[] = [];
const views: MachineView[] = [];

function connect(endpoints: readonly string[]): EtcdPort {
  const port = connectEtcd({ endpoints, clock: systemClock, random: systemRandom, callTimeout: 2000 });
  ports.push(port);
  return port;
}

function viewOf(port: EtcdPort): MachineView {
  const view = new MachineView({
    ...{ etcd: port, clock: systemClock, log: silentLogger, limits: { page: 100 } },
  });
  views.push(view);
  view.start();
  return view;
}

const uidOf = (n: number): string => n.toString(16).padStart(32, "0");

function recordOf(n: number, version: string): ForeignMachine {
  return {
    ...{ id: uidOf(n), group: "g", product: "p", version, track: "t", board: "b", oem: "", alias: "" },
    ...{ bootId: "boot", firstSeen: 1, lastSeen: 1, failed: [] },
  };
}

async function put(port: EtcdPort, from: number, to: number, version: string): Promise<number> {
  const puts = Array.from({ length: to - from }, (_, i) => ({
    put: keys.foreignMachine(uidOf(from + i)),
    value: JSON.stringify(recordOf(from + i, version)),
  }));
  let revision = 0;
  for (let at = 0; at < puts.length; at += 100) {
    const result = await port.txn([], puts.slice(at, at + 100));
    if (result.outcome !== "committed") throw new Error(result.outcome);
    revision = result.revision;
  }
  return revision;
}

const versions = (view: MachineView): Record<string, number> =>
  Object.fromEntries([...(view.counts.get("g") ?? [])].map(([version, { Idle }]) => [version, Idle]));

beforeAll(async () => {
  etcd = await startEtcd();
  const [endpoint = ""] = etcd.endpoints;
  proxy = await startFaultProxy({ port: Number(new URL(endpoint).port) });
});
afterAll(async () => {
  for (const view of views) view.stop();
  await Promise.all(ports.map((port) => port.close()));
  await proxy?.close();
  await etcd?.stop();
});

it("shows the same as etcd through changes, a cut connection and a compaction", async () => {
  const writer = connect(etcd.endpoints);
  await put(writer, 0, COUNT, "1");
  const [straight, cut] = [viewOf(writer), viewOf(connect([`http://127.0.0.1:${proxy.port}`]))];
  const both = [straight, cut];
  await vi.waitUntil(() => both.every(({ fresh }) => fresh), PATIENCE);
  expect(both.map(versions)).toEqual([{ 1: COUNT }, { 1: COUNT }]);

  await put(writer, 0, 50, "2");
  await writer.txn([], [{ delete: keys.foreignMachine(uidOf(COUNT - 1)) }]);
  const next = { 1: COUNT - 51, 2: 50 };
  await vi.waitUntil(
    () => both.every((view) => view.size === COUNT - 1 && versions(view)["2"] === 50),
    PATIENCE,
  );
  expect(both.map(versions)).toEqual([next, next]);

  await proxy.refuse(true);
  proxy.reset();
  await vi.waitUntil(() => !cut.fresh, PATIENCE);
  expect(straight.fresh).toBe(true);
  await put(writer, 50, 60, "3");
  const revision = await put(writer, COUNT, COUNT + 150, "3");
  await writer.txn([], [{ delete: keys.foreignMachine(uidOf(0)) }]);
  await writer.compact(revision);
  await proxy.refuse(false);
  await vi.waitUntil(() => cut.fresh && versions(cut)["3"] === 160, PATIENCE);
  expect(versions(cut)).toEqual({ 1: COUNT - 61, 2: 49, 3: 160 });
  expect(versions(straight)).toEqual(versions(cut));
  expect(new Map(cut)).toEqual(new Map(straight));
}, 120_000);
