import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { group, machine } from "./fake-views.ts";
import { tally } from "./machines.ts";
import { markOf } from "./mark.ts";
import { Model } from "./model.ts";

describe("topics", () => {
  test("a snapshot in parts is shown when it is whole, and replaces what was there", () => {
    const model = new Model();
    model.snapshot({ topic: "groups", items: [group("old")], begin: true, end: true });
    model.snapshot({ topic: "groups", items: [group("a")], begin: true, end: false });
    expect([...(model.groups.value?.keys() ?? [])]).toEqual(["old"]);
    model.snapshot({ topic: "groups", items: [group("b")], begin: false, end: true });
    expect([...(model.groups.value?.keys() ?? [])]).toEqual(["a", "b"]);
  });

  test("a change puts and removes items, and leaves the others", () => {
    const model = new Model();
    model.snapshot({ topic: "groups", items: [group("a"), group("b"), group("c")], begin: true, end: true });
    model.change({ changes: { groups: { put: [group("b", { paused: true })], gone: ["a"] } } });
    expect([...(model.groups.value ?? [])].map(([name, { paused }]) => [name, paused])).toEqual([
      ["b", true],
      ["c", false],
    ]);
  });

  test("activity has a limit, and the oldest goes", () => {
    const model = new Model();
    const line = (minute: number) => ({ id: `${minute}`, time: new Date(minute * 60_000).toISOString() });
    const put = Array.from({ length: 700 }, (_, minute) => line(minute));
    model.change({ changes: { activity: { put, gone: [] } } });
    expect(model.activity.value?.size).toBe(500);
    expect(model.activity.value?.has("199")).toBe(false);
    expect(model.activity.value?.has("699")).toBe(true);
  });
});

describe("machines", () => {
  test("stand by zone in the order of their names, and only what changed is painted again", () => {
    const { machines } = modelOf([machine("10"), machine("2"), machine("1", { zone: "b" })]);
    expect(machines.zones().map(({ name, cells }) => [name, cells.map((cell) => cell.machine.uid)])).toEqual([
      ["a", ["2", "10"]],
      ["b", ["1"]],
    ]);
    for (const zone of machines.zones()) zone.dirty = new Set();
    machines.put(machine("10", { state: "Rebooting" }));
    machines.put(machine("2", { message: "other words, same sign" }));
    machines.settle();
    expect(machines.zones().map(({ dirty }) => [...(dirty ?? ["all"])])).toEqual([[1], []]);
  });

  test("one that moves to another zone is drawn there only", () => {
    const { machines } = modelOf([machine("1"), machine("2")]);
    machines.put(machine("1", { zone: "b" }));
    machines.settle();
    expect(machines.zones().map(({ name, cells, dirty }) => [name, cells.length, dirty])).toEqual([
      ["a", 1, undefined],
      ["b", 1, undefined],
    ]);
  });

  test("a snapshot after a loss removes those that went meanwhile", () => {
    const model = modelOf([machine("1"), machine("2")]);
    model.snapshot({ topic: "machines", items: [machine("2")], begin: true, end: false });
    expect(model.machines.size).toBe(2);
    model.snapshot({ topic: "machines", items: [machine("3")], begin: false, end: true, omitted: 7 });
    expect(model.machines.current("1")).toBeUndefined();
    expect(model.machines.size).toBe(2);
    expect(model.machines.omitted.value).toBe(7);
  });

  test("whatever comes in whatever order, what is drawn is the last of each", () => {
    const uid = fc.integer({ min: 0, max: 12 }).map(String);
    const state = fc.constantFrom("Idle", "Staging", "Rebooting", "Failed" as const);
    const step = fc.oneof(
      fc.record({ put: fc.record({ uid, state, zone: fc.constantFrom("a", "b", "") }) }),
      fc.record({ gone: uid }),
    );
    fc.assert(
      fc.property(fc.array(fc.array(step, { maxLength: 6 }), { maxLength: 12 }), (batches) => {
        const { machines } = modelOf([]);
        const expected = new Map<string, ReturnType<typeof machine>>();
        for (const batch of batches) {
          for (const one of batch) {
            if ("put" in one) {
              const next = machine(one.put.uid, { state: one.put.state, zone: one.put.zone });
              expected.set(next.uid, next);
              machines.put(next);
            } else {
              expected.delete(one.gone);
              machines.remove(one.gone);
            }
          }
          machines.settle();
          const drawn = machines.zones().flatMap((zone) =>
            zone.cells.map((cell, index) => {
              expect([cell.index, cell.machine.zone, cell.mark]).toEqual([
                index,
                zone.name,
                markOf(cell.machine),
              ]);
              return [cell.machine.uid, cell.machine] as const;
            }),
          );
          expect(new Map(drawn)).toEqual(expected);
        }
      }),
    );
  });
});

describe("marks", () => {
  test.each([
    [{ state: "Idle", version: "1", target: "2" }, "behind"],
    [{ state: "Idle", version: "2", target: "2" }, "current"],
    [{ state: "Idle", version: "2", target: "" }, "current"],
    [{ state: "Granting" }, "draining"],
    [{ state: "Idle", connected: false }, "unknown"],
    // One that reboots has no agent by design.
    [{ state: "Rebooting", connected: false }, "rebooting"],
    [{ state: "Suspect", connected: false }, "suspect"],
    [{ state: "Failed", version: "1", target: "2" }, "failed"],
  ] as const)("%j is %s", (more, mark) => {
    expect(markOf(machine("1", more))).toBe(mark);
  });

  test("are counted", () => {
    const { machines } = modelOf([machine("1"), machine("2"), machine("3", { state: "Failed" })]);
    expect(tally(machines.zones().flatMap(({ cells }) => cells))).toMatchObject({
      current: 2,
      failed: 1,
      staged: 0,
    });
  });
});

function modelOf(machines: readonly ReturnType<typeof machine>[]): Model {
  const model = new Model();
  model.snapshot({ topic: "machines", items: [...machines], begin: true, end: true });
  return model;
}

test("a snapshot that was lost in the middle leaves nothing behind", () => {
  const model = new Model();
  model.snapshot({ topic: "groups", items: [group("gone")], begin: true, end: false });
  model.snapshot({ topic: "groups", items: [group("a")], begin: true, end: true });
  expect([...(model.groups.value?.keys() ?? [])]).toEqual(["a"]);
  model.snapshot({ topic: "machines", items: [machine("gone")], begin: true, end: false });
  model.snapshot({ topic: "machines", items: [machine("1")], begin: true, end: true });
  expect(model.machines.current("gone")).toBeUndefined();
  expect(model.machines.size).toBe(1);
});
