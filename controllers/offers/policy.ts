/**
 * What a group's machines that speak Omaha may be offered, as a gateway is told of it: the way to the group's target
 * for each architecture, and how many of them the open stages let in (design, rules 7 and 8).
 */
import type { Channel } from "../../api/channel.ts";
import { parseDuration } from "../../api/duration.ts";
import { RETRY_MACHINES_ANNOTATION } from "../../api/labels.ts";
import type { Machines } from "../../api/machines.ts";
import type { OmahaPayload, Release } from "../../api/release.ts";
import type { UpdateGroup } from "../../api/update-group.ts";
import { compareVersions } from "../../api/version.ts";
import type { Offer, Offered } from "../../coordination/records.ts";
import { resolveTarget } from "../channel/policy.ts";
import { isRelease } from "../rollout/assignment.ts";
import { thresholdOf } from "../rollout/stage.ts";
import type { World } from "../world.ts";

const ARCHITECTURES = ["amd64", "arm64"] as const;

/** Offers of the groups that serve machines and have a target; each good until `validUntil`, wall clock ms. */
export function decideOffers(
  { groups, releases }: Pick<World, "groups" | "releases">,
  channels: readonly Channel[],
  validUntil: number,
): Offer[] {
  const byName = new Map(releases.map((release) => [release.metadata.name, release]));
  const channelOf = new Map(channels.map((channel) => [channel.metadata.name, channel]));
  return groups.flatMap((group): Offer[] => {
    const { spec, metadata, status } = group;
    if (spec.machines === undefined) return [];
    const ways = ARCHITECTURES.flatMap((architecture) => {
      const target = resolveTarget(group, channelOf, byName, undefined);
      const own = spec.channel === undefined ? undefined : channelOf.get(spec.channel);
      const name = own?.spec.architectures?.find((entry) => entry.architecture === architecture)?.release;
      const chosen = (name === undefined ? undefined : byName.get(name)) ?? target;
      return isRelease(chosen)
        ? [[architecture, chosen, wayTo(chosen, releases, architecture)] as const]
        : [];
    });
    const offered = ways.filter(([, , way]) => way.length > 0);
    const [first] = offered;
    if (first === undefined) return [];
    const [, target] = first;
    const same = status?.target === target.metadata.name;
    return [
      {
        group: metadata.name,
        tracks: [metadata.name, ...(spec.channel === undefined ? [] : [spec.channel])],
        product: target.spec.product,
        ways: Object.fromEntries(offered.map(([architecture, , way]) => [architecture, way])),
        share: openShare(group, same),
        threshold: thresholdOf({ spec, status: same ? status : undefined }),
        ...(spec.rate === undefined
          ? {}
          : { rate: { updates: spec.rate.updates, period: parseDuration(spec.rate.period) } }),
        ...(status?.resumedAt === undefined ? {} : { resumedAt: Date.parse(status.resumedAt) }),
        ...retriedAt(metadata.annotations?.[RETRY_MACHINES_ANNOTATION]),
        ...(spec.machines.downgrade ? { downgrade: true } : {}),
        ...excluded(spec.machines),
        validUntil,
      },
    ];
  });
}

function excluded({ excludedOEMs = [] }: Machines): Pick<Offer, "excludedOEMs"> {
  return excludedOEMs.length === 0 ? {} : { excludedOEMs };
}

/** What can't be read forgives nothing. */
function retriedAt(text: string | undefined): Pick<Offer, "retriedAt"> {
  const at = text === undefined ? Number.NaN : Date.parse(text);
  return Number.isNaN(at) ? {} : { retriedAt: at };
}

/** Stepping stones and then the target, as far as they have a payload for the architecture; none if the target has none. */
function wayTo(target: Release, releases: readonly Release[], architecture: string): Offered[] {
  const last = offeredOf(target, architecture);
  if (last === undefined) return [];
  const stones = releases
    .filter(
      ({ spec, metadata }) =>
        spec.steppingStone &&
        metadata.name !== target.metadata.name &&
        spec.product === target.spec.product &&
        compareVersions(spec.version, target.spec.version) < 0,
    )
    .toSorted((a, b) => compareVersions(a.spec.version, b.spec.version));
  return [...stones.flatMap((stone) => offeredOf(stone, architecture) ?? []), last];
}

function offeredOf({ metadata, spec }: Release, architecture: string): Offered | undefined {
  const found: OmahaPayload | undefined = spec.omaha?.find((one) => one.architecture === architecture);
  if (found === undefined) return undefined;
  const { codebases, payload, extras } = found;
  return {
    ...{ release: metadata.name, version: spec.version, codebases, payload, extras },
    ...(spec.updatesFrom === undefined ? {} : { updatesFrom: spec.updatesFrom }),
  };
}

/**
 * The share of machines that open stages let in. A stage that counts Nodes, or selects them, says nothing of machines
 * whose number and labels nobody knows: they come with the stages after it, or last.
 */
function openShare({ spec, status }: UpdateGroup, same: boolean): number {
  if (spec.stages.length === 0) return 1;
  let share = 0;
  for (const [index, { name, count }] of spec.stages.entries()) {
    const known = same ? status?.stages?.find((stage) => stage.name === name) : undefined;
    if (known?.openedAt === undefined) return share;
    if (typeof count === "string") share = Number.parseInt(count, 10) / 100;
    if (index === spec.stages.length - 1 && known.passedAt !== undefined) return 1;
  }
  return share;
}
