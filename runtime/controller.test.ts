import { expect, test } from "vitest";
import type { LogFields, Logger } from "../ports/log.ts";
import { ApiError } from "./client.ts";
import { Controller } from "./controller.ts";
import { createMetrics } from "./metrics.ts";
import { type Reconciler, TerminalError } from "./reconciler.ts";
import { VirtualClock } from "./virtual-clock.ts";

interface Rig {
  clock: VirtualClock;
  controller: Controller;
  errors: string[];
  count(result: string): Promise<number>;
  stop: AbortController;
  abandon: AbortController;
  running: Promise<void>;
}

function start(reconcile: Reconciler["reconcile"], workers = 1): Rig {
  const clock = new VirtualClock();
  const metrics = createMetrics();
  const errors: string[] = [];
  const log: Logger = {
    info: () => {},
    error: (message: string, _error: unknown, fields?: LogFields) =>
      errors.push(`${message} ${String(fields?.["key"])}`),
    with: () => log,
  };
  const controller = new Controller({
    name: "test",
    reconciler: { reconcile },
    workers,
    clock,
    log,
    metrics,
  });
  const stop = new AbortController();
  const abandon = new AbortController();
  return {
    clock,
    controller,
    errors,
    async count(result) {
      const metric = await metrics.registry.getSingleMetric("controller_runtime_reconcile_total")?.get();
      return metric?.values.find(({ labels }) => labels["result"] === result)?.value ?? 0;
    },
    stop,
    abandon,
    running: controller.run(stop.signal, abandon.signal),
  };
}

test("an error is retried with back-off and logged; a conflict is retried and not logged; a terminal error is logged once", async () => {
  const calls = new Map<string, number>();
  const rig = start((key) => {
    const call = (calls.get(key) ?? 0) + 1;
    calls.set(key, call);
    if (key === "sync") throw new Error("thrown before any promise");
    if (key === "terminal") return Promise.reject(new TerminalError("the spec makes no sense"));
    if (call > 3) return Promise.resolve({});
    return Promise.reject(key === "conflict" ? new ApiError("Conflict", "changed") : new Error("away"));
  });
  for (const key of ["error", "conflict", "terminal", "sync"]) rig.controller.enqueue(key);
  await rig.clock.advance(60);
  expect(Object.fromEntries(calls)).toEqual({ error: 4, conflict: 4, terminal: 1, sync: 4 });
  expect(rig.errors.filter((line) => line.endsWith("error"))).toHaveLength(3);
  expect(rig.errors.filter((line) => line.endsWith("conflict"))).toHaveLength(0);
  expect(rig.errors).toContain("reconciling failed for good terminal");
  expect(await rig.count("requeue")).toBe(3);
  rig.stop.abort();
  await rig.running;
});

test("requeueAfter brings the key again at its time", async () => {
  const times: number[] = [];
  const rig = start(() => {
    times.push(rig.clock.monotonic());
    return Promise.resolve({ requeueAfter: 10_000 });
  });
  rig.controller.enqueue("a");
  await rig.clock.advance(25_000);
  expect(times).toEqual([0, 10_000, 20_000]);
  rig.stop.abort();
  await rig.running;
  expect(rig.clock.pending).toBe(0);
});

test("the signal aborts at the deadline, and a reconciler that does not heed it keeps its key to itself", async () => {
  let calls = 0;
  let aborted = false;
  const rig = start((_key, signal) => {
    calls += 1;
    signal.addEventListener("abort", () => {
      aborted = true;
    });
    return new Promise(() => {});
  }, 2);
  rig.controller.enqueue("stuck");
  await rig.clock.advance(61_000);
  expect(aborted).toBe(true);
  rig.controller.enqueue("stuck");
  await rig.clock.advance(61_000);
  expect(calls).toBe(1);
});

test("on stop, what is in work is finished and nothing else is begun; on abandon, it is told to stop", async () => {
  const begun: string[] = [];
  const rig = start((key, signal) => {
    begun.push(key);
    return new Promise((_resolve, reject) => {
      signal.addEventListener("abort", () => reject(new Error("stopped")));
    });
  });
  rig.controller.enqueue("a");
  rig.controller.enqueue("b");
  await rig.clock.advance(0);
  rig.stop.abort();
  await rig.clock.advance(1000);
  expect(begun).toEqual(["a"]);
  rig.abandon.abort(new Error("leadership was lost"));
  await rig.running;
  expect(begun).toEqual(["a"]);
  expect(rig.errors).toEqual([]);
});
