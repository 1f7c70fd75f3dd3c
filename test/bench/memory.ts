/**
 * Resident memory of Slipway's processes: manager and gateway with 12 nodes, the agents of
 * those nodes after they staged and booted an image, and a gateway with 500 more sessions.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { NodeUpdate } from "../../api/node-update.ts";
import { Cluster } from "../../hack/cluster/cluster.ts";
import { channel, rebootWindow, updateGroup } from "../../hack/demo/manifests.ts";
import { waitUntil } from "../../hack/plane/wait.ts";
import { connectMany } from "./sessions.ts";

const NODES = 12;
const MORE_SESSIONS = 500;
const MIB = 1024;

/** MiB of VmRSS (proc(5)); `undefined` pid is a process that is gone. */
function rss(pid: number | undefined): { rss: number; anonymous: number } {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  const field = (name: string): number =>
    Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(status)?.[1] ?? 0);
  return {
    rss: Math.round((field("VmRSS") / MIB) * 10) / 10,
    anonymous: Math.round((field("RssAnon") / MIB) * 10) / 10,
  };
}

export async function run({ onProgress }: { onProgress: (line: string) => void }): Promise<object> {
  const machines = Array.from({ length: NODES }, (_, index) => ({
    name: `node-${String(index + 1).padStart(2, "0")}`,
    zone: ["east", "north", "west"][index % 3] ?? "east",
  }));
  const cluster = await Cluster.start({ machines, onProgress });
  try {
    const release = await cluster.foundry.release("1.1.0");
    await cluster.apply(
      rebootWindow,
      release.manifest,
      channel("harbor-1.1.0"),
      updateGroup(cluster.servicePort),
    );
    await waitUntil(
      async () => {
        const nodes = await cluster.list<NodeUpdate>("nodeupdates");
        return (
          nodes.length === NODES && nodes.every(({ status }) => status?.verifiedRelease === "harbor-1.1.0")
        );
      },
      { what: `${NODES} nodes run 1.1.0`, deadline: 300_000, interval: 500 },
    );
    const agents: { rss: number; anonymous: number }[] = [];
    for (const machine of cluster.machines) agents.push(rss((await machine.status()).agentPid));
    const manager = rss(cluster.managers[0]?.pid);
    const gateway = rss(cluster.gateways[0]?.pid);
    onProgress(`${MORE_SESSIONS} more sessions`);
    const close = await connectMany(MORE_SESSIONS, {
      gateway: cluster.machines[0]?.config.gateway ?? "",
      certificates: join(cluster.directory, "gateway"),
      endpoints: cluster.etcd.endpoints,
    });
    const crowded = rss(cluster.gateways[0]?.pid);
    await close();
    const sorted = agents.map((agent) => agent.rss).toSorted((a, b) => a - b);
    return {
      unit: "MiB of VmRSS",
      manager12: manager,
      gateway12: gateway,
      gateway512: crowded,
      perSessionKiB: Math.round(((crowded.rss - gateway.rss) * 1024) / MORE_SESSIONS),
      agent: { median: sorted[sorted.length >> 1], largest: sorted.at(-1), goal: 70 },
    };
  } finally {
    await cluster.stop();
  }
}
