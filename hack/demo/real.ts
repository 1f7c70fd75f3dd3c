/** A stage of three nodes with kubelet and containers in a box (hack/real/), on which Helm installs Slipway's chart. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type NodeUpdate, nodeUpdate } from "../../api/node-update.ts";
import { type UpdateGroup, updateGroup as updateGroupKind } from "../../api/update-group.ts";
import { systemClock } from "../../ports/clock.ts";
import { systemRandom } from "../../ports/random.ts";
import { isApiError } from "../../runtime/client.ts";
import { loadKubeConfig } from "../../runtime/kubeconfig.ts";
import { createRestClient } from "../../runtime/rest-client.ts";
import { boxFacts } from "../real/box.ts";
import { RealCluster, SERVICE_PORT } from "../real/cluster.ts";
import { withEquippedBox } from "../real/equipped-box.ts";
import { PAUSE_IMAGE } from "../real/images.ts";
import { Installation, localVolumes } from "../real/installation.ts";
import { GROUP, rebootWindow, updateGroup, workloads } from "./manifests.ts";
import type { Stage } from "./play.ts";

const MACHINES = ["east", "north", "west"].map((zone, index) => ({ name: `node-${index + 1}`, zone }));
/** A container runtime and a kubelet start before the agent. */
const DEADLINES = { bootDeadline: "40s", rebootTime: "30s" };

/** Runs the demo in a box of its own; gives its exit code. Throws `ToolError` where this machine can't have one. */
export function inBox(args: readonly string[], onProgress: (line: string) => void): Promise<number> {
  return withEquippedBox({ tools: ["helm"], onProgress }, (box) => box.run(process.execPath, args));
}

/** In a box. */
export async function realStage(onProgress: (line: string) => void): Promise<Stage> {
  onProgress("Starting a control plane and three nodes with containers; then `helm install slipway`");
  const cluster = await RealCluster.start({
    machines: MACHINES,
    onProgress: (line) => onProgress(`  ${line}`),
  });
  const apply = async (...items: readonly object[]): Promise<void> => {
    await cluster.kubectl(["apply", "-f", "-"], JSON.stringify({ apiVersion: "v1", kind: "List", items }));
  };
  try {
    await apply(...localVolumes(MACHINES.map(({ name }) => name)));
    await new Installation(cluster).install();
    onProgress("  the chart is installed");
  } catch (error) {
    await cluster.stop();
    throw error;
  }
  const ports = { clock: systemClock, random: systemRandom };
  const client = createRestClient(loadKubeConfig(cluster.plane.kubeconfig), ports);
  return {
    machines: cluster.machines,
    foundry: cluster.foundry,
    declared: [...workloads(6, PAUSE_IMAGE), rebootWindow, updateGroup(SERVICE_PORT, DEADLINES)],
    // Each has a member of etcd, of which one may be away.
    limit: { total: 1, perZone: 1 },
    // No release has an agent that never starts: here it is a Pod.
    acts: [
      { title: "a good release", version: "1.1.0" },
      { title: "its service fails the HTTP check", version: "1.2.0", defect: "service" },
      { title: "good again", version: "1.2.2" },
    ],
    apply,
    group: () =>
      client.get<UpdateGroup>(updateGroupKind, { name: GROUP }).catch((error: unknown) => {
        if (isApiError(error, "NotFound")) return undefined;
        throw error;
      }),
    nodes: async () => (await client.list<NodeUpdate>(nodeUpdate)).items,
    invitation: () => {
      const init = readFileSync(join(boxFacts().directory, "inner.pid"), "utf8").trim();
      return [
        `  nsenter --net --mount --pid --target ${init}`,
        `  export KUBECONFIG=${cluster.plane.kubeconfig}`,
      ].join("\n");
    },
    stop: async () => {
      await client.close();
      await cluster.stop();
    },
  };
}
