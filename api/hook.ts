/** What a group has others do to a node between its drain and its reboot, and before it works again. */
import * as z from "zod";
import { HttpUrl } from "./blocker.ts";
import { Duration } from "./duration.ts";
import { entryName } from "./entry-name.ts";
import { SigningKey } from "./notification.ts";
import { between, exactlyOne, form, validations } from "./rules.ts";

/** Labels and annotations by which Kubernetes and Slipway themselves act: no hook may set or remove them. */
const FOREIGN = {
  rule: "!self.matches('^([^/]*[.])?(kubernetes[.]io|k8s[.]io|slipway[.]dev)/')",
  message: "must be of a domain of yours: those of Kubernetes and Slipway mean something to them",
};

const Key = z
  .string()
  .min(1)
  .max(253)
  .regex(/^([a-z0-9]([a-z0-9.-]*[a-z0-9])?\/)?[a-zA-Z0-9]([-._a-zA-Z0-9]{0,61}[a-zA-Z0-9])?$/)
  .meta(form("must be a key such as example.org/before-reboot"))
  .meta(validations(FOREIGN));

const LabelValue = z
  .string()
  .min(1)
  .max(63)
  .regex(/^[a-zA-Z0-9]([-._a-zA-Z0-9]*[a-zA-Z0-9])?$/)
  .meta(form("must be the value of a label: letters, digits, `-`, `.` and `_`"));

const Answer = z.string().min(1).max(253);

const LabelHook = z
  .object({
    key: Key.meta({ description: "Label that the Node has while the hook runs: select Pods' nodes by it." }),
    value: LabelValue.default("true"),
    answers: z.array(Key).min(1).max(8).meta({
      description:
        "Annotations of the Node by which others answer. Slipway takes them off before it asks, and afterwards.",
      "x-kubernetes-list-type": "set",
    }),
    done: Answer.default("true").meta({ description: "What all of them must say for it to be done." }),
    failed: Answer.optional().meta({
      description: "What one of them says if it failed; anything else is waited out.",
    }),
  })
  .meta(
    validations({
      rule: "!has(self.failed) || self.failed != self.done",
      message: "`failed` and `done` must be different answers",
    }),
  );

const DnsName = z
  .string()
  .min(1)
  .max(63)
  .regex(/^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/)
  .meta(form("must be a name: lower-case letters, digits and `-`"));

const JobHook = z.object({
  namespace: DnsName.meta({
    description: "Namespace of the CronJob and of the Jobs; the manager must be let into it.",
  }),
  cronJob: DnsName.meta({
    description: "A CronJob with `suspend: true`: its jobTemplate becomes a Job for each node and grant.",
  }),
  onNode: z
    .boolean()
    .default(false)
    .meta({ description: "Whether its Pods run on the node itself, which is cordoned then." }),
});

const HttpHook = z.object({
  url: HttpUrl.meta({
    description:
      "Is sent a POST with JSON {node, group, release, hook, phase, grant}. 202 is not yet, all other 2xx are done, 3xx and 4xx (but 408 and 429) have failed; all else is no answer, and it is asked again.",
  }),
  signingKey: SigningKey.optional().meta({
    description:
      "Name of the file in the manager's --webhook-keys whose text signs the body, as for `notifications`; absent: unsigned.",
  }),
});

export const Hook = z
  .object({
    name: entryName(40),
    label: LabelHook.optional(),
    job: JobHook.optional(),
    http: HttpHook.optional(),
    timeout: Duration.default("5m").meta({
      ...validations(between("1s", "24h")),
      description: "How long it may take; then it has failed.",
    }),
    onFailure: z.enum(["Stop", "Continue"]).meta({
      description:
        "What a failure means. `Stop`: before the reboot the slot is given back, after it the node counts as failed. `Continue`: it is told, and goes on.",
    }),
  })
  .meta(
    validations(
      exactlyOne(["label", "job", "http"], "a hook needs exactly one of `label`, `job` and `http`"),
    ),
  );
export type Hook = z.output<typeof Hook>;

const list = (description: string) =>
  z
    .array(Hook)
    .max(8)
    .default([])
    .meta({ description, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"] });

export const Hooks = z.object({
  before: list("After the drain, one after the other, before the machine may reboot."),
  after: list(
    "After the release checks of a node that came back, before it works again and its slot is free.",
  ),
});
export type Hooks = z.output<typeof Hooks>;

export const HookPhase = z.enum(["Before", "After"]);
export type HookPhase = z.output<typeof HookPhase>;

/** A hook's run under one grant: what a restarted manager goes on from. */
export const HookRun = z.object({
  phase: HookPhase,
  name: z.string().max(40),
  state: z.enum(["Running", "Done", "Failed"]),
  since: z.iso.datetime(),
  until: z.iso.datetime().optional(),
  message: z.string().max(1024).optional().meta({ description: "Why it failed." }),
});
export type HookRun = z.output<typeof HookRun>;
