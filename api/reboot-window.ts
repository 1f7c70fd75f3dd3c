/** RebootWindow: when reboots may happen, or (mode Deny) may not. */
import * as z from "zod";
import { Duration } from "./duration.ts";
import { defineKind } from "./kind.ts";
import { Conditions, type Declared } from "./meta.ts";
import { between, form, selectsSomething, validations } from "./rules.ts";
import { LabelSelector } from "./selector.ts";

export const ExcludedDates = z
  .object({
    from: z
      .string()
      .length(10)
      .regex(/^[0-9]{4}-[0-9]{2}-[0-9]{2}$/)
      .meta(form("must be a date such as 2026-12-24"))
      .meta({ description: "First day, in the window's time zone." }),
    to: z
      .string()
      .length(10)
      .regex(/^[0-9]{4}-[0-9]{2}-[0-9]{2}$/)
      .meta(form("must be a date such as 2026-12-24"))
      .meta({ description: "Last day, included." }),
    reason: z.string().max(253).optional(),
  })
  .meta(
    validations({
      rule: "self.to >= self.from",
      message: "`to` must not lie before `from`",
      fieldPath: ".to",
    }),
  );

export const RebootWindowSpec = z
  .object({
    start: z.string().min(5).max(100).meta({
      description: "`Mon-Fri 02:00`, `Thu 04:00`, daily `04:00`, or a five-field cron expression.",
    }),
    duration: Duration.meta({
      ...validations(between("1s", "168h")),
      description: "Absolute length of an opening: more than 0, at most a week.",
    }),
    timeZone: z.string().min(1).max(64).default("UTC").meta({ description: "IANA name." }),
    exclude: z.array(ExcludedDates).max(64).default([]).meta({ "x-kubernetes-list-type": "atomic" }),
    mode: z.enum(["Allow", "Deny"]).default("Allow").meta({
      description:
        "Deny is a change freeze: it beats every Allow, and binds groups with `windows: Always` too.",
    }),
    groupSelector: LabelSelector.meta({ description: "Labels of the UpdateGroups that it binds." }),
  })
  .meta(validations(selectsSomething("groupSelector")));

export const Opening = z.object({ start: z.iso.datetime(), end: z.iso.datetime() });

export const RebootWindowStatus = z.object({
  observedGeneration: z.int().min(0).optional(),
  open: z.boolean().optional(),
  closesAt: z.iso.datetime().optional(),
  nextOpenings: z.array(Opening).max(5).optional().meta({ "x-kubernetes-list-type": "atomic" }),
  next: z.iso.datetime().optional(),
  conditions: Conditions.optional(),
});

export type RebootWindowSpec = z.output<typeof RebootWindowSpec>;
export type RebootWindowStatus = z.output<typeof RebootWindowStatus>;
export type RebootWindow = Declared<RebootWindowSpec, RebootWindowStatus>;

export const rebootWindow = defineKind({
  kind: "RebootWindow",
  plural: "rebootwindows",
  singular: "rebootwindow",
  shortNames: ["rw"],
  description: "When reboots may happen, or may not.",
  spec: RebootWindowSpec,
  status: RebootWindowStatus,
  printerColumns: [
    { name: "Mode", type: "string", jsonPath: ".spec.mode", description: "Allow or Deny." },
    { name: "Start", type: "string", jsonPath: ".spec.start", description: "When it opens." },
    { name: "Duration", type: "string", jsonPath: ".spec.duration", description: "How long it stays open." },
    { name: "Zone", type: "string", jsonPath: ".spec.timeZone", description: "Time zone of the start." },
    { name: "Open", type: "string", jsonPath: ".status.open", description: "Whether it is open now." },
    { name: "Next", type: "string", jsonPath: ".status.next", description: "Next opening." },
    {
      name: "Age",
      type: "date",
      jsonPath: ".metadata.creationTimestamp",
      description: "When it was declared.",
      priority: 1,
    },
  ],
  rules: [],
});
