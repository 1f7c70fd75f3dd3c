/** The real cluster itself, without Slipway: nodes that run containers, reboot from slots, and leave nothing behind. */
import { Resolver } from "node:dns/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { waitUntil } from "../../hack/plane/wait.ts";
import { FIRST_VERSION, RealCluster } from "../../hack/real/cluster.ts";
import { BOX_ADDRESS } from "../../hack/real/network.ts";
import type { Node, Pod } from "../../runtime/core.ts";
import { hostDaemonSet, service, webDaemonSet, webDeployment } from "./manifests.ts";

const WITHIN = 60_000;

let cluster: RealCluster;

beforeAll(async () => {
  cluster = await RealCluster.start({
    machines: [
      { name: "node-1", zone: "east" },
      { name: "node-2", zone: "north" },
      { name: "node-3", zone: "west" },
    ],
    onProgress: (line) => process.stderr.write(`${line}\n`),
  });
});

afterAll(async () => {
  await cluster?.stop();
});

async function list<T>(...args: string[]): Promise<T[]> {
  const text = await cluster.kubectl(["get", ...args, "-o", "json"]);
  return (JSON.parse(text) as { items: T[] }).items;
}

/** What a kubelet says of a Pod beyond what our controllers read. */
type RealPod = Pod & {
  status: { podIP: string; containerStatuses?: { ready: boolean; containerID?: string }[] };
};

type NodeInfo = { status: { nodeInfo: { bootID: string; osImage: string; machineID: string } } };

async function nodeInfo(name: string): Promise<NodeInfo["status"]["nodeInfo"]> {
  const text = await cluster.kubectl(["get", "node", name, "-o", "json"]);
  return (JSON.parse(text) as NodeInfo).status.nodeInfo;
}

async function podOn(node: string, app: string): Promise<RealPod> {
  const pods = await list<RealPod>("pods", "-l", `app=${app}`);
  const pod = pods.find(({ spec }) => spec?.nodeName === node);
  if (pod === undefined) throw new Error(`no Pod of ${app} runs on ${node}`);
  return pod;
}

/** Runs one line of shell in a Pod. */
function inPod(pod: Pod, line: string): Promise<string> {
  return cluster.kubectl(["exec", pod.metadata.name, "--", "sh", "-c", line]);
}

/** Waits until the node has come back from a boot other than `before`, and its Pod of `app` runs anew. */
async function returned(
  node: string,
  before: { bootId: string; container: string },
  app: string,
): Promise<void> {
  await waitUntil(
    async () => {
      const { bootID } = await nodeInfo(node);
      const pod = await podOn(node, app);
      const [status] = pod.status.containerStatuses ?? [];
      return bootID !== before.bootId && status?.ready === true && status.containerID !== before.container;
    },
    { what: `${node} is back and runs ${app}`, deadline: WITHIN, interval: 200 },
  );
}

test("three nodes are Ready, each with a boot, a machine id and the system of its slot", async () => {
  const nodes = await list<Node & NodeInfo>("nodes");
  expect(nodes.map(({ metadata }) => metadata.name)).toEqual(["node-1", "node-2", "node-3"]);
  const infos = nodes.map(({ status }) => status.nodeInfo);
  expect(infos.map(({ osImage }) => osImage)).toEqual(
    Array.from({ length: 3 }, () => `Harbor ${FIRST_VERSION}`),
  );
  expect(new Set(infos.map(({ bootID }) => bootID)).size).toBe(3);
  expect(new Set(infos.map(({ machineID }) => machineID)).size).toBe(3);
});

test("a Deployment, a DaemonSet and a Service work, from outside and between Pods", async () => {
  const manifests = [webDeployment("web", 3), webDaemonSet("each"), service("web")];
  await cluster.kubectl(["apply", "-f", "-"], manifests.map((each) => JSON.stringify(each)).join("\n---\n"));
  await cluster.kubectl(["rollout", "status", "deployment/web", "daemonset/each", "--timeout=55s"]);

  const pods = await list<RealPod>("pods", "-l", "app=web");
  expect(new Set(pods.map(({ spec }) => spec?.nodeName)).size).toBe(3);
  for (const pod of pods) {
    const answer = await fetch(`http://${pod.status.podIP}:8080/`);
    expect((await answer.text()).trim()).toBe(pod.metadata.name);
  }

  const resolver = new Resolver({ timeout: 1_000, tries: 5 });
  resolver.setServers([BOX_ADDRESS]);
  const [address = ""] = await resolver.resolve4("web.default.svc.cluster.local");
  const answer = await inPod(
    await podOn("node-1", "each"),
    `printf 'GET / HTTP/1.0\\r\\n\\r\\n' | busybox nc ${address} 80`,
  );
  const names = pods.map(({ metadata }) => metadata.name);
  expect(names).toContain(answer.trim().split("\n").at(-1));
});

test("a privileged Pod finds its machine's disk and identity, and nothing of the machine that runs the test", async () => {
  await cluster.kubectl(["apply", "-f", "-"], JSON.stringify(hostDaemonSet("host")));
  await cluster.kubectl(["rollout", "status", "daemonset/host", "--timeout=55s"]);
  const pod = await podOn("node-1", "host");
  const machine = cluster.machine("node-1");
  const boot = machine.events().findLast((event) => event.event === "boot");

  expect((await inPod(pod, "busybox cat /host/proc/cmdline")).trim()).toBe(`slipway.slot=${boot?.partition}`);
  expect((await inPod(pod, "busybox cat /host/proc/sys/kernel/random/boot_id")).trim()).toBe(boot?.bootId);
  expect((await inPod(pod, "busybox cat /host/etc/machine-id")).trim()).toBe(machine.config.machineId);
  expect(await inPod(pod, "busybox ls /host/opt/slipway")).toBe("control.sock\nhook\n");
  expect(await inPod(pod, "busybox dd if=/dev/sda bs=512 skip=1 count=1 2>&1 | busybox head -c 8")).toBe(
    "EFI PART",
  );
  const disks = (await inPod(pod, "busybox find /dev -type b")).trim().split("\n");
  expect(disks).toEqual(["/dev/sda"]);
});

test("a reboot ends all containers and comes back with a new boot id, while the others stay", async () => {
  const pod = await podOn("node-2", "each");
  const before = {
    bootId: (await nodeInfo("node-2")).bootID,
    container: pod.status.containerStatuses?.[0]?.containerID ?? "",
  };
  const others = await nodeInfo("node-1");
  await cluster.machine("node-2").call("reboot");
  await returned("node-2", before, "each");
  expect((await nodeInfo("node-2")).osImage).toBe(`Harbor ${FIRST_VERSION}`);
  expect((await nodeInfo("node-1")).bootID).toBe(others.bootID);
  expect((await podOn("node-2", "each")).metadata.uid).toBe(pod.metadata.uid);
});

test("the firmware chooses the slot, and the slot decides which system the node runs", async () => {
  const machine = cluster.machine("node-3");
  const pod = await podOn("node-3", "each");
  const before = {
    bootId: (await nodeInfo("node-3")).bootID,
    container: pod.status.containerStatuses?.[0]?.containerID ?? "",
  };
  const boot = machine.events().findLast((event) => event.event === "boot");
  await machine.powerOff();
  await cluster.foundry.installNext(
    machine.paths.disk,
    boot?.partition ?? "",
    await cluster.foundry.release("1.1.0"),
  );
  await machine.powerOn();
  await returned("node-3", before, "each");
  expect((await nodeInfo("node-3")).osImage).toBe("Harbor 1.1.0");
  // Nobody marked the slot good: its one try is used up, and the next boot falls back.
  const again = {
    bootId: (await nodeInfo("node-3")).bootID,
    container: (await podOn("node-3", "each")).status.containerStatuses?.[0]?.containerID ?? "",
  };
  await machine.call("reboot");
  await returned("node-3", again, "each");
  expect((await nodeInfo("node-3")).osImage).toBe(`Harbor ${FIRST_VERSION}`);
});
