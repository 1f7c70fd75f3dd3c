import { expect, test } from "vitest";
import type { WaitingMachine } from "../../coordination/coordination.ts";
import { EtcdUnavailable } from "../../coordination/etcd.ts";
import { jsonLogger } from "../../ports/log.ts";
import { VirtualClock } from "../../runtime/virtual-clock.ts";
import { Lines } from "./lines.ts";

const one: WaitingMachine = { group: "g", uid: "m1", protocol: "FleetLock", since: 0 };

test("etcd is asked once a second for all, only where a group has such machines, and not faster when it is slow", async () => {
  const clock = new VirtualClock();
  const logged: string[] = [];
  const told: (readonly WaitingMachine[])[] = [];
  let [served, reads, takes] = [false, 0, 0];
  let away = false;
  const lines = new Lines({
    coordination: {
      readWaiting: async () => {
        reads += 1;
        if (takes > 0) await new Promise<void>((resolve) => void clock.after(takes, resolve));
        if (away) throw new EtcdUnavailable("away");
        return [one];
      },
    },
    ...{ clock, log: jsonLogger(clock, (line) => logged.push(line)), served: () => served },
    onRead: (waiting) => told.push(waiting),
  });
  const stop = new AbortController();
  const running = lines.run(stop.signal);
  await clock.advance(5000);
  expect([reads, lines.asOf, told]).toEqual([0, undefined, []]);

  served = true;
  await clock.advance(10_000);
  expect([reads, told.at(-1)]).toEqual([10, [one]]);
  const asOf = lines.asOf;

  // What was told last stays, and is as old as it is; the log has one line of it.
  away = true;
  await clock.advance(10_000);
  expect([lines.asOf, told.at(-1), logged.length]).toEqual([asOf, [one], 1]);

  [away, takes, reads] = [false, 2000, 0];
  await clock.advance(20_000);
  expect(reads).toBe(2);

  [served, takes] = [false, 0];
  await clock.advance(10_000);
  expect([lines.asOf, told.at(-1)]).toEqual([undefined, []]);
  stop.abort();
  await clock.advance(10_000);
  await running;
});
