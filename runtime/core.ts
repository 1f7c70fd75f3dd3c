/** The parts of Kubernetes' own kinds that Slipway reads or writes, as raw JSON. */
import type { Resource } from "../api/kind.ts";
import type { KubeObject } from "../api/meta.ts";

export const NODES: Resource = { group: "", version: "v1", kind: "Node", plural: "nodes", namespaced: false };
export const PODS: Resource = { group: "", version: "v1", kind: "Pod", plural: "pods", namespaced: true };
export const SECRETS: Resource = {
  group: "",
  version: "v1",
  kind: "Secret",
  plural: "secrets",
  namespaced: true,
};
export const CONFIG_MAPS: Resource = {
  group: "",
  version: "v1",
  kind: "ConfigMap",
  plural: "configmaps",
  namespaced: true,
};
export const SERVICES: Resource = {
  group: "",
  version: "v1",
  kind: "Service",
  plural: "services",
  namespaced: true,
};
export const DEPLOYMENTS: Resource = {
  group: "apps",
  version: "v1",
  kind: "Deployment",
  plural: "deployments",
  namespaced: true,
};
export const DAEMON_SETS: Resource = {
  group: "apps",
  version: "v1",
  kind: "DaemonSet",
  plural: "daemonsets",
  namespaced: true,
};
export const CRDS: Resource = {
  group: "apiextensions.k8s.io",
  version: "v1",
  kind: "CustomResourceDefinition",
  plural: "customresourcedefinitions",
  namespaced: false,
};
export const LEASES: Resource = {
  group: "coordination.k8s.io",
  version: "v1",
  kind: "Lease",
  plural: "leases",
  namespaced: true,
};
export const EVENTS: Resource = {
  group: "events.k8s.io",
  version: "v1",
  kind: "Event",
  plural: "events",
  namespaced: true,
};

export const JOBS: Resource = {
  group: "batch",
  version: "v1",
  kind: "Job",
  plural: "jobs",
  namespaced: true,
};
export const CRON_JOBS: Resource = {
  group: "batch",
  version: "v1",
  kind: "CronJob",
  plural: "cronjobs",
  namespaced: true,
};

export interface NodeCondition {
  type: string;
  status: string;
  reason?: string;
  lastHeartbeatTime?: string;
  lastTransitionTime?: string;
}

export interface Node extends KubeObject {
  spec?: { unschedulable?: boolean; taints?: { key: string; effect: string; value?: string }[] };
  status?: {
    conditions?: NodeCondition[];
    nodeInfo?: { bootID: string; machineID: string; osImage: string; architecture: string };
  };
}

export interface Pod extends KubeObject {
  spec?: {
    nodeName?: string;
    priorityClassName?: string;
    serviceAccountName?: string;
    volumes?: { name: string; emptyDir?: unknown }[];
    terminationGracePeriodSeconds?: number;
  };
  status?: {
    phase?: "Pending" | "Running" | "Succeeded" | "Failed" | "Unknown";
    conditions?: { type: string; status: string }[];
  };
}

export interface Lease extends KubeObject {
  spec?: {
    holderIdentity?: string;
    leaseDurationSeconds?: number;
    acquireTime?: string;
    renewTime?: string;
    leaseTransitions?: number;
  };
}

export interface EnvVar {
  name: string;
  value?: string;
  [more: string]: unknown;
}

interface Container {
  env?: EnvVar[];
  [more: string]: unknown;
}

/** What else a template has is passed on as it is. */
export interface PodTemplate {
  spec?: {
    containers?: Container[];
    initContainers?: Container[];
    affinity?: Record<string, unknown>;
    tolerations?: object[];
    [more: string]: unknown;
  };
  [more: string]: unknown;
}

interface JobSpec {
  activeDeadlineSeconds?: number;
  ttlSecondsAfterFinished?: number;
  suspend?: boolean;
  template?: PodTemplate;
  [more: string]: unknown;
}

export interface Job extends KubeObject {
  spec?: JobSpec;
  status?: {
    failed?: number;
    conditions?: { type: string; status: string; reason?: string; message?: string }[];
  };
}

export interface CronJob extends KubeObject {
  spec?: {
    suspend?: boolean;
    jobTemplate?: {
      metadata?: { labels?: Record<string, string>; annotations?: Record<string, string> };
      spec?: JobSpec;
    };
  };
}

/** `data` is base64. */
export interface Secret extends KubeObject {
  type?: string;
  data?: Record<string, string>;
}

export interface ConfigMap extends KubeObject {
  data?: Record<string, string>;
}

export interface Deployment extends KubeObject {
  spec?: { replicas?: number };
  status?: { replicas?: number };
}
