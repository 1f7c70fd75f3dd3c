/** Situations that `why` is asked about in its tests: recorded from a living fleet, and changed from those. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { HOLD_ANNOTATION, STEAL_ANNOTATION, WITHHELD_ANNOTATION } from "../../api/labels.ts";
import type { GrantStatus, NodeUpdate, NodeUpdateStatus, Step } from "../../api/node-update.ts";
import type { UpdateGroup } from "../../api/update-group.ts";
import type { Snapshot } from "../snapshot.ts";
import { type Explanation, explain } from "./explain.ts";
import type { Situation } from "./finding.ts";

const FOLDER = join(import.meta.dirname, "../testdata/why");

type Mutable<T> = T extends readonly (infer E)[]
  ? Mutable<E>[]
  : T extends object
    ? { -readonly [K in keyof T]: Mutable<T[K]> }
    : T;

export interface Recorded {
  node: string;
  /** Wall clock, ms. */
  now: number;
  snapshot: Mutable<Snapshot>;
}

/** What explain.days.test.ts wrote. */
export function recorded(file: string): Recorded {
  const { node, now, snapshot } = JSON.parse(readFileSync(join(FOLDER, `${file}.json`), "utf8")) as Omit<
    Recorded,
    "now"
  > & {
    now: string;
  };
  return { node, now: Date.parse(now), snapshot };
}

export type Change = (moment: Recorded) => void;

export function update({ snapshot, node }: Recorded): Mutable<NodeUpdate> {
  const found = snapshot.nodeUpdates.find(({ metadata }) => metadata.name === node);
  if (found === undefined) throw new Error(`no NodeUpdate ${node} was recorded`);
  return found;
}

export function group(moment: Recorded): Mutable<UpdateGroup> {
  const name = update(moment).spec.group;
  const found = moment.snapshot.groups.find(({ metadata }) => metadata.name === name);
  if (found === undefined) throw new Error(`no UpdateGroup ${name} was recorded`);
  return found;
}

/** The status says so since a minute. */
export function says(
  step: Step,
  reason: string,
  message: string,
  more: Partial<NodeUpdateStatus> = {},
): Change {
  return (moment) => {
    const nodeUpdate = update(moment);
    const since = new Date(moment.now - 60_000).toISOString().replace(".000Z", "Z");
    nodeUpdate.status = {
      ...nodeUpdate.status,
      step,
      reason,
      message,
      since,
      ...(more as Mutable<NodeUpdateStatus>),
    };
  };
}

/** It holds a slot since five minutes, in `phase`. */
export function grant(
  phase: GrantStatus["phase"],
  more: Partial<GrantStatus> = {},
): Partial<NodeUpdateStatus> {
  return {
    grant: {
      nonce: "n",
      budgets: ["group/calm"],
      phase,
      release: "harbor-1.1.0-calm",
      since: "2026-01-05T11:55:00Z",
      policy: {
        drain: { enabled: true, timeout: "10m", onTimeout: "Abort", onWindowClose: "Abort" },
        bootDeadline: "5m",
        rebootTime: "1m",
        releaseDeadline: "10m",
      },
      ...more,
    },
  };
}

export function held(reason: string): Change {
  return ({ snapshot, node }) => {
    const found = snapshot.nodes.find(({ metadata }) => metadata.name === node);
    if (found !== undefined) found.metadata.annotations = { [HOLD_ANNOTATION]: reason };
  };
}

export function annotated(key: string, value: string): Change {
  return (moment) => {
    const { metadata } = update(moment);
    metadata.annotations = { ...metadata.annotations, [key]: value };
  };
}

export const steal = (reason: string): Change => annotated(STEAL_ANNOTATION, reason);

export function withheld(reason: string, message: string): Change {
  return annotated(WITHHELD_ANNOTATION, JSON.stringify({ reason, message }));
}

export function groupSpec(spec: Partial<UpdateGroup["spec"]>): Change {
  return (moment) => void Object.assign(group(moment).spec, spec);
}

export function all(...changes: readonly Change[]): Change {
  return (moment) => {
    for (const change of changes) change(moment);
  };
}

/** A moment, what is changed in it, and what `why` has to say then. */
export interface Case {
  /** Of cli/testdata/why/. */
  file: string;
  change?: Change;
  situation: Situation;
  sentence: string;
}

export function explained({ file, change }: Pick<Case, "file" | "change">): Explanation | undefined {
  const moment = recorded(file);
  change?.(moment);
  return explain(moment.snapshot, moment.node, moment.now);
}

/** Throws where an advised command lacks what it acts on, or its effect reads badly. */
export function adviceIsSound(explanation: Explanation | undefined): void {
  for (const { command, effect } of explanation?.advice ?? []) {
    const whole =
      /^(?:kubectl \S+|update_engine_client|rm) .*\S$/.test(command) && !/ {2}|undefined/.test(command);
    if (!whole || !/^[a-z].*[^.]$/.test(effect)) throw new Error(`"${command}": ${effect}`);
  }
}
