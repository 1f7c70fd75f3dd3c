import { expect, test } from "vitest";
import type { FleetSnapshot, Leadership } from "../coordination/coordination.ts";
import { silentLogger } from "../ports/log.ts";
import { LeadershipLost } from "../runtime/leader-election.ts";
import { fleet, INCARNATION, NOW } from "./fixtures.ts";
import { FleetCache } from "./fleet-cache.ts";
import { FleetLeadership } from "./leadership.ts";

/** A manager that leads, and reads of etcd that are answered when, and as, the test says. */
async function leading() {
  const leader: Leadership = { epoch: 1, incarnation: INCARNATION };
  const leadership = new FleetLeadership({
    client: { list: async () => ({ resourceVersion: "1", items: [] }) },
    coordination: {
      readEpoch: async () => ({ epoch: 0, incarnation: INCARNATION, revision: 90, pulse: 80 }),
      raiseEpoch: async () => leader,
      rebuild: async () => undefined,
      restoreMachines: async () => true,
    },
    log: silentLogger,
  });
  await leadership.beforeAcquire();
  const { signal } = new AbortController();
  await leadership.onElected({ annotations: {}, signal, annotate: async () => {}, release: async () => {} });
  const answers: ((answer: FleetSnapshot) => void)[] = [];
  const cache = new FleetCache({
    coordination: {
      readFleet: () => new Promise((resolve) => answers.push(resolve)),
      watchFleet: () => ({ close: () => {} }),
    },
    clock: { now: () => NOW, monotonic: () => NOW, after: () => () => {} },
    log: silentLogger,
    floor: () => leadership.floor,
    check: (snapshot, floor) => leadership.check(snapshot, floor),
  });
  const answer = (index: number, changes: Partial<FleetSnapshot>): void =>
    answers[index]?.(fleet([], { incarnation: INCARNATION, epoch: 1, ...changes }));
  return { leadership, cache, answer };
}

test("answers that overtake each other depose nobody, and the newest stays", async () => {
  const { leadership, cache, answer } = await leading();
  const [first, second] = [cache.read(), cache.read()];
  answer(1, { revision: 120 });
  await second;
  answer(0, { revision: 110 });
  expect((await first).revision).toBe(110);
  expect(cache.snapshot?.revision).toBe(120);
  expect(leadership.floor).toEqual({ revision: 120, pulse: 100 });
  expect(leadership.current().epoch).toBe(1);
});

test.each([
  ["less", { revision: 119 }],
  ["more, but an older pulse", { revision: 130, pulse: 99 }],
])("a read that began later and sees %s ends the leadership", async (_what, seen) => {
  const { leadership, cache, answer } = await leading();
  const first = cache.read();
  answer(0, { revision: 120 });
  await first;
  const second = cache.read();
  answer(1, seen);
  await expect(second).rejects.toThrow(LeadershipLost);
  expect(() => leadership.current()).toThrow(LeadershipLost);
});

test.each<[string, Partial<FleetSnapshot>]>([
  ["an older revision than the Lease remembers", { revision: 89 }],
  ["another incarnation", { revision: 120, incarnation: "second" }],
  ["another leader's epoch", { revision: 120, epoch: 2 }],
])("a read of %s ends the leadership", async (_what, changes) => {
  const { cache, answer } = await leading();
  const read = cache.read();
  answer(0, changes);
  await expect(read).rejects.toThrow(LeadershipLost);
});
