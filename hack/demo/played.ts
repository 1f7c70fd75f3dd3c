/** A stage without root: 12 machines whose kubelets kwok and the machines themselves play. */
import type { NodeUpdate } from "../../api/node-update.ts";
import type { UpdateGroup } from "../../api/update-group.ts";
import { Cluster, type MachineSpec } from "../cluster/cluster.ts";
import { GROUP, rebootWindow, updateGroup, workloads } from "./manifests.ts";
import type { Stage } from "./play.ts";

const ZONES = ["east", "north", "west"];
const MACHINES: MachineSpec[] = Array.from({ length: 12 }, (_, index) => ({
  name: `node-${String(index + 1).padStart(2, "0")}`,
  zone: ZONES[index % ZONES.length] ?? "east",
}));

export async function playedStage(onProgress: (line: string) => void): Promise<Stage> {
  onProgress(
    "Starting etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kwok, Slipway and 12 machines",
  );
  const cluster = await Cluster.start({
    machines: MACHINES,
    onProgress: (line) => onProgress(`  ${line}`),
  });
  return {
    machines: cluster.machines,
    foundry: cluster.foundry,
    declared: [...workloads(), rebootWindow, updateGroup(cluster.servicePort)],
    limit: { total: 2, perZone: 1 },
    acts: [
      { title: "a good release", version: "1.1.0" },
      { title: "its service fails the HTTP check", version: "1.2.0", defect: "service" },
      { title: "its agent never starts", version: "1.2.1", defect: "agent" },
      { title: "good again", version: "1.2.2" },
    ],
    apply: (...manifests) => cluster.apply(...manifests),
    group: () => cluster.get<UpdateGroup>("updategroups", GROUP),
    nodes: () => cluster.list<NodeUpdate>("nodeupdates"),
    invitation: () => `  export KUBECONFIG=${cluster.plane.kubeconfig}`,
    stop: (options) => cluster.stop(options),
  };
}
