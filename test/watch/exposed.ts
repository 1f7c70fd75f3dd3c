/** Every metric that Slipway's processes expose, from their own registries. */
import { serveMetrics } from "../../agent/metrics.ts";
import { createFleetMetrics } from "../../controllers/metrics/fleet.ts";
import type { EtcdPort } from "../../coordination/etcd.ts";
import { meterEtcd } from "../../coordination/etcd-metrics.ts";
import { createGatewayMetrics } from "../../gateway/metrics.ts";
import { systemClock } from "../../ports/clock.ts";
import { observeCertificates } from "../../runtime/certificate-expiry.ts";
import { createMetrics, observeProcess } from "../../runtime/metrics.ts";

/** What each process answers to a scrape, as text, without a fleet: names, help and types are all there. */
export async function exposition(etcd: EtcdPort): Promise<Record<"manager" | "gateway" | "agent", string>> {
  const runtime = createMetrics();
  const end = observeProcess(runtime.registry, { role: "manager", version: "1.0.0" });
  const none = { list: () => [] };
  createFleetMetrics(runtime.registry, {
    clock: systemClock,
    nodeUpdates: none,
    groups: none,
    releases: none,
    fleet: () => undefined,
    plan: () => ({ take: [], waiting: new Map(), short: new Map() }),
    gatesRenewedAt: () => 0,
    fleetReadAt: () => 0,
  });
  const gateway = createGatewayMetrics({
    versions: () => new Map(),
    connections: () => 0,
    hasLease: () => true,
  });
  const endGateway = observeProcess(gateway.registry, { role: "gateway", version: "1.0.0" });
  for (const registry of [runtime.registry, gateway.registry]) {
    observeCertificates(registry, () => []);
    meterEtcd(etcd, systemClock).observe(registry);
  }
  const agent = await serveMetrics({
    address: "127.0.0.1:0",
    agent: { connected: false, observed: undefined },
    version: "1.0.0",
    identity: "/nonexistent",
  });
  try {
    return {
      manager: await runtime.registry.metrics(),
      gateway: await gateway.registry.metrics(),
      agent: await (await fetch(`http://127.0.0.1:${agent.port}/metrics`)).text(),
    };
  } finally {
    await agent.close();
    end();
    endGateway();
  }
}

/** Names of the series that an exposition may have: of a histogram its buckets, sum and count. */
export function seriesNames(text: string): Set<string> {
  const names = new Set<string>();
  for (const [, name = "", type] of text.matchAll(/^# TYPE (\S+) (\S+)$/gm)) {
    if (type === "histogram") for (const part of ["bucket", "sum", "count"]) names.add(`${name}_${part}`);
    else names.add(name);
  }
  return names;
}
