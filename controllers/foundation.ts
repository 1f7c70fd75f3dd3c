/** What Slipway itself stands on: the chart's managers, gateways and members of etcd (design, rule 12). */
import type { Pod } from "../runtime/core.ts";

/** Labels of their Pods, as the chart sets them. */
export const GATEWAY_LABEL = { key: "app.kubernetes.io/name", value: "slipway-gateway" } as const;
export const ETCD_LABEL = { key: "app.kubernetes.io/name", value: "slipway-etcd" } as const;

export const MANAGER_LABEL = { key: "app.kubernetes.io/name", value: "slipway-manager" } as const;

type Label = typeof GATEWAY_LABEL | typeof ETCD_LABEL | typeof MANAGER_LABEL;

export function selectorOf({ key, value }: Label): string {
  return `${key}=${value}`;
}

/** `namespace` is the manager's: a Pod elsewhere is none, whatever its labels say. */
export function carries({ metadata }: Pod, { key, value }: Label, namespace: string): boolean {
  return metadata.namespace === namespace && metadata.labels?.[key] === value;
}

/** Names of the Nodes that such Pods are bound to. */
export function foundationOf(pods: readonly Pod[]): Set<string> {
  const names = pods.flatMap(({ spec, status }) => {
    const finished = status?.phase === "Succeeded" || status?.phase === "Failed";
    return spec?.nodeName === undefined || finished ? [] : [spec.nodeName];
  });
  return new Set(names);
}
