/** A cluster of one node: it updates, falls back, and its gateway stays through the drain (design, rule 12). */
import { expect, test } from "vitest";
import type { Pod } from "../../runtime/core.ts";
import { days, machines } from "../bad-days/day.ts";
import { gatewayPods, isGatewayPod } from "./gateway-pods.ts";

const day = days({ machines: machines(1), limits: { total: 1, perZone: 1 } });

test("the only node updates with the gateway on it, comes back from a bad release, and halts", async () => {
  const today = day();
  const { cluster } = today;
  await cluster.plane.kubectl([
    "label",
    "node/node-01",
    "node-role.kubernetes.io/control-plane=",
    "slipway.dev/infrastructure=true",
  ]);
  await cluster.apply(gatewayPods(1));
  const gateways = async (): Promise<string[]> =>
    (await cluster.list<Pod>("pods"))
      .filter((pod) => isGatewayPod(pod) && pod.status?.phase === "Running")
      .map(({ metadata }) => metadata.uid ?? "");
  await today.waitFor("the gateway runs", async () => (await gateways()).length === 1);
  const before = await gateways();
  await today.declare({ failureThreshold: 1 });
  await today.publish("1.1.0");
  await today.waitUntilDone("1.1.0");
  expect(await gateways()).toEqual(before);
  await today.publish("1.2.0", "service");
  await today.waitFor("the group halts", async () => {
    const conditions = (await today.group())?.status?.conditions ?? [];
    return conditions.some(({ type, status }) => type === "Halted" && status === "True");
  });
  await today.waitFor("the node is back on 1.1.0", async () => {
    const status = (await today.nodeUpdate("node-01"))?.status;
    return status?.running === "1.1.0" && status.grant === undefined;
  });
  expect(await gateways()).toEqual(before);
  await today.rest();
});
