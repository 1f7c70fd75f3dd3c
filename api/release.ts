/** Release: one version of an operating system, its payloads and how they are verified. Immutable. */
import * as z from "zod";
import { Codebases } from "./codebase.ts";
import { defineKind } from "./kind.ts";
import { Conditions, type Declared } from "./meta.ts";
import { form } from "./rules.ts";

/** 32 bytes in lower-case hex. */
export const Sha256 = z
  .string()
  .length(64)
  .regex(/^[0-9a-f]{64}$/)
  .meta(form("must be 64 lower-case hex digits, as sha256sum prints them"));
/** Dotted numbers with an optional suffix, as Omaha and os-release write versions: 4081.2.0, 1.2.0-rc.1. */
export const ReleaseVersion = z
  .string()
  .min(1)
  .max(64)
  .regex(/^[0-9]+(\.[0-9]+){0,3}([-+][0-9A-Za-z.-]+)?$/)
  .meta(form("must be a version such as 4081.2.0 or 1.2.0-rc.1"));
export const Architecture = z.enum(["amd64", "arm64"]);

export const Blob = z.object({
  urls: z
    .array(
      z
        .string()
        .min(8)
        .max(2048)
        .regex(/^https?:\/\/[^\s]+$/)
        .meta(form("must be a URL that starts with http:// or https://")),
    )
    .min(1)
    .max(16)
    .meta({ description: "Mirrors in order of preference." }),
  size: z.int().min(1).max(68_719_476_736).meta({ description: "Exact size in bytes." }),
  sha256: Sha256.meta({ description: "SHA-256 of the object as it is fetched, in lower-case hex." }),
});

export const Signature = z.object({
  keyId: z.string().min(1).max(64),
  signature: z
    .string()
    .length(88)
    .regex(/^[A-Za-z0-9+/]{86}==$/)
    .meta(form("must be 64 bytes in base64, as `slipway image sign` prints them"))
    .meta({ description: "ed25519 signature of the image statement, base64." }),
});

export const Payload = z.object({
  architecture: Architecture,
  kind: z.enum(["FastPatch"]).default("FastPatch"),
  image: Blob.meta({ description: "The image, zstd frames as the manifest lists them." }),
  manifest: Blob.meta({ description: "The image manifest: a hash for every 4 KiB block." }),
  rootHash: Sha256.meta({ description: "dm-verity root hash of the image: its identity." }),
  signatures: z.array(Signature).max(16).default([]),
});

export const OmahaPackage = z.object({
  name: z
    .string()
    .min(1)
    .max(255)
    .regex(/^[A-Za-z0-9][A-Za-z0-9._+-]*$/)
    .meta(form("must be a file's name: letters, digits, `.`, `_`, `+` and `-`")),
  size: z.int().min(1).max(68_719_476_736).meta({ description: "Exact size in bytes." }),
  sha256: Sha256.meta({ description: "SHA-256 of the file, in lower-case hex." }),
});

export const OmahaPayload = z.object({
  architecture: Architecture,
  codebases: Codebases.meta({
    description:
      "Folders that hold the files, in order of preference. `{version}`, `{architecture}` and `{name}` stand for those of the release; `{gateway}` at the beginning for the URL of the gateway that answers, which serves payloads under `/payloads/`.",
  }),
  payload: OmahaPackage.meta({ description: "The update itself: a signed payload of update_engine." }),
  extras: z
    .array(OmahaPackage)
    .max(64)
    .default([])
    .meta({
      description: "Payloads of OEM and extension images, which a machine fetches by name if it needs them.",
      "x-kubernetes-list-type": "map",
      "x-kubernetes-list-map-keys": ["name"],
    }),
});

export const ReleaseSpec = z.object({
  version: ReleaseVersion,
  product: z.string().min(1).max(128).meta({ description: "Omaha application id." }),
  payloads: z
    .array(Payload)
    .max(4)
    .default([])
    .meta({
      description: "Images for machines that run our agent.",
      "x-kubernetes-list-type": "map",
      "x-kubernetes-list-map-keys": ["architecture"],
    }),
  omaha: z
    .array(OmahaPayload)
    .max(4)
    .optional()
    .meta({
      description: "Payloads for machines that update by Omaha (update_engine).",
      "x-kubernetes-list-type": "map",
      "x-kubernetes-list-map-keys": ["architecture"],
    }),
  updatesFrom: ReleaseVersion.optional().meta({
    description: "Oldest version that may update to this one directly.",
  }),
  steppingStone: z.boolean().default(false).meta({
    description: "Whether every node must run this release once on its way to later ones.",
  }),
});

export const ReleaseStatus = z.object({
  observedGeneration: z.int().min(0).optional(),
  running: z.int().min(0).optional().meta({ description: "Nodes that run this release." }),
  failed: z.int().min(0).optional().meta({ description: "Nodes on which it failed." }),
  conditions: Conditions.optional(),
});

export type OmahaPayload = z.output<typeof OmahaPayload>;
export type Payload = z.output<typeof Payload>;
export type ReleaseSpec = z.output<typeof ReleaseSpec>;
export type ReleaseStatus = z.output<typeof ReleaseStatus>;
export type Release = Declared<ReleaseSpec, ReleaseStatus>;

export const release = defineKind({
  kind: "Release",
  plural: "releases",
  singular: "release",
  shortNames: ["rel"],
  description:
    "One version of an operating system: where its images lie and how they are verified. Immutable.",
  spec: ReleaseSpec,
  status: ReleaseStatus,
  printerColumns: [
    { name: "Version", type: "string", jsonPath: ".spec.version", description: "Version for people." },
    { name: "Running", type: "integer", jsonPath: ".status.running", description: "Nodes that run it." },
    { name: "Failed", type: "integer", jsonPath: ".status.failed", description: "Nodes on which it failed." },
    {
      name: "Quarantined",
      type: "string",
      jsonPath: '.status.conditions[?(@.type=="Quarantined")].status',
      description: "Whether it stopped itself.",
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
      rule: "(has(self.spec.payloads) && size(self.spec.payloads) > 0) || (has(self.spec.omaha) && size(self.spec.omaha) > 0)",
      message: "a release needs a payload: fill `payloads`, or `omaha`",
      fieldPath: ".spec.payloads",
    },
    {
      rule: "self.spec == oldSelf.spec",
      message:
        "a Release never changes, because machines may hold it already: create a new Release with another name",
      fieldPath: ".spec",
    },
  ],
});
