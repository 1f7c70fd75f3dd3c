/** A Node on which no agent of ours runs, and Zincati asks before it reboots it. */
import { afterAll, expect, test } from "vitest";
import { zincatiId } from "../../../coordination/identity.ts";
import { Kubelet } from "../../../hack/machine/kubelet.ts";
import { systemClock } from "../../../ports/clock.ts";
import { systemRandom } from "../../../ports/random.ts";
import type { Node, Pod } from "../../../runtime/core.ts";
import { loadKubeConfig } from "../../../runtime/kubeconfig.ts";
import { createRestClient, type RestClient } from "../../../runtime/rest-client.ts";
import { Berth } from "../berth.ts";
import { days, machines } from "../day.ts";
import { FleetLockClient } from "./fleetlock-client.ts";

const NODE = "zincati-1";
const MACHINE_ID = "0123456789abcdef0123456789abcdef";
const day = days({ machines: machines(1), gateways: 1 });

let client: RestClient | undefined;
let kubelet: Kubelet | undefined;
afterAll(async () => {
  kubelet?.stop();
  await client?.close();
});

test("is cordoned and drained before the answer, and uncordoned when it is back", async () => {
  const today = day();
  const { cluster } = today;
  client = createRestClient(loadKubeConfig(cluster.plane.kubeconfig), {
    clock: systemClock,
    random: systemRandom,
  });
  kubelet = new Kubelet(client, { name: NODE, zone: "west", machineId: MACHINE_ID, labels: {} });
  kubelet.start({ bootId: "boot-1", version: "42" });
  await today.waitFor("the Node is there", async () => (await cluster.get("nodes", NODE)) !== undefined);
  const berth = new Berth(today, "zincati", [NODE]);
  await berth.block(NODE);
  await berth.declare({ machines: {}, driver: "sentinel", channel: undefined, drain: { timeout: "10m" } });
  const zincati = new FleetLockClient(cluster, "zincati", NODE, zincatiId(MACHINE_ID));
  const cordoned = async () => (await cluster.get<Node>("nodes", NODE))?.spec?.unschedulable === true;
  const pods = async () =>
    (await cluster.list<Pod>("pods"))
      .filter(({ metadata, spec }) => spec?.nodeName === NODE && metadata.namespace === "default")
      .map(({ metadata }) => metadata.labels?.["app"]);

  await today.waitFor("the Node is drained", async () => {
    const { status, kind } = await zincati.call("pre-reboot");
    expect(status).not.toBe(200);
    return kind === "failed_lock_draining" && !(await pods()).includes(`free-${NODE}`);
  });
  await today.waitFor("it says that a PodDisruptionBudget keeps a Pod there", async () => {
    return (await today.nodeUpdate(NODE))?.status?.reason === "BlockedByDisruptionBudget";
  });
  expect(await zincati.call("pre-reboot")).toMatchObject({ status: 423, kind: "failed_lock_draining" });
  expect([await cordoned(), await pods()]).toEqual([true, [`kept-${NODE}`]]);

  await berth.kubectl("delete", "pdb", `kept-${NODE}`);
  await today.waitFor("it may reboot", async () => (await zincati.call("pre-reboot")).status === 200);
  expect([await cordoned(), await pods()]).toEqual([true, []]);
  const uid = (await cluster.get<Node>("nodes", NODE))?.metadata.uid;
  for (const id of [MACHINE_ID, NODE]) {
    const same = new FleetLockClient(cluster, "zincati", NODE, id);
    expect((await same.call("pre-reboot")).status).toBe(200);
  }
  expect(await today.holders("group/zincati")).toEqual([uid]);

  kubelet.stop();
  await today.waitFor("the cluster misses it", async () => {
    const ready = (await cluster.get<Node>("nodes", NODE))?.status?.conditions?.find(
      ({ type }) => type === "Ready",
    );
    return ready?.status !== "True";
  });
  kubelet.start({ bootId: "boot-2", version: "42" });
  expect((await zincati.call("steady-state")).status).toBe(200);
  await today.waitFor("it is free of its slot", async () => {
    const status = (await today.nodeUpdate(NODE))?.status;
    return status?.grant === undefined && status?.step === "Idle";
  });
  expect(await cordoned()).toBe(false);
  expect(await today.holders("group/zincati")).toEqual([]);
  expect((await zincati.call("steady-state")).status).toBe(200);
  await today.rest({ absent: [NODE] });
});
