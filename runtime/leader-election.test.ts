import * as fc from "fast-check";
import { expect, test } from "vitest";
import type { Clock } from "../ports/clock.ts";
import { silentLogger } from "../ports/log.ts";
import { ApiError, type KubeClient } from "./client.ts";
import type { Lease } from "./core.ts";
import {
  acquireLeadership,
  type LeaderElectionOptions,
  LeadershipLost,
  type Tenure,
} from "./leader-election.ts";
import { VirtualClock } from "./virtual-clock.ts";

/** One Lease in a server that delays, loses requests and loses answers as `fault` says. */
class LeaseServer {
  lease: Lease | undefined;
  version = 0;
  readonly #clock: VirtualClock;

  constructor(clock: VirtualClock) {
    this.#clock = clock;
  }

  client(fault: () => { before: number; after: number; lose: "no" | "request" | "answer" }): KubeClient {
    const call = async <T>(work: () => T, signal?: AbortSignal): Promise<T> => {
      const { before, after, lose } = fault();
      await this.#pass(before, signal);
      if (lose === "request") throw new ApiError("Unavailable", "lost");
      // What was sent arrives, whether or not the sender still waits.
      const result = work();
      await this.#pass(after, signal);
      if (lose === "answer") throw new ApiError("Unavailable", "lost");
      return result;
    };
    const write = (lease: Lease): Lease => {
      this.version += 1;
      this.lease = structuredClone({
        ...lease,
        metadata: { ...lease.metadata, uid: "uid", resourceVersion: String(this.version) },
      });
      return structuredClone(this.lease);
    };
    const partial: Partial<KubeClient> = {
      get: (_resource, _key, options) =>
        call(() => {
          if (this.lease === undefined) throw new ApiError("NotFound", "no Lease", { status: 404 });
          return structuredClone(this.lease) as never;
        }, options?.signal),
      create: (_resource, object, options) =>
        call(() => {
          if (this.lease !== undefined) throw new ApiError("AlreadyExists", "there is one", { status: 409 });
          return write(object) as never;
        }, options?.signal),
      replace: (_resource, object, options) =>
        call(() => {
          if (object.metadata.resourceVersion !== this.lease?.metadata.resourceVersion) {
            throw new ApiError("Conflict", "changed meanwhile", { status: 409 });
          }
          return write(object) as never;
        }, options?.signal),
    };
    return partial as KubeClient;
  }

  /** Ignores `signal` on purpose: a request that was given up still arrives. */
  #pass(milliseconds: number, _signal?: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      this.#clock.after(milliseconds, resolve);
    });
  }
}

/** A process's own view of time: the same rate, another start, a wall clock that is wrong. */
function skewed(clock: VirtualClock, monotonic: number, wall: number): Clock {
  return {
    now: () => clock.now() + wall,
    monotonic: () => clock.monotonic() + monotonic,
    after: (milliseconds, fn) => clock.after(milliseconds, fn),
  };
}

const noFault = (): { before: number; after: number; lose: "no" } => ({ before: 5, after: 5, lose: "no" });

function options(client: KubeClient, clock: Clock, identity: string): LeaderElectionOptions {
  let draw = identity.length;
  const random = { next: () => (draw = (draw * 7 + 3) % 11) / 11, uuid: () => identity };
  return { client, clock, random, log: silentLogger, name: "manager", namespace: "slipway", identity };
}

const fault = fc.record({
  before: fc.constantFrom(1, 10, 400, 3000, 9000, 20_000),
  after: fc.constantFrom(1, 10, 400, 3000, 9000),
  lose: fc.constantFrom("no" as const, "no" as const, "no" as const, "request" as const, "answer" as const),
});

test("two signals are never live at once, however requests are delayed or lost and wall clocks are wrong", async () => {
  let elections = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.array(fault, { minLength: 20, maxLength: 80 }),
      fc.array(fc.record({ monotonic: fc.nat(1e9), wall: fc.integer({ min: -1e9, max: 1e9 }) }), {
        minLength: 2,
        maxLength: 3,
      }),
      async (faults, processes) => {
        const clock = new VirtualClock();
        const server = new LeaseServer(clock);
        let turn = 0;
        const live = new Set<number>();
        const stop = new AbortController();
        let healed = false;
        const next = (): { before: number; after: number; lose: "no" | "request" | "answer" } =>
          healed ? noFault() : (faults[turn++ % faults.length] ?? noFault());
        const running = processes.map(async ({ monotonic, wall }, index) => {
          const own = options(server.client(next), skewed(clock, monotonic, wall), `process-${index}`);
          while (!stop.signal.aborted) {
            const tenure = await acquireLeadership(own, stop.signal).catch(() => undefined);
            if (tenure === undefined || tenure.signal.aborted) continue;
            elections += 1;
            live.add(index);
            expect(live.size).toBe(1);
            await new Promise<void>((resolve) => {
              tenure.signal.addEventListener("abort", () => {
                live.delete(index);
                resolve();
              });
              stop.signal.addEventListener("abort", () => void tenure.release());
            });
          }
        });
        const all = Promise.all(running);
        // A breach inside a process must not go unseen until the end.
        let breach: unknown;
        all.catch((error: unknown) => {
          breach = error;
        });
        await clock.advance(120_000);
        healed = true;
        await clock.advance(60_000);
        if (breach !== undefined) throw breach;
        expect(live.size).toBe(1);
        stop.abort(new Error("the test is over"));
        await clock.advance(60_000);
        await all;
      },
    ),
    { numRuns: 60 },
  );
  expect(elections).toBeGreaterThan(100);
});

test("the epoch is read before each attempt to write, never after, and a failure to read it prevents the attempt", async () => {
  const clock = new VirtualClock();
  const server = new LeaseServer(clock);
  const order: string[] = [];
  let fails = 2;
  const client = server.client(noFault);
  const create = client.create.bind(client);
  client.create = (resource, object, callOptions) => {
    order.push("write");
    return create(resource, object, callOptions);
  };
  const election = acquireLeadership(
    {
      ...options(client, clock, "a"),
      beforeAcquire: () => {
        order.push("read");
        fails -= 1;
        return fails >= 0 ? Promise.reject(new Error("etcd is away")) : Promise.resolve();
      },
    },
    new AbortController().signal,
  );
  await clock.advance(10_000);
  const tenure = await election;
  expect(order).toEqual(["read", "read", "read", "write"]);
  const released = tenure.release();
  await clock.advance(1000);
  await released;
});

async function elect(clock: VirtualClock, settings: LeaderElectionOptions): Promise<Tenure> {
  const election = acquireLeadership(settings, new AbortController().signal);
  await clock.advance(100);
  return election;
}

test("a release lets the next one lead at once, and annotations are handed on", async () => {
  const clock = new VirtualClock();
  const server = new LeaseServer(clock);
  const first = await elect(clock, options(server.client(noFault), clock, "a"));
  const annotated = first.annotate({ "slipway.dev/incarnation": "i1", "slipway.dev/revision": "7" });
  await clock.advance(100);
  await annotated;
  const next = acquireLeadership(options(server.client(noFault), clock, "b"), new AbortController().signal);
  await clock.advance(60_000);
  expect(first.signal.aborted).toBe(false);
  const released = first.release();
  await clock.advance(3000);
  await released;
  const second = await next;
  expect(second.annotations).toMatchObject({ "slipway.dev/incarnation": "i1", "slipway.dev/revision": "7" });
  expect(server.lease?.spec).toMatchObject({
    holderIdentity: "b",
    leaseTransitions: 1,
    leaseDurationSeconds: 15,
  });
  const done = second.release();
  await clock.advance(1000);
  await done;
  expect(clock.pending).toBe(0);
});

test("a leader that can't renew stops at its deadline, five seconds before anyone else may lead", async () => {
  const clock = new VirtualClock();
  const server = new LeaseServer(clock);
  let cut = false;
  const flaky = server.client(() => (cut ? { before: 1e7, after: 0, lose: "request" } : noFault()));
  const first = await elect(clock, options(flaky, clock, "a"));
  const next = acquireLeadership(options(server.client(noFault), clock, "b"), new AbortController().signal);
  await clock.advance(20_000);
  cut = true;
  const cutAt = clock.monotonic();
  let lostAt = 0;
  first.signal.addEventListener("abort", () => {
    lostAt = clock.monotonic();
  });
  let ledAt = 0;
  const led = next.finally(() => {
    ledAt = clock.monotonic();
  });
  await clock.advance(40_000);
  await led;
  expect(first.signal.reason).toBeInstanceOf(LeadershipLost);
  expect(lostAt - cutAt).toBeLessThanOrEqual(10_000);
  expect(ledAt - lostAt).toBeGreaterThanOrEqual(5000 - 100);
  await expect(first.annotate({ a: "b" })).rejects.toThrow("Leadership was lost");
});

test("a person's annotation on the Lease costs nothing; another holder's name ends leadership", async () => {
  const clock = new VirtualClock();
  const server = new LeaseServer(clock);
  const tenure = await elect(clock, options(server.client(noFault), clock, "a"));
  const edit = (spec: Lease["spec"]): void => {
    server.version += 1;
    const { lease } = server;
    if (lease === undefined) throw new Error("there is a Lease");
    const metadata = {
      ...lease.metadata,
      resourceVersion: String(server.version),
      annotations: { note: "hello" },
    };
    server.lease = { ...lease, metadata, spec: { ...lease.spec, ...spec } };
  };
  edit({});
  await clock.advance(30_000);
  expect(tenure.signal.aborted).toBe(false);
  expect(tenure.annotations).toEqual({ note: "hello" });
  edit({ holderIdentity: "thief" });
  await clock.advance(3000);
  expect(tenure.signal.reason).toBeInstanceOf(LeadershipLost);
});
