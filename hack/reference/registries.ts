/** The registries that the processes have, without a fleet: names, help, types and labels are all there. */
import * as prom from "prom-client";
import { agentRegistry } from "../../agent/metrics.ts";
import { createFleetMetrics } from "../../controllers/metrics/fleet.ts";
import type { EtcdPort } from "../../coordination/etcd.ts";
import { meterEtcd } from "../../coordination/etcd-metrics.ts";
import { createGatewayMetrics } from "../../gateway/metrics.ts";
import { observeCertificates } from "../../pki/certificate-expiry.ts";
import { systemClock } from "../../ports/clock.ts";
import { createMetrics, observeProcess } from "../../runtime/metrics.ts";

export type Role = "manager" | "gateway" | "agent";

export interface Registries {
  of: Readonly<Record<Role, prom.Registry>>;
  /** Stops what observes this process. */
  end: () => void;
}

/** `etcd` is metered, and not asked anything. */
export async function registries(etcd: EtcdPort): Promise<Registries> {
  const runtime = createMetrics();
  const ends = [observeProcess(runtime.registry, { role: "manager", version: "1.0.0" })];
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
    waiting: () => 0,
    machines: () => new Map(),
    spaces: () => [],
  });
  ends.push(observeProcess(gateway.registry, { role: "gateway", version: "1.0.0" }));
  for (const registry of [runtime.registry, gateway.registry]) {
    observeCertificates(prom, registry, () => []);
    meterEtcd(etcd).observe(registry);
  }
  const agent = await agentRegistry({
    agent: { connected: false, observed: undefined },
    version: "1.0.0",
    identity: "/nonexistent",
  });
  return {
    of: { manager: runtime.registry, gateway: gateway.registry, agent },
    end: () => {
      for (const end of ends) end();
    },
  };
}
