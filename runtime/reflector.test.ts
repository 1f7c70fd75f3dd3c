import * as fc from "fast-check";
import { expect, test } from "vitest";
import type { KubeObject } from "../api/meta.ts";
import { silentLogger } from "../ports/log.ts";
import { ApiError } from "./client.ts";
import { MemoryStore } from "./memory-store.ts";
import { isNewer, reflect } from "./reflector.ts";
import { FaultySource } from "./test-source.ts";
import { settle, VirtualClock } from "./virtual-clock.ts";

const NAMES = ["a", "b", "c", "d", "e"] as const;
const step = fc.oneof(
  { weight: 4, arbitrary: fc.record({ do: fc.constant("put" as const), name: fc.constantFrom(...NAMES) }) },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant("delete" as const), name: fc.constantFrom(...NAMES) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant("recreate" as const), name: fc.constantFrom(...NAMES) }),
  },
  {
    weight: 4,
    arbitrary: fc.record({ do: fc.constant("deliver" as const), count: fc.integer({ min: 1, max: 4 }) }),
  },
  { weight: 4, arbitrary: fc.record({ do: fc.constantFrom("answer" as const, "fail" as const) }) },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constantFrom("reset" as const, "clean" as const, "gone" as const) }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constantFrom("silent" as const, "compact" as const) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constantFrom("duplicate" as const, "bookmark" as const) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant("streams" as const),
      how: fc.constantFrom("yes" as const, "refused" as const, "ignored" as const),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant("pass" as const), ms: fc.constantFrom(10, 1000, 35_000, 95_000) }),
  },
);

interface Rig {
  server: FaultySource;
  clock: VirtualClock;
  store: MemoryStore<KubeObject>;
  /** What the listener below found wrong. */
  failures: unknown[];
  /** A copy kept by following the changes. */
  mirror: Map<string, string>;
  relists: () => number;
  stop(): Promise<void>;
}

function makeRig(seed: number): Rig {
  const server = new FaultySource();
  const clock = new VirtualClock();
  const failures: unknown[] = [];
  const store = new MemoryStore<KubeObject>({
    indexes: { uid: ({ metadata }) => [metadata.uid ?? ""] },
    onListenerError: (error) => failures.push(error),
  });
  const mirror = new Map<string, string>();
  const newest = new Map<string, string>();
  store.onChange((change) => {
    if (change.type === "deleted") {
      expect(mirror.delete(change.before.metadata.name)).toBe(true);
      return;
    }
    const { name, uid, resourceVersion = "" } = change.object.metadata;
    if (change.type === "updated") expect(change.before.metadata.uid).toBe(uid);
    expect(mirror.has(name)).toBe(change.type === "updated");
    expect(isNewer(resourceVersion, newest.get(name) ?? "0")).toBe(true);
    newest.set(name, resourceVersion);
    mirror.set(name, resourceVersion);
  });
  let state = seed;
  const random = {
    next: () => {
      state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
      return state / 2_147_483_648;
    },
    uuid: () => "",
  };
  let relists = 0;
  const stop = new AbortController();
  const options = { source: server, store, clock, random, log: silentLogger, onRelist: () => (relists += 1) };
  const running = reflect(options, stop.signal);
  return {
    server,
    clock,
    store,
    failures,
    mirror,
    relists: () => relists,
    async stop() {
      stop.abort(new Error("the test is over"));
      await running;
    },
  };
}

function truth(server: FaultySource): Map<string, string> {
  return new Map([...server.objects].map(([name, { metadata }]) => [name, metadata.resourceVersion ?? ""]));
}

test("whatever is lost, repeated, broken or compacted, the store ends as the server's truth and never goes back", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.boolean(),
      fc.array(step, { maxLength: 60 }),
      fc.nat(1000),
      async (synced, steps, seed) => {
        const rig = makeRig(seed);
        const { server, clock, store, mirror, failures } = rig;
        if (synced) {
          for (const name of NAMES) server.write(name, "put");
          await clock.advance(0);
          server.answer("all");
          await clock.advance(0);
          server.deliver(9);
          await clock.advance(0);
          expect(store.synced).toBe(true);
        }
        for (const next of steps) {
          if (next.do === "put" || next.do === "delete" || next.do === "recreate")
            server.write(next.name, next.do);
          else if (next.do === "deliver") server.deliver(next.count);
          else if (next.do === "answer") server.answer("all");
          else if (next.do === "fail") server.answer("fail");
          else if (next.do === "compact") server.compacted = server.version;
          else if (next.do === "duplicate") server.duplicate();
          else if (next.do === "bookmark") server.bookmark();
          else if (next.do === "streams") server.streams = next.how;
          else if (next.do === "pass") await clock.advance(next.ms);
          else server.breakAll(next.do);
          await settle();
          expect(mirror).toEqual(
            new Map(store.list().map(({ metadata }) => [metadata.name, metadata.resourceVersion])),
          );
        }
        // The world heals: within the watchdog and the longest back-off all must be well.
        server.free = true;
        server.failNext = false;
        server.answer("all");
        server.deliver(Number.POSITIVE_INFINITY);
        await clock.advance(200_000);
        expect(failures).toEqual([]);
        expect(store.synced).toBe(true);
        expect(mirror).toEqual(truth(server));
        for (const object of store.list()) {
          expect(store.byIndex("uid", object.metadata.uid ?? "")).toEqual([object]);
          expect(Object.isFrozen(object)).toBe(true);
        }
        await rig.stop();
        expect(clock.pending).toBe(0);
      },
    ),
    { numRuns: 500 },
  );
});

test("a server that refuses to stream the initial events is asked for pages, and never to stream again", async () => {
  const rig = makeRig(1);
  rig.server.streams = "refused";
  for (const name of NAMES) rig.server.write(name, "put");
  rig.server.free = true;
  rig.server.answer("all");
  await rig.clock.advance(2000);
  expect(rig.mirror).toEqual(truth(rig.server));
  await rig.stop();
});

test("a connection that went silent is given up after 90 s and resumed without a list", async () => {
  const rig = makeRig(2);
  rig.server.free = true;
  rig.server.answer("all");
  await rig.clock.advance(100);
  rig.server.breakAll("silent");
  rig.server.write("a", "put");
  await rig.clock.advance(89_000);
  expect(rig.store.get("a")).toBeUndefined();
  await rig.clock.advance(3000);
  expect(rig.store.get("a")).toBeDefined();
  expect(rig.relists()).toBe(0);
  await rig.stop();
});

test("a resource version from the future, after etcd was restored, leads to a new list", async () => {
  const rig = makeRig(3);
  rig.server.free = true;
  rig.server.answer("all");
  rig.server.write("a", "put");
  await rig.clock.advance(100);
  for (const watcher of rig.server.watchers) {
    watcher.end = new ApiError("Timeout", "Too large resource version: 101, current: 50", {
      status: 504,
      causes: ["ResourceVersionTooLarge: Too large resource version"],
    });
    watcher.wake();
  }
  await rig.clock.advance(1000);
  expect(rig.relists()).toBe(1);
  expect(rig.mirror).toEqual(truth(rig.server));
  await rig.stop();
});

test("resource versions compare as numbers", () => {
  expect([isNewer("10", "9"), isNewer("9", "10"), isNewer("10", "10"), isNewer("opaque", "10")]).toEqual([
    true,
    false,
    false,
    true,
  ]);
});
