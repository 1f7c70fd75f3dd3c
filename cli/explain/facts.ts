/** The chain of facts behind a sentence, from the manager to the machine, each with since when. */
import { CORDON_ANNOTATION } from "../../api/labels.ts";
import { windowsOf } from "../../api/openings.ts";
import { matches } from "../../api/selector.ts";
import type { Snapshot } from "../snapshot.ts";
import { reasonOf } from "./grant.ts";
import { conditionOf, leaderOf, type Subject } from "./subject.ts";
import { clause, count, names, when } from "./words.ts";

export interface Fact {
  text: string;
  /** RFC 3339. */
  since?: string | undefined;
}

/** Transitions of the node that are told. */
const HISTORY = 3;

/** `now`: wall clock, ms. */
export function factsOf(subject: Subject, snapshot: Snapshot, now: number): Fact[] {
  return [
    ...manager(snapshot, now),
    ...groupFacts(subject, snapshot),
    ...windowFacts(subject, snapshot, now),
    ...budgetFacts(subject, snapshot),
    ...nodeFacts(subject),
    ...updateFacts(subject),
  ];
}

function manager(snapshot: Snapshot, now: number): Fact[] {
  const { state, holder, since } = leaderOf(snapshot, now);
  switch (state) {
    case "leads":
      return [{ text: `manager ${holder} leads`, since }];
    case "never":
      return [{ text: "there is no leader Lease slipway-manager" }];
    case "unknown":
      return [{ text: "the leader Lease can't be read: no permission for leases" }];
    case "away":
      return [{ text: `no manager renews the leader Lease; the last was ${holder || "none"}`, since }];
  }
}

function groupFacts({ group, claimants, target }: Subject, { channels }: Snapshot): Fact[] {
  if (group === undefined) {
    return claimants.length === 0
      ? []
      : [
          {
            text: `UpdateGroups that select it: ${names(
              claimants.map(({ metadata }) => metadata.name),
              10,
            )}`,
          },
        ];
  }
  const { spec, status, metadata } = group;
  const facts: Fact[] = [];
  const channel = channels.find((each) => each.metadata.name === spec.channel);
  const promoted = channel?.status?.promotions?.[0];
  const to = target?.release === undefined ? "" : ` (${target.release.spec.version})`;
  if (spec.driver === "sentinel") {
    facts.push({ text: `UpdateGroup ${metadata.name} reboots nodes that ask for it (driver sentinel)` });
  } else if (spec.channel === undefined) {
    facts.push({ text: `UpdateGroup ${metadata.name} is pinned to Release ${spec.release ?? ""}${to}` });
  } else {
    facts.push({
      text: `UpdateGroup ${metadata.name} follows Channel ${spec.channel}, which points at ${target?.name ?? "nothing"}${to}`,
      since: promoted?.release === target?.name ? promoted?.time : undefined,
    });
  }
  for (const type of ["Progressing", "Halted", "Conflict", "HooksFailing"]) {
    const condition = conditionOf(group, type);
    if (condition === undefined || (type !== "Progressing" && condition.status !== "True")) continue;
    facts.push({
      text: `UpdateGroup ${metadata.name} is ${type === "Progressing" ? condition.reason : `${type} (${condition.reason})`}: ${clause(condition.message)}`,
      since: condition.lastTransitionTime,
    });
  }
  for (const stage of status?.stages ?? []) {
    if (stage.openedAt === undefined) continue;
    const state = stage.passedAt === undefined ? "open" : "passed";
    facts.push({
      text: `stage ${stage.name} is ${state}: ${stage.verified} of ${stage.size} verified`,
      since: stage.passedAt ?? stage.openedAt,
    });
  }
  const gate = status?.gate;
  if (gate !== undefined && (gate.paused || gate.halted)) {
    facts.push({
      text: `the ${gate.paused ? "pause" : "halt"} binds every slot and commit`,
      since: gate.since,
    });
  }
  return facts;
}

function windowFacts({ group }: Subject, { windows }: Snapshot, now: number): Fact[] {
  if (group === undefined) return [];
  const bound = windowsOf(group, windows);
  if (group.spec.windows === "OnlyInWindows" && !bound.some(({ spec }) => spec.mode === "Allow")) {
    return [{ text: `no RebootWindow of mode Allow selects UpdateGroup ${group.metadata.name}` }];
  }
  return bound.map(({ metadata, spec, status }) => {
    const kind = spec.mode === "Deny" ? "change freeze" : "RebootWindow";
    const { closesAt, next, open } = status ?? {};
    const closes = closesAt === undefined ? "" : `, until ${when(closesAt, now)}`;
    const opens = next === undefined ? ", with no opening ahead" : `, next at ${when(next, now)}`;
    return { text: `${kind} ${metadata.name} is ${open === true ? `open${closes}` : `closed${opens}`}` };
  });
}

function budgetFacts({ node, update, group, name }: Subject, { budgets, nodeUpdates }: Snapshot): Fact[] {
  const labels = node?.metadata.labels ?? update?.spec.machineRef?.labels ?? {};
  const facts: Fact[] = [];
  const status = group?.status;
  if (group !== undefined && status?.limit !== undefined) {
    const holders = nodeUpdates
      .filter((each) => each.spec.group === group.metadata.name && each.status?.grant !== undefined)
      .map(({ metadata }) => metadata.name);
    facts.push({
      text: `UpdateGroup ${group.metadata.name} allows ${status.limit} down: ${status.unavailable ?? 0} ${status.unavailable === 1 ? "is" : "are"}${holders.length === 0 ? "" : `; ${names(holders, 5)} ${holders.length === 1 ? "holds a slot" : "hold slots"}`}`,
    });
  }
  for (const budget of budgets) {
    if (!matches(budget.spec.nodeSelector, labels)) continue;
    const key = budget.spec.topologyKey;
    const domain = key === undefined ? "" : (labels[key] ?? name);
    const part = budget.status?.domains?.find((each) => each.domain === domain);
    if (part === undefined) continue;
    const where = domain === "" ? "" : ` (${domain})`;
    const by =
      part.holders.length === 0
        ? ""
        : `; ${names(part.holders, 5)} ${part.holders.length === 1 ? "holds a slot" : "hold slots"}`;
    facts.push({
      text: `RebootBudget ${budget.metadata.name}${where} allows ${part.limit} of ${count(part.members, "node")} down: ${part.unavailable} ${part.unavailable === 1 ? "is" : "are"}${by}`,
    });
  }
  return facts;
}

function nodeFacts({ node, held }: Subject): Fact[] {
  if (node === undefined) return [];
  const facts: Fact[] = [];
  const ready = node.status?.conditions?.find(({ type }) => type === "Ready");
  facts.push({
    text: `the Node is ${ready?.status === "True" ? "Ready" : "not Ready"}`,
    since: ready?.lastTransitionTime,
  });
  if (node.spec?.unschedulable === true) {
    const ours = node.metadata.annotations?.[CORDON_ANNOTATION] !== undefined;
    facts.push({ text: `the Node is cordoned ${ours ? "by Slipway" : "by somebody else"}` });
  }
  if (held !== undefined) facts.push({ text: `a person holds it${reasonOf(held)}` });
  return facts;
}

function updateFacts({ update }: Subject): Fact[] {
  const status = update?.status;
  if (status === undefined) return [];
  const facts: Fact[] = [];
  const slots = [status.slotA, status.slotB].flatMap((slot, index) =>
    slot === undefined ? [] : [`slot ${index === 0 ? "A" : "B"}: ${slot}`],
  );
  if (status.running !== undefined)
    facts.push({ text: `runs ${status.running}${slots.length === 0 ? "" : ` (${slots.join("; ")})`}` });
  facts.push({ text: `its agent is ${status.connected === true ? "connected" : "not connected"}` });
  if (status.grant !== undefined) {
    const { phase, budgets, since, release } = status.grant;
    const to = release === undefined ? "" : ` for ${release}`;
    facts.push({ text: `holds a slot${to} (${phase}) in ${names(budgets, 5)}`, since });
    for (const run of status.grant.hooks ?? []) {
      const when = run.phase === "Before" ? "before the reboot" : "after the reboot";
      const state = run.state === "Running" ? "runs" : run.state === "Done" ? "is done" : "failed";
      const why = run.message === undefined ? "" : `: ${clause(run.message)}`;
      facts.push({ text: `hook ${run.name} ${when} ${state}${why}`, since: run.until ?? run.since });
    }
  }
  const [failed] = status.failed ?? [];
  if (failed !== undefined) {
    facts.push({
      text: `failed on ${failed.release ?? failed.version}: ${failed.reason}, ${clause(failed.message)}`,
      since: failed.time,
    });
  }
  if (status.reason !== undefined) {
    facts.push({
      text: `the manager says ${status.step} (${status.reason}): ${clause(status.message ?? "")}`,
      since: status.since,
    });
  }
  for (const { step, reason, message, time } of (status.transitions ?? []).slice(0, HISTORY)) {
    facts.push({ text: `became ${step} (${reason}): ${clause(message)}`, since: time });
  }
  return facts;
}
