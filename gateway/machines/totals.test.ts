import { expect, it } from "vitest";
import { EtcdUnavailable } from "../../coordination/etcd.ts";
import { MachineCounts } from "../../coordination/machine-counts.ts";
import type { ForeignMachine, GroupGate } from "../../coordination/records.ts";
import { silentLogger } from "../../ports/log.ts";
import { SimClock } from "../../test/sim/clock.ts";
import { Totals } from "./totals.ts";

const machine = (group: string): ForeignMachine => ({
  ...{
    id: "m",
    group,
    product: "p",
    version: "1.0.0",
    track: "t",
    board: "",
    oem: "",
    alias: "",
    bootId: "",
  },
  ...{ firstSeen: 1, lastSeen: 1, failed: [] },
});

it("tells of each group that serves machines, also of none, twice a minute and only from a fresh view", async () => {
  const sim = new SimClock();
  const counts = new MachineCounts();
  counts.change(undefined, machine("edge"));
  counts.change(undefined, machine("gone"));
  const view = { fresh: true, counts: counts.groups };
  const gates = new Map(
    ["edge", "empty", "nodes"].map((group) => {
      const machines = group === "nodes" ? undefined : { budgets: ["b"], needs: 1, open: true };
      return [group, { group, machines } as unknown as GroupGate];
    }),
  );
  const told: [string, number][][] = [];
  let away = false;
  const totals = new Totals({
    coordination: {
      putMachineTotals: async (all) => {
        if (away) throw new EtcdUnavailable("away");
        told.push([...all].map(([group, { known }]) => [group, known]));
      },
    },
    machines: view,
    gates: () => gates,
    clock: sim.process(),
    log: silentLogger,
  });
  const step = async (): Promise<void> => {
    sim.step();
    await new Promise((resolve) => setImmediate(resolve));
  };
  await step();
  expect(sim.time).toBe(30_000);
  expect(told).toEqual([
    [
      ["edge", 1],
      ["empty", 0],
    ],
  ]);
  view.fresh = false;
  await step();
  [view.fresh, away] = [true, true];
  await step();
  expect(told).toHaveLength(1);
  away = false;
  await step();
  expect(told).toHaveLength(2);
  totals.stop();
  expect(sim.next()).toBeUndefined();
});
