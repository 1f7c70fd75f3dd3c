/** Nodes of a control plane that Slipway itself stands on (design, rule 12): one at a time, whatever the group allows. */
import { expect, test } from "vitest";
import type { Node, Pod } from "../../runtime/core.ts";
import { days, machines } from "../bad-days/day.ts";
import { gatewayPods, isGatewayPod } from "./gateway-pods.ts";

/** What the observer holds the day to, not what the group declares. */
const day = days({ machines: machines(3), limits: { total: 1, perZone: 1 } });

test("three control-plane nodes with gateways reboot one at a time, and a gateway is Ready all the time", async () => {
  const today = day();
  const { cluster } = today;
  const nodes = ["node-01", "node-02", "node-03"];
  const labels = ["node-role.kubernetes.io/control-plane=", "slipway.dev/infrastructure=true"];
  for (const node of nodes) {
    await cluster.plane.kubectl(["label", `node/${node}`, ...labels]);
    await cluster.plane.kubectl(["taint", "node", node, "node-role.kubernetes.io/control-plane=:NoSchedule"]);
  }
  await cluster.apply(gatewayPods(2));
  const gateways = async (): Promise<Pod[]> => (await cluster.list<Pod>("pods")).filter(isGatewayPod);
  const ready = async (): Promise<number> =>
    (await gateways()).filter(({ status }) =>
      status?.conditions?.some(({ type, status: holds }) => type === "Ready" && holds === "True"),
    ).length;
  await today.waitFor("both gateways are Ready", async () => (await ready()) === 2);
  await today.declare({ maxUnavailable: 3, topology: [], failureThreshold: 3 });
  await today.publish("1.1.0");
  let fewest = 2;
  await today.waitFor("all nodes run 1.1.0", async () => {
    fewest = Math.min(fewest, await ready());
    const updates = await today.nodeUpdates();
    return (
      updates.length === 3 &&
      updates.every(({ status }) => status?.running === "1.1.0" && status.step === "Idle")
    );
  });
  expect(fewest).toBeGreaterThanOrEqual(1);
  const taints = (await cluster.list<Node>("nodes")).map(
    ({ spec }) => spec?.taints?.map(({ key }) => key) ?? [],
  );
  for (const keys of taints) expect(keys).toContain("node-role.kubernetes.io/control-plane");
  // The observer: never two machines down at once.
  await today.rest();
});
