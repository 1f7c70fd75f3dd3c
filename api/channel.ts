/** Channel: a name such as `stable` that points at a release. */
import * as z from "zod";
import { defineKind } from "./kind.ts";
import { Conditions, type Declared } from "./meta.ts";
import { Architecture } from "./release.ts";
import { form } from "./rules.ts";

export const ObjectName = z
  .string()
  .min(1)
  .max(253)
  .regex(/^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/)
  .meta(form("must be an object's name: lower-case letters, digits, `-` and `.`"));

export const ChannelSpec = z.object({
  release: ObjectName.meta({ description: "Name of the Release that this channel points at." }),
  architectures: z
    .array(z.object({ architecture: Architecture, release: ObjectName }))
    .max(4)
    .optional()
    .meta({
      description: "Releases of architectures that differ from `release`.",
      "x-kubernetes-list-type": "map",
      "x-kubernetes-list-map-keys": ["architecture"],
    }),
});

export const Promotion = z.object({ release: ObjectName, time: z.iso.datetime() });

export const ChannelStatus = z.object({
  observedGeneration: z.int().min(0).optional(),
  current: ObjectName.optional(),
  previous: ObjectName.optional(),
  promotions: z.array(Promotion).max(20).optional().meta({
    description: "The last promotions, newest first.",
    "x-kubernetes-list-type": "atomic",
  }),
  conditions: Conditions.optional(),
});

export type ChannelSpec = z.output<typeof ChannelSpec>;
export type ChannelStatus = z.output<typeof ChannelStatus>;
export type Channel = Declared<ChannelSpec, ChannelStatus>;

export const channel = defineKind({
  kind: "Channel",
  plural: "channels",
  singular: "channel",
  shortNames: ["ch"],
  description: "A name that points at a release; groups follow it.",
  spec: ChannelSpec,
  status: ChannelStatus,
  printerColumns: [
    { name: "Release", type: "string", jsonPath: ".spec.release", description: "What it points at." },
    { name: "Current", type: "string", jsonPath: ".status.current", description: "What groups follow now." },
    {
      name: "Previous",
      type: "string",
      jsonPath: ".status.previous",
      description: "What it pointed at before.",
    },
    {
      name: "Accepted",
      type: "string",
      jsonPath: '.status.conditions[?(@.type=="Accepted")].status',
      description: "Whether it has an effect.",
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
