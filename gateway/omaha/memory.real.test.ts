/** Two gateways, each with a view of its own of one real etcd: machines go from one to the other in the middle of their updates. */
import { afterAll, beforeAll, expect, it, vi } from "vitest";
import type { Coordination, FleetSnapshot } from "../../coordination/coordination.ts";
import { createCoordination } from "../../coordination/create.ts";
import type { EtcdPort } from "../../coordination/etcd.ts";
import { connectEtcd } from "../../coordination/etcd3-port.ts";
import { openGate } from "../../coordination/fixtures.ts";
import { MachineView } from "../../coordination/machine-view.ts";
import { type EtcdCluster, startEtcd } from "../../hack/plane/etcd.ts";
import { MachineCredentials } from "../../pki/machine-credentials.ts";
import { systemClock } from "../../ports/clock.ts";
import { silentLogger } from "../../ports/log.ts";
import { systemRandom } from "../../ports/random.ts";
import { OmahaMachine } from "../../test/omaha/machine.ts";
import { FLATCAR } from "../../test/omaha/requests.ts";
import type { EdgeRequest } from "../edge/server.ts";
import { Sightings } from "../machines/sightings.ts";
import { omahaRoute } from "./route.ts";

const PATIENCE = { timeout: 60_000, interval: 20 };
const [GROUP, MACHINES, PLACES] = ["workers", 24, 4];
const parts = { clock: systemClock, random: systemRandom, log: silentLogger };

let etcd: EtcdCluster;
const ports: EtcdPort[] = [];
const ends: (() => void)[] = [];
let fleet: FleetSnapshot;

function connect(): EtcdPort {
  const port = connectEtcd({ endpoints: etcd.endpoints, ...parts });
  ports.push(port);
  return port;
}

interface Gateway {
  view: MachineView;
  room: Coordination;
  /** What was asked of etcd for a check. */
  calls: string[];
  post: (xml: string) => Promise<string>;
}

function gatewayOf(): Gateway {
  const port = connect();
  const room = createCoordination({ etcd: port, ...parts });
  const view = new MachineView({ etcd: port, ...parts });
  const calls: string[] = [];
  const coordination = new Proxy(room, {
    get: (of, name: keyof Coordination) => {
      calls.push(name);
      return of[name];
    },
  });
  const sightings = new Sightings({ coordination: room, ...parts });
  const route = omahaRoute({
    ...{ coordination, ...parts, machines: view, sightings, fleet: () => fleet, isOpen: () => true },
    credentials: new MachineCredentials([]),
    ...{ meter: () => {}, unknown: () => {} },
  });
  view.start();
  ends.push(
    () => view.stop(),
    () => sightings.stop(),
  );
  const post = async (xml: string): Promise<string> => {
    const request = { method: "POST", path: "/v1/update/", body: Buffer.from(xml) };
    return String((await route.answer(request as unknown as EdgeRequest)).body);
  };
  return { view, room, calls, post };
}

beforeAll(async () => {
  etcd = await startEtcd();
});
afterAll(async () => {
  for (const end of ends) end();
  await Promise.all(ports.map((port) => port.close()));
  await etcd?.stop();
});

it("takes no place too many and loses no update, and in the end costs etcd nothing", async () => {
  const [one, other] = [gatewayOf(), gatewayOf()];
  const gateways = [one, other];
  const leader = await one.room.raiseEpoch(await one.room.readEpoch(), true);
  if (leader === undefined) throw new Error("another leads");
  const validUntil = Date.now() + 600_000;
  const budget = `group/${GROUP}`;
  const machinesGate = { budgets: [budget], needs: 1000, open: true };
  const payload = { name: "update.gz", size: 100, sha256: "ab".repeat(32) };
  const offered = {
    release: "r",
    version: "1.1.0",
    codebases: ["https://images.test/"],
    payload,
    extras: [],
  };
  await one.room.writeGates(leader, {
    groups: [openGate(GROUP, validUntil, { machines: machinesGate })],
    budgets: [{ budget, max: PLACES, unavailable: [], validUntil }],
    offers: [
      {
        ...{ group: GROUP, tracks: [GROUP], product: FLATCAR, share: 1, threshold: 1000, validUntil },
        ways: { amd64: [offered] },
      },
    ],
  });
  fleet = await one.room.readFleet();
  await vi.waitUntil(() => gateways.every(({ view }) => view.fresh), PATIENCE);

  let most = 0;
  const look = async (): Promise<void> => {
    most = Math.max(most, (await one.room.readForeign(GROUP)).holders.length);
  };
  await Promise.all(
    Array.from({ length: MACHINES }, async (_, n) => {
      // Each request goes to the other gateway, whose view may not know yet what the first did.
      let turn = n;
      const machine = new OmahaMachine(n, "1.0.0", (xml) => (gateways[turn++ % 2] as Gateway).post(xml));
      await vi.waitUntil(async () => (await machine.check()).does === "update", PATIENCE);
      await look();
      await machine.install();
      if (n % 6 === 5) machine.fallBack();
      else machine.reboot("1.1.0", n % 2 === 0);
      expect(await machine.check()).toMatchObject({ does: "nothing" });
    }),
  );
  expect(most).toBeGreaterThan(0);
  expect(most).toBeLessThanOrEqual(PLACES);
  const after = await one.room.readFleet();
  expect(after.budgets.get(budget)?.holders.size).toBe(0);
  const fell = Math.floor(MACHINES / 6);
  const total = { granted: MACHINES, good: MACHINES - fell, failed: fell };
  expect(after.tallies.get(GROUP)?.get("r")).toMatchObject(total);
  const counts = new Map([
    ["1.0.0", { Idle: 0, Updating: 0, Failed: fell }],
    ["1.1.0", { Idle: MACHINES - fell, Updating: 0, Failed: 0 }],
  ]);
  for (const { view } of gateways) {
    await vi.waitUntil(() => view.size === MACHINES && view.counts.get(GROUP)?.get("1.0.0")?.Failed === fell);
    expect(view.counts.get(GROUP)).toEqual(counts);
  }

  for (const gateway of gateways) gateway.calls.length = 0;
  for (let n = 0; n < MACHINES; n++) {
    for (const { post } of gateways) {
      const machine = new OmahaMachine(n, n % 6 === 5 ? "1.0.0" : "1.1.0", post);
      machine.reboot(machine.version, true);
      expect(await machine.check()).toMatchObject({ does: "nothing" });
    }
  }
  expect(gateways.flatMap(({ calls }) => calls)).toEqual([]);
}, 180_000);
