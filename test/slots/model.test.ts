import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Compare, EtcdPort } from "../../coordination/etcd.ts";
import { keys } from "../../coordination/keys.ts";
import { type Plant, runPlan } from "./model.ts";
import { plans } from "./plans.ts";

const RUNS = process.env.LONG === "1" ? 20_000 : 400;

it("holds every invariant of the slots, whatever is lost, late or raced", async () => {
  await fc.assert(
    fc.asyncProperty(plans, async (plan) => {
      expect(await runPlan(plan)).toEqual([]);
    }),
    { numRuns: RUNS },
  );
});

it("makes plans that reach every phase", async () => {
  const happened = new Map<string, number>();
  for (const plan of fc.sample(plans, { numRuns: 600, seed: 1 })) await runPlan(plan, undefined, happened);
  expect([...happened.keys()].sort()).toEqual(
    ["Committed", "Drained", "Granted", "Returned", "Withdrawn", "ended", "gaveUp", "made"].sort(),
  );
  for (const [what, times] of happened) expect(times, what).toBeGreaterThan(2);
});

/** A port that forgets some of the compares of each transaction: a planted bug. */
function forget(forgotten: (compare: Compare) => boolean): Plant {
  return (port): EtcdPort => ({
    read: (ranges) => port.read(ranges),
    txn: (compares, operations) =>
      port.txn(
        compares.filter((compare) => !forgotten(compare)),
        operations,
      ),
    lease: (ttl) => port.lease(ttl),
    leaseOnce: (ttl) => port.leaseOnce(ttl),
    watch: (prefix, hint) => port.watch(prefix, hint),
    follow: (prefix, revision, follower) => port.follow(prefix, revision, follower),
    compact: (revision) => port.compact(revision),
    close: () => port.close(),
  });
}

describe("a compare that is forgotten", () => {
  it.each<[string, (compare: Compare) => boolean]>([
    ["the budgets' seq", ({ key }) => key.startsWith(keys.budgets)],
    // One transaction writes all gates of a small fleet, so that either kind's compare does for both.
    ["the gates", ({ key }) => key.startsWith(keys.gates)],
    ["the desired record", ({ key }) => key.startsWith(keys.desired)],
    ["the grant", ({ key, target }) => key.startsWith(keys.grants) && target === "create"],
    ["the phase", ({ key }) => key.startsWith(keys.phases)],
    ["the session", ({ key }) => key.startsWith(keys.sessions)],
    ["the epoch", ({ key }) => key === keys.epoch],
    ["the incarnation", ({ key }) => key === keys.incarnation],
  ])("is found out: %s", async (_, forgotten) => {
    const plant = forget(forgotten);
    const result = await fc.check(
      fc.asyncProperty(plans, async (plan) => (await runPlan(plan, plant)).length === 0),
      { numRuns: 5_000, seed: 1, endOnFailure: true },
    );
    expect(result.failed).toBe(true);
  });
});
