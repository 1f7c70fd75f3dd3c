/** Channel: a name such as `stable` that points at a release. */
import * as z from "zod";
import { Codebases } from "./codebase.ts";
import { Duration } from "./duration.ts";
import { defineKind } from "./kind.ts";
import { Conditions, type Declared } from "./meta.ts";
import { Architecture } from "./release.ts";
import { between, exactlyOne, form, validations } from "./rules.ts";

export const ObjectName = z
  .string()
  .min(1)
  .max(253)
  .regex(/^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/)
  .meta(form("must be an object's name: lower-case letters, digits, `-` and `.`"));

export const UpstreamUrl = z
  .string()
  .min(8)
  .max(2048)
  .regex(/^https?:\/\/[^\s?#@]+$/)
  .meta(form("must be a URL that starts with http:// or https://, without a password or a query"));

export const Upstream = z
  .object({
    url: UpstreamUrl.optional().meta({
      description:
        "Where the server answers update checks, such as https://public.update.flatcar-linux.net/v1/update/. A secret in its path can be read by all who may read Channels.",
    }),
    urlKey: z
      .string()
      .min(1)
      .max(253)
      .regex(/^[a-zA-Z0-9][-._a-zA-Z0-9]*$/)
      .meta(form("must be the name of a file: letters, digits, `-`, `.` and `_`"))
      .optional()
      .meta({
        description:
          "Or: the name of the file in the manager's --upstream-urls whose text is that URL, which no one who reads Channels sees.",
      }),
    product: z.string().min(1).max(128).meta({ description: "Omaha application id." }),
    track: z.string().min(1).max(255).meta({ description: "Channel or group at that server." }),
    architectures: z
      .array(Architecture)
      .min(1)
      .max(2)
      .default(["amd64"])
      .meta({ description: "What is asked for, each by itself.", "x-kubernetes-list-type": "set" }),
    interval: Duration.default("1h").meta({
      description: "From one look to the next; after a failure it is shorter at first.",
      ...validations(between("5m", "168h")),
    }),
    follow: z.enum(["Declare", "Promote"]).default("Declare").meta({
      description:
        "What is done with what is new: `Declare` makes a Release and no more; `Promote` also points the channel at it, as long as nobody else owns `release`.",
    }),
    codebases: Codebases.optional().meta({
      description: "Where machines fetch payloads instead of where the server says.",
    }),
  })
  .meta(validations(exactlyOne(["url", "urlKey"], "an upstream needs exactly one of `url` and `urlKey`")));

export const ChannelSpec = z.object({
  release: ObjectName.optional().meta({
    description:
      "Name of the Release that this channel points at. A channel with an upstream may leave it to that.",
  }),
  upstream: Upstream.optional().meta({
    description: "An Omaha server to have releases from: Flatcar's public one, or another Slipway.",
  }),
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

export type Upstream = z.output<typeof Upstream>;
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
  rules: [
    {
      rule: "has(self.spec.release) || has(self.spec.upstream)",
      message: "a channel needs a release: name one in `release`, or an `upstream` to have them from",
      fieldPath: ".spec.release",
    },
  ],
});
