/** Machines without our agent beside Nodes, in one group, with one budget. */
import { expect, test } from "vitest";
import { MACHINES_ANNOTATION, STEAL_MACHINE_ANNOTATION } from "../../../api/labels.ts";
import { mostAtOnce, observe } from "../../../hack/cluster/observer.ts";
import { Berth } from "../berth.ts";
import { days, machines } from "../day.ts";
import { FleetLockClient } from "./fleetlock-client.ts";

const NODES = ["node-01", "node-02", "node-03"];
const day = days({ machines: machines(3), gateways: 2, limits: { total: 3, perZone: 3 } });

async function serve(berth: Berth, spec: Record<string, unknown> = {}): Promise<void> {
  await berth.declare({ maxUnavailable: 2, failureThreshold: 5, machines: {}, ...spec });
  await day().waitFor("the group serves machines", async () => {
    return (await berth.group())?.status?.machines !== undefined;
  });
}

test("a rollout and eight machines share a budget of two, whichever gateway is killed", async () => {
  const today = day();
  const { cluster } = today;
  const berth = new Berth(today, "shared", NODES);
  await serve(berth);
  const clients = Array.from({ length: 8 }, (_, i) => new FleetLockClient(cluster, "shared", `client-${i}`));
  const began = Date.now();
  await berth.publish("1.1.0-shared");
  const rounds = clients.map(async (client) => {
    for (let round = 0; round < 3; round++) await client.reboot(400);
  });
  for (const gateway of cluster.gateways) {
    await today.waitFor("machines come and go", () => clients.flatMap(({ outages }) => outages).length > 2);
    await gateway.kill();
    await gateway.start();
    await gateway.ready();
  }
  await Promise.all(rounds);
  await berth.done("1.1.0-shared");
  const nodes = observe(
    NODES.map((node) => cluster.machine(node)),
    began,
  ).outages;
  const machinesOut = clients.flatMap(({ outages }) => outages);
  expect([machinesOut.length, nodes.length]).toEqual([24, 3]);
  expect(mostAtOnce([...machinesOut, ...nodes])).toBeLessThanOrEqual(2);
  await today.waitFor("the status says that all slots are free", async () => {
    return (await berth.group())?.status?.machines?.held === 0;
  });
  expect(await today.holders("group/shared")).toEqual([]);
  await berth.kubectl("delete", "updategroup", "shared");
  await today.rest();
});

test("a slot that etcd lost counts as taken until a person says that nobody is down", async () => {
  const today = day();
  const { cluster } = today;
  const berth = new Berth(today, "forgotten", NODES);
  await serve(berth, { maxUnavailable: 1 });
  const [one, other] = ["one", "other"].map((name) => new FleetLockClient(cluster, "forgotten", name));
  if (one === undefined || other === undefined) throw new Error("two clients");
  await today.waitFor("a machine has a slot", async () => (await one.call("pre-reboot")).status === 200);
  await today.waitFor("the status names the holder", async () => {
    return (await berth.group())?.status?.machines?.holders[0]?.machine === one.id;
  });
  await cluster.etcd.replaceData();
  await today.waitFor("the group asks a person", async () => {
    return (await berth.group())?.status?.machines?.unconfirmed !== undefined;
  });
  expect((await other.call("pre-reboot")).status).not.toBe(200);
  await berth.publish("1.2.0-forgotten");
  await today.waitFor("a node says why it waits", async () => {
    return (await berth.nodeUpdates()).some(({ status }) => status?.reason === "MachinesUnconfirmed");
  });
  expect((await berth.nodeUpdates()).every(({ status }) => status?.running !== "1.2.0-forgotten")).toBe(true);
  const wanted = (await berth.group())?.status?.machines?.unconfirmed;
  await berth.annotate("updategroup", "forgotten", MACHINES_ANNOTATION, wanted);
  await berth.done("1.2.0-forgotten");
  await today.waitFor(
    "the other machine has its turn",
    async () => (await other.call("pre-reboot")).status === 200,
  );

  await today.waitFor("the status names it", async () => {
    return (await berth.group())?.status?.machines?.holders[0]?.machine === other.id;
  });
  await berth.annotate("updategroup", "forgotten", STEAL_MACHINE_ANNOTATION, `${other.id}: it burnt`);
  await today.waitFor("its slot is free", async () => (await one.call("pre-reboot")).status === 200);
  expect((await one.call("steady-state")).status).toBe(200);
  expect((await berth.group())?.metadata.annotations?.[STEAL_MACHINE_ANNOTATION]).toBeUndefined();
  await today.rest();
});
