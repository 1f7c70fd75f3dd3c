/**
 * Which node belongs to which stage. For every release the nodes have another order, by
 * SHA-256 of node and version, so that the same machines aren't always the first to suffer,
 * and yet each manager, and each restart of one, finds the same.
 */
import { createHash } from "node:crypto";
import { stageSizeOf } from "./int-or-percent.ts";
import { type LabelSelector, matches } from "./selector.ts";
import type { Stage } from "./update-group.ts";

/** A node as the order needs it. */
export interface Candidate {
  /** UID of the Node, or machine id. */
  uid: string;
  labels: Readonly<Record<string, string>>;
  /** Whether the release was given to it already: it keeps its place before newcomers. */
  given: boolean;
}

/** A stage with the nodes that it adds to those before it. */
export interface Cohort {
  name: string;
  /** `Duration`; `0s` for the implicit stage. */
  soak: string;
  /** uids. */
  members: string[];
  /** Members of this and all earlier cohorts. */
  size: number;
}

/** Name of the implicit last stage. */
const REST = "rest";

/** `candidates` in the order of `version`: those that have the release already come first. */
export function orderOf<T extends Candidate>(candidates: readonly T[], version: string): T[] {
  return candidates
    .map((candidate) => ({ candidate, key: rank(candidate.uid, version) }))
    .toSorted((a, b) => {
      if (a.candidate.given !== b.candidate.given) return a.candidate.given ? -1 : 1;
      return a.key < b.key ? -1 : a.key > b.key ? 1 : 0;
    })
    .map(({ candidate }) => candidate);
}

/** Where a machine stands in the order of `version`, 0 to 1: of those whose number nobody knows, a share goes first. */
export function shareOf(uid: string, version: string): number {
  return Number.parseInt(rank(uid, version).slice(0, 8), 16) / 2 ** 32;
}

function rank(uid: string, version: string): string {
  return createHash("sha256").update(`${version}\n${uid}`).digest("hex");
}

/**
 * The cohorts of a rollout. A stage with a selector adds the nodes that it selects; a stage
 * with a count fills up to that many nodes, those of earlier stages included. What is left
 * is an implicit last stage, which is there only if it has nodes or is the only one.
 */
export function cohortsOf(
  stages: readonly Stage[],
  candidates: readonly Candidate[],
  version: string,
): Cohort[] {
  const ordered = orderOf(candidates, version);
  const placed = new Set<string>();
  const cohorts: Cohort[] = [];
  const add = (name: string, soak: string, chosen: readonly Candidate[]): void => {
    const members = chosen.map((candidate) => candidate.uid);
    for (const uid of members) placed.add(uid);
    cohorts.push({ name, soak, members, size: placed.size });
  };
  for (const stage of stages) {
    const left = ordered.filter((candidate) => !placed.has(candidate.uid));
    const chosen =
      stage.count === undefined
        ? left.filter((candidate) => selects(stage.nodeSelector, candidate))
        : left.slice(0, Math.max(0, stageSizeOf(stage.count, ordered.length) - placed.size));
    add(stage.name, stage.soak, chosen);
  }
  const left = ordered.filter((candidate) => !placed.has(candidate.uid));
  if (left.length > 0 || stages.length === 0) {
    add(stages.some((stage) => stage.name === REST) ? `${REST}-of-all` : REST, "0s", left);
  }
  return cohorts;
}

function selects(selector: LabelSelector | undefined, candidate: Candidate): boolean {
  return selector !== undefined && matches(selector, candidate.labels);
}
