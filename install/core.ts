/** The parts of Kubernetes' own kinds that only an installation reads or writes, as raw JSON. */
import type { Resource } from "../api/kind.ts";
import type { KubeObject } from "../api/meta.ts";

const core = { group: "", version: "v1", namespaced: true };
export const CONFIG_MAPS: Resource = { ...core, kind: "ConfigMap", plural: "configmaps" };

export const DEPLOYMENTS: Resource = {
  group: "apps",
  version: "v1",
  kind: "Deployment",
  plural: "deployments",
  namespaced: true,
};

export interface ConfigMap extends KubeObject {
  data?: Record<string, string>;
}

export interface Deployment extends KubeObject {
  spec?: { replicas?: number };
  status?: { replicas?: number };
}
