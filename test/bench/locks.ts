/**
 * `npm run bench -- locks`: 1, 8 and 32 clients contend for one slot over FleetLock, through two gateways' edges on a real
 * etcd, each as fast as it is answered: grants a second, answers that were an error, and how evenly they waited. Beside
 * it, in the same run, what airlock does with one key: compare and swap, and an error to whoever lost.
 */
import { Agent, request } from "node:http";
import { createCoordination } from "../../coordination/create.ts";
import type { EtcdPort } from "../../coordination/etcd.ts";
import { connectEtcd } from "../../coordination/etcd3-port.ts";
import { openGate } from "../../coordination/fixtures.ts";
import { type EdgeServer, type Route, startEdge } from "../../gateway/edge/server.ts";
import { fleetLockRoute } from "../../gateway/fleetlock/route.ts";
import { SlotLine } from "../../gateway/slots/line.ts";
import { startEtcd } from "../../hack/plane/etcd.ts";
import { MachineCredentials } from "../../pki/machine-credentials.ts";
import { systemClock } from "../../ports/clock.ts";
import { silentLogger } from "../../ports/log.ts";
import { systemRandom } from "../../ports/random.ts";

/** Of one measurement, ms. */
const LASTS = 10_000;
const CLIENTS = [1, 8, 32];
const GROUP = "bench";

interface Contention {
  clients: number;
  /** Slots taken and given back. */
  grantsPerSecond: number;
  /** Answers but yes. */
  failures: number;
  /** From asking to having it, ms. */
  meanWait: number;
  longestWaitOverMean: number;
}

export async function run({ onProgress }: { onProgress: (line: string) => void }): Promise<object> {
  const etcd = await startEtcd();
  const connect = (): EtcdPort =>
    connectEtcd({ endpoints: etcd.endpoints, clock: systemClock, random: systemRandom });
  const ports = [connect(), connect()];
  const edges: EdgeServer[] = [];
  const agent = new Agent({ keepAlive: true, maxSockets: 64 });
  try {
    const stop = await openGates(ports[0] as EtcdPort);
    for (const port of ports) edges.push(await edgeOf(port));
    const measured: Record<string, Contention[]> = { slipway: [], compareAndSwap: [] };
    for (const clients of CLIENTS) {
      for (const [name, prefix] of [
        ["slipway", "/fleetlock"],
        ["compareAndSwap", "/airlock"],
      ] as const) {
        const result = await contend(edges, agent, prefix, clients);
        measured[name]?.push(result);
        onProgress(`${name}: ${JSON.stringify(result)}`);
      }
    }
    stop();
    return measured;
  } finally {
    agent.destroy();
    await Promise.all(edges.map((edge) => edge.stop(0)));
    await Promise.all(ports.map((port) => port.close()));
    await etcd.stop();
  }
}

/** What a manager does: gates that are renewed. Gives what ends it. */
async function openGates(etcd: EtcdPort): Promise<() => void> {
  const room = createCoordination({ etcd, clock: systemClock, random: systemRandom, log: silentLogger });
  const leader = await room.raiseEpoch(await room.readEpoch(), true);
  if (leader === undefined) throw new Error("another leads a fresh etcd");
  const budgets = [`group/${GROUP}`];
  const write = async (): Promise<void> => {
    const validUntil = Date.now() + 30_000;
    const machines = { budgets, needs: 1000, open: true };
    await room.writeGates(leader, {
      groups: [openGate(GROUP, validUntil, { machines })],
      budgets: budgets.map((budget) => ({ budget, max: 1, unavailable: [], validUntil })),
    });
  };
  await write();
  const timer = setInterval(() => void write(), 10_000);
  return () => clearInterval(timer);
}

async function edgeOf(etcd: EtcdPort): Promise<EdgeServer> {
  const parts = { clock: systemClock, random: systemRandom, log: silentLogger };
  const coordination = createCoordination({ etcd, ...parts });
  const route = fleetLockRoute({
    coordination,
    clock: systemClock,
    line: new SlotLine({ coordination, ...parts }),
    credentials: new MachineCredentials([]),
    isOpen: () => true,
    log: silentLogger,
    meter: () => {},
  });
  const meter = { answered: () => {} };
  const listen = { host: "127.0.0.1", port: 0 };
  return await startEdge({ listen, routes: [route, airlockRoute(etcd)], ...parts, meter });
}

/** One key that holds who holds: what airlock does (its lock manager: get, change, compare by version, error). */
function airlockRoute(etcd: EtcdPort): Route {
  const key = "/airlock/semaphore";
  return {
    prefix: "/airlock",
    maxBody: 8192,
    answer: async ({ path, body }) => {
      const { id } = (JSON.parse(body.toString()) as { client_params: { id: string } }).client_params;
      const { results } = await etcd.read([{ key }]);
      const found = results[0]?.[0];
      const holders = JSON.parse(found?.value ?? "[]") as string[];
      const locks = path.endsWith("pre-reboot");
      if (locks && holders.length > 0 && !holders.includes(id))
        return { status: 500, body: "all slots are locked" };
      const next = locks ? [id] : holders.filter((holder) => holder !== id);
      const done = await etcd.txn(
        [{ key, target: "mod", is: "equal", revision: found?.modRevision ?? 0 }],
        [{ put: key, value: JSON.stringify(next) }],
      );
      return done.outcome === "committed" ? { status: 200, body: "" } : { status: 500, body: "conflict" };
    },
  };
}

async function contend(
  edges: readonly EdgeServer[],
  agent: Agent,
  prefix: string,
  clients: number,
): Promise<Contention> {
  const end = performance.now() + LASTS;
  let [grants, failures] = [0, 0];
  const waits: number[] = [];
  await Promise.all(
    Array.from({ length: clients }, async (_, index) => {
      const port = edges[index % edges.length]?.port ?? 0;
      const body = JSON.stringify({
        client_params: { id: index.toString(16).padStart(32, "0"), group: GROUP },
      });
      const until = async (call: string): Promise<void> => {
        while ((await post(agent, port, `${prefix}/v1/${call}`, body)) !== 200) {
          failures += 1;
          if (performance.now() > end + LASTS) return;
        }
      };
      while (performance.now() < end) {
        const asked = performance.now();
        await until("pre-reboot");
        waits.push(performance.now() - asked);
        grants += 1;
        await until("steady-state");
      }
    }),
  );
  const mean = waits.reduce((sum, wait) => sum + wait, 0) / waits.length;
  const round = (value: number): number => Math.round(value * 10) / 10;
  return {
    ...{ clients, grantsPerSecond: round(grants / (LASTS / 1000)), failures, meanWait: round(mean) },
    longestWaitOverMean: round(Math.max(...waits) / mean),
  };
}

function post(agent: Agent, port: number, path: string, body: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const headers = { "fleet-lock-protocol": "true", "content-length": Buffer.byteLength(body) };
    const sent = request({ agent, port, host: "127.0.0.1", path, method: "POST", headers }, (response) => {
      response.resume();
      response.once("end", () => resolve(response.statusCode ?? 0));
    });
    sent.once("error", reject);
    sent.end(body);
  });
}
