/** Reads of all of Slipway's state, and of one node's, at one revision. */
import { type Desired, DesiredSchema, ObservedSchema } from "../proto/gen/agent_pb.ts";
import type { BudgetState, FleetSnapshot, LiveGrant } from "./coordination.ts";
import type { KeyValue, Operation } from "./etcd.ts";
import { keys, lastPart } from "./keys.ts";
import type { Parser } from "./parse.ts";
import {
  BudgetGate,
  Epoch,
  Grant,
  GroupGate,
  Holder,
  MachineTotals,
  Offer,
  Phase,
  type Protocol,
  RebootRequest,
  Session,
  Tally,
} from "./records.ts";
import type { Ports } from "./transact.ts";

const FLEET = [
  { key: keys.incarnation },
  { key: keys.epoch },
  { prefix: keys.gates },
  { prefix: keys.budgets },
  { prefix: keys.grants },
  { prefix: keys.phases },
  { prefix: keys.desired },
  { prefix: keys.observed },
  { prefix: keys.sessions },
  { prefix: keys.presence },
  { key: keys.pulse },
  { prefix: keys.tallies },
  { prefix: keys.requests },
  { prefix: keys.machineTotals },
] as const;

export async function readFleet({ etcd }: Ports, parser: Parser): Promise<FleetSnapshot> {
  const { revision, results } = await etcd.read(FLEET);
  const [incarnation = [], epoch = [], gates = [], budgets = [], grants = [], phases = []] = results;
  const [desired = [], observed = [], sessions = [], presence = [], pulse = [], tallies = []] =
    results.slice(6);
  const [requests = [], totals = []] = results.slice(12);
  const groupGates = new Map<string, GroupGate>();
  const budgetGates = new Map<string, BudgetGate>();
  const offers = new Map<string, Offer>();
  for (const kv of gates) {
    if (kv.key.startsWith(keys.groupGate(""))) put(groupGates, kv, parser.json(GroupGate, kv));
    else if (kv.key.startsWith(keys.budgetGate(""))) put(budgetGates, kv, parser.json(BudgetGate, kv));
    else put(offers, kv, parser.json(Offer, kv));
  }
  return {
    revision,
    pulse: pulse[0]?.modRevision ?? 0,
    incarnation: incarnation[0]?.value,
    epoch: parser.json(Epoch, epoch[0])?.epoch ?? 0,
    groupGates,
    budgetGates,
    offers,
    tallies: readTallies(tallies, parser),
    machineTotals: mapped(totals, (kv) => parser.json(MachineTotals, kv)),
    budgets: readBudgets(budgets, parser),
    grants: readGrants(grants, phases, budgets, incarnation[0]?.value, parser),
    desired: mapped(desired, (kv) => parser.proto(DesiredSchema, kv)),
    observed: mapped(observed, (kv) => parser.proto(ObservedSchema, kv)),
    sessions: mapped(sessions, (kv) => parser.json(Session, kv)),
    requests: mapped(requests, (kv) => parser.json(RebootRequest, kv)),
    present: new Set(presence.map((kv) => lastPart(kv.key))),
  };
}

/** By group, then by release. */
function readTallies(kvs: readonly KeyValue[], parser: Parser): Map<string, Map<string, Tally>> {
  const tallies = new Map<string, Map<string, Tally>>();
  for (const kv of kvs) {
    const [group = ""] = kv.key.slice(keys.tallies.length).split("/");
    const of = tallies.get(decodeURIComponent(group)) ?? new Map<string, Tally>();
    tallies.set(decodeURIComponent(group), of);
    put(of, kv, parser.json(Tally, kv));
  }
  return tallies;
}

/** What a gateway needs of one node, and the manager. The grant of a machine that no agent runs on is neither's. */
export async function readNode(
  { etcd }: Ports,
  parser: Parser,
  uid: string,
): Promise<{
  incarnation: string | undefined;
  grant: LiveGrant | undefined;
  desired: Desired | undefined;
  session: Session | undefined;
}> {
  const { results } = await etcd.read([
    { key: keys.incarnation },
    { key: keys.grant(uid) },
    { key: keys.phase(uid) },
    { key: keys.desiredOf(uid) },
    { key: keys.session(uid) },
  ]);
  const [incarnation, grant, phase, desired, session] = results.map((kvs) => kvs[0]);
  const live = grant && readGrant(grant, phase, incarnation?.value, parser, () => []);
  return {
    incarnation: incarnation?.value,
    grant: live?.grant.foreign === undefined ? live : undefined,
    desired: parser.proto(DesiredSchema, desired),
    session: parser.json(Session, session),
  };
}

/**
 * A living grant. One whose record can't be read still lives: it has no group, so no gate
 * lets it commit, and the budgets are those that it holds places in, so it can be freed by
 * a person. A phase that can't be read counts as Committed, which no revoke may end.
 */
export function readGrant(
  kv: KeyValue,
  phase: KeyValue | undefined,
  incarnation: string | undefined,
  parser: Parser,
  held: () => string[],
): LiveGrant {
  const uid = lastPart(kv.key);
  const grant = parser.json(Grant, kv) ?? {
    uid,
    node: uid,
    group: "",
    release: "",
    budgets: held(),
    nonce: "",
    epoch: 0,
    incarnation: incarnation ?? "",
    at: 0,
    target: null,
    policy: {},
    bootNeeds: 0,
    supersedes: null,
    reason: "",
  };
  return {
    grant,
    token: { incarnation: grant.incarnation, revision: kv.createRevision },
    phase: parser.json(Phase, phase) ?? {
      phase: "Committed",
      at: grant.at,
      message: "the phase can't be read; it counts as committed",
    },
  };
}

/**
 * Whether it is an agent's grant, to commit, withdraw and report. One that its machine took by another protocol, or
 * asked for by it, is no business of an agent that runs there too: it would give back a slot whose machine was told
 * that it may reboot.
 */
export function isAgents(live: LiveGrant | undefined): live is LiveGrant {
  return live !== undefined && live.grant.foreign === undefined && live.grant.requested === undefined;
}

/** By whose word a grant of a machine without our agent is held: each of them was told that the machine may reboot. */
export function wordsOf({ grant, phase }: LiveGrant): readonly Protocol[] {
  return phase.heldBy ?? (grant.foreign === undefined ? [] : [grant.foreign.protocol]);
}

/** Living grants by uid, of everything under `grants/`, `phases/` and `budgets/`. */
export function readGrants(
  grants: readonly KeyValue[],
  phases: readonly KeyValue[],
  budgets: readonly KeyValue[],
  incarnation: string | undefined,
  parser: Parser,
): Map<string, LiveGrant> {
  const phaseOf = new Map(phases.map((kv) => [lastPart(kv.key), kv]));
  return new Map(
    grants.map((kv) => {
      const uid = lastPart(kv.key);
      return [uid, readGrant(kv, phaseOf.get(uid), incarnation, parser, () => heldBy(uid, budgets))];
    }),
  );
}

function readBudgets(kvs: readonly KeyValue[], parser: Parser): Map<string, BudgetState> {
  const budgets = new Map<string, { seq: number; holders: Map<string, number> }>();
  for (const kv of kvs) {
    const { budget, kind } = budgetOf(kv);
    const state = budgets.get(budget) ?? { seq: 0, holders: new Map<string, number>() };
    budgets.set(budget, state);
    if (kind === "seq") state.seq = readSeq(kv);
    else state.holders.set(lastPart(kv.key), parser.json(Holder, kv)?.at ?? 0);
  }
  return budgets;
}

/** Names of the budgets that `uid` holds a place in, from everything under `budgets/`. */
export function heldBy(uid: string, budgets: readonly KeyValue[]): string[] {
  return budgets
    .filter((kv) => budgetOf(kv).kind === "holders" && lastPart(kv.key) === uid)
    .map((kv) => budgetOf(kv).budget);
}

function budgetOf(kv: KeyValue): { budget: string; kind: string | undefined } {
  const [name = "", kind] = kv.key.slice(keys.budgets.length).split("/");
  return { budget: decodeURIComponent(name), kind };
}

/** The count of takes and releases: for people; transactions compare its mod revision. */
function readSeq(kv: KeyValue | undefined): number {
  const seq = Number.parseInt(kv?.value ?? "0", 10);
  return Number.isSafeInteger(seq) ? seq : 0;
}

/** Rule 1: whoever changes a budget's holders, or which of them are down, changes its `seq`. */
export function bump(budget: string, seq: KeyValue | undefined): Operation {
  return { put: keys.budgetSeq(budget), value: String(readSeq(seq) + 1) };
}

function mapped<T>(kvs: readonly KeyValue[], read: (kv: KeyValue) => T | undefined): Map<string, T> {
  const found = new Map<string, T>();
  for (const kv of kvs) put(found, kv, read(kv));
  return found;
}

function put<T>(map: Map<string, T>, kv: KeyValue, value: T | undefined): void {
  if (value !== undefined) map.set(lastPart(kv.key), value);
}
