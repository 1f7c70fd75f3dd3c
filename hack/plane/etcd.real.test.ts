import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { type EtcdCluster, type EtcdOptions, startEtcd } from "./etcd.ts";

let cluster: EtcdCluster | undefined;

afterEach(async () => {
  await cluster?.stop();
  cluster = undefined;
});

async function start(options: EtcdOptions): Promise<EtcdCluster> {
  cluster = await startEtcd(options);
  return cluster;
}

test("three members write on without one of them, and not without two", async () => {
  const etcd = await start({ members: 3 });
  const [first, second] = etcd.members;
  await etcd.etcdctl(["put", "a", "1"]);
  await first?.kill();
  await expect.poll(() => put(etcd, "a", "2"), { timeout: 20_000 }).toBe("OK");
  await second?.kill();
  await expect(etcd.etcdctl(["--command-timeout=2s", "put", "a", "3"])).rejects.toThrow();
  await Promise.all([first?.start(), second?.start()]);
  await expect.poll(() => put(etcd, "a", "4"), { timeout: 20_000 }).toBe("OK");
  expect(await etcd.etcdctl(["get", "--print-value-only", "a"])).toBe("4\n");
});

test("a killed member has its data when it starts again, and has lost it when its directory is gone", async () => {
  const etcd = await start({ members: 1 });
  const [member] = etcd.members;
  await etcd.etcdctl(["put", "a", "1"]);
  await member?.kill();
  await member?.start();
  expect(await etcd.etcdctl(["get", "--print-value-only", "a"])).toBe("1\n");
  await member?.kill();
  rmSync(member?.directory ?? "", { recursive: true });
  await member?.start();
  expect(await etcd.etcdctl(["get", "--print-value-only", "a"])).toBe("");
});

test("with TLS, a client needs a certificate", async () => {
  const etcd = await start({ members: 1, tls: true });
  expect(etcd.endpoints[0]).toMatch(/^https:/);
  expect(await put(etcd, "a", "1")).toBe("OK");
  await expect(fetch(`${etcd.endpoints[0]}/health`)).rejects.toThrow();
});

test("a paused member answers nothing until it is resumed", async () => {
  const etcd = await start({ members: 1 });
  const [member] = etcd.members;
  member?.pause();
  await expect(
    etcd.etcdctl(["--command-timeout=1s", "--dial-timeout=1s", "put", "a", "1"]),
  ).rejects.toThrow();
  member?.resume();
  await expect.poll(() => put(etcd, "a", "2"), { timeout: 10_000 }).toBe("OK");
});

test("three members go back to a snapshot, and lose everything", async () => {
  const etcd = await start({ members: 3 });
  const directory = mkdtempSync(join(tmpdir(), "slipway-snapshot-"));
  try {
    const backup = join(directory, "backup.db");
    await etcd.etcdctl(["put", "a", "1"]);
    await etcd.snapshot(backup);
    await etcd.etcdctl(["put", "a", "2"]);
    await etcd.replaceData(backup);
    expect(await etcd.etcdctl(["get", "--print-value-only", "a"])).toBe("1\n");
    await etcd.replaceData();
    expect(await etcd.etcdctl(["get", "--print-value-only", "a"])).toBe("");
  } finally {
    rmSync(directory, { recursive: true });
  }
});

async function put(etcd: EtcdCluster, key: string, value: string): Promise<string> {
  try {
    return (await etcd.etcdctl(["--command-timeout=3s", "put", key, value])).trim();
  } catch (error) {
    return String(error);
  }
}
