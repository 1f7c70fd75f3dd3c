import { expect, test } from "vitest";
import type { KubeObject } from "../api/meta.ts";
import { silentLogger } from "../ports/log.ts";
import { ApiError, type KubeClient } from "./client.ts";
import { type Lease, NODES } from "./core.ts";
import { LeadershipLost } from "./leader-election.ts";
import { createManager, type Manager, objectOf, watching } from "./manager.ts";
import { createMetrics } from "./metrics.ts";
import { keyOf } from "./store.ts";
import { VirtualClock } from "./virtual-clock.ts";
import type { WatchEvent } from "./watch-source.ts";

/** An API server in memory: nodes to watch, one Lease, events that go nowhere. */
class World {
  readonly clock = new VirtualClock();
  readonly order: string[] = [];
  readonly #events: WatchEvent[] = [];
  #wake: () => void = () => {};
  lease: Lease | undefined;
  leaseFails = false;
  #version = 1;

  node(name: string): void {
    const metadata = { name, uid: name, resourceVersion: String(++this.#version) };
    this.#events.push({ type: "ADDED", object: { apiVersion: "v1", kind: "Node", metadata } });
    this.#wake();
  }

  manager(): Manager {
    const { clock, order } = this;
    const writeLease = (object: Lease): Lease => {
      if (this.leaseFails) throw new ApiError("Unavailable", "no answer");
      if (object.spec?.holderIdentity === "") order.push("released");
      const metadata = { ...object.metadata, resourceVersion: String(++this.#version) };
      this.lease = { ...object, metadata };
      return this.lease;
    };
    const partial: Partial<KubeClient> = {
      get: () => {
        if (this.lease === undefined) return Promise.reject(new ApiError("NotFound", "no Lease"));
        return Promise.resolve(this.lease as never);
      },
      create: async (_resource, object) => {
        if (object.kind === "Lease") return writeLease(object) as never;
        order.push("event");
        return object;
      },
      replace: async (_resource, object) => writeLease(object) as never,
    };
    return createManager({
      client: partial as KubeClient,
      watches: () => ({
        list: () => Promise.resolve({ resourceVersion: "1", items: [], continue: undefined }),
        watch: ({ signal }) => this.#watch(signal),
      }),
      clock,
      random: { next: () => 0.5, uuid: () => "0123456789abcdef0123456789abcdef" },
      log: silentLogger,
      metrics: createMetrics(),
      leaderElection: {
        name: "manager",
        namespace: "slipway",
        identity: "a",
        beforeAcquire: async () => void order.push("epoch read"),
        onElected: async () => void order.push("elected"),
      },
      reporter: { controller: "slipway.dev/manager", instance: "a" },
    });
  }

  async *#watch(signal: AbortSignal): AsyncGenerator<WatchEvent> {
    const annotations = { "k8s.io/initial-events-end": "true" };
    yield {
      type: "BOOKMARK",
      object: { apiVersion: "v1", kind: "Node", metadata: { name: "", resourceVersion: "1", annotations } },
    };
    signal.addEventListener("abort", () => this.#wake());
    while (!signal.aborted) {
      const event = this.#events.shift();
      if (event !== undefined) yield event;
      else {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
    }
    this.order.push("watch ended");
  }
}

test("start and stop happen in order, and events are written and the Lease released before the end", async () => {
  const world = new World();
  const { clock, order } = world;
  const manager = world.manager();
  const nodes = manager.store<KubeObject>(NODES, {
    indexes: { uid: ({ metadata }) => [metadata.uid ?? ""] },
  });
  const seen: string[] = [];
  manager.controller(
    "nodes",
    {
      async reconcile(key) {
        seen.push(key);
        order.push(`reconciled ${key}`);
        const node = nodes.get(key);
        if (node !== undefined)
          manager.events.record(node, { reason: "Draining", message: "Pods leave" }, "Drain");
        return {};
      },
    },
    { watches: [watching(nodes, (change) => [keyOf(objectOf(change))])], workers: 2 },
  );
  manager.loop("gates", async (signal) => {
    order.push("loop began");
    await new Promise<void>((resolve) => {
      signal.addEventListener("abort", () => resolve());
    });
    order.push("loop ended");
  });
  const stop = new AbortController();
  world.node("one");
  expect(manager.ready.get("caches")?.()).toBe("Not listed yet: nodes");
  const running = manager.start(stop.signal);
  await clock.advance(1000);
  expect(manager.ready.get("caches")?.()).toBeUndefined();
  expect(manager.ready.get("running")?.()).toBeUndefined();
  world.node("two");
  await clock.advance(30_000);
  expect(seen).toEqual(["one", "two"]);
  expect(nodes.byIndex("uid", "two")).toHaveLength(1);
  stop.abort();
  await clock.advance(1000);
  await running;
  expect(order).toEqual([
    "epoch read",
    "elected",
    "loop began",
    "reconciled one",
    "event",
    "reconciled two",
    "event",
    "loop ended",
    "released",
    "watch ended",
  ]);
  expect(manager.ready.get("running")?.()).toBe("The manager is stopping");
  expect(clock.pending).toBe(0);
});

test("when leadership is lost, work is told to stop and start rejects", async () => {
  const world = new World();
  const manager = world.manager();
  let told: unknown;
  const controller = manager.controller(
    "stuck",
    {
      reconcile: (_key, signal) =>
        new Promise((_resolve, reject) => {
          signal.addEventListener("abort", () => {
            told = signal.reason;
            reject(new Error("stopped"));
          });
        }),
    },
    { watches: [], deadline: 600_000 },
  );
  controller.enqueue("a");
  const running = manager.start(new AbortController().signal);
  const ended = expect(running).rejects.toBeInstanceOf(LeadershipLost);
  await world.clock.advance(5000);
  world.leaseFails = true;
  await world.clock.advance(15_000);
  await ended;
  expect(told).toBeInstanceOf(LeadershipLost);
});

test("a loop that fails stops the manager, which rejects with its error", async () => {
  const world = new World();
  const manager = world.manager();
  manager.loop("gates", () => Promise.reject(new Error("the epoch is not ours any more")));
  const ended = expect(manager.start(new AbortController().signal)).rejects.toThrow("the epoch is not ours");
  await world.clock.advance(5000);
  await ended;
  expect(world.order).toContain("released");
  expect(() => manager.store(NODES)).toThrow("has been started");
});

test("a stop before it leads is no failure", async () => {
  const world = new World();
  world.leaseFails = true;
  const manager = world.manager();
  const stop = new AbortController();
  const running = manager.start(stop.signal);
  await world.clock.advance(10_000);
  stop.abort();
  await world.clock.advance(1000);
  await expect(running).resolves.toBeUndefined();
});
