/**
 * What a request of CoreUpdate's API writes: for each set of fields that belongs together one server-side apply, under
 * a manager of its own, because an apply takes away what its manager owned and doesn't name any more. Pure.
 */
import type * as z from "zod";
import { type Channel, channel as channelKind, ObjectName } from "../../api/channel.ts";
import type { Resource } from "../../api/kind.ts";
import {
  GROUP_LABEL,
  PACKAGE_ANNOTATION,
  PRODUCT_ANNOTATION,
  PUBLISH_ANNOTATION,
  ROLLOUT_ANNOTATION,
  TITLE_ANNOTATION,
} from "../../api/labels.ts";
import { MAX_EXCLUDED_OEMS, OEM } from "../../api/machines.ts";
import { API_VERSION, type KubeObject } from "../../api/meta.ts";
import { OmahaPackage, ReleaseVersion, release as releaseKind } from "../../api/release.ts";
import { updateGroup as groupKind, type UpdateGroup } from "../../api/update-group.ts";
import { UPDATESERVICECTL } from "../../runtime/field-owners.ts";
import {
  appOfChannel,
  type Catalogue,
  describeGroup,
  packageOf,
  releaseNameOf,
  releaseOf,
  rememberedFrames,
} from "./catalogue.ts";
import { demandStages } from "./owner.ts";
import { Problem } from "./problem.ts";
import { durationText, frozen, type OurStage, rolloutOf, stagesAt, stagesOf, thawed } from "./rollout.ts";
import type { ChannelBody, Frame, GroupBody, PackageBody } from "./wire.ts";

/** One apply. */
export interface Change {
  resource: Resource;
  object: KubeObject & { spec?: Record<string, unknown> };
  fieldManager: string;
}

/** Of `spec` and annotations exactly these, as the manager that has the set `of`. */
export function change(
  { kind, ...resource }: Resource,
  name: string,
  of: string,
  content: { uid?: string | undefined; annotations?: Record<string, string>; spec?: Record<string, unknown> },
): Change {
  const { uid, annotations, spec } = content;
  const metadata = {
    name,
    ...(uid === undefined ? {} : { uid }),
    ...(annotations === undefined ? {} : { annotations }),
  };
  return {
    resource: { kind, ...resource },
    object: { apiVersion: API_VERSION, kind, metadata, ...(spec === undefined ? {} : { spec }) },
    fieldManager: of === "" ? UPDATESERVICECTL : `${UPDATESERVICECTL}-${of}`,
  };
}

/** What is made for a package; undefined where there is the same already. Throws `Problem`. */
export function newPackage(
  catalogue: Catalogue,
  appId: string,
  version: string,
  body: PackageBody,
): Change | undefined {
  if (!/^[a-z0-9]([a-z0-9._-]{0,126}[a-z0-9])?$/.test(appId)) {
    throw new Problem(400, "An application id has letters, digits, dots and dashes; CoreUpdate's are UUIDs.");
  }
  if (!ReleaseVersion.safeParse(version).success) {
    throw new Problem(400, `${version} is no version such as 4081.2.0 or 1.2.0-rc.1.`);
  }
  const payload = fileOf(body);
  const known = releaseOf(catalogue, appId, version);
  if (known !== undefined) {
    const same = packageOf(known);
    const { size, sha256Sum } = body;
    if (same !== undefined && same.url === body.url && same.size === size && same.sha256Sum === sha256Sum) {
      return undefined;
    }
    throw new Problem(
      409,
      `Release ${known.metadata.name} is version ${version} of ${appId} already, and a Release never changes: give the package another version.`,
    );
  }
  const { sha1Sum, metadataSize, metadataSignatureRsa, releaseNotes, required } = body;
  const note = { sha1Sum, metadataSize, metadataSignatureRsa, releaseNotes };
  const filled = Object.entries(note).filter(([, value]) => value !== "");
  return change(releaseKind, releaseNameOf(appId, version), "", {
    annotations: { [PACKAGE_ANNOTATION]: JSON.stringify({ ...Object.fromEntries(filled), required }) },
    spec: { version, product: appId, omaha: [{ architecture: "amd64", ...payload }] },
  });
}

/** The file of a package as a Release names it. */
function fileOf({ url, size, sha256Sum }: PackageBody): {
  codebases: string[];
  payload: z.output<typeof OmahaPackage>;
} {
  const [, base = "", name = ""] = /^(https?:\/\/\S+\/)([^/]+)$/.exec(url) ?? [];
  if (base === "") throw new Problem(400, "A package needs the --url of its file, by http or https.");
  const digest = Buffer.from(sha256Sum, "base64");
  if (digest.length !== 32) throw new Problem(400, "sha256Sum is no SHA-256 in base64.");
  const payload = OmahaPackage.safeParse({ name, size: Number(size), sha256: digest.toString("hex") });
  if (payload.success) return { codebases: [base], payload: payload.data };
  const [issue] = payload.error.issues;
  const what = issue?.path[0] === "size" ? `size ${size || "0"}` : `file name ${name}`;
  throw new Problem(400, `The ${what} is none of a payload: ${issue?.message ?? "it is not understood"}.`);
}

/** Throws `Problem`. */
export function newChannel(catalogue: Catalogue, appId: string, body: ChannelBody): Change[] {
  const { label, version, publish } = body;
  demandName(label, "channel");
  const known = catalogue.channels.find(({ metadata }) => metadata.name === label);
  if (known !== undefined) {
    const of = appOfChannel(catalogue, known) ?? "another application";
    throw new Problem(
      409,
      `There is a channel ${label} already, of ${of}: its name is unique in the cluster.`,
    );
  }
  if (!ReleaseVersion.safeParse(version).success) throw new Problem(400, `${version} is no version.`);
  const release = releaseOf(catalogue, appId, version)?.metadata.name ?? releaseNameOf(appId, version);
  return [
    change(channelKind, label, "", {
      annotations: { [PRODUCT_ANNOTATION]: appId, [PUBLISH_ANNOTATION]: String(publish) },
      spec: { release },
    }),
  ];
}

/** Throws `Problem`. */
export function movedChannel(
  catalogue: Catalogue,
  appId: string,
  { metadata, spec }: Channel,
  { version, publish }: ChannelBody,
): Change[] {
  const { name, uid } = metadata;
  const release = releaseOf(catalogue, appId, version);
  if (release === undefined) {
    throw new Problem(404, `There is no package ${version} of ${appId}: updateservicectl package create.`);
  }
  const moved = release.metadata.name !== spec.release;
  const published = String(publish) !== (metadata.annotations?.[PUBLISH_ANNOTATION] ?? "false");
  return [
    ...(moved
      ? [change(channelKind, name, "release", { uid, spec: { release: release.metadata.name } })]
      : []),
    ...(published
      ? [
          change(channelKind, name, "publish", {
            uid,
            annotations: { [PUBLISH_ANNOTATION]: String(publish) },
          }),
        ]
      : []),
  ];
}

/** Throws `Problem`. */
export function newGroup(catalogue: Catalogue, appId: string, body: GroupBody): Change[] {
  const { id, label, channelId } = body;
  demandName(id, "group");
  refuseUnknown(body);
  if (catalogue.groups.some(({ metadata }) => metadata.name === id)) {
    throw new Problem(409, `There is a group ${id} already: its name is unique in the cluster.`);
  }
  demandChannel(catalogue, appId, channelId);
  return [
    change(groupKind, id, "", {
      ...(label === "" ? {} : { annotations: { [TITLE_ANNOTATION]: label } }),
      spec: {
        // Nobody's label: Nodes come into the group when somebody gives them one.
        nodeSelector: { matchLabels: { [GROUP_LABEL]: id } },
        ...{ channel: channelId, windows: "Always" },
        machines: body.oemBlacklist === "" ? {} : { excludedOEMs: excludedOf(body) },
      },
    }),
  ];
}

/**
 * What differs from what the group is said to be. The client sends back all that it read, less what is false, 0 or
 * empty: an absent `updatesPaused` is false, an absent label or channel is no wish, and an absent `oemBlacklist` is an
 * empty one, but from clients that know it not, which are those without `updatePercent`.
 */
export function patchedGroup(
  catalogue: Catalogue,
  appId: string,
  group: UpdateGroup,
  body: GroupBody,
): Change[] {
  refuseUnknown(body);
  const { name, uid } = group.metadata;
  const now = describeGroup(group, appId);
  const changes: Change[] = [];
  const spec = (of: string, fields: Record<string, unknown>): void => {
    changes.push(change(groupKind, name, of, { uid, spec: fields }));
  };
  if (body.updatesPaused !== now.updatesPaused) spec("paused", { paused: body.updatesPaused });
  if (body.channelId !== "" && body.channelId !== now.channelId) {
    if (group.spec.channel === undefined) {
      throw new Problem(409, `Group ${name} stays on Release ${group.spec.release}: it follows no channel.`);
    }
    demandChannel(catalogue, appId, body.channelId);
    spec("channel", { channel: body.channelId });
  }
  if (body.label !== "" && body.label !== now.label) {
    changes.push(change(groupKind, name, "title", { uid, annotations: { [TITLE_ANNOTATION]: body.label } }));
  }
  const { updatePercent } = body;
  if (body.oemBlacklist !== "" || updatePercent !== undefined) {
    const excludedOEMs = excludedOf(body);
    if (excludedOEMs.join() !== (group.spec.machines?.excludedOEMs ?? []).join()) {
      if (group.spec.machines === undefined) {
        throw new Problem(
          409,
          `UpdateGroup ${name} serves no machines by Omaha: set its spec.machines first.`,
        );
      }
      spec("oems", { machines: { excludedOEMs } });
    }
  }
  const { updateCount = 0, updateInterval = 0 } = body;
  const rated = [String(updateCount), String(updateInterval)];
  if (
    (updateCount !== 0 || updateInterval !== 0) &&
    rated.join() !== [now.updateCount, now.updateInterval].join()
  ) {
    if (updateCount < 1 || updateInterval < 1) {
      throw new Problem(400, "A rate has both, updates and a number of seconds.");
    }
    spec("rate", { rate: { updates: updateCount, period: durationText(updateInterval) } });
  }
  // While a rollout moves the percentage is older than the stage; nobody wrote it.
  if (updatePercent !== undefined && !now.rolloutActive && updatePercent !== now.updatePercent) {
    changes.push(...percentGroup(group, updatePercent));
  }
  return changes;
}

/** Holds the group at a percentage. Throws `Problem`. */
export function percentGroup(group: UpdateGroup, percent: number): Change[] {
  if (percent > 100) throw new Problem(400, "A percentage is at most 100.");
  return staged(group, stagesAt(percent), undefined);
}

/** Sets a rollout and begins it. Throws `Problem`. */
export function rolledGroup(group: UpdateGroup, frames: readonly Frame[]): Change[] {
  return staged(group, stagesOf(frames), undefined);
}

/** Stops a rollout where it is, or lets it go on. Throws `Problem`. */
export function activatedGroup(group: UpdateGroup, active: boolean): Change[] {
  const remembered = rememberedFrames(group);
  if (rolloutOf(group, remembered).active === active) return [];
  if (active) {
    if (remembered === undefined) {
      throw new Problem(409, `Group ${group.metadata.name} has no rollout: updateservicectl rollout create.`);
    }
    return staged(group, thawed(group, remembered), undefined);
  }
  const stopped = frozen(group);
  return stopped === undefined ? [] : staged(group, stopped.stages, stopped.remembered);
}

/** Stages and what is remembered of them are one apply: one without the other would be neither rollout. */
function staged(
  group: UpdateGroup,
  stages: readonly OurStage[],
  remembered: readonly Frame[] | undefined,
): Change[] {
  demandStages(group);
  const { name, uid } = group.metadata;
  const note = remembered && { [ROLLOUT_ANNOTATION]: JSON.stringify(remembered) };
  return [
    change(groupKind, name, "stages", {
      ...{ uid, spec: stages.length === 0 ? {} : { stages } },
      ...(note === undefined ? {} : { annotations: note }),
    }),
  ];
}

function demandName(name: string, what: string): void {
  if (ObjectName.safeParse(name).success) return;
  throw new Problem(
    400,
    `${name === "" ? "An empty name" : name} can't name a ${what}: it is an object's name, of lower-case letters, digits, dashes and dots.`,
  );
}

function demandChannel(catalogue: Catalogue, appId: string, name: string): void {
  const found = catalogue.channels.find(({ metadata }) => metadata.name === name);
  if (found !== undefined && appOfChannel(catalogue, found) === appId) return;
  throw new Problem(404, `There is no channel ${name} of application ${appId}.`);
}

/** Throws `Problem` 400. */
function excludedOf({ oemBlacklist }: GroupBody): string[] {
  const named = oemBlacklist.split(",").map((one) => one.trim());
  const oems = [...new Set(named.filter((one) => one !== ""))];
  const wrong = oems.find((one) => !OEM.safeParse(one).success);
  if (wrong !== undefined)
    throw new Problem(400, `${wrong} is no OEM such as ami: they have commas between.`);
  if (oems.length > MAX_EXCLUDED_OEMS) {
    throw new Problem(400, `A group excludes ${MAX_EXCLUDED_OEMS} OEMs at most.`);
  }
  return oems;
}

function refuseUnknown(body: GroupBody): void {
  const { autoPause, errorThreshold, errorInterval, dropThreshold, dropInterval } = body;
  if (autoPause || errorThreshold + errorInterval + dropThreshold + dropInterval !== 0) {
    throw new Problem(400, "A group stops by itself at its failureThreshold: kubectl edit updategroup.");
  }
}
