import { expect, test } from "vitest";
import { jsonLogger } from "../ports/log.ts";
import { VirtualClock } from "../runtime/virtual-clock.ts";
import { EtcdUnavailable } from "./etcd.ts";
import { EtcdHealth } from "./etcd-health.ts";

test("an etcd that goes away is told of once, after as long as a gate is valid, and so is its return", async () => {
  const clock = new VirtualClock();
  let broken: string | undefined = "https://etcd-0:2379: its certificate has expired";
  const log: string[] = [];
  const away: string[] = [];
  const health = new EtcdHealth({
    etcd: {
      read: () =>
        broken === undefined
          ? Promise.resolve({ revision: 1, results: [] })
          : Promise.reject(new EtcdUnavailable(broken)),
    },
    clock,
    log: jsonLogger(clock, (line) => log.push(line)),
    onAway: (message) => away.push(message),
  });
  expect(health.wrong).toBe("etcd has not been asked yet.");
  const stop = new AbortController();
  const running = health.run(stop.signal);
  const pass = (milliseconds: number) => clock.advance(milliseconds);
  // From the start: one that never answered is away at once.
  await pass(0);
  expect(health.wrong).toBe(broken);
  await pass(60_000);
  expect([away, log.length]).toEqual([[broken], 1]);

  broken = undefined;
  await pass(5_000);
  expect(health.wrong).toBeUndefined();
  expect(log[1]).toContain("etcd answers again");

  broken = "https://etcd-0:2379: nobody listens there";
  await pass(20_000);
  expect(health.wrong).toBeUndefined();
  await pass(20_000);
  expect(health.wrong).toBe(broken);
  expect(away).toEqual([away[0], broken]);
  stop.abort();
  await running;
});
