/** NodeUpdate: one per Node and per plain machine: what it should run, what it runs, what it waits for. */
import * as z from "zod";
import { ObjectName } from "./channel.ts";
import { Duration } from "./duration.ts";
import { HookRun, Hooks } from "./hook.ts";
import { defineKind, type Rule } from "./kind.ts";
import { Conditions, type Declared } from "./meta.ts";
import { exactlyOne, validations } from "./rules.ts";
import { Drain, LoadBalancers } from "./update-group.ts";

const kept = (field: string): string =>
  `has(self.${field}) == has(oldSelf.${field}) && (!has(self.${field}) || self.${field} == oldSelf.${field})`;

const SAME_MACHINE: Rule = {
  rule: `${kept("nodeName")} && ${kept("nodeUID")} && has(self.machineRef) == has(oldSelf.machineRef) && (!has(self.machineRef) || self.machineRef.machineId == oldSelf.machineRef.machineId)`,
  message: "a NodeUpdate belongs to one machine for ever: delete it, and the controller makes a new one",
};

export const NodeUpdateSpec = z
  .object({
    nodeName: ObjectName.optional().meta({ description: "The Node; absent for a plain machine." }),
    nodeUID: z.string().min(1).max(64).optional(),
    machineRef: z
      .object({
        machineId: z.string().min(1).max(64),
        labels: z.record(z.string().max(316), z.string().max(63)).optional().meta({ maxProperties: 64 }),
        joinedAt: z.iso
          .datetime()
          .optional()
          .meta({ description: "Certificates of the machine from before are worth nothing." }),
      })
      .optional()
      .meta({ description: "The plain machine; its join token fixed the labels." }),
    group: ObjectName.meta({ description: "The UpdateGroup." }),
    release: ObjectName.optional().meta({
      description: "The release that it should run; absent: what it runs.",
    }),
  })
  .meta(
    validations(
      SAME_MACHINE,
      exactlyOne(
        ["nodeName", "machineRef"],
        "set exactly one of `nodeName` (a Node) and `machineRef` (a plain machine)",
      ),
    ),
  );

/**
 * The steps of a node, in order. `Idle`: nothing to do. `Staging`: the agent fetches and
 * verifies. `Staged`: waits for its turn. `Granting`: a slot is being taken.
 * `Draining`: cordoned, Pods leave. `Rebooting`: commit may be asked or was given.
 * `Verifying`: back, release checks run. `Suspect`: away too long, the slot stays taken.
 * `Failed`: the target failed here.
 */
export const Step = z.enum([
  "Idle",
  "Staging",
  "Staged",
  "Granting",
  "Draining",
  "Rebooting",
  "Verifying",
  "Suspect",
  "Failed",
]);
export type Step = z.output<typeof Step>;

const Version = z.string().max(64);

export const SlotStatus = z.object({
  name: z.enum(["A", "B"]),
  version: Version.optional(),
  rootHash: z.string().max(64).optional(),
  priority: z.int().min(0).max(15),
  tries: z.int().min(0).max(15),
  successful: z.boolean(),
});

export const Transition = z.object({
  step: Step,
  time: z.iso.datetime(),
  reason: z.string().max(1024),
  message: z.string().max(4096),
});

/** The group's policy as it was when the slot was asked for: later changes don't reach a grant (design, rule 7). */
export const FrozenPolicy = z.object({
  drain: Drain,
  bootDeadline: Duration,
  rebootTime: Duration,
  releaseDeadline: Duration,
  holderTTL: Duration.optional(),
  excludeFromLoadBalancers: LoadBalancers.optional(),
  hooks: Hooks.optional(),
});

/** What is needed to rebuild a holder when etcd lost it (design, rule 9). */
export const GrantStatus = z.object({
  nonce: z.string().max(64),
  budgets: z.array(z.string().max(600)).max(32).meta({ "x-kubernetes-list-type": "atomic" }),
  phase: z.enum(["Granting", "Granted", "Drained", "Committed", "Returned"]),
  incarnation: z.string().max(64).optional(),
  revision: z.int().min(0).optional(),
  release: ObjectName.optional(),
  since: z.iso.datetime(),
  policy: FrozenPolicy.optional(),
  asked: z.string().max(253).optional().meta({ description: "Why a person asked for this reboot." }),
  hooks: z
    .array(HookRun)
    .max(16)
    .optional()
    .meta({ description: "Hooks that ran or run, oldest first.", "x-kubernetes-list-type": "atomic" }),
});

export const GivenBack = z.object({
  times: z.int().min(1).max(1_000_000),
  windowClosed: z
    .int()
    .min(0)
    .max(1_000_000)
    .meta({ description: "How many of them because a window closed." }),
  time: z.iso.datetime().meta({ description: "The last time." }),
  reason: z.string().max(1024).meta({ description: "Why, the last time." }),
});

export const NodeUpdateStatus = z.object({
  observedGeneration: z.int().min(0).optional(),
  machineId: z.string().max(64).optional(),
  architecture: z.string().max(16).optional(),
  zone: z.string().max(63).optional(),
  running: Version.optional(),
  runningRootHash: z.string().max(64).optional(),
  target: Version.optional(),
  staged: Version.optional(),
  slots: z
    .array(SlotStatus)
    .max(2)
    .optional()
    .meta({ "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"] }),
  slotA: z
    .string()
    .max(80)
    .optional()
    .meta({ description: "Slot A in a word: version and boot bits; `*` marks the running slot." }),
  slotB: z.string().max(80).optional(),
  bootId: z.string().max(64).optional(),
  softReboots: z.int().min(0).optional(),
  step: Step.optional(),
  reason: z.string().max(1024).optional(),
  message: z.string().max(4096).optional(),
  since: z.iso.datetime().optional(),
  progress: z.int().min(0).max(100).optional().meta({ description: "Percent of the step." }),
  grant: GrantStatus.optional(),
  givenBack: GivenBack.optional().meta({
    description: "Slots given back before a reboot since the last return; each makes the next wait longer.",
  }),
  suspectSince: z.iso.datetime().optional(),
  stolen: z
    .string()
    .max(253)
    .optional()
    .meta({ description: "The last value of the steal annotation that took effect." }),
  rebooted: z
    .string()
    .max(253)
    .optional()
    .meta({ description: "The last value of the reboot annotation that took effect." }),
  verifiedRelease: ObjectName.optional().meta({
    description: "The release that was last verified on this node.",
  }),
  verifiedAt: z.iso.datetime().optional(),
  failed: z
    .array(
      z.object({
        release: ObjectName.optional(),
        version: Version,
        rootHash: z.string().max(64),
        reason: z.string().max(1024),
        message: z.string().max(4096),
        time: z.iso.datetime(),
        grant: z
          .string()
          .max(64)
          .optional()
          .meta({ description: "Nonce of the grant that failed: one grant fails once." }),
      }),
    )
    .max(20)
    .optional()
    .meta({ description: "Releases that failed here.", "x-kubernetes-list-type": "atomic" }),
  rebootRequired: z.boolean().optional(),
  connected: z.boolean().optional(),
  transitions: z
    .array(Transition)
    .max(20)
    .optional()
    .meta({ description: "Newest first.", "x-kubernetes-list-type": "atomic" }),
  conditions: Conditions.optional(),
});

export type NodeUpdateSpec = z.output<typeof NodeUpdateSpec>;
export type FrozenPolicy = z.output<typeof FrozenPolicy>;
export type GrantStatus = z.output<typeof GrantStatus>;
export type Transition = z.output<typeof Transition>;
export type GivenBack = z.output<typeof GivenBack>;
export type SlotStatus = z.output<typeof SlotStatus>;
export type NodeUpdateStatus = z.output<typeof NodeUpdateStatus>;
export type NodeUpdate = Declared<NodeUpdateSpec, NodeUpdateStatus>;

export const nodeUpdate = defineKind({
  kind: "NodeUpdate",
  plural: "nodeupdates",
  singular: "nodeupdate",
  shortNames: ["nu"],
  description: "One node or plain machine: what it should run, what it runs, what it waits for.",
  spec: NodeUpdateSpec,
  status: NodeUpdateStatus,
  printerColumns: [
    { name: "Zone", type: "string", jsonPath: ".status.zone", description: "Topology zone." },
    { name: "Running", type: "string", jsonPath: ".status.running", description: "Version that runs." },
    {
      name: "Target",
      type: "string",
      jsonPath: ".status.target",
      description: "Version that it should run.",
    },
    { name: "Slot A", type: "string", jsonPath: ".status.slotA", description: "Slot A.", priority: 1 },
    { name: "Slot B", type: "string", jsonPath: ".status.slotB", description: "Slot B.", priority: 1 },
    { name: "Step", type: "string", jsonPath: ".status.step", description: "What it does." },
    { name: "Reason", type: "string", jsonPath: ".status.reason", description: "What it waits for." },
    { name: "Since", type: "date", jsonPath: ".status.since", description: "Since when." },
    {
      name: "Message",
      type: "string",
      jsonPath: ".status.message",
      description: "In one sentence.",
      priority: 1,
    },
  ],
  rules: [],
});
