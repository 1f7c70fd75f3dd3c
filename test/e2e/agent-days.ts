/** Bad days of agents that only real containers have: a part of the story in installation.e2e.test.ts. */
import { expect, test } from "vitest";
import type { NodeUpdate, Step } from "../../api/node-update.ts";
import { NAMESPACE } from "../../hack/chart/golden.ts";
import { observe } from "../../hack/cluster/observer.ts";
import { waitUntil } from "../../hack/plane/wait.ts";
import type { Pod } from "../../runtime/core.ts";
import { allRun, type Fleet, NODES } from "./fleet.ts";
import { webDeployment } from "./manifests.ts";

const WITHIN = 60_000;

/**
 * Fills the memory of the agent's container from inside of it. By its score the kernel ends the agent first, as it
 * would if the agent itself had asked for too much.
 */
const FILL = `
  const { readFileSync, readdirSync, writeFileSync } = require("node:fs");
  const read = (file) => { try { return readFileSync(file, "utf8"); } catch { return ""; } };
  const ours = read("/proc/self/cgroup");
  for (const pid of readdirSync("/proc").filter((name) => /^\\d+$/.test(name))) {
    const words = read("/proc/" + pid + "/cmdline").split("\\0");
    const agent = words.some((word) => word.endsWith("/bin/agent.cjs"));
    if (agent && read("/proc/" + pid + "/cgroup") === ours) writeFileSync("/proc/" + pid + "/oom_score_adj", "1000");
  }
  const taken = [];
  for (;;) taken.push(Buffer.alloc(8 << 20, 1));
`;

type AgentPod = Pod & {
  status: { containerStatuses?: { lastState?: { terminated?: { reason?: string } } }[] };
};

export function agentDays(fleet: () => Fleet): void {
  const agentOn = async (node: string): Promise<AgentPod> => {
    const pods = await fleet().list<AgentPod>(
      ...["pods", "--namespace", NAMESPACE, "-l", "app.kubernetes.io/component=agent"],
      ...["--field-selector", `spec.nodeName=${node}`],
    );
    const pod = pods.find(({ metadata }) => metadata.deletionTimestamp === undefined);
    if (pod === undefined) throw new Error(`no agent is on ${node}`);
    return pod;
  };

  const reaches = (node: string, step: Step): Promise<void> =>
    fleet().follow(`${node} is ${step}`, (nodes) => stepOf(nodes, node) === step);

  /** Calls `strike` when the agent has part of an image and waits for the rest. */
  const duringWrite = async (node: string, strike: () => Promise<void>): Promise<void> => {
    const { mirror } = fleet().cluster;
    const { sent } = mirror;
    await fleet().follow(
      `${node} has a part of the image`,
      (nodes) => stepOf(nodes, node) === "Staging" && mirror.sent > sent,
    );
    mirror.fault = "none";
    await strike();
  };

  const outOfMemory = async (node: string): Promise<void> => {
    const before = await agentOn(node);
    const exec = ["exec", "--namespace", NAMESPACE, before.metadata.name, "--"];
    // It ends with its victim.
    await fleet()
      .cluster.kubectl([...exec, "/usr/local/bin/node", "--eval", FILL])
      .catch(() => undefined);
    await waitUntil(
      async () => {
        const [status] = (await agentOn(node)).status.containerStatuses ?? [];
        return status?.lastState?.terminated?.reason === "OOMKilled";
      },
      { what: `the agent on ${node} starts again`, deadline: WITHIN, interval: 100 },
    );
  };

  test("agents that are deleted, evicted or out of memory, in a write and before a reboot, and an API server that is restarted, convict no release", async () => {
    const { cluster } = fleet();
    const [deleted = "", starved = "", evicted = ""] = NODES;
    const only = (name: string): object => ({
      ...{ name, soak: "0s", nodeSelector: { matchLabels: { "kubernetes.io/hostname": name } } },
    });
    await fleet().patchGroup({ stages: [only(deleted), only(starved)] });
    // So that a drain lasts long enough to strike in it.
    await fleet().apply(webDeployment("slow", 3, 12));
    await cluster.kubectl(["rollout", "status", "deployment/slow", "--timeout=55s"]);
    const failed = await failures(fleet());
    const begin = Date.now();
    cluster.mirror.fault = "stall";
    await fleet().promote("1.3.0");
    await fleet().timed("agentDays", async () => {
      await duringWrite(deleted, async () => {
        const { metadata } = await agentOn(deleted);
        await cluster.kubectl(["delete", "pod", "--namespace", NAMESPACE, metadata.name, "--wait=false"]);
      });
      await reaches(deleted, "Rebooting");
      await cluster.plane.kill("kube-apiserver");
      await cluster.plane.start("kube-apiserver");

      await reaches(starved, "Draining");
      await outOfMemory(starved);

      cluster.mirror.fault = "stall";
      await duringWrite(evicted, () => outOfMemory(evicted));
      await reaches(evicted, "Draining");
      const { metadata } = await agentOn(evicted);
      const eviction = { apiVersion: "policy/v1", kind: "Eviction", metadata: { name: metadata.name } };
      const path = `/api/v1/namespaces/${NAMESPACE}/pods/${metadata.name}/eviction`;
      await cluster.kubectl(["create", "--raw", path, "-f", "-"], JSON.stringify(eviction));
      await fleet().follow("all nodes run 1.3.0", (nodes) => allRun(nodes, "1.3.0"));
    });
    expect(await failures(fleet())).toEqual(failed);
    expect((await fleet().group()).status?.failures ?? []).toEqual([]);
    await cluster.kubectl(["delete", "deployment", "slow"]);
    const { boots, mostDown } = observe(cluster.machines, begin);
    for (const node of NODES) {
      expect(boots[node]?.filter((version) => version === "1.3.0")).toEqual(["1.3.0"]);
      expect(boots[node]?.at(-1)).toBe("1.3.0");
    }
    expect(mostDown).toBe(1);
    await fleet().expectNodesFree();
    fleet().expectNoFailure();
  });
}

function stepOf(nodes: readonly NodeUpdate[], name: string): Step | undefined {
  return nodes.find(({ metadata }) => metadata.name === name)?.status?.step;
}

/** The releases that failed, by node. */
async function failures(fleet: Fleet): Promise<object[]> {
  const nodes = await fleet.list<NodeUpdate>("nodeupdates");
  return nodes.map((node) => node.status?.failed ?? []);
}
