/** Pods with the label by which a drain knows a gateway; what plays them serves nothing. */
import type { KubeObject } from "../../api/meta.ts";

const labels = { "app.kubernetes.io/name": "slipway-gateway" };

export function gatewayPods(replicas: number): KubeObject & { spec: object } {
  return {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { name: "slipway-gateway", namespace: "slipway-system" },
    spec: {
      replicas,
      selector: { matchLabels: labels },
      template: {
        metadata: { labels },
        spec: {
          terminationGracePeriodSeconds: 1,
          tolerations: [{ key: "node-role.kubernetes.io/control-plane", operator: "Exists" }],
          topologySpreadConstraints: [
            {
              maxSkew: 1,
              topologyKey: "kubernetes.io/hostname",
              whenUnsatisfiable: "ScheduleAnyway",
              labelSelector: { matchLabels: labels },
            },
          ],
          containers: [{ name: "gateway", image: "registry.k8s.io/pause:3.10" }],
        },
      },
    },
  };
}

export function isGatewayPod({ metadata }: KubeObject): boolean {
  return (
    metadata.namespace === "slipway-system" &&
    metadata.labels?.["app.kubernetes.io/name"] === "slipway-gateway"
  );
}
