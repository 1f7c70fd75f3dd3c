/**
 * What a rollout would do to which node, and when: by stage and place in the order, limits, and
 * openings. It promises nothing: budgets that groups share, blockers and failures are not foreseen.
 */
import { cohortsOf } from "../api/cohort.ts";
import { parseDuration } from "../api/duration.ts";
import { limitOf } from "../api/int-or-percent.ts";
import { WITHHELD_ANNOTATION } from "../api/labels.ts";
import type { NodeUpdate } from "../api/node-update.ts";
import { type Opening, openingsOf } from "../api/openings.ts";
import type { Release } from "../api/release.ts";
import type { UpdateGroup } from "../api/update-group.ts";
import { compareVersions } from "../api/version.ts";
import { holds, isImageOf, subjectOf } from "./explain/subject.ts";
import type { Snapshot } from "./snapshot.ts";

export interface Step {
  node: string;
  stage: string;
  from: string;
  to: string;
  /** `done`, `stays` (see `why`), `now` (holds a slot), or `would`. */
  fate: "done" | "stays" | "now" | "would";
  /** Not before: wall clock, ms; undefined where no opening is known for it. */
  at: number | undefined;
  why: string;
}

export interface Forecast {
  group: string;
  release: string;
  /** Milliseconds that one node is taken to need, and what that rests on. */
  perNode: number;
  basis: string;
  /** Most that a node may need by the group's deadlines, ms: an opening shorter than that takes none. */
  atMost: number;
  steps: readonly Step[];
  /** What stands in the way of the whole. */
  obstacles: readonly string[];
}

/** Reboots of the past that the time a node takes is learnt from. */
const SAMPLE = 20;

/** `now`: wall clock, ms. */
export function forecast(snapshot: Snapshot, group: UpdateGroup, release: Release, now: number): Forecast {
  const { name } = group.metadata;
  const members = snapshot.nodeUpdates.filter(({ spec }) => spec.group === name);
  const { spec } = release;
  const candidates = members.map((update) => ({
    update,
    uid: update.spec.nodeUID ?? update.spec.machineRef?.machineId ?? update.metadata.name,
    labels:
      subjectOf(snapshot, update.metadata.name)?.node?.metadata.labels ??
      update.spec.machineRef?.labels ??
      {},
    given:
      update.spec.release === release.metadata.name ||
      update.status?.verifiedRelease === release.metadata.name,
  }));
  const byUid = new Map(candidates.map((candidate) => [candidate.uid, candidate]));
  const atMost = deadlinesOf(group);
  const { perNode, basis } = paceOf(members, atMost);
  const calendar = new Calendar(openingsOf(group, snapshot.windows, now), atMost, now);
  const steps: Step[] = [];
  let from = now;
  const rate = new Rate(group);
  for (const cohort of cohortsOf(group.spec.stages, candidates, spec.version)) {
    const limits = new Limits(group, members.length);
    const queue: { step: Step; labels: Readonly<Record<string, string>> }[] = [];
    for (const uid of cohort.members) {
      const candidate = byUid.get(uid);
      if (candidate === undefined) continue;
      const step = fateOf(snapshot, candidate.update, release, cohort.name);
      steps.push(step);
      if (step.fate === "would" || step.fate === "now") queue.push({ step, labels: candidate.labels });
    }
    let end: number | undefined = from;
    while (queue.length > 0 && end !== undefined) {
      const wave = limits.wave(queue, rate.room(end));
      if (wave.length === 0) {
        end = rate.next(end);
        continue;
      }
      const begins: number | undefined = wave.every(({ step }) => step.fate === "now")
        ? end
        : calendar.place(end);
      for (const entry of wave) {
        if (entry.step.fate === "would") entry.step.at = begins;
        queue.splice(queue.indexOf(entry), 1);
      }
      if (begins !== undefined) rate.use(begins, wave.length);
      end = begins === undefined ? undefined : begins + perNode + parseDuration(group.spec.settle);
    }
    if (end === undefined) {
      // What no known opening has room for stays without a time, and so do the stages after it.
      from = Number.POSITIVE_INFINITY;
    } else if (cohort.members.length > 0) from = end + parseDuration(cohort.soak);
  }
  return {
    group: name,
    release: release.metadata.name,
    perNode,
    basis,
    atMost,
    steps,
    obstacles: obstaclesOf(group, release),
  };
}

function obstaclesOf(group: UpdateGroup, release: Release): string[] {
  const found: string[] = [];
  const { name } = release.metadata;
  if (group.spec.paused)
    found.push(`UpdateGroup ${group.metadata.name} is paused: nothing begins before it is resumed.`);
  if (holds(group, "Halted") && group.status?.target === name)
    found.push(`UpdateGroup ${group.metadata.name} stopped itself on ${name}.`);
  if (holds(release, "Quarantined")) found.push(`Release ${name} is quarantined: nothing moves to it.`);
  if (group.spec.strategy === "Off")
    found.push("The group's strategy is Off: images are staged, and no node reboots.");
  if (group.spec.driver === "sentinel") found.push("The group's driver is sentinel: it has no releases.");
  return found;
}

function fateOf(snapshot: Snapshot, update: NodeUpdate, release: Release, stage: string): Step {
  const { status, metadata } = update;
  const { running = "", architecture } = status ?? {};
  const step: Step = {
    node: metadata.name,
    stage,
    from: running,
    to: release.spec.version,
    fate: "would",
    at: undefined,
    why: "",
  };
  const stays = (why: string): Step => ({ ...step, fate: "stays", why });
  if (isImageOf(release, status?.runningRootHash)) return { ...step, fate: "done", why: "runs it already" };
  if (status?.grant !== undefined)
    return { ...step, fate: "now", why: `holds a slot (${status.grant.phase})` };
  const subject = subjectOf(snapshot, metadata.name);
  if ((subject?.claimants.length ?? 0) > 1) return stays("two groups select it");
  if (subject?.held !== undefined) return stays(`held: ${subject.held}`);
  if (status?.connected !== true) return stays("its agent is away");
  if (!release.spec.payloads.some((payload) => payload.architecture === architecture))
    return stays(`the release has no payload for ${architecture ?? "its architecture"}`);
  const failed = status.failed?.find(({ rootHash }) => isImageOf(release, rootHash));
  if (failed !== undefined) return stays(`it failed there before (${failed.reason})`);
  if (
    update.spec.release === release.metadata.name &&
    metadata.annotations?.[WITHHELD_ANNOTATION] !== undefined
  )
    return stays("the rollout withholds it");
  if (compareVersions(running, release.spec.version) > 0)
    return stays(`it is older than ${running}: a downgrade needs \`rollout rollback\``);
  const { updatesFrom } = release.spec;
  if (updatesFrom !== undefined && compareVersions(running, updatesFrom) < 0) {
    const stone = snapshot.releases.find(
      ({ spec }) =>
        spec.steppingStone &&
        compareVersions(spec.version, running) > 0 &&
        compareVersions(spec.version, updatesFrom) >= 0,
    );
    if (stone === undefined) return stays(`the release updates from ${updatesFrom} on`);
    return { ...step, why: `by way of ${stone.metadata.name}` };
  }
  return step;
}

/** Drain, hooks, a reboot that fails until its deadline, and the fallback's: what must fit into an opening. */
function deadlinesOf({ spec }: UpdateGroup): number {
  const drain = spec.drain.enabled ? parseDuration(spec.drain.timeout) : 0;
  const hooks = (spec.hooks?.before ?? []).reduce((sum, { timeout }) => sum + parseDuration(timeout), 0);
  return (
    drain + hooks + 2 * (parseDuration(spec.health.rebootTime) + parseDuration(spec.health.bootDeadline))
  );
}

/** From the grant to the end of verification, as it was lately; by the deadlines where nothing was seen. */
function paceOf(members: readonly NodeUpdate[], atMost: number): { perNode: number; basis: string } {
  const seen = members.flatMap(({ status }) => {
    const newest = status?.transitions ?? [];
    const end = newest.findIndex(
      ({ step }, index) => step !== "Verifying" && newest[index + 1]?.step === "Verifying",
    );
    const start = newest.findIndex(
      ({ step }, index) => index > end && (step === "Idle" || step === "Staged"),
    );
    const [first, last] = [newest[start - 1], newest[end]];
    if (end < 0 || start < 0 || first === undefined || last === undefined) return [];
    return [Date.parse(last.time) - Date.parse(first.time)];
  });
  const sample = seen.toSorted((a, b) => a - b).slice(-SAMPLE);
  const median = sample[Math.floor(sample.length / 2)];
  if (median === undefined)
    return { perNode: atMost, basis: "the group's deadlines, for want of past updates" };
  return { perNode: median, basis: `the median of the last ${sample.length} updates` };
}

/** Places a wave into the openings: it must fit by the deadlines, as a grant must. */
class Calendar {
  readonly #openings: readonly Opening[];
  readonly #needs: number;
  readonly #now: number;

  constructor(openings: readonly Opening[], needs: number, now: number) {
    this.#openings = openings;
    this.#needs = needs;
    this.#now = now;
  }

  place(from: number): number | undefined {
    if (!Number.isFinite(from)) return undefined;
    for (const { start, end } of this.#openings) {
      const begins = Math.max(from, start, this.#now);
      if (end === null || begins + this.#needs <= end) return begins;
    }
    return undefined;
  }
}

/** The group's own limits; those of budgets that it shares are not foreseen. */
class Limits {
  readonly #total: number;
  readonly #topology: readonly { key: string; limit: number }[];

  constructor({ spec }: UpdateGroup, members: number) {
    this.#total =
      spec.strategy === "Immediate" || spec.strategy === "Coordinated"
        ? limitOf(spec.maxUnavailable, members)
        : 0;
    this.#topology = spec.topology.map(({ key, maxUnavailable }) => ({
      key,
      limit: limitOf(maxUnavailable, members),
    }));
  }

  /** The first of `queue` that may be down at once; `room` more allows the rate. */
  wave<T extends { step: Step; labels: Readonly<Record<string, string>> }>(
    queue: readonly T[],
    room: number,
  ): T[] {
    const chosen: T[] = [];
    const used = new Map<string, number>();
    for (const entry of queue) {
      if (chosen.length >= Math.min(Math.max(1, this.#total), room)) break;
      const domains = this.#topology.map(({ key, limit }) => ({
        limit,
        name: `${key}=${entry.labels[key] ?? entry.step.node}`,
      }));
      if (domains.some(({ name, limit }) => (used.get(name) ?? 0) >= limit)) continue;
      for (const { name } of domains) used.set(name, (used.get(name) ?? 0) + 1);
      chosen.push(entry);
    }
    return chosen;
  }
}

/** At most so many updates a period. */
class Rate {
  readonly #rate: { updates: number; period: number } | undefined;
  #used: number[] = [];

  constructor({ spec }: UpdateGroup) {
    this.#rate =
      spec.rate === undefined
        ? undefined
        : { updates: spec.rate.updates, period: parseDuration(spec.rate.period) };
  }

  room(at: number): number {
    if (this.#rate === undefined) return Number.POSITIVE_INFINITY;
    const { updates, period } = this.#rate;
    return updates - this.#used.filter((time) => time > at - period).length;
  }

  use(at: number, count: number): void {
    for (let index = 0; index < count; index++) this.#used.push(at);
  }

  next(at: number): number | undefined {
    if (this.#rate === undefined) return undefined;
    const { period } = this.#rate;
    const blocking = this.#used.filter((time) => time > at - period);
    return blocking.length === 0 ? undefined : Math.min(...blocking) + period;
  }
}
