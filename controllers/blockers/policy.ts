/** Whether a group's blockers hold a node back, by what was read of them. */
import type { Blocker } from "../../api/blocker.ts";
import { timestamp } from "../../api/meta.ts";
import type { Why } from "../../api/reasons.ts";
import { matches } from "../../api/selector.ts";

export interface ReadAlert {
  name: string;
  labels: Readonly<Record<string, string>>;
  state: "firing" | "pending";
  /** Wall clock, ms: since when. */
  since: number;
}

export interface ReadPod {
  namespace: string;
  name: string;
  /** Name of the Node that it runs on. */
  node: string;
  /** Wall clock, ms: when it was made. */
  since: number;
}

/** What one blocker answered. Times are wall clock, ms. */
export type Reading =
  | { kind: "alerts"; alerts: readonly ReadAlert[] }
  | { kind: "pods"; pods: readonly ReadPod[] }
  | { kind: "allowed" }
  /** A hook said no. */
  | { kind: "refused"; message: string; since: number }
  | { kind: "failed"; cause: string; since: number };

/** By the blocker's name. What was not asked yet has no entry, and blocks nobody: it is asked before a slot is taken. */
export type Readings = ReadonlyMap<string, Reading>;

/** Alerts of Slipway itself: one that says that a rollout stands still must not be what it stands still for. */
const OWN = "Slipway*";

/** Why `node` may not take a slot now; undefined if no blocker holds it back. `node`: its name, undefined for a plain machine. */
export function blockedBy(
  group: string,
  blockers: readonly Blocker[],
  node: string | undefined,
  readings: Readings,
): Why | undefined {
  for (const blocker of blockers) {
    const reading = readings.get(blocker.name);
    if (reading === undefined) continue;
    const who = `Blocker ${blocker.name} of UpdateGroup ${group}`;
    if (reading.kind === "failed") {
      if (blocker.onFailure === "Allow") continue;
      return {
        reason: "BlockerFailed",
        message: `${who} gives no answer since ${timestamp(reading.since)}, which blocks: ${reading.cause}.`,
      };
    }
    const what = blocks(blocker, reading, node);
    if (what !== undefined) return { reason: "Blocked", message: `${who}: ${what}.` };
  }
  return undefined;
}

function blocks(blocker: Blocker, reading: Reading, node: string | undefined): string | undefined {
  switch (reading.kind) {
    case "alerts": {
      const found = reading.alerts.filter((alert) => counts(blocker, alert)).toSorted(longest);
      const [first] = found;
      if (first === undefined) return undefined;
      const verb = first.state === "firing" ? "fires" : "is pending";
      return `alert ${first.name} ${verb} since ${timestamp(first.since)}${more(found.length)}`;
    }
    case "pods": {
      const found = reading.pods.filter((pod) => pod.node === node).toSorted(longest);
      const [first] = found;
      if (first === undefined) return undefined;
      return `Pod ${first.namespace}/${first.name} runs here since ${timestamp(first.since)}${more(found.length)}`;
    }
    case "refused":
      return `it says no since ${timestamp(reading.since)}: ${reading.message}`;
    case "allowed":
    case "failed":
      return undefined;
  }
}

function counts({ alerts }: Blocker, alert: ReadAlert): boolean {
  if (alerts === undefined) return false;
  const { only, ignore = [], selector, pending } = alerts;
  if (alert.state === "pending" && !pending) return false;
  if (ignore.some((pattern) => fits(pattern, alert.name))) return false;
  if (only === undefined ? fits(OWN, alert.name) : !only.some((pattern) => fits(pattern, alert.name)))
    return false;
  return selector === undefined || matches(selector, alert.labels);
}

/** Whether `name` is what `pattern` says, in which `*` stands for any characters; in one pass, whatever the pattern. */
export function fits(pattern: string, name: string): boolean {
  const [head = "", ...rest] = pattern.split("*");
  if (rest.length === 0) return pattern === name;
  if (!name.startsWith(head)) return false;
  const tail = rest.pop() ?? "";
  let at = head.length;
  for (const part of rest) {
    const found = name.indexOf(part, at);
    if (found < 0) return false;
    at = found + part.length;
  }
  return name.length - tail.length >= at && name.endsWith(tail);
}

function longest(a: { since: number; name: string }, b: { since: number; name: string }): number {
  return a.since - b.since || (a.name < b.name ? -1 : 1);
}

function more(count: number): string {
  return count > 1 ? `, and ${count - 1} more` : "";
}
