/** Workloads that can run on one node only, so that a test decides which drain stands in whose way. */
import type { KubeObject } from "../../api/meta.ts";

type Manifest = KubeObject & { spec: object };

const NAMESPACE = "default";

/** A Deployment of one Pod that only `node` can run; its Pod carries the label `app: NAME` and `labels`. */
export function pinned(
  name: string,
  node: string,
  labels: Record<string, string> = {},
  namespace = NAMESPACE,
): Manifest {
  return {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { name, namespace },
    spec: {
      replicas: 1,
      selector: { matchLabels: { app: name } },
      template: {
        metadata: { labels: { ...labels, app: name } },
        spec: {
          nodeSelector: { "kubernetes.io/hostname": node },
          terminationGracePeriodSeconds: 1,
          containers: [{ name: "main", image: "registry.k8s.io/pause:3.10" }],
        },
      },
    },
  };
}

/** `matchLabels` selects the Pods, of which `maxUnavailable` may be away. */
export function disruptionBudget(
  name: string,
  matchLabels: Record<string, string>,
  maxUnavailable: number,
): Manifest {
  return {
    apiVersion: "policy/v1",
    kind: "PodDisruptionBudget",
    metadata: { name, namespace: NAMESPACE },
    spec: { maxUnavailable, selector: { matchLabels } },
  };
}
