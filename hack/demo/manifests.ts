/** What the demo declares. */
import type { KubeObject } from "../../api/meta.ts";
import { POOL_LABEL } from "../cluster/cluster.ts";

const GROUP_LABELS = { tier: "harbor" };

export const GROUP = "harbor";

/** At most 2 nodes down, at most 1 per zone; one canary first. Deadlines are short, so that the demo is. */
export function updateGroup(
  servicePort: number,
  { bootDeadline, rebootTime } = { bootDeadline: "8s", rebootTime: "10s" },
): KubeObject & { spec: Record<string, unknown> & { health: object } } {
  return {
    apiVersion: "slipway.dev/v1alpha1",
    kind: "UpdateGroup",
    metadata: { name: GROUP, labels: GROUP_LABELS },
    spec: {
      nodeSelector: { matchLabels: { [POOL_LABEL]: "harbor" } },
      channel: "stable",
      maxUnavailable: 2,
      topology: [{ key: "topology.kubernetes.io/zone", maxUnavailable: 1 }],
      stages: [{ name: "canary", count: 1, soak: "5s" }],
      windows: "OnlyInWindows",
      drain: { timeout: "60s", onTimeout: "Abort" },
      health: {
        bootChecks: [{ name: "harbor", http: `http://localhost:${servicePort}/healthz`, timeout: "2s" }],
        bootDeadline,
        rebootTime,
        releaseDeadline: "60s",
      },
      failureThreshold: 2,
    },
  };
}

/** Open around the clock: two openings of 24 hours would meet anyway. */
export const rebootWindow: KubeObject & { spec: object } = {
  apiVersion: "slipway.dev/v1alpha1",
  kind: "RebootWindow",
  metadata: { name: "any-time" },
  spec: { start: "00:00", duration: "25h", timeZone: "UTC", groupSelector: { matchLabels: GROUP_LABELS } },
};

export function channel(release: string): KubeObject & { spec: object } {
  return {
    apiVersion: "slipway.dev/v1alpha1",
    kind: "Channel",
    metadata: { name: "stable" },
    spec: { release },
  };
}

/** Pods that do nothing, of which a PodDisruptionBudget lets a sixth be away. */
export function workloads(
  replicas = 24,
  image = "registry.k8s.io/pause:3.10",
): readonly (KubeObject & { spec: object })[] {
  return [
    {
      apiVersion: "apps/v1",
      kind: "Deployment",
      metadata: { name: "web", namespace: "default" },
      spec: {
        replicas,
        selector: { matchLabels: { app: "web" } },
        template: {
          metadata: { labels: { app: "web" } },
          spec: { terminationGracePeriodSeconds: 1, containers: [{ name: "web", image }] },
        },
      },
    },
    {
      apiVersion: "policy/v1",
      kind: "PodDisruptionBudget",
      metadata: { name: "web", namespace: "default" },
      spec: { maxUnavailable: Math.ceil(replicas / 6), selector: { matchLabels: { app: "web" } } },
    },
  ];
}
