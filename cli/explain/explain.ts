/** Why a node is as it is: one sentence, then the chain of facts, then the commands that change it. */
import type { Snapshot } from "../snapshot.ts";
import { type Fact, factsOf } from "./facts.ts";
import { type Advice, commands, type Finding, finding, type Situation } from "./finding.ts";
import { underGrant } from "./grant.ts";
import { withoutGrant } from "./idle.ts";
import { outside } from "./outside.ts";
import { leaderOf, type Subject, subjectOf } from "./subject.ts";
import { when } from "./words.ts";

export interface Explanation {
  name: string;
  situation: Situation;
  /** One sentence, that names the node. */
  sentence: string;
  facts: readonly Fact[];
  advice: readonly Advice[];
}

/**
 * Explains the Node, NodeUpdate or machine id `name`; undefined if there is none. `now`: wall
 * clock, ms; a manager whose Lease is older than two of its durations counts as away.
 */
export function explain(snapshot: Snapshot, name: string, now: number): Explanation | undefined {
  const subject = subjectOf(snapshot, name);
  if (subject === undefined) return undefined;
  const found = find(subject, snapshot, now);
  return inSentence(subject.name, found, factsOf(subject, snapshot, now), snapshot, now);
}

/** What was found of `name`, with how far that holds where no manager leads. `now`: wall clock, ms. */
export function inSentence(
  name: string,
  found: Finding,
  facts: readonly Fact[],
  snapshot: Pick<Snapshot, "lease">,
  now: number,
): Explanation {
  const leader = leaderOf(snapshot, now);
  const own = { name, facts, advice: found.advice };
  if (leader.state === "leads" || leader.state === "unknown") {
    return { ...own, situation: found.situation, sentence: `${name} ${found.says}.` };
  }
  const never = leader.state === "never" || leader.since === undefined;
  const led = never ? "has ever led" : `has led since ${when(leader.since ?? now, now)}`;
  return {
    ...own,
    situation: "ManagerAway",
    sentence: `No manager ${led}, so nothing new begins; as far as is known, ${name} ${found.says}.`,
    advice: [commands.doctor, ...found.advice],
  };
}

function find(subject: Subject, snapshot: Snapshot, now: number): Finding {
  const { update, group } = subject;
  const found = outside(subject, snapshot) ?? underGrant(subject, now);
  if (found !== undefined) return found;
  if (update === undefined || group === undefined) return finding("NoGroup", "is in no UpdateGroup");
  return withoutGrant({ ...subject, update, group }, snapshot, now);
}
