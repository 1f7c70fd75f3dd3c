/** The parts of Kubernetes' own kinds that only an installation reads or writes, as raw JSON. */
import type { Resource } from "../api/kind.ts";
import type { KubeObject } from "../api/meta.ts";

const core = { group: "", version: "v1", namespaced: true };
export const SECRETS: Resource = { ...core, kind: "Secret", plural: "secrets" };
export const CONFIG_MAPS: Resource = { ...core, kind: "ConfigMap", plural: "configmaps" };

/** `data` is base64. */
export interface Secret extends KubeObject {
  type?: string;
  data?: Record<string, string>;
}

export interface ConfigMap extends KubeObject {
  data?: Record<string, string>;
}
