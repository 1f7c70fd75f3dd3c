import { afterEach, beforeEach, describe, expect, inject, it, vi } from "vitest";
import { type EtcdCluster, startEtcd } from "../hack/plane/etcd.ts";
import { type FaultProxy, startFaultProxy } from "../hack/plane/fault-proxy.ts";
import { Authority } from "../hack/plane/pki.ts";
import { systemClock } from "../ports/clock.ts";
import { systemRandom } from "../ports/random.ts";
import { type EtcdPort, EtcdUnavailable } from "./etcd.ts";
import { etcdSuite } from "./etcd-suite.ts";
import { connectEtcd, type EtcdOptions } from "./etcd3-port.ts";

const PATIENCE = { timeout: 30_000, interval: 20 };

function connect(endpoints: readonly string[], more: Partial<EtcdOptions> = {}): EtcdPort {
  return connectEtcd({ endpoints, clock: systemClock, random: systemRandom, callTimeout: 2_000, ...more });
}

function ownPrefix(): string {
  return `/test/${systemRandom.uuid()}/`;
}

async function under(endpoints: readonly string[], more: Partial<EtcdOptions> = {}) {
  const [port, other] = [connect(endpoints, more), connect(endpoints, more)];
  return {
    port,
    other,
    prefix: ownPrefix(),
    until: async (holds: () => boolean | Promise<boolean>) => void (await vi.waitUntil(holds, PATIENCE)),
    close: async () => {
      await port.close();
      await other.close();
    },
  };
}

etcdSuite("etcd3 port", () => under([inject("etcd")]));

describe("etcd3 port with client certificates", () => {
  let cluster: EtcdCluster;
  beforeEach(async () => {
    cluster = await startEtcd({ tls: true });
  });
  afterEach(() => cluster.stop());

  it("reads, writes and watches", async () => {
    const { tls } = cluster;
    if (tls === undefined) throw new Error("the cluster serves no TLS");
    const port = connect(cluster.endpoints, {
      tls: () => ({ ca: tls.ca, certificate: tls.certificate, key: tls.key, serverName: "localhost" }),
    });
    let hints = 0;
    port.watch("/t/", () => hints++);
    await expect.poll(() => hints, PATIENCE).toBeGreaterThan(0);
    expect((await port.txn([], [{ put: "/t/a", value: "1" }])).outcome).toBe("committed");
    await port.close();
    const stranger = connect(cluster.endpoints, { tls: () => ({ ca: tls.ca, serverName: "localhost" }) });
    await expect(stranger.read([])).rejects.toThrow(EtcdUnavailable);
    await stranger.close();
    expect(() => connect(cluster.endpoints, { tls: () => ({ ca: tls.ca }) })).toThrow(/serverName/);
  });
});

describe("etcd3 port whose certificate is replaced", () => {
  it("uses the new one from the next call on, without a new process", async () => {
    const cluster = await startEtcd({ tls: true });
    try {
      const { tls } = cluster;
      if (tls === undefined) throw new Error("the cluster serves no TLS");
      const stranger = await (await Authority.create("somebody else")).issue({ commonName: "slipway" });
      let current: { certificate: string; key: string } = stranger;
      const port = connect(cluster.endpoints, {
        tls: () => ({ ...current, ca: tls.ca, serverName: "localhost" }),
      });
      expect((await port.txn([], [{ put: "/t/a", value: "1" }])).outcome).toBe("unknown");
      current = { certificate: tls.certificate, key: tls.key };
      expect((await port.txn([], [{ put: "/t/a", value: "1" }])).outcome).toBe("committed");
      await port.close();
    } finally {
      await cluster.stop();
    }
  });
});

describe("etcd3 port over a bad network", () => {
  let proxy: FaultProxy;
  let port: EtcdPort;
  let direct: EtcdPort;
  let prefix: string;

  beforeEach(async () => {
    const { hostname, port: target } = new URL(inject("etcd"));
    proxy = await startFaultProxy({ host: hostname, port: Number(target) });
    port = connect([`http://127.0.0.1:${proxy.port}`]);
    direct = connect([inject("etcd")]);
    prefix = ownPrefix();
  });
  afterEach(async () => {
    await port.close();
    await direct.close();
    await proxy.close();
  });

  const value = async (key: string): Promise<string | undefined> =>
    (await direct.read([{ key: prefix + key }])).results[0]?.[0]?.value;

  it("says unknown for a transaction whose answer is cut off, and it did happen", async () => {
    const outcomes: string[] = [];
    const happened = async (): Promise<boolean> => {
      await port.read([]);
      proxy.cutAfter(1);
      const name = String(outcomes.length);
      outcomes.push((await port.txn([], [{ put: prefix + name, value: "1" }])).outcome);
      return (await value(name)) === "1";
    };
    // The byte may be of a frame that etcd sends unasked, before it has read the transaction.
    await vi.waitUntil(happened, PATIENCE);
    expect(new Set(outcomes)).toEqual(new Set(["unknown"]));
  });

  it("says unknown when nothing answers, and goes on when the network is back", async () => {
    await port.read([]);
    proxy.stall();
    const [read, result] = await Promise.allSettled([
      port.read([]),
      port.txn([], [{ put: `${prefix}a`, value: "1" }]),
    ]);
    expect(read).toMatchObject({ status: "rejected", reason: expect.any(EtcdUnavailable) });
    expect(result).toMatchObject({ status: "fulfilled", value: { outcome: "unknown" } });
    proxy.resume();
    await vi.waitFor(() => port.read([]), PATIENCE);
  });

  it("never applies a transaction twice, whatever is reset when", async () => {
    const outcomes: string[] = [];
    for (let n = 0; n < 60; n++) {
      const sent = port.txn([], [{ put: `${prefix}${n}`, value: "x" }]);
      if (n % 3 === 0) setImmediate(() => proxy.reset());
      outcomes.push((await sent).outcome);
    }
    expect(new Set(outcomes)).toEqual(new Set(["committed", "unknown"]));
    for (const [n, outcome] of outcomes.entries()) {
      const versions = await versionOf(`${prefix}${n}`);
      expect(outcome === "committed" ? ["1"] : ["1", undefined]).toContain(versions);
    }
  });

  it("hints again after a reset: nothing that happened in between is missed", async () => {
    let seen: string | undefined;
    let reading = Promise.resolve();
    const look = async (): Promise<void> => {
      seen = await value("w");
    };
    port.watch(prefix, () => {
      reading = reading.then(look);
    });
    await direct.txn([], [{ put: `${prefix}w`, value: "0" }]);
    await expect.poll(() => seen, PATIENCE).toBe("0");
    for (let round = 1; round <= 5; round++) {
      await proxy.refuse(true);
      proxy.reset();
      await direct.txn([], [{ put: `${prefix}w`, value: String(round) }]);
      await proxy.refuse(false);
      await expect.poll(() => seen, PATIENCE).toBe(String(round));
    }
  });

  it("hints on after a compaction past what its watch was told", async () => {
    let hints = 0;
    port.watch(prefix, () => hints++);
    await expect.poll(() => hints, PATIENCE).toBeGreaterThan(0);
    proxy.stall();
    // More than etcd buffers for one that does not listen: it leaves the watch behind.
    const value = "x".repeat(4096);
    let revision = 0;
    for (let n = 0; n < 600; n++) {
      const result = await direct.txn([], [{ put: `${prefix}w`, value }]);
      if (result.outcome === "committed") ({ revision } = result);
    }
    await direct.compact(revision);
    proxy.resume();
    // What was on its way arrives first; then the watch must have begun anew.
    let before = -1;
    await vi.waitUntil(
      () => {
        const quiet = hints === before;
        before = hints;
        return quiet;
      },
      { timeout: 20_000, interval: 1_000 },
    );
    await direct.txn([], [{ put: `${prefix}w`, value: "now" }]);
    await vi.waitUntil(() => hints > before, { timeout: 8_000, interval: 20 });
  });

  it("loses a lease session before the lease ends, when nothing answers", async () => {
    const session = await port.lease(3);
    const record = { put: `${prefix}p`, value: "x", lease: session.id };
    expect((await port.txn([], [record])).outcome).toBe("committed");
    proxy.stall();
    await vi.waitUntil(() => session.lost.aborted, PATIENCE);
    expect(await value("p")).toBe("x");
    proxy.resume();
    await expect.poll(() => value("p"), PATIENCE).toBeUndefined();
  });

  it("keeps a lease session through resets", async () => {
    const session = await port.lease(4);
    await port.txn([], [{ put: `${prefix}p`, value: "x", lease: session.id }]);
    for (let round = 0; round < 4; round++) {
      proxy.reset();
      const clock = await direct.leaseOnce(2);
      await direct.txn([], [{ put: `${prefix}clock`, value: "x", lease: clock }]);
      await expect.poll(() => value("clock"), PATIENCE).toBeUndefined();
    }
    expect(session.lost.aborted).toBe(false);
    expect(await value("p")).toBe("x");
    await session.close();
  });

  it("closes while everything hangs, and leaves no connection", async () => {
    port.watch(prefix, () => {});
    await port.lease(60);
    proxy.stall();
    const [read, txn] = [port.read([]), port.txn([], [{ put: `${prefix}a`, value: "1" }])];
    const answers = Promise.allSettled([read, txn]);
    await port.close();
    expect(await answers).toMatchObject([
      { status: "rejected" },
      { status: "fulfilled", value: { outcome: "unknown" } },
    ]);
    proxy.resume();
    await expect.poll(() => proxy.connections, PATIENCE).toBe(0);
    await expect(port.read([])).rejects.toThrow(EtcdUnavailable);
  });
});

/** How often a key was written, by etcd's JSON gateway; undefined if never. */
async function versionOf(key: string): Promise<string | undefined> {
  const response = await fetch(`${inject("etcd")}/v3/kv/range`, {
    method: "POST",
    body: JSON.stringify({ key: Buffer.from(key).toString("base64") }),
  });
  const { kvs } = (await response.json()) as { kvs?: { version: string }[] };
  return kvs?.[0]?.version;
}

describe("etcd3 port over three members", () => {
  let cluster: EtcdCluster;
  let port: EtcdPort;

  beforeEach(async () => {
    cluster = await startEtcd({ members: 3 });
    port = connect(cluster.endpoints);
  });
  afterEach(async () => {
    await port.close();
    await cluster.stop();
  });

  it("goes on with two, stops with one, and goes on again", async () => {
    let hints = 0;
    port.watch("/t/", () => hints++);
    const session = await port.lease(20);
    for (const member of cluster.members) {
      await member.kill();
      const before = hints;
      const write = { put: "/t/a", value: member.endpoint, lease: session.id };
      await vi.waitUntil(async () => (await port.txn([], [write])).outcome === "committed", PATIENCE);
      await vi.waitUntil(() => hints > before, PATIENCE);
      await member.start();
    }
    expect(session.lost.aborted).toBe(false);

    const [first, second] = cluster.members;
    await Promise.all([first?.kill(), second?.kill()]);
    await expect(port.read([])).rejects.toThrow(EtcdUnavailable);
    expect((await port.txn([], [{ put: "/t/a", value: "x" }])).outcome).toBe("unknown");
    await Promise.all([first?.start(), second?.start()]);
    await vi.waitFor(() => port.read([]), PATIENCE);
    await session.close();
  });

  it("survives a compaction past what a watch has seen", async () => {
    let seen: string | undefined;
    const look = async (): Promise<void> => {
      const { results } = await port.read([{ key: "/t/a" }]);
      seen = results[0]?.[0]?.value;
    };
    port.watch("/t/", () => void look().catch(() => {}));
    for (let round = 0; round < 3; round++) {
      const write = { put: "/t/a", value: String(round) };
      let revision = 0;
      await vi.waitUntil(async () => {
        const result = await port.txn([], [write]);
        if (result.outcome === "committed") revision = result.revision;
        return result.outcome === "committed";
      }, PATIENCE);
      await vi.waitFor(() => port.compact(revision), PATIENCE);
      await expect(cluster.etcdctl(["get", "/t/a", "--rev", String(revision - 1)])).rejects.toThrow(
        /compacted/,
      );
      const member = cluster.members[round % 3];
      await member?.kill();
      await member?.start();
      await expect.poll(() => seen, PATIENCE).toBe(String(round));
    }
  });

  it("finds another member when one stops answering", async () => {
    await port.read([]);
    cluster.members[0]?.pause();
    try {
      await vi.waitFor(() => port.read([]), PATIENCE);
      await vi.waitUntil(
        async () => (await port.txn([], [{ put: "/t/a", value: "x" }])).outcome === "committed",
        PATIENCE,
      );
    } finally {
      cluster.members[0]?.resume();
    }
  });
});
