/** UpdateGroup: which nodes update together, to what, when, how many at a time, and when to stop. */
import { z } from "zod";
import { ObjectName } from "./channel.ts";
import { Duration } from "./duration.ts";
import { IntOrPercent } from "./int-or-percent.ts";
import { defineKind } from "./kind.ts";
import { Conditions, type Declared } from "./meta.ts";
import { LabelSelector } from "./selector.ts";

export const TopologyLimit = z.object({
  key: z.string().min(1).max(316).meta({ description: "Node label that names the domain." }),
  maxUnavailable: IntOrPercent.meta({ description: "Limit within each domain." }),
});

export const Stage = z.object({
  name: z
    .string()
    .min(1)
    .max(63)
    .regex(/^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/),
  count: IntOrPercent.optional().meta({ description: "Cumulative size of the stage." }),
  nodeSelector: LabelSelector.optional().meta({ description: "Or: the nodes that make it up." }),
  soak: Duration.default("0s").meta({
    description: "Wait after the stage's last verified return before the next stage opens.",
  }),
});

export const HealthCheck = z.object({
  name: z.string().min(1).max(63),
  unit: z.string().min(1).max(255).optional().meta({ description: "systemd unit that must be active." }),
  http: z
    .string()
    .min(8)
    .max(2048)
    .regex(/^https?:\/\/[^\s]+$/)
    .optional()
    .meta({ description: "URL that must answer 2xx." }),
  command: z
    .string()
    .min(1)
    .max(63)
    .optional()
    .meta({ description: "Name of a command on the machine's own allow list." }),
  timeout: Duration.default("10s"),
});

export const Drain = z.object({
  enabled: z.boolean().default(true),
  timeout: Duration.default("10m"),
  onTimeout: z.enum(["Abort", "Force"]).default("Abort").meta({
    description: "After the timeout: give the slot back, or reboot although Pods remain.",
  }),
  onWindowClose: z.enum(["Abort", "Finish"]).default("Abort"),
  gracePeriod: Duration.optional().meta({ description: "Overrides the Pods' own grace period." }),
});

export const Health = z.object({
  bootChecks: z
    .array(HealthCheck)
    .max(16)
    .default([])
    .meta({
      description: "Local checks that decide between mark-good and fallback.",
      "x-kubernetes-list-type": "map",
      "x-kubernetes-list-map-keys": ["name"],
    }),
  bootDeadline: Duration.default("5m"),
  releaseDeadline: Duration.default("10m").meta({
    description: "From the verified boot to Ready with this boot's id, or the node counts as failed.",
  }),
});

export const UpdateGroupSpec = z.object({
  nodeSelector: LabelSelector,
  channel: ObjectName.optional(),
  release: ObjectName.optional(),
  driver: z.enum(["fastpatch", "sentinel"]).default("fastpatch"),
  paused: z.boolean().default(false),
  strategy: z.enum(["Coordinated", "Immediate", "Off"]).default("Coordinated"),
  maxUnavailable: IntOrPercent.default(1),
  topology: z
    .array(TopologyLimit)
    .max(8)
    .default([])
    .meta({
      "x-kubernetes-list-type": "map",
      "x-kubernetes-list-map-keys": ["key"],
    }),
  stages: z
    .array(Stage)
    .max(16)
    .default([])
    .meta({
      "x-kubernetes-list-type": "map",
      "x-kubernetes-list-map-keys": ["name"],
    }),
  rate: z.object({ updates: z.int().min(1).max(10_000), period: Duration }).optional(),
  settle: Duration.default("0s").meta({ description: "Wait between one node's return and the next grant." }),
  windows: z.enum(["Always", "OnlyInWindows"]),
  stageInWindow: z
    .boolean()
    .default(false)
    .meta({ description: "Whether images too are fetched in windows only." }),
  drain: Drain.default({ enabled: true, timeout: "10m", onTimeout: "Abort", onWindowClose: "Abort" }),
  health: Health.default({ bootChecks: [], bootDeadline: "5m", releaseDeadline: "10m" }),
  failureThreshold: z.int().min(1).max(1000).default(2),
  rebootMethod: z.enum(["Reboot", "Kexec", "SoftReboot"]).default("Reboot"),
  allowUnsigned: z.boolean().default(false),
  transfer: z
    .object({
      rateLimit: z
        .int()
        .min(0)
        .max(1_000_000_000_000)
        .default(0)
        .meta({ description: "Bytes per second and node; 0 is no limit." }),
      concurrency: z
        .int()
        .min(1)
        .max(10_000)
        .optional()
        .meta({ description: "Nodes that may stage at once." }),
    })
    .default({ rateLimit: 0 }),
  holderTTL: Duration.optional().meta({
    description: "Opt-in: a Suspect holder's slot is freed after this time and charged as a failure.",
  }),
  priority: z.int().min(-1000).max(1000).default(0),
});

const Count = z.int().min(0).max(1_000_000);

export const StageStatus = z.object({
  name: z.string().max(63),
  size: Count.meta({ description: "Cumulative number of nodes." }),
  verified: Count.meta({ description: "Nodes of the stage that were verified on the target." }),
  openedAt: z.iso.datetime().optional(),
  passedAt: z.iso.datetime().optional(),
  lastReturnAt: z.iso
    .datetime()
    .optional()
    .meta({ description: "The newest verified return: the soak counts from here." }),
});

export const Failure = z.object({
  node: ObjectName,
  release: ObjectName,
  reason: z.string().max(1024),
  message: z.string().max(4096),
  time: z.iso.datetime(),
});

export const UpdateGroupStatus = z.object({
  observedGeneration: z.int().min(0).optional(),
  target: ObjectName.optional().meta({ description: "The release that the group moves to." }),
  version: z.string().max(64).optional(),
  stage: z.string().max(63).optional(),
  stages: z.array(StageStatus).max(17).optional().meta({ "x-kubernetes-list-type": "atomic" }),
  nodes: Count.optional(),
  updated: Count.optional(),
  inFlight: Count.optional(),
  failed: Count.optional(),
  unavailable: Count.optional(),
  limit: Count.optional().meta({ description: "maxUnavailable as a number of nodes." }),
  failures: z.array(Failure).max(50).optional().meta({
    description: "Failures that count against the target, newest first.",
    "x-kubernetes-list-type": "atomic",
  }),
  resumed: z
    .string()
    .max(253)
    .optional()
    .meta({ description: "The last value of the resume annotation that took effect." }),
  resumedAt: z.iso.datetime().optional(),
  nextOpening: z.iso.datetime().optional(),
  conditions: Conditions.optional(),
});

export type TopologyLimit = z.output<typeof TopologyLimit>;
export type Stage = z.output<typeof Stage>;
export type Failure = z.output<typeof Failure>;
export type StageStatus = z.output<typeof StageStatus>;
export type UpdateGroupSpec = z.output<typeof UpdateGroupSpec>;
export type UpdateGroupStatus = z.output<typeof UpdateGroupStatus>;
export type UpdateGroup = Declared<UpdateGroupSpec, UpdateGroupStatus>;

export const updateGroup = defineKind({
  kind: "UpdateGroup",
  plural: "updategroups",
  singular: "updategroup",
  shortNames: ["ug"],
  description: "Nodes that update together: to what, when, how many at a time, and when to stop.",
  spec: UpdateGroupSpec,
  status: UpdateGroupStatus,
  printerColumns: [
    { name: "Target", type: "string", jsonPath: ".status.target", description: "The release it moves to." },
    { name: "Stage", type: "string", jsonPath: ".status.stage", description: "The stage that is open." },
    { name: "Nodes", type: "integer", jsonPath: ".status.nodes", description: "Nodes selected." },
    {
      name: "Updated",
      type: "integer",
      jsonPath: ".status.updated",
      description: "Nodes verified on the target.",
    },
    {
      name: "Down",
      type: "integer",
      jsonPath: ".status.unavailable",
      description: "Nodes that count against the limit.",
    },
    {
      name: "Halted",
      type: "string",
      jsonPath: '.status.conditions[?(@.type=="Halted")].status',
      description: "Whether it stopped itself.",
    },
    {
      name: "Reason",
      type: "string",
      jsonPath: '.status.conditions[?(@.type=="Progressing")].reason',
      description: "What it does or waits for.",
    },
    {
      name: "Age",
      type: "date",
      jsonPath: ".metadata.creationTimestamp",
      description: "When it was declared.",
    },
  ],
  rules: [],
});
