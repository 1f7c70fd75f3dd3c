/** What etcd remembers of who wrote what: it keeps every revision until it is compacted. */
import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { createInterface } from "node:readline";
import type { EtcdCluster } from "../../../hack/plane/etcd.ts";
import { tool } from "../../../hack/tools.ts";

interface Write {
  revision: number;
  key: string;
  /** Undefined where the key was removed. */
  value: string | undefined;
}

const HISTORY_WITHIN = 60_000;
const PREFIX = "/slipway/";

interface WatchAnswer {
  Events?: { type?: number | string; kv: { key: string; value?: string; mod_revision: number } }[];
}

/** Every write under our prefix, oldest first. */
export async function history(etcd: EtcdCluster): Promise<Write[]> {
  const end = `${PREFIX}witness-${randomUUID()}`;
  await etcd.etcdctl(["put", end, "end"]);
  const args = ["watch", PREFIX, "--prefix", "--rev=1", "--write-out=json"];
  const child = spawn(await tool("etcdctl"), [`--endpoints=${etcd.endpoints.join(",")}`, ...args], {
    stdio: ["ignore", "pipe", "inherit"],
    timeout: HISTORY_WITHIN,
  });
  const writes: Write[] = [];
  try {
    for await (const line of createInterface({ input: child.stdout })) {
      const { Events = [] } = JSON.parse(line) as WatchAnswer;
      for (const { type, kv } of Events) {
        const removed = type === 1 || type === "DELETE";
        const text = (base64 = ""): string => Buffer.from(base64, "base64").toString();
        const key = text(kv.key);
        if (key === end) return writes;
        writes.push({ revision: kv.mod_revision, key, value: removed ? undefined : text(kv.value) });
      }
    }
  } finally {
    child.kill();
    await etcd.etcdctl(["del", end]);
  }
  throw new Error("etcdctl watch ended before it told the whole history");
}

/** Epochs under which grants were made, and the grants that an older epoch made after a newer one was raised. */
export async function grantEpochs(etcd: EtcdCluster): Promise<{ epochs: number[]; late: string[] }> {
  let raised = 0;
  const epochs: number[] = [];
  const late: string[] = [];
  for (const { key, value, revision } of await history(etcd)) {
    if (value === undefined) continue;
    if (key === `${PREFIX}epoch`) raised = (JSON.parse(value) as { epoch: number }).epoch;
    if (!key.startsWith(`${PREFIX}grants/`)) continue;
    const { epoch, node } = JSON.parse(value) as { epoch: number; node: string };
    epochs.push(epoch);
    if (epoch !== raised) late.push(`${node} at revision ${revision}: epoch ${epoch} after ${raised}`);
  }
  return { epochs, late };
}
