import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { type FaultProxy, startFaultProxy } from "../hack/plane/fault-proxy.ts";
import { systemClock } from "../ports/clock.ts";
import { silentLogger } from "../ports/log.ts";
import { isApiError } from "./client.ts";
import { CONFIG_MAPS, type ConfigMap, NODES } from "./core.ts";
import { loadKubeConfig } from "./kubeconfig.ts";
import { acquireLeadership, type LeaderElectionOptions } from "./leader-election.ts";
import { MemoryStore } from "./memory-store.ts";
import { reflect } from "./reflector.ts";
import { createRestClient, type RestClient } from "./rest-client.ts";
import { ports, RealNamespace } from "./test-namespace.ts";
import { createTransport } from "./transport.ts";
import { INITIAL_EVENTS_END } from "./watch-source.ts";

let here: RealNamespace;

beforeAll(async () => {
  here = await RealNamespace.open();
});

afterAll(() => here.close());

describe("through a bad network", () => {
  let proxy: FaultProxy;
  let client: RestClient;

  beforeEach(async () => {
    proxy = await startFaultProxy({ port: here.port });
    client = createRestClient(loadKubeConfig(await here.through(proxy)), {
      ...ports,
      rate: 1000,
      burst: 1000,
    });
  });

  afterEach(async () => {
    await client.close();
    await proxy.close();
  });

  test("two hundred calls, half of them at once, use one connection", async () => {
    await Promise.all(Array.from({ length: 100 }, () => client.list(NODES)));
    for (let index = 0; index < 100; index++) await client.list(NODES);
    expect(proxy.connections).toBe(1);
  });

  test("a read survives the reset of its connection", async () => {
    await client.list(NODES);
    proxy.reset();
    await client.list(NODES);
    expect(proxy.connections).toBe(1);
  });

  test("a write whose connection breaks is not repeated: its outcome is unknown", async () => {
    await client.list(NODES);
    proxy.cutAfter(1);
    const error = await client
      .create(CONFIG_MAPS, here.configMap("unknown", {}))
      .catch((cause: unknown) => cause);
    expect(isApiError(error, "Unavailable")).toBe(true);
    await vi.waitFor(() => here.admin.get(CONFIG_MAPS, { name: "unknown", namespace: here.name }));
  });

  test("a call that gets no answer ends at its deadline, and the next one takes another connection", async () => {
    const transport = createTransport(loadKubeConfig(await here.through(proxy)), ports);
    await transport.call({ method: "GET", path: "/version" });
    proxy.stall();
    const stuck = transport.call({ method: "GET", path: "/version", deadline: 200 });
    await expect(stuck).rejects.toMatchObject({ kind: "Timeout" });
    const next = transport.call({ method: "GET", path: "/version" });
    await vi.waitFor(() => expect(proxy.connections).toBe(2));
    proxy.resume();
    await next;
    await transport.close();
  });

  test("a store follows the server through resets, cuts in mid-frame, delays and refusals", async () => {
    const store = new MemoryStore<ConfigMap>();
    const stop = new AbortController();
    const source = client.watches(CONFIG_MAPS, { namespace: here.name, labelSelector: "followed=yes" });
    let relists = 0;
    const running = reflect(
      { source, store, ...ports, log: silentLogger, onRelist: () => (relists += 1) },
      stop.signal,
    );
    const write = async (round: number): Promise<void> => {
      for (const name of ["one", "two", "three"]) {
        const object = here.configMap(`followed-${name}`, { round: String(round), filler: "x".repeat(2000) });
        object.metadata.labels = { followed: "yes" };
        await here.admin.apply(CONFIG_MAPS, object, { fieldManager: "test" });
      }
      await here.admin.delete(CONFIG_MAPS, {
        name: `followed-${round % 2 === 0 ? "one" : "two"}`,
        namespace: here.name,
      });
    };
    const truth = async (): Promise<string[]> => {
      const { items } = await here.admin.list<ConfigMap>(CONFIG_MAPS, {
        namespace: here.name,
        labelSelector: "followed=yes",
      });
      return items.map(({ metadata }) => `${metadata.name}@${metadata.resourceVersion}`).toSorted();
    };
    const converged = (): Promise<void> =>
      vi.waitFor(
        async () => {
          expect(store.synced).toBe(true);
          const seen = store.list().map(({ metadata }) => `${metadata.name}@${metadata.resourceVersion}`);
          expect(seen.toSorted()).toEqual(await truth());
        },
        { timeout: 30_000, interval: 50 },
      );
    await write(0);
    await converged();
    const faults: (() => unknown)[] = [
      () => proxy.reset(),
      () => proxy.cutAfter(1500),
      () => proxy.delay(30),
      () => proxy.reset(),
      () => proxy.delay(0),
      async () => {
        await proxy.refuse(true);
        proxy.reset();
      },
      () => proxy.refuse(false),
      () => proxy.cutAfter(9),
    ];
    for (const [index, fault] of faults.entries()) {
      await fault();
      await write(index + 1);
      if (index !== 5) await converged();
    }
    expect(relists).toBe(0);
    expect(JSON.stringify(store.list())).not.toContain("managedFields");
    stop.abort(new Error("the test is over"));
    await running;
  });

  test("a watch without a position streams what there is, then says where that ends", async () => {
    for (const name of ["first", "second"]) {
      await here.admin.create(CONFIG_MAPS, here.configMap(name, {}, { streamed: "yes" }));
    }
    const stop = new AbortController();
    const source = client.watches(CONFIG_MAPS, { namespace: here.name, labelSelector: "streamed=yes" });
    const seen: string[] = [];
    for await (const { type, object } of source.watch({
      resourceVersion: undefined,
      timeoutSeconds: 60,
      signal: stop.signal,
    })) {
      seen.push(type);
      if (object.metadata.annotations?.[INITIAL_EVENTS_END] === "true") break;
    }
    expect(seen).toEqual(["ADDED", "ADDED", "BOOKMARK"]);
  });

  test("leadership passes on when the leader releases it, and when the leader is cut off", async () => {
    const name = "handover";
    const settings = (identity: string, by: RestClient): LeaderElectionOptions => ({
      ...ports,
      client: by,
      log: silentLogger,
      name,
      namespace: here.name,
      identity,
      leaseDuration: 3000,
      renewDeadline: 2000,
      retryPeriod: 300,
    });
    const stop = new AbortController();
    const first = await acquireLeadership(settings("first", here.admin), stop.signal);
    await first.annotate({ "slipway.dev/incarnation": "i" });
    const waiting = acquireLeadership(settings("second", client), stop.signal);
    await first.release();
    const second = await waiting;
    expect(second.annotations).toEqual({ "slipway.dev/incarnation": "i" });
    proxy.stall();
    const third = await acquireLeadership(settings("third", here.admin), stop.signal);
    expect(second.signal.aborted).toBe(true);
    proxy.resume();
    await third.release();
  }, 30_000);
});

describe("credentials", () => {
  test("a changed kubeconfig is noticed, and one half written does no harm", async () => {
    const path = join(here.directory, "rotated.yaml");
    await writeFile(path, here.kubeconfig);
    let now = 0;
    const clock = { ...systemClock, monotonic: () => now };
    const config = loadKubeConfig(path, { clock });
    const before = await config.credentials();
    now += 11_000;
    await writeFile(path, here.kubeconfig.slice(0, 100));
    expect(await config.credentials()).toBe(before);
    now += 11_000;
    await writeFile(path, here.kubeconfig.replaceAll("https://127.0.0.1", "https://localhost"));
    const after = await config.credentials();
    expect(after.fingerprint).not.toBe(before.fingerprint);
    expect(after.server).toContain("localhost");
  });

  test("new credentials take a new connection while the old one drains", async () => {
    const proxy = await startFaultProxy({ port: here.port });
    const other = await startFaultProxy({ port: here.port });
    const path = await here.through(proxy);
    let skip = 0;
    const clock = { ...systemClock, monotonic: () => systemClock.monotonic() + skip };
    const client = createRestClient(loadKubeConfig(path, { clock }), ports);
    await client.list(NODES);
    await writeFile(path, await readFile(await here.through(other), "utf8"));
    skip += 11_000;
    await client.list(NODES);
    await vi.waitFor(() => expect([proxy.connections, other.connections]).toEqual([0, 1]));
    await client.close();
    await Promise.all([proxy.close(), other.close()]);
  });

  test("a file that is no kubeconfig is refused with what to change", async () => {
    const path = join(here.directory, "broken.yaml");
    await writeFile(path, "clusters: []\nusers: []\ncontexts: []\n");
    expect(() => loadKubeConfig(path)).toThrow("set current-context");
  });
});
