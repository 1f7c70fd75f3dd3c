import { expect, it } from "vitest";
import { EtcdUnavailable } from "../../coordination/etcd.ts";
import type { Sighting } from "../../coordination/updates.ts";
import { silentLogger } from "../../ports/log.ts";
import { SimClock } from "../../test/sim/clock.ts";
import { Sightings } from "./sightings.ts";

function world() {
  const sim = new SimClock();
  const batches: ReadonlyMap<string, Sighting>[] = [];
  let away = false;
  const sightings = new Sightings({
    coordination: {
      putSightings: async (batch) => {
        if (away) throw new EtcdUnavailable("away");
        batches.push(batch);
      },
    },
    clock: sim.process(),
    log: silentLogger,
  });
  const pass = async (milliseconds: number): Promise<void> => {
    const end = sim.time + milliseconds;
    sim.at(milliseconds, () => {});
    for (let next = sim.next(); next !== undefined && next <= end; next = sim.next()) {
      sim.step();
      await new Promise((resolve) => setImmediate(resolve));
    }
  };
  return { sightings, batches, pass, leave: (gone: boolean) => (away = gone) };
}
const at = (lastSeen: number): Sighting => ({ lastSeen, why: undefined });

it("writes those of a second together, sixty at a time, each once and the newest of each", async () => {
  const { sightings, batches, pass } = world();
  for (let n = 0; n < 250; n++) sightings.note(`m${n}`, at(1));
  sightings.note("m7", at(2));
  expect(sightings.get("m7")).toEqual(at(2));
  await pass(900);
  expect(batches).toEqual([]);
  await pass(200);
  expect(batches.map(({ size }) => size)).toEqual([60, 60, 60, 60, 10]);
  expect(batches[0]?.get("m7")).toEqual(at(2));
  expect(sightings.get("m7")).toBeUndefined();
  await pass(60_000);
  expect(batches).toHaveLength(5);
});

it("keeps them while etcd is away, no more than its limit, and writes them when it is back", async () => {
  const { sightings, batches, pass, leave } = world();
  leave(true);
  for (let n = 0; n < 21_000; n++) sightings.note(`m${n}`, at(1));
  expect(sightings.get("m19999")).toBeDefined();
  expect(sightings.get("m20000")).toBeUndefined();
  await pass(20_000);
  expect(batches).toEqual([]);
  leave(false);
  await pass(6000);
  expect(batches.reduce((sum, { size }) => sum + size, 0)).toBe(20_000);
});

it("writes no more once it is stopped", async () => {
  const { sightings, batches, pass } = world();
  sightings.note("m", at(1));
  sightings.stop();
  sightings.note("n", at(1));
  await pass(10_000);
  expect(batches).toEqual([]);
});
