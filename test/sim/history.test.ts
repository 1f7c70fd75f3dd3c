import { expect, it } from "vitest";
import type { EtcdPort } from "../../coordination/etcd.ts";
import { runSchedule } from "./run.ts";

it("the leader bounds etcd's history, and the rollout goes on", async () => {
  const compacted: { by: string; at: number; newest: number; revision: number }[] = [];
  let [seconds, newest] = [0, 0];
  const etcd = (port: EtcdPort, by: string): EtcdPort => ({
    async read(ranges) {
      const result = await port.read(ranges);
      newest = Math.max(newest, result.revision);
      return result;
    },
    async compact(revision) {
      await port.compact(revision);
      compacted.push({ by, at: seconds, newest, revision });
    },
    txn: (compares, operations) => port.txn(compares, operations),
    lease: (ttl) => port.lease(ttl),
    leaseOnce: (ttl) => port.leaseOnce(ttl),
    watch: (prefix, hint) => port.watch(prefix, hint),
    follow: (prefix, revision, follower) => port.follow(prefix, revision, follower),
    close: () => port.close(),
  });
  const { updates } = await runSchedule(1, {
    settings: { nodes: 3, plain: 1, managers: 2, staged: false, windows: false, defect: undefined },
    plan: { length: 1_200_000, every: 60_000, kinds: ["repoint", "killGateway"] },
    plants: { etcd },
    trace: (line) => (seconds = Number.parseFloat(line)),
  });
  expect(updates).toBeGreaterThan(0);
  expect(compacted.length).toBeGreaterThanOrEqual(4);
  for (const [index, { by, at, newest: then, revision }] of compacted.entries()) {
    const before = compacted[index - 1];
    expect(by).toBe(compacted[0]?.by);
    expect(revision).toBeLessThan(then);
    expect(at - (before?.at ?? 0)).toBeLessThan(400);
    if (before !== undefined) expect(revision).toBeLessThanOrEqual(before.newest);
  }
});
