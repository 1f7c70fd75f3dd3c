/**
 * What a channel makes of the answers of another Omaha server: Releases, and where it is asked for the new place of the
 * channel. Never an older one, never another content under a name that is taken (design, section 11).
 */
import { createHash } from "node:crypto";
import type { Channel, Upstream } from "../../api/channel.ts";
import { shareOf } from "../../api/cohort.ts";
import { parseDuration } from "../../api/duration.ts";
import { API_VERSION, type ConditionUpdate } from "../../api/meta.ts";
import type { Why } from "../../api/reasons.ts";
import { type Release, ReleaseSpec } from "../../api/release.ts";
import { compareVersions } from "../../api/version.ts";
import type { AnsweredManifest } from "../../proto/omaha/answer.ts";

type Architecture = Upstream["architectures"][number];

/** After the first failure, ms; twice as long after each further one. */
const FIRST_RETRY = 60_000;
/** Releases that a channel has made: Flatcar makes 30 a year for each architecture. A server that lies fills no etcd. */
const MAX_RELEASES = 256;
/** From here on it says so: a year before Flatcar fills it. They are not deleted: who could go back to one is not known here. */
const MANY_RELEASES = 192;
/** Of an interval: so much more or less, so that channels don't ask all at once. */
const SPREAD = 0.1;
export const BOARDS: Readonly<Record<Architecture, string>> = { amd64: "amd64-usr", arm64: "arm64-usr" };

/** What one look gave: the way to the newest version, oldest first; the last is where it leads. */
export interface Step {
  manifest: AnsweredManifest;
  codebases: readonly string[];
}

export interface Decision {
  /** Releases to make; they are not there yet. */
  declare: Release[];
  /** Where the channel shall point, if elsewhere than now. */
  promote?: { release: string; architectures?: { architecture: Architecture; release: string }[] };
  followed: Why;
}

/** When to look again, ms from the last look. `failures`: in a row. */
export function nextLook(uid: string, { interval }: Pick<Upstream, "interval">, failures: number): number {
  const usual = parseDuration(interval);
  const wanted = failures === 0 ? usual : Math.min(usual, FIRST_RETRY * 2 ** Math.min(failures - 1, 10));
  return Math.round(wanted * (1 - SPREAD + 2 * SPREAD * shareOf(uid, "upstream")));
}

/** By which the upstream knows the channel, always the same for one architecture of one channel: a UUID (RFC 9562, version 8). */
export function machineIdOf(uid: string, architecture: Architecture): string {
  const hex = createHash("sha256").update(`slipway upstream ${uid} ${architecture}`).digest("hex");
  const parts = [hex.slice(0, 8), hex.slice(8, 12), `8${hex.slice(13, 16)}`, `8${hex.slice(17, 20)}`];
  return [...parts, hex.slice(20, 32)].join("-");
}

/** `steps` of each architecture that was asked for; without any where the upstream offers nothing. `releases`: all there are. */
export function decideUpstream(
  channel: Channel,
  upstream: Upstream,
  steps: ReadonlyMap<Architecture, readonly Step[]>,
  releases: readonly Release[],
): Decision {
  const byName = new Map(releases.map((release) => [release.metadata.name, release]));
  const declare: Release[] = [];
  const targets = new Map<Architecture, Release>();
  const own = releases.filter(
    ({ metadata }) => metadata.ownerReferences?.some(({ uid }) => uid === channel.metadata.uid) === true,
  );
  const stopped = (
    reason: "UpstreamInvalid" | "UpstreamOlder" | "UpstreamDiffers",
    message: string,
  ): Decision => ({
    declare: [],
    followed: { reason, message },
  });
  for (const [architecture, way] of steps) {
    const newest = newestOf(channel, architecture, own, byName);
    for (const [index, step] of way.entries()) {
      const target = index === way.length - 1;
      const made = releaseOf(channel, upstream, architecture, step, !target);
      if ("reason" in made) return { declare: [], followed: made };
      const { version } = made.spec;
      const known = byName.get(made.metadata.name);
      if (known !== undefined && !sameContent(known, made)) {
        return stopped(
          "UpstreamDiffers",
          `The upstream offers other files as ${version} for ${architecture} than Release ${known.metadata.name} has.`,
        );
      }
      if (known !== undefined && !target && !known.spec.steppingStone) {
        return stopped(
          "UpstreamDiffers",
          `The upstream leads over ${version} for ${architecture}, and Release ${known.metadata.name}, which never changes, is no stepping stone: delete it, and it is made anew as one.`,
        );
      }
      if (target && newest !== undefined && compareVersions(version, newest) < 0) {
        return stopped(
          "UpstreamOlder",
          `The upstream offers ${version} for ${architecture}; the channel has ${newest} already.`,
        );
      }
      if (known === undefined) declare.push(made);
      if (target) targets.set(architecture, known ?? made);
    }
  }
  if (declare.length > 0 && own.length + declare.length > MAX_RELEASES) {
    return stopped(
      "UpstreamInvalid",
      `The channel has made ${own.length} Releases, and makes ${MAX_RELEASES} at most: delete those that nothing runs.`,
    );
  }
  const followed = followedOf(targets, own.length + declare.length);
  return { declare, ...promotion(channel, upstream, targets), followed };
}

/** `made`: Releases of the channel. */
function followedOf(targets: ReadonlyMap<Architecture, Release>, made: number): Why {
  const names = [...targets].map(([architecture, { metadata }]) => `${metadata.name} for ${architecture}`);
  const offers =
    names.length === 0 ? "The upstream offers nothing now." : `The upstream offers ${names.join(", ")}.`;
  if (made < MANY_RELEASES) return { reason: "UpstreamFollowed", message: offers };
  return {
    reason: "UpstreamCrowded",
    message: `${offers} The channel has made ${made} Releases, and makes ${MAX_RELEASES} at most: delete the oldest that nothing runs.`,
  };
}

/** Newest version that the channel points at, or that was made for it. */
function newestOf(
  channel: Channel,
  architecture: Architecture,
  own: readonly Release[],
  byName: ReadonlyMap<string, Release>,
): string | undefined {
  const { spec } = channel;
  const name = spec.architectures?.find((one) => one.architecture === architecture)?.release ?? spec.release;
  const present = name === undefined ? undefined : byName.get(name);
  const made = own.filter(({ spec: { omaha } }) => omaha?.some((one) => one.architecture === architecture));
  const versions = [...made, ...(present === undefined ? [] : [present])].map(
    (release) => release.spec.version,
  );
  return versions.toSorted(compareVersions).at(-1);
}

/** Names of objects are RFC 1123 subdomains. */
function nameOf(channel: Channel, version: string, architecture: Architecture): string {
  return `${channel.metadata.name}-${version}-${architecture}`.toLowerCase().replaceAll(/[^a-z0-9.-]+/g, "-");
}

function releaseOf(
  channel: Channel,
  upstream: Upstream,
  architecture: Architecture,
  { manifest, codebases }: Step,
  steppingStone: boolean,
): Release | Why {
  const { version, payload, extras } = manifest;
  const places = upstream.codebases ?? codebases.map((url) => (url.endsWith("/") ? url : `${url}/`));
  const spec = ReleaseSpec.safeParse({
    ...{ version, product: upstream.product, steppingStone },
    omaha: [{ architecture, codebases: places, payload, extras }],
  });
  if (!spec.success) {
    const [issue] = spec.error.issues;
    return {
      reason: "UpstreamInvalid",
      message: `What the upstream offers for ${architecture} can't be declared: ${issue?.path.join(".")}: ${issue?.message}.`,
    };
  }
  const { name, uid = "" } = channel.metadata;
  return {
    apiVersion: API_VERSION,
    kind: "Release",
    metadata: {
      name: nameOf(channel, version, architecture),
      ownerReferences: [{ apiVersion: API_VERSION, kind: "Channel", name, uid }],
    },
    spec: spec.data,
  };
}

/** Whether both are the same files: where they lie may have changed, and a stone may have become the target. */
function sameContent({ spec: a }: Release, { spec: b }: Release): boolean {
  const files = ({ omaha = [] }: ReleaseSpec): string =>
    JSON.stringify(
      omaha.map(({ architecture, payload, extras }) => [
        architecture,
        ...[payload, ...extras.toSorted((x, y) => (x.name < y.name ? -1 : 1))].map(
          ({ name, size, sha256 }) => `${name} ${size} ${sha256}`,
        ),
      ]),
    );
  return a.product === b.product && a.version === b.version && files(a) === files(b);
}

/** Where it is asked for, and nothing is quarantined: all architectures at once. */
function promotion(
  { spec }: Channel,
  { follow, architectures }: Upstream,
  targets: ReadonlyMap<Architecture, Release>,
): Pick<Decision, "promote"> {
  const [first] = architectures;
  const lead = first === undefined ? undefined : targets.get(first);
  if (follow !== "Promote" || lead === undefined || targets.size < architectures.length) return {};
  const bad = [...targets.values()].some(
    ({ status }) =>
      status?.conditions?.some((one) => one.type === "Quarantined" && one.status === "True") === true,
  );
  if (bad) return {};
  const wanted = [...targets].map(([architecture, { metadata }]) => ({
    architecture,
    release: metadata.name,
  }));
  const release = lead.metadata.name;
  const stands =
    spec.release === release &&
    (targets.size === 1 ||
      wanted.every((one) =>
        spec.architectures?.some(
          (other) => other.architecture === one.architecture && other.release === one.release,
        ),
      ));
  if (stands) return {};
  return { promote: { release, ...(targets.size === 1 ? {} : { architectures: wanted }) } };
}

/** `failed`: what is wrong with the way to the upstream; undefined where it answered. */
export function conditionsOf(failed: Why | undefined, followed: Why | undefined): ConditionUpdate[] {
  const reachable: ConditionUpdate =
    failed === undefined
      ? {
          type: "UpstreamReachable",
          status: "True",
          reason: "UpstreamAnswered",
          message: "The upstream answered.",
        }
      : { type: "UpstreamReachable", status: "False", ...failed };
  if (followed === undefined) return [reachable];
  const followedIt = followed.reason === "UpstreamFollowed" || followed.reason === "UpstreamCrowded";
  const status = followedIt ? "True" : "False";
  return [reachable, { type: "UpstreamFollowed", status, ...followed }];
}
