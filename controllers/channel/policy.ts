/** What a channel's status says, and which release a group moves to. */
import type { Channel, ChannelStatus } from "../../api/channel.ts";
import { type Condition, type ConditionUpdate, setCondition, timestamp } from "../../api/meta.ts";
import type { Why } from "../../api/reasons.ts";
import type { Release } from "../../api/release.ts";
import type { UpdateGroup } from "../../api/update-group.ts";

/** Promotions that a status keeps. */
const KEPT = 20;

type ByName<T> = ReadonlyMap<string, T>;

/**
 * Status of `channel`; a promotion is dated when it is first seen. `releases` by name. `upstream`: what the last look at
 * its upstream gave; none where there was no look yet, and then what the status says of it stays.
 */
export function decideChannel(
  channel: Channel,
  releases: ByName<Release>,
  now: number,
  upstream: readonly ConditionUpdate[] = [],
): ChannelStatus {
  const before = channel.status;
  const promotions = [...(before?.promotions ?? [])];
  const wanted = channel.spec.release;
  const found = wanted !== undefined && releases.has(wanted);
  if (found && promotions[0]?.release !== wanted) {
    promotions.unshift({ release: wanted, time: timestamp(now) });
  }
  const missing = [
    ...(wanted === undefined ? [] : [wanted]),
    ...(channel.spec.architectures ?? []).map((entry) => entry.release),
  ].filter((name) => !releases.has(name));
  const accepted: ConditionUpdate =
    wanted === undefined
      ? {
          type: "Accepted",
          status: "False",
          reason: "ReleaseNotFound",
          message: "The channel points at no Release yet; groups keep what they run.",
        }
      : missing.length === 0
        ? {
            type: "Accepted",
            status: "True",
            reason: "Accepted",
            message: `The channel points at ${wanted}.`,
          }
        : {
            type: "Accepted",
            status: "False",
            reason: "ReleaseNotFound",
            message: `There is no Release ${[...new Set(missing)].join(", ")}; groups keep what they run.`,
          };
  // Of an upstream that was taken out nothing is left.
  const known = before?.conditions?.filter(
    ({ type }) => channel.spec.upstream !== undefined || type === accepted.type,
  );
  const conditions = [accepted, ...upstream].reduce<Condition[] | undefined>(
    (all, one) => setCondition(all, one, channel.metadata.generation, now),
    known,
  );
  const status: ChannelStatus = {
    promotions: promotions.slice(0, KEPT),
    ...(conditions === undefined ? {} : { conditions }),
  };
  if (channel.metadata.generation !== undefined) status.observedGeneration = channel.metadata.generation;
  if (found) status.current = wanted;
  const previous = promotions.find((promotion) => promotion.release !== wanted);
  if (previous !== undefined) status.previous = previous.release;
  return status;
}

/**
 * The release that nodes of `architecture` move to, or why there is none. Without an
 * architecture: the one that stands for the group. Whether it is quarantined is not
 * looked at here.
 */
export function resolveTarget(
  group: Pick<UpdateGroup, "spec">,
  channels: ByName<Channel>,
  releases: ByName<Release>,
  architecture: string | undefined,
): Release | Why {
  const { spec } = group;
  if (spec.driver === "sentinel") {
    return { reason: "NoTarget", message: "The driver sentinel reboots only; it has no release to move to." };
  }
  if (spec.channel !== undefined && spec.release !== undefined) {
    return { reason: "InvalidSpec", message: "spec.channel and spec.release are both set: remove one." };
  }
  let name = spec.release;
  if (spec.channel !== undefined) {
    const channel = channels.get(spec.channel);
    if (channel === undefined) {
      return {
        reason: "ChannelNotFound",
        message: `There is no Channel ${spec.channel}; nodes keep what they run.`,
      };
    }
    const own = channel.spec.architectures?.find((entry) => entry.architecture === architecture);
    name = own?.release ?? channel.spec.release;
    if (name === undefined) {
      return {
        reason: "NoTarget",
        message: `Channel ${spec.channel} points at no release yet; nodes keep what they run.`,
      };
    }
  }
  if (name === undefined) {
    return { reason: "NoTarget", message: "Neither spec.channel nor spec.release is set." };
  }
  const release = releases.get(name);
  if (release === undefined) {
    return { reason: "ReleaseNotFound", message: `There is no Release ${name}; nodes keep what they run.` };
  }
  if (architecture !== undefined && !release.spec.payloads.some((p) => p.architecture === architecture)) {
    return { reason: "NoPayload", message: `Release ${name} has no payload for ${architecture}.` };
  }
  return release;
}
