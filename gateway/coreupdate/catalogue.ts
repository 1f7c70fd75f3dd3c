/**
 * CoreUpdate's applications, packages, channels and groups as they follow from our objects: an application is the
 * product of Releases, a package a Release with a payload for Omaha, a channel a Channel, a group an UpdateGroup. Pure.
 */
import * as z from "zod";
import type { Channel } from "../../api/channel.ts";
import { parseDuration } from "../../api/duration.ts";
import {
  PACKAGE_ANNOTATION,
  PRODUCT_ANNOTATION,
  PUBLISH_ANNOTATION,
  ROLLOUT_ANNOTATION,
  TITLE_ANNOTATION,
} from "../../api/labels.ts";
import type { Release } from "../../api/release.ts";
import type { UpdateGroup } from "../../api/update-group.ts";
import { compareVersions } from "../../api/version.ts";
import type { AppName } from "../../coordination/update-service.ts";
import { bareId } from "../omaha/request.ts";
import { Problem } from "./problem.ts";
import { rolloutOf } from "./rollout.ts";
import type { App, AppChannel, Frame, Group, Package } from "./wire.ts";

export interface Catalogue {
  releases: readonly Release[];
  channels: readonly Channel[];
  groups: readonly UpdateGroup[];
}

/** With what people call applications, by id. */
export interface NamedCatalogue extends Catalogue {
  names: ReadonlyMap<string, AppName>;
}

/** The part of a Release's name that stands for a version. */
function slugOf(version: string): string {
  return version.toLowerCase().replaceAll(/[^a-z0-9.-]/g, "-");
}

/** How a Release is named that is made for a package. */
export function releaseNameOf(appId: string, version: string): string {
  return `${slugOf(appId)}-${slugOf(version)}`;
}

/** The Release of a version; of several the first by name, and one that Omaha can offer before one that it can't. */
export function releaseOf({ releases }: Catalogue, appId: string, version: string): Release | undefined {
  return releases
    .filter(({ spec }) => bareId(spec.product) === appId && spec.version === version)
    .toSorted((a, b) => {
      const [one, other] = [a, b].map(({ spec }) => ((spec.omaha ?? []).length > 0 ? 0 : 1)) as [
        number,
        number,
      ];
      return one - other || (a.metadata.name < b.metadata.name ? -1 : 1);
    })[0];
}

export function appOfChannel(
  { releases }: Pick<Catalogue, "releases">,
  channel: Channel,
): string | undefined {
  const release = releases.find(({ metadata }) => metadata.name === channel.spec.release);
  const product = release?.spec.product ?? channel.metadata.annotations?.[PRODUCT_ANNOTATION];
  return product === undefined ? undefined : bareId(product);
}

export function appOfGroup(catalogue: Catalogue, { spec }: UpdateGroup): string | undefined {
  if (spec.release !== undefined) {
    const pinned = catalogue.releases.find(({ metadata }) => metadata.name === spec.release);
    return pinned && bareId(pinned.spec.product);
  }
  const channel = catalogue.channels.find(({ metadata }) => metadata.name === spec.channel);
  return channel && appOfChannel(catalogue, channel);
}

export function appsOf(catalogue: NamedCatalogue): App[] {
  const { releases, channels, names } = catalogue;
  const ids = new Set([
    ...names.keys(),
    ...releases.map(({ spec }) => bareId(spec.product)),
    ...channels.flatMap((channel) => appOfChannel(catalogue, channel) ?? []),
  ]);
  return [...ids].toSorted().map((id) => ({ id, label: id, description: "", ...names.get(id) }));
}

/** Throws `Problem` 404. */
export function appOf(catalogue: NamedCatalogue, sent: string): App {
  const id = bareId(sent);
  const app = appsOf(catalogue).find((one) => one.id === id);
  if (app === undefined)
    throw new Problem(404, `There is no application ${sent}: no Release has this product.`);
  return app;
}

/** Newest version first. */
export function packagesOf({ releases }: Catalogue, appId: string): Package[] {
  return releases
    .filter(({ spec }) => bareId(spec.product) === appId)
    .flatMap((release) => packageOf(release) ?? [])
    .toSorted((a, b) => compareVersions(b.version, a.version));
}

/** What a Release can't say of a package. */
export const PackageNote = z.object({
  ...{ sha1Sum: z.string().optional(), metadataSize: z.string().optional() },
  ...{ metadataSignatureRsa: z.string().optional(), releaseNotes: z.string().optional() },
  required: z.boolean().optional(),
});

/** A package has one file: that of amd64 where there are several. Undefined where Omaha can offer none. */
export function packageOf({ metadata, spec }: Release): Package | undefined {
  const omaha = spec.omaha ?? [];
  const chosen = omaha.find(({ architecture }) => architecture === "amd64") ?? omaha[0];
  if (chosen === undefined) return undefined;
  const { codebases, payload } = chosen;
  const base = codebases[0] ?? "";
  const { required = true, ...note } = noteOf(PackageNote, metadata.annotations?.[PACKAGE_ANNOTATION]) ?? {};
  return {
    ...{ appId: bareId(spec.product), version: spec.version },
    url: `${base}${base.endsWith("/") ? "" : "/"}${payload.name}`,
    size: String(payload.size),
    sha256Sum: Buffer.from(payload.sha256, "hex").toString("base64"),
    ...{ required, ...note, ...dated(metadata.creationTimestamp) },
  };
}

export function channelsOf(catalogue: Catalogue, appId: string): AppChannel[] {
  return catalogue.channels
    .filter((channel) => appOfChannel(catalogue, channel) === appId)
    .map((channel) => channelOf(catalogue, channel))
    .toSorted((a, b) => (a.label < b.label ? -1 : 1));
}

export function channelOf(catalogue: Catalogue, channel: Channel): AppChannel {
  const { metadata } = channel;
  // One that waits for its upstream points at nothing yet.
  const { release: name = "" } = channel.spec;
  const appId = appOfChannel(catalogue, channel) ?? "";
  const release = catalogue.releases.find((one) => one.metadata.name === name);
  const prefix = releaseNameOf(appId, "");
  const version = release?.spec.version ?? (name.startsWith(prefix) ? name.slice(prefix.length) : name);
  return {
    ...{ appId, label: metadata.name, version, publish: isPublished(channel) },
    ...dated(metadata.creationTimestamp),
  };
}

export function isPublished({ metadata }: Channel): boolean {
  return metadata.annotations?.[PUBLISH_ANNOTATION] === "true";
}

/** Throws `Problem` 404. */
export function groupOf(catalogue: Catalogue, sentApp: string, id: string): UpdateGroup {
  const appId = bareId(sentApp);
  const group = catalogue.groups.find(({ metadata }) => metadata.name === id);
  if (group === undefined || appOfGroup(catalogue, group) !== appId) {
    throw new Problem(404, `There is no group ${id} of application ${sentApp}.`);
  }
  return group;
}

export function groupsOf(catalogue: Catalogue, appId: string): Group[] {
  return catalogue.groups
    .filter((group) => appOfGroup(catalogue, group) === appId)
    .map((group) => describeGroup(group, appId))
    .toSorted((a, b) => (a.id < b.id ? -1 : 1));
}

const Frames = z.array(z.object({ percent: z.number(), duration: z.number() })).max(16);

/** Frames that wait until the group's rollout is activated again. */
export function rememberedFrames({ metadata }: UpdateGroup): Frame[] | undefined {
  return noteOf(Frames, metadata.annotations?.[ROLLOUT_ANNOTATION]);
}

export function describeGroup(group: UpdateGroup, appId: string): Group {
  const { metadata, spec } = group;
  const { active, percent } = rolloutOf(group, rememberedFrames(group));
  const excluded = spec.machines?.excludedOEMs ?? [];
  return {
    ...{ appId, id: metadata.name, label: metadata.annotations?.[TITLE_ANNOTATION] ?? metadata.name },
    ...{ channelId: spec.channel ?? "", updatesPaused: spec.paused, updatePercent: percent },
    rolloutActive: active,
    ...(excluded.length === 0 ? {} : { oemBlacklist: excluded.join(",") }),
    ...(spec.rate === undefined
      ? {}
      : {
          updateCount: String(spec.rate.updates),
          updateInterval: String(parseDuration(spec.rate.period) / 1000),
          updatePooling: true,
        }),
  };
}

/** JSON of an annotation, which anybody may write: what can't be read counts as absent. */
function noteOf<S extends z.ZodType>(schema: S, text: string | undefined): z.output<S> | undefined {
  if (text === undefined) return undefined;
  try {
    return schema.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}

function dated(creationTimestamp: string | undefined): { dateCreated?: string } {
  return creationTimestamp === undefined ? {} : { dateCreated: creationTimestamp };
}
