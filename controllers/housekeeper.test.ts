import { expect, test } from "vitest";
import { CORDON_ANNOTATION } from "../api/labels.ts";
import { silentLogger } from "../ports/log.ts";
import type { ObjectKey } from "../runtime/client.ts";
import type { Node } from "../runtime/core.ts";
import { fleet, INCARNATION, NOW, node } from "./fixtures.ts";
import { Housekeeper } from "./housekeeper.ts";
import type { World } from "./world.ts";

const nothing = { groups: [], budgets: [], windows: [], releases: [], nodes: [], nodeUpdates: [] };

function orphan(name: string): Node {
  const cordoned = node(name, { cordoned: true });
  const token = { incarnation: INCARNATION, revision: 3 };
  cordoned.metadata.annotations = { [CORDON_ANNOTATION]: JSON.stringify({ token, unschedulable: false }) };
  return cordoned;
}

function room(refuses: (name: string) => boolean) {
  const patched: string[] = [];
  const forgotten: string[] = [];
  const budgets: string[] = [];
  const compacted: number[] = [];
  let time = NOW;
  let gate: Promise<void> | undefined;
  const keeper = new Housekeeper({
    client: {
      async patch<T>(_resource: unknown, { name }: ObjectKey): Promise<T> {
        await gate;
        patched.push(name);
        if (refuses(name)) throw new Error("admission webhook denied the request");
        return {} as T;
      },
    },
    coordination: {
      async forgetNode(_leader, uid) {
        if (refuses(uid)) throw new Error("etcd gave no answer");
        forgotten.push(uid);
        return true;
      },
      async forgetBudget(_leader, budget) {
        if (refuses(budget)) throw new Error("etcd gave no answer");
        budgets.push(budget);
        return true;
      },
      async compact(_leader, revision) {
        if (refuses(`revision ${revision}`)) throw new Error("etcd gave no answer");
        compacted.push(revision);
        return true;
      },
    },
    leader: () => ({ epoch: 1, incarnation: INCARNATION }),
    clock: { now: () => NOW, monotonic: () => time, after: () => () => {} },
    log: silentLogger,
  });
  const hold = (until: Promise<void>): void => {
    gate = until;
  };
  const pass = (milliseconds: number): void => {
    time += milliseconds;
  };
  return { keeper, patched, forgotten, budgets, compacted, hold, pass };
}

test("a Node that can't be patched keeps neither the others nor the records waiting", async () => {
  const { keeper, patched, forgotten } = room((name) => name === "a" || name === "gone-1");
  const world: World = { ...nothing, nodes: [orphan("a"), orphan("b")] };
  await keeper.tidy(world, fleet(["gone-1", "gone-2"], { present: new Set() }));
  expect(patched).toEqual(["a", "b"]);
  expect(forgotten).toEqual(["gone-2"]);
});

test("a round is bounded, and no cordon that fails keeps another waiting for ever", async () => {
  const { keeper, patched, forgotten } = room((name) => name.startsWith("n"));
  const names = Array.from({ length: 30 }, (_, index) => `n${index}`);
  const world: World = { ...nothing, nodes: names.map(orphan) };
  const gone = Array.from({ length: 30 }, (_, index) => `gone-${index}`);
  await keeper.tidy(world, fleet(gone, { present: new Set() }));
  expect([patched.length, forgotten.length]).toEqual([20, 20]);
  await keeper.tidy(world, fleet([]));
  expect(new Set(patched)).toEqual(new Set(names));
});

test("the counts of budgets go that have neither a gate nor holders", async () => {
  const { keeper, budgets } = room((name) => name === "group/g/host=lost");
  const none = { seq: 4, holders: new Map<string, number>() };
  const state = new Map([
    ["group/g", none],
    ["group/g/host=lost", none],
    ["group/g/host=gone", none],
    ["group/g/host=held", { seq: 5, holders: new Map([["uid-a", NOW]]) }],
  ]);
  const gate = { budget: "group/g", max: 1, unavailable: [], validUntil: NOW };
  const budgetGates = new Map([["group/g", gate]]);
  await keeper.tidy(nothing, fleet([], { budgets: state, budgetGates }));
  expect(budgets).toEqual(["group/g/host=gone"]);
  const many = new Map(Array.from({ length: 30 }, (_, i) => [`group/g/host=${i}`, none]));
  await keeper.tidy(nothing, fleet([], { budgets: many }));
  expect(budgets).toHaveLength(1 + 20);
});

test("etcd's history is kept for three minutes at least, and for six at most", async () => {
  const { keeper, compacted, pass } = room(() => false);
  // A revision a second, a round each 10 s.
  const kept: number[] = [];
  for (let second = 0; second <= 900; second += 10) {
    await keeper.tidy(nothing, fleet([], { revision: 1000 + second }));
    kept.push(1000 + second - (compacted.at(-1) ?? 1000));
    pass(10_000);
  }
  expect(compacted).toEqual([1000, 1180, 1360, 1540, 1720]);
  expect(Math.max(...kept)).toBeLessThanOrEqual(360);
});

test("a compaction that fails is left to the next one, and keeps nothing waiting", async () => {
  const { keeper, compacted, forgotten, pass } = room((name) => name === "revision 1000");
  for (const revision of [1000, 2000, 3000]) {
    await keeper.tidy(nothing, fleet(["gone"], { revision, present: new Set() }));
    pass(180_000);
  }
  expect(compacted).toEqual([2000]);
  expect(forgotten).toHaveLength(3);
});

test("one round at a time", async () => {
  const { keeper, patched, hold } = room(() => false);
  const { promise, resolve } = Promise.withResolvers<void>();
  hold(promise);
  const world: World = { ...nothing, nodes: [orphan("a")] };
  const first = keeper.tidy(world, fleet([]));
  await keeper.tidy(world, fleet([]));
  expect(patched).toEqual([]);
  resolve();
  await first;
  expect(patched).toEqual(["a"]);
});
