/** What keeps a group's nodes from taking a slot: alerts, Pods on the node, or a hook's answer. */
import * as z from "zod";
import { Duration } from "./duration.ts";
import { entryName } from "./entry-name.ts";
import { between, exactlyOne, form, selectsSomething, validations } from "./rules.ts";
import { LabelSelector } from "./selector.ts";

/** Without a user's name and password: specs are read by many, and what is asked is told in statuses. */
export const HttpUrl = z
  .string()
  .min(8)
  .max(2048)
  .regex(/^https?:\/\/[^\s/?#@\\]+([/?#]\S*)?$/)
  .meta(form("must be a URL that starts with http:// or https://, without a password"));

const AlertName = z
  .string()
  .min(1)
  .max(128)
  .regex(/^[a-zA-Z_*][a-zA-Z0-9_*]*$/)
  .meta(form("must be the name of an alert, in which `*` stands for any characters"));

const AlertBlocker = z.object({
  url: HttpUrl.meta({ description: "Base URL of Prometheus, such as http://prometheus.monitoring:9090." }),
  only: z.array(AlertName).max(64).optional().meta({
    description: "Alerts that block; absent: all but Slipway's own.",
    "x-kubernetes-list-type": "set",
  }),
  ignore: z
    .array(AlertName)
    .max(64)
    .optional()
    .meta({ description: "Alerts that don't block, whatever `only` says.", "x-kubernetes-list-type": "set" }),
  selector: LabelSelector.optional().meta({ description: "Labels that an alert must have to block." }),
  pending: z
    .boolean()
    .default(false)
    .meta({ description: "Whether alerts that are pending block too, not only those that fire." }),
});

const PodBlocker = z
  .object({
    namespace: z
      .string()
      .min(1)
      .max(63)
      .optional()
      .meta({ description: "Namespace of the Pods; absent: all." }),
    selector: LabelSelector.meta({ description: "Labels of the Pods that block the node that they run on." }),
  })
  .meta(validations(selectsSomething("selector")));

const HookBlocker = z.object({
  url: HttpUrl.meta({
    description:
      "Is sent a POST with JSON {node, group, release}. 2xx lets the node go on, 423 blocks it with the body as the reason, all else is a failure.",
  }),
});

export const Blocker = z
  .object({
    name: entryName(),
    alerts: AlertBlocker.optional(),
    pods: PodBlocker.optional(),
    http: HookBlocker.optional(),
    timeout: Duration.default("10s").meta({
      ...validations(between("1s", "30s")),
      description: "How long an answer may take.",
    }),
    onFailure: z
      .enum(["Block", "Allow"])
      .default("Block")
      .meta({ description: "What no answer, or one that can't be understood, means." }),
  })
  .meta(
    validations(
      exactlyOne(["alerts", "pods", "http"], "a blocker needs exactly one of `alerts`, `pods` and `http`"),
    ),
  );
export type Blocker = z.output<typeof Blocker>;

export const Blockers = z
  .array(Blocker)
  .max(8)
  .optional()
  .meta({
    description:
      "What keeps nodes from taking a slot. Asked while they wait and once more right before the slot is taken, never while one is held.",
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["name"],
  });
