/** Two gateways and one etcd: machines ask both at once, by both protocols, and never are more down than a budget allows. */
import * as fc from "fast-check";
import { afterAll, beforeAll, expect, it } from "vitest";
import type { Coordination } from "../../coordination/coordination.ts";
import { createCoordination } from "../../coordination/create.ts";
import type { EtcdPort } from "../../coordination/etcd.ts";
import { connectEtcd } from "../../coordination/etcd3-port.ts";
import { foreignMachine, openGate } from "../../coordination/fixtures.ts";
import { type EtcdCluster, startEtcd } from "../../hack/plane/etcd.ts";
import { systemClock } from "../../ports/clock.ts";
import { silentLogger } from "../../ports/log.ts";
import { systemRandom } from "../../ports/random.ts";
import { SlotLine } from "./line.ts";

const RUNS = process.env["LONG"] === "1" ? 300 : 25;
const parts = { clock: systemClock, random: systemRandom, log: silentLogger };

let etcd: EtcdCluster;
let ports: EtcdPort[];
let rooms: Coordination[];
beforeAll(async () => {
  etcd = await startEtcd();
  ports = [0, 1].map(() =>
    connectEtcd({ endpoints: etcd.endpoints, clock: systemClock, random: systemRandom }),
  );
  rooms = ports.map((port) => createCoordination({ etcd: port, ...parts }));
});
afterAll(async () => {
  await Promise.all((ports ?? []).map((port) => port.close()));
  await etcd?.stop();
});

interface Turn {
  machine: number;
  gateway: number;
  omaha: boolean;
}

const turns = fc.array(
  fc.record({ machine: fc.nat({ max: 9 }), gateway: fc.nat({ max: 1 }), omaha: fc.boolean() }),
  { minLength: 10, maxLength: 40 },
);

/** What takes the slot of a machine that updates. */
const slotFor = fc.constantFrom("Update" as const, "Reboot" as const);

it("gives no more places than there are, one to each machine, and all of them back", async () => {
  let run = 0;
  await fc.assert(
    fc.asyncProperty(turns, fc.integer({ min: 1, max: 3 }), slotFor, async (list, max, taker) => {
      run += 1;
      await playOut(`g${run}`, list, max, taker);
    }),
    { numRuns: RUNS, endOnFailure: true },
  );
}, 240_000);

async function playOut(
  group: string,
  list: readonly Turn[],
  max: number,
  taker: "Update" | "Reboot",
): Promise<void> {
  const [room] = rooms as [Coordination, Coordination];
  const budget = `group/${group}`;
  const validUntil = Date.now() + 30_000;
  const leader = await room.raiseEpoch(await room.readEpoch(), true);
  if (leader === undefined) throw new Error("another leads");
  const machines = { budgets: [budget], needs: 1000, open: true, slotFor: taker };
  await room.writeGates(leader, {
    groups: [openGate(group, validUntil, { machines })],
    budgets: [{ budget, max, unavailable: [], validUntil }],
  });
  const lines = rooms.map(
    (coordination) => new SlotLine({ coordination, clock: systemClock, random: systemRandom }),
  );
  const down = new Set<string>();
  const busy = new Set<number>();
  const never = new AbortController().signal;
  let [most, slots, updates] = [0, 0, 0];
  await Promise.all(
    list.map(async ({ machine, gateway, omaha }) => {
      // A machine asks one thing at a time.
      if (busy.has(machine)) return;
      busy.add(machine);
      const [uid, line, coordination] = [`${group}-${machine}`, lines[gateway], rooms[gateway]];
      if (line === undefined || coordination === undefined) return;
      const ask = { uid, name: uid, group };
      const update = async () =>
        await coordination.takeUpdate({
          ...{ ...ask, nonce: systemRandom.uuid(), release: "r", version: "2", threshold: 1000 },
          machine: foreignMachine(uid, { group, track: group }),
        });
      const lock = async () => await line.take({ ...ask, protocol: "FleetLock" }, 5000, never);
      const offered = omaha ? await update() : undefined;
      if (omaha && taker === "Reboot") expect(offered?.outcome).toBe("granted");
      if (offered?.outcome === "refused") return;
      if (offered !== undefined) updates += 1;
      const locked = offered === undefined || taker === "Reboot" ? await lock() : undefined;
      if (locked?.outcome !== "refused") {
        slots += 1;
        down.add(uid);
        most = Math.max(most, down.size);
        await Promise.resolve();
        down.delete(uid);
      }
      if (offered !== undefined) {
        const updating =
          (await coordination.readForeignMachine(uid)) ?? foreignMachine(uid, { group, track: group });
        const end = { uid, machine: updating, how: "good", code: 0 } as const;
        expect(await coordination.endUpdate(end)).toBeDefined();
      }
      if (locked !== undefined && locked.outcome !== "refused")
        expect(await line.free(uid, group, "FleetLock")).toBe("freed");
      busy.delete(machine);
    }),
  );
  expect(most).toBeLessThanOrEqual(max);
  expect(slots).toBeGreaterThan(0);
  const fleet = await room.readFleet();
  expect(fleet.budgets.get(budget)?.holders.size).toBe(0);
  expect([...fleet.grants.values()].filter(({ grant }) => grant.group === group)).toEqual([]);
  // Two changes of the count for each place: what was taken was given back.
  expect(fleet.budgets.get(budget)?.seq).toBe(2 * slots);
  const tally = fleet.tallies.get(group)?.get("r");
  expect([tally?.granted ?? 0, tally?.good ?? 0]).toEqual([updates, updates]);
}
