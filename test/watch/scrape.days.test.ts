/** What the processes of a running cluster answer to a scrape. */
import { expect, test } from "vitest";
import { GROUP } from "../../hack/demo/manifests.ts";
import { days, machines } from "../bad-days/day.ts";
import { promtool } from "./promtool.ts";

const day = days({ machines: machines(2), agentMetrics: true });

async function scrape(address: string | undefined): Promise<string> {
  return (await fetch(`http://${address}/metrics`)).text();
}

test("a rollout shows in the metrics, and all of them are sound", async () => {
  const today = day();
  const { managers, gateways } = today.cluster;
  await today.declare();
  await today.publish("1.1.0");
  await today.waitUntilDone("1.1.0");
  const manager = (): Promise<string> => scrape(managers[0]?.metrics);
  await today.waitFor("the metrics say that the group is done", async () => {
    const text = await manager();
    return text.includes(`slipway_group_progress{group="${GROUP}",reason="UpToDate"} 1\n`);
  });
  const fleet = await manager();
  expect(fleet).toContain(`slipway_group_updated_ratio{group="${GROUP}"} 1\n`);
  expect(fleet).toContain(`slipway_group_open{group="${GROUP}"} 1\n`);
  expect(fleet).toMatch(/slipway_node_steps_total\{step="Rebooting",reason="\w+"\} [1-9]/);
  expect(fleet).toMatch(/slipway_gates_age_seconds \d/);
  expect(fleet).toMatch(/slipway_etcd_request_duration_seconds_count\{operation="txn",outcome="ok"\} [1-9]/);
  expect(fleet).toMatch(/rest_client_requests_total\{[^}]*code="200"[^}]*\} [1-9]/);
  await today.waitFor("the manager sees both agents", async () =>
    (await manager()).includes(`slipway_agents_connected{group="${GROUP}"} 2\n`),
  );
  const gateway = await scrape(gateways[0]?.metrics);
  expect(gateway).toMatch(/slipway_gateway_sessions\{version="\d+\.\d+\.\d+"\} 2\n/);
  expect(gateway).toMatch(/slipway_certificate_expiry_timestamp_seconds\{certificate="server"\} \d/);
  const agent = await scrape(today.cluster.machine("node-01").config.agentMetrics);
  expect(agent).toContain("slipway_agent_connected 1\n");
  expect(agent).toMatch(/slipway_build_info\{role="agent",version="\d/);
  for (const text of [await manager(), gateway, agent]) {
    expect(await promtool(["check", "metrics"], text)).toEqual({ ok: true, output: "" });
  }
  await today.rest();
});
