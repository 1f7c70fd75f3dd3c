/** UpdateGroup: which nodes update together, to what, when, how many at a time, and when to stop. */
import * as z from "zod";
import { Blockers, HttpUrl } from "./blocker.ts";
import { ObjectName } from "./channel.ts";
import { Duration } from "./duration.ts";
import { entryName } from "./entry-name.ts";
import { Hooks } from "./hook.ts";
import { IntOrPercent } from "./int-or-percent.ts";
import { defineKind, type Rule } from "./kind.ts";
import { Machines, MachinesStatus } from "./machines.ts";
import { Conditions, type Declared } from "./meta.ts";
import { Notifications } from "./notification.ts";
import { atLeastOne, between, exactlyOne, selectsSomething, validations } from "./rules.ts";
import { LabelSelector } from "./selector.ts";

export const TopologyLimit = z.object({
  key: z.string().min(1).max(316).meta({ description: "Node label that names the domain." }),
  maxUnavailable: IntOrPercent.meta({ description: "Limit within each domain.", ...validations(atLeastOne) }),
});

/** Within each stage's count; a stage without nodes would never pass. */
const STAGE_COUNT: Rule = {
  rule: "self != 0 && self != '0%'",
  message: "must be at least 1, or between 1% and 100%: a stage without nodes would never pass",
};

const NUMBERS = "self.filter(s, has(s.count) && type(s.count) == int).map(s, int(s.count))";

/**
 * Counts of stages are cumulative, so they rise, and only like can be compared with like.
 * Percentages that fall are beyond CEL's cost limit: the rollout policy refuses them.
 */
const STAGES: Rule[] = [
  {
    rule: "!self.exists(s, has(s.count) && type(s.count) == int) || !self.exists(s, has(s.count) && type(s.count) == string)",
    message: "counts of stages must be all numbers or all percentages",
  },
  {
    rule: `${NUMBERS}.isSorted() && ${NUMBERS}.all(c, ${NUMBERS}.exists_one(d, d == c))`,
    message: "counts of stages are cumulative: each must be larger than the one before",
  },
  {
    rule: "self.all(s, !has(s.nodeSelector) || self.exists_one(t, has(t.nodeSelector) && t.nodeSelector == s.nodeSelector))",
    message: "two stages select the same nodes: give each node one stage",
  },
];

export const Stage = z
  .object({
    name: entryName(),
    count: IntOrPercent.optional().meta({
      minimum: 0,
      pattern: "^([0-9]|[1-9][0-9]|100)%$",
      description: "Cumulative size of the stage.",
      ...validations(STAGE_COUNT),
    }),
    nodeSelector: LabelSelector.optional().meta({ description: "Or: the nodes that make it up." }),
    soak: Duration.default("0s").meta({
      description: "Wait after the stage's last verified return before the next stage opens.",
    }),
  })
  .meta(
    validations(
      exactlyOne(["count", "nodeSelector"], "a stage needs exactly one of `count` and `nodeSelector`"),
      selectsSomething("nodeSelector"),
    ),
  );

export const HealthCheck = z
  .object({
    name: z.string().min(1).max(63),
    unit: z.string().min(1).max(255).optional().meta({ description: "systemd unit that must be active." }),
    http: HttpUrl.optional().meta({ description: "URL that must answer 2xx." }),
    command: z
      .string()
      .min(1)
      .max(63)
      .optional()
      .meta({ description: "Name of a command on the machine's own allow list." }),
    timeout: Duration.default("10s").meta(validations(between("1s", "10m"))),
  })
  .meta(
    validations(
      exactlyOne(
        ["unit", "http", "command"],
        "a boot check needs exactly one of `unit`, `http` and `command`",
      ),
    ),
  );

export const Drain = z.object({
  enabled: z.boolean().default(true).meta({ description: "Whether Pods are evicted before the reboot." }),
  timeout: Duration.default("10m").meta(validations(between("1s", "24h"))),
  onTimeout: z.enum(["Abort", "Force"]).default("Abort").meta({
    description: "After the timeout: give the slot back, or reboot although Pods remain.",
  }),
  onWindowClose: z.enum(["Abort", "Finish"]).default("Abort"),
  gracePeriod: Duration.optional().meta({ description: "Overrides the Pods' own grace period." }),
});

export const LoadBalancers = z.object({
  wait: Duration.default("30s").meta({
    ...validations(between("0s", "30m")),
    description: "From the label to the first eviction: time for load balancers to take the node out.",
  }),
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
  bootDeadline: Duration.default("5m").meta(validations(between("5s", "24h"))),
  rebootTime: Duration.default("1m").meta({
    ...validations(between("1s", "1h")),
    description:
      "From the request to reboot to the first user process, at most: counted into windows, the dead man's switch, and before a node is Suspect.",
  }),
  releaseDeadline: Duration.default("10m").meta({
    ...validations(between("5s", "24h")),
    description: "From the verified boot to Ready with this boot's id, or the node counts as failed.",
  }),
});

export const UpdateGroupSpec = z
  .object({
    nodeSelector: LabelSelector.meta({
      description:
        "Labels of the Nodes. A plain machine is in the group that its join token named, whatever its labels.",
    }),
    channel: ObjectName.optional().meta({ description: "The Channel to follow." }),
    release: ObjectName.optional().meta({ description: "Or: the Release to stay on." }),
    driver: z.enum(["fastpatch", "sentinel"]).default("fastpatch").meta({
      description: "`fastpatch` writes images into slots; `sentinel` only reboots nodes that ask for it.",
    }),
    paused: z.boolean().default(false).meta({ description: "Nothing new begins; what is committed ends." }),
    strategy: z
      .enum(["Coordinated", "Immediate", "Off"])
      .default("Coordinated")
      .meta({ description: "`Immediate` skips the queue, never a budget; `Off` stages only." }),
    maxUnavailable: IntOrPercent.default(1).meta({
      ...validations(atLeastOne),
      description: "Most nodes of the group that may be down at once, for whatever reason.",
    }),
    topology: z
      .array(TopologyLimit)
      .max(3)
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
        ...validations(...STAGES),
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["name"],
      }),
    rate: z
      .object({
        updates: z.int().min(1).max(10_000),
        period: Duration.meta(validations(between("1s", "168h"))),
      })
      .optional(),
    settle: Duration.default("0s").meta({
      description: "Wait between one node's return and the next grant.",
    }),
    windows: z
      .enum(["Always", "OnlyInWindows"])
      .meta({ description: "Whether reboots need an open RebootWindow; change freezes bind both." }),
    stageInWindow: z
      .boolean()
      .default(false)
      .meta({ description: "Whether images too are fetched in windows only." }),
    blockers: Blockers,
    notifications: Notifications.optional().meta({
      description:
        "A webhook that is told, signed, of what happens to the group. For people; rely on alerts.",
    }),
    preferNoSchedule: z.boolean().optional().meta({
      description:
        "Whether nodes that wait for their reboot carry the taint slipway.dev/update-pending:PreferNoSchedule.",
    }),
    excludeFromLoadBalancers: LoadBalancers.optional().meta({
      description:
        "Sets node.kubernetes.io/exclude-from-external-load-balancers with the cordon, and takes it off with it; absent: does not.",
    }),
    drain: Drain.default({ enabled: true, timeout: "10m", onTimeout: "Abort", onWindowClose: "Abort" }),
    health: Health.default({ bootChecks: [], bootDeadline: "5m", rebootTime: "1m", releaseDeadline: "10m" }),
    hooks: Hooks.optional().meta({
      description: "What others do between the drain and the reboot, and before the node works again.",
    }),
    failureThreshold: z
      .int()
      .min(1)
      .max(1000)
      .default(2)
      .meta({ description: "Failures that halt the group; 1 while the first stage is open." }),
    rebootMethod: z
      .enum(["Reboot", "Kexec", "SoftReboot"])
      .default("Reboot")
      .meta({ description: "How the machine goes into the new slot." }),
    allowUnsigned: z
      .boolean()
      .default(false)
      .meta({ description: "The group's consent to unsigned images; each machine must consent as well." }),
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
    machines: Machines.optional().meta({
      description:
        "Serves machines that no agent of ours runs on (FleetLock clients): they take from the slots of this group.",
    }),
    holderTTL: Duration.optional().meta({
      ...validations(between("10m", "720h")),
      description: "Opt-in: a Suspect holder's slot is freed after this time and charged as a failure.",
    }),
    priority: z
      .int()
      .min(-1000)
      .max(1000)
      .default(0)
      .meta({ description: "Among groups that share a budget, the higher goes first." }),
  })
  .meta(
    validations(
      {
        rule: "self.driver == 'sentinel' ? !has(self.channel) && !has(self.release) : has(self.channel) != has(self.release)",
        message:
          "set exactly one of `channel` and `release` (and neither with `driver: sentinel`, which only reboots)",
      },
      selectsSomething("nodeSelector"),
    ),
  );

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

export const GateStatus = z.object({
  generation: z.int().min(0),
  paused: z.boolean(),
  halted: z.boolean(),
  open: z.boolean(),
  since: z.iso.datetime(),
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
    description:
      "Failures that count, newest first; while the group is halted, the releases that they name are quarantined.",
    "x-kubernetes-list-type": "atomic",
  }),
  resumed: z
    .string()
    .max(253)
    .optional()
    .meta({ description: "The last value of the resume annotation that took effect." }),
  resumedAt: z.iso.datetime().optional(),
  nextOpening: z.iso.datetime().optional(),
  machines: MachinesStatus.optional().meta({
    description: "Machines that no agent of ours runs on, of which nothing else tells.",
  }),
  gate: GateStatus.optional().meta({
    description: "What binds every grant and commit since `since`, written by the gates controller.",
  }),
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
