/** Failures that count against a release, and when they are too many (design, rule 8). */
import { ObjectName } from "../../api/channel.ts";
import { liesAhead, timestamp } from "../../api/meta.ts";
import type { Release } from "../../api/release.ts";
import type { Failure, UpdateGroup } from "../../api/update-group.ts";
import type { Tally } from "../../coordination/records.ts";
import { failuresOn } from "../release/policy.ts";
import type { Member } from "./member.ts";

/** Failures that a status keeps, and the characters of each message. */
const KEPT = 50;
const MESSAGE = 1024;
/** Characters of a resume word that a status keeps. */
const WORD = 253;
/** update_engine's kErrorCodeRollback: booted into the version from before. */
const ROLLED_BACK = 44;

export interface Failures {
  /** Newest first, as many as a status keeps. */
  list: Failure[];
  /** Nodes that failed; may be more than the list shows. */
  count: number;
  /** Names of those nodes. */
  nodes: ReadonlySet<string>;
}

/** What was forgotten by a person, and by which word. */
export interface Resume {
  resumed: string | undefined;
  /** Wall clock, ms; failures up to then don't count. */
  at: number | undefined;
  /** Whether the word is new. */
  fresh: boolean;
}

/** The state of the resume annotation: a word that the status doesn't know forgets what was. */
export function resumeOf(group: UpdateGroup, word: string | undefined, now: number): Resume {
  const { resumed, resumedAt } = group.status ?? {};
  const known = word?.slice(0, WORD);
  if (known !== undefined && known !== "" && known !== resumed) {
    return { resumed: known, at: wholeSeconds(now), fresh: true };
  }
  const at = resumedAt === undefined ? undefined : Date.parse(resumedAt);
  return { resumed, at: at !== undefined && liesAhead(at, now) ? wholeSeconds(now) : at, fresh: false };
}

/** Whether a failure at `time` is not later than the resume. Times in objects have whole seconds. */
export function isForgiven(time: string, resumedAt: number | undefined): boolean {
  return resumedAt !== undefined && wholeSeconds(Date.parse(time)) <= resumedAt;
}

function wholeSeconds(milliseconds: number): number {
  return Math.floor(milliseconds / 1000) * 1000;
}

/**
 * Failures of `members` on the releases `targets`, and on `stones` since `began` (the way
 * to another target may have led over them before), united with `remembered`, whose nodes
 * may be gone. A node counts once for each release.
 */
export function failuresOf(
  members: readonly Member[],
  targets: readonly Release[],
  stones: readonly Release[],
  began: number,
  remembered: readonly Failure[],
  resume: Resume,
): Failures {
  const names = new Set([...targets, ...stones].map((release) => release.metadata.name));
  const newest = new Map<string, Failure>();
  const add = (failure: Failure): void => {
    if (!names.has(failure.release)) return;
    if (isForgiven(failure.time, resume.at)) return;
    const key = `${failure.node}\n${failure.release}`;
    const before = newest.get(key);
    if (before === undefined || Date.parse(before.time) < Date.parse(failure.time)) newest.set(key, failure);
  };
  for (const failure of remembered) add(failure);
  for (const member of members) {
    for (const release of [...targets, ...stones]) {
      const [last] = failuresOn(release, member.update?.status);
      if (last === undefined) continue;
      if (!targets.includes(release) && Date.parse(last.time) < began) continue;
      const { reason, message, time } = last;
      add({
        node: member.name,
        release: release.metadata.name,
        reason,
        message: message.slice(0, MESSAGE),
        time,
      });
    }
  }
  const all = [...newest.values()].toSorted(
    (a, b) =>
      Date.parse(b.time) - Date.parse(a.time) ||
      (a.node < b.node ? -1 : 1) ||
      (a.release < b.release ? -1 : 1),
  );
  const nodes = new Set(all.map((failure) => failure.node));
  return { list: shown(all), count: nodes.size, nodes };
}

/** Failures of machines that speak Omaha: a code of update_engine, which has no words for it. */
export function failuresOfMachines(tallies: ReadonlyMap<string, Tally> | undefined): Failure[] {
  return [...(tallies ?? [])].flatMap(([release, { failures }]) =>
    failures.map(({ machine, code, at }) => ({
      node: ObjectName.safeParse(machine).success ? machine : "machine",
      release,
      reason: code === ROLLED_BACK ? "FellBack" : "UpdateFailed",
      message:
        code === ROLLED_BACK
          ? "The machine came back with the version from before."
          : `The machine reported the error code ${code} of update_engine.`,
      time: timestamp(at),
    })),
  );
}

/** As many of `all` as a status keeps, and of each release the newest: it must be told which are to blame. */
function shown(all: readonly Failure[]): Failure[] {
  const newest = new Set([...Map.groupBy(all, ({ release }) => release).values()].map(([first]) => first));
  let room = KEPT - newest.size;
  return all.filter((failure) => newest.has(failure) || room-- > 0).slice(0, KEPT);
}
