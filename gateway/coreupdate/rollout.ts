/**
 * CoreUpdate's rollout (frames: a percentage of machines for some seconds each, up to 100) as the stages of a group, and
 * back. A stage needs more than time: it passes only if machines are good on the release for so long. So ours is never
 * ahead of the frames, but that a stage of more than nobody is never smaller than 1 %; it is later where machines are
 * slow or bad. A frame of 0 % is a stage of nobody, which passes by the machines on which a person asked.
 */
import { parseDuration } from "../../api/duration.ts";
import { NOBODY_LABEL } from "../../api/labels.ts";
import type { Stage, UpdateGroup, UpdateGroupStatus } from "../../api/update-group.ts";
import { Problem } from "./problem.ts";
import type { Frame } from "./wire.ts";

/** Stages of a group at most (`api/update-group.ts`). */
const MAX_STAGES = 16;
const NAME = "coreupdate-";
/** Of a stage that nothing follows until a person says so: more than eleven years, the longest that a soak may be. */
const HELD = "99999h";

export type OurStage = Pick<Stage, "name" | "count" | "nodeSelector" | "soak">;

/** Throws `Problem` 400 where the frames are none of a rollout. */
export function stagesOf(frames: readonly Frame[]): OurStage[] {
  if (frames.length === 0) throw new Problem(400, "A rollout needs at least one frame.");
  /** Percentages below 100, rising, and for how many seconds each lasts. */
  const levels: { percent: number; seconds: number }[] = [];
  let before = 0;
  for (const { percent, duration } of frames) {
    if (percent < before || percent > 100.001) {
      throw new Problem(400, "The percentages of a rollout's frames rise from 0 to 100.");
    }
    if (duration < 0) throw new Problem(400, "The duration of a frame is a number of seconds.");
    before = percent;
    // A sum of fractions may miss a whole number by a little.
    const whole = percent === 0 ? 0 : Math.max(1, Math.floor(percent + 1e-6));
    if (whole >= 100) break;
    const last = levels.at(-1);
    if (last?.percent === whole) last.seconds += duration;
    else levels.push({ percent: whole, seconds: duration });
  }
  if (before < 99.999) throw new Problem(400, "The last frame of a rollout has 100 percent.");
  const size = Math.ceil(levels.length / MAX_STAGES);
  const groups = Array.from({ length: Math.ceil(levels.length / Math.max(1, size)) }, (_, i) =>
    levels.slice(i * size, (i + 1) * size),
  );
  return groups.map((group) => {
    const seconds = group.reduce((sum, level) => sum + level.seconds, 0);
    return stage(group[0]?.percent ?? 0, durationText(seconds));
  });
}

/** Throws `Problem` 400. */
export function stagesAt(percent: number): OurStage[] {
  if (percent >= 100) return [];
  if (percent < 0 || (percent > 0 && percent < 1)) {
    throw new Problem(400, "A stage has whole percents of the machines: 0, or 1 and more.");
  }
  return [stage(Math.floor(percent), HELD)];
}

function stage(percent: number, soak: string): OurStage {
  const members =
    percent === 0 ? { nodeSelector: { matchLabels: { [NOBODY_LABEL]: "" } } } : { count: `${percent}%` };
  return { name: `${NAME}${percent}`, ...members, soak };
}

export interface Rollout {
  frames: Frame[];
  active: boolean;
  /** Of the machines, 0 to 100, that are let in now. */
  percent: number;
}

/** What CoreUpdate says of the group's stages; of those of machines by name or number it says nothing. */
export function rolloutOf(group: UpdateGroup, remembered: readonly Frame[] | undefined): Rollout {
  const stages = group.spec.stages.filter((one) => typeof one.count === "string" || isNobody(one));
  if (stages.length === 0) return { frames: [], active: false, percent: 100 };
  const open = openStage(stages, group.status);
  const percent = open === undefined ? 100 : percentOf(open);
  const held = stages.at(-1)?.soak === HELD;
  const frames = stages.map((one) => ({ percent: percentOf(one), duration: secondsOf(one.soak) }));
  const last = { percent: 100, duration: 0 };
  if (!held) return { frames: [...frames, last], active: open !== undefined, percent };
  if (remembered === undefined) return { frames: [], active: false, percent };
  return { frames: [...frames.slice(0, -1), ...remembered, last], active: false, percent };
}

/** Stages that stop where the group is, and the frames that are remembered for later, which begin with that one. */
export function frozen(group: UpdateGroup): { stages: OurStage[]; remembered: Frame[] } | undefined {
  const { stages } = group.spec;
  const open = openStage(stages, group.status);
  if (open === undefined || stages.at(-1)?.soak === HELD) return undefined;
  const at = stages.indexOf(open);
  return {
    stages: stages.slice(0, at + 1).map((one, i) => stage(percentOf(one), i === at ? HELD : one.soak)),
    remembered: stages.slice(at).map((one) => ({ percent: percentOf(one), duration: secondsOf(one.soak) })),
  };
}

/** The stages of a rollout that goes on. */
export function thawed(group: UpdateGroup, remembered: readonly Frame[]): OurStage[] {
  const before = group.spec.stages.slice(0, -1).map((one) => stage(percentOf(one), one.soak));
  return [...before, ...remembered.map(({ percent, duration }) => stage(percent, durationText(duration)))];
}

/** Stages that were not made here: to add to them would be neither theirs nor ours. */
export function foreignStages(group: UpdateGroup): string[] {
  return group.spec.stages
    .filter((one) => {
      const known = typeof one.count === "string" || isNobody(one);
      return !known || one.name !== `${NAME}${percentOf(one)}`;
    })
    .map(({ name }) => name);
}

/** The last one that opened; the first where nobody knows; undefined once all have passed. */
function openStage<T extends { name: string }>(
  stages: readonly T[],
  status: UpdateGroupStatus | undefined,
): T | undefined {
  const known = (name: string) => status?.stages?.find((one) => one.name === name);
  const open = stages.find(({ name }) => known(name)?.passedAt === undefined);
  return open;
}

function isNobody({ nodeSelector }: Pick<Stage, "nodeSelector">): boolean {
  return nodeSelector?.matchLabels?.[NOBODY_LABEL] === "";
}

function percentOf({ count }: Pick<Stage, "count">): number {
  return typeof count === "string" ? Number.parseInt(count, 10) : 0;
}

function secondsOf(soak: string): number {
  return parseDuration(soak) / 1000;
}

/** As a `Duration`; of more than eleven years the longest that there is. */
export function durationText(seconds: number): string {
  const hours = Math.floor(seconds / 3600);
  if (hours >= 99_999) return HELD;
  const parts = [
    [hours, "h"],
    [Math.floor((seconds % 3600) / 60), "m"],
    [Math.floor(seconds % 60), "s"],
  ] as const;
  return parts.flatMap(([n, unit]) => (n === 0 ? [] : [`${n}${unit}`])).join("") || "0s";
}
