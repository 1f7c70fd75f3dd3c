/** Values that several workloads of the chart have, and the forms of single ones. */
import * as z from "zod";
import { mapOf, object, passed, quantity } from "./schema.ts";

export const dnsName = z.string().regex(/^(\*\.)?[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/);
export const port = z.int().min(1).max(65535);
export const hostPath = z.string().regex(/^\/.*$/);
export const duration = z.string().regex(/^([0-9]+(ms|s|m|h))+$/);
export const digest = z.string().regex(/^(sha256:[0-9a-f]{64})?$/);
export const pullPolicy = z.enum(["Always", "IfNotPresent", "Never"]);
export const address = z.string().regex(/^(\[[0-9a-fA-F:]+\]|[a-z0-9]([-a-z0-9.]*[a-z0-9])?):[0-9]{1,5}$/);

export const resources = (requests: Record<string, string>, limits: Record<string, string>, what: string) =>
  object(
    {
      requests: mapOf(quantity).default(requests).describe("What the scheduler sets aside"),
      limits: mapOf(quantity).default(limits).describe("What it may use at most"),
    },
    what,
  );

export const tolerations = z.array(
  z.strictObject({
    key: z.string().optional(),
    operator: z.enum(["Exists", "Equal"]).optional(),
    value: z.string().optional(),
    effect: z.enum(["NoSchedule", "PreferNoSchedule", "NoExecute"]).optional(),
    tolerationSeconds: z.int().min(0).optional(),
  }),
);

/** What all workloads have. */
export const common = {
  podAnnotations: mapOf(z.string()).default({}).describe("Annotations of the Pods"),
  podLabels: mapOf(z.string()).default({}).describe("More labels of the Pods"),
  nodeSelector: mapOf(z.string())
    .default({ "kubernetes.io/os": "linux" })
    .describe("Nodes that the Pods may run on"),
  extraArgs: z
    .array(z.string())
    .default([])
    .describe("More arguments of the role, as `slipway ROLE --help` lists them"),
  extraEnv: passed().default([]).describe("More environment variables of the container"),
};

/** Of the workloads that may run anywhere. */
export const placed = {
  ...common,
  tolerations: tolerations.default([]).describe("Taints that the Pods tolerate"),
  affinity: z.record(z.string(), z.unknown()).default({}).describe("Affinity of the Pods"),
  priorityClassName: z
    .string()
    .default("")
    .describe("Priority class of the Pods; empty for the cluster's default"),
  spread: z
    .enum(["ScheduleAnyway", "DoNotSchedule"])
    .default("ScheduleAnyway")
    .describe("What happens where replicas can't lie on different nodes and zones"),
};
