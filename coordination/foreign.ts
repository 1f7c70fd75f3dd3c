/**
 * Slots of machines that no agent of ours runs on: gateways take them and give them back when the machine says so in
 * its own protocol, and nothing else does but a person (design, rule 3). They count in the same budgets, under the
 * same gates, as those of the cluster's nodes.
 */
import type { Why } from "../api/reasons.ts";
import {
  type BudgetView,
  type GrantQuestion,
  isWithoutSlot,
  refuseGrant,
  refuseOffer,
  refuseTurn,
  stagedRelease,
} from "./admission.ts";
import { nameRanges, viewNames } from "./aliases.ts";
import type { Changes } from "./changes.ts";
import type {
  ForeignAsk,
  ForeignHolder,
  ForeignLine,
  ForeignNode,
  ForeignResult,
  UpdateResult,
  WaitingMachine,
} from "./coordination.ts";
import { LEADERSHIP, viewEpoch } from "./epoch.ts";
import {
  type Compare,
  EtcdUnavailable,
  type KeyValue,
  type Operation,
  type Range,
  type Reader,
} from "./etcd.ts";
import { bump, heldBy, readGrant, wordsOf } from "./fleet.ts";
import { heldToo, readHeld } from "./give-back.ts";
import { MAX_BUDGETS, phaseText } from "./grants.ts";
import { aliasesOf } from "./identity.ts";
import { groupOfTicket, keys, lastPart } from "./keys.ts";
import type { Parser } from "./parse.ts";
import {
  BudgetGate,
  ForeignMachine,
  type Grant,
  GroupGate,
  type Holder,
  isWhole,
  RebootRequest,
  Ticket,
} from "./records.ts";
import { type Ports, refused, type Step, unchanged } from "./transact.ts";

/** Zincati asks every 5 min and a little (its steady interval and jitter): a ticket outlives two askings, seconds. */
const TICKET_SECONDS = 720;
/** A ticket is written again after so long, ms: an asking in between costs etcd nothing. */
const REFRESH = 60_000;
/** Machines that wait in one group at most; one more is told to come again. */
const MAX_TICKETS = 10_000;

interface Budgets {
  view: BudgetView;
  gate: KeyValue | undefined;
  seq: KeyValue | undefined;
}

/**
 * Takes a place in every budget that binds the group's machines, and is safe to call again: who holds a slot keeps it.
 * Where it may not be taken the machine has a ticket, and goes before those that asked later. Throws
 * `EtcdUnavailable` where etcd gives no answer, or may have lost who holds what: a slot may then be taken, and asking
 * again tells.
 */
export function takeForeign(
  ports: Ports,
  parser: Parser,
  changes: Changes,
  ask: ForeignAsk,
): Promise<ForeignResult> {
  return takeWith(ports, parser, changes, ask, undefined);
}

/** What goes with a slot, in the same transaction. The values of `ranges`, one key each, are given in their order. */
export interface ForeignExtra {
  release: string;
  ranges: readonly { key: string }[];
  /** The update that the machine has already, where that takes no slot; one of another group names no release. */
  has: (found: readonly (KeyValue | undefined)[]) => { since: number; release: string } | undefined;
  refuse: (found: readonly (KeyValue | undefined)[], now: number) => Why | undefined;
  write: (
    found: readonly (KeyValue | undefined)[],
    now: number,
  ) => { compares: Compare[]; operations: Operation[]; update: NonNullable<Grant["foreign"]>["update"] };
}

export async function takeWith(
  { etcd: store, clock }: Ports,
  parser: Parser,
  changes: Changes,
  { uid, group, protocol, name, nonce, reason }: ForeignAsk,
  extra: ForeignExtra | undefined,
): Promise<UpdateResult> {
  const aliases = aliasesOf(uid);
  const others = nameRanges(uid, aliases);
  const sure: Range[] = [
    ...LEADERSHIP,
    { key: keys.grant(uid) },
    { prefix: keys.tickets(group) },
    ...others,
    ...(extra?.ranges ?? [{ key: keys.foreignMachine(uid) }]),
  ];
  const look = async (etcd: Reader, uncertain: boolean): Promise<Step<UpdateResult>> => {
    const head = await etcd.read([{ key: keys.groupGate(group) }]);
    const groupKey = head.results[0]?.[0];
    const groupGate = parser.json(GroupGate, groupKey);
    /** Only what goes with it is written. */
    const isSlotless = extra !== undefined && isWithoutSlot(groupGate);
    const names = isSlotless ? [] : (groupGate?.machines?.budgets ?? []);
    if (names.length > MAX_BUDGETS) {
      return refused(
        "TooManyBudgets",
        `${names.length} budgets bind the machines of ${group}; at most ${MAX_BUDGETS} may`,
      );
    }
    const { results } = await etcd.read([
      ...sure,
      ...names.flatMap((budget) => [
        { key: keys.budgetGate(budget) },
        { key: keys.budgetSeq(budget) },
        { prefix: keys.holders(budget) },
      ]),
    ]);
    const found = results.slice(4 + others.length, sure.length).map((kvs) => kvs[0]);
    const known = await viewNames(etcd, uid, aliases, results.slice(4, 4 + others.length));
    const view = viewEpoch(results[0]?.[0], results[1]?.[0], parser);
    const whole = view.incarnation;
    if (!isWhole(whole)) throw new EtcdUnavailable("etcd has lost who holds a slot, and is not rebuilt yet");
    const has = isSlotless ? extra.has(found) : undefined;
    if (has !== undefined) return { answer: { outcome: "held", ...has } };
    const existing = results[2]?.[0] ?? known.holder;
    if (existing !== undefined) {
      const held = await readHeld(etcd, parser, existing, whole);
      if (held === undefined)
        return refused("EtcdUnavailable", `the slot of ${name} has just ended: ask again`);
      const { grant } = held.live;
      const ours = grant.foreign !== undefined;
      if (ours && grant.group === group) {
        const words = wordsOf(held.live);
        const release = words.includes("Omaha") ? grant.release : "";
        const answer = { outcome: "held", since: grant.at, release } as const;
        if (extra !== undefined) return { answer };
        const gate = { kv: groupKey, of: groupGate };
        return heldToo(held, { uid, group, protocol }, gate, answer, clock.now());
      }
      return refused(
        "AlreadyGranted",
        ours
          ? `${name} holds a slot of group ${grant.group}: it is to be given back there`
          : `${name} holds a slot that its agent asked for`,
      );
    }
    const budgets = names.map((budget, i): Budgets => {
      const [gate = [], seq = [], holders = []] = results.slice(sure.length + 3 * i);
      return {
        view: {
          budget,
          gate: parser.json(BudgetGate, gate[0]),
          holders: new Set(holders.map((kv) => lastPart(kv.key))),
        },
        gate: gate[0],
        seq: seq[0],
      };
    });
    // The incarnation only: a new leader changes nothing about a gateway's right.
    const compares: Compare[] = [
      ...view.compares.filter(({ key }) => key === keys.incarnation),
      { key: keys.grant(uid), target: "create", is: "equal", revision: 0 },
      ...known.compares,
    ];
    const [first] = budgets;
    if (groupGate?.machines === undefined || (first === undefined && !isSlotless)) {
      if (groupGate === undefined || groupGate.validUntil <= clock.now()) {
        return refused("WaitingForGates", `group ${group} is not known, or the manager is away`);
      }
      return refused("MachinesNotServed", `group ${group} gives no slots to machines without our agent`);
    }
    // Without a slot it is what is read that tells: `has`.
    if (uncertain && first !== undefined) {
      return {
        compares: [...compares, unchanged(keys.budgetSeq(first.view.budget), first.seq)],
        operations: [bump(first.view.budget, first.seq)],
        committed: () => ({
          outcome: "refused",
          why: { reason: "EtcdUnavailable", message: "etcd gave no answer to the grant; nothing was taken" },
        }),
      };
    }
    const now = clock.now();
    const line = readLine(results[3] ?? [], parser, now);
    const mine = line.get(uid);
    const views = budgets.map(({ view: of }) => of);
    // A person's word lets it go also to what is quarantined since: it hears of no other release before its reboot.
    const staged =
      reason === undefined ? stagedRelease(groupGate, parser.again(ForeignMachine, found[0])) : "";
    const question: GrantQuestion = {
      ...{
        uid,
        group,
        release: extra?.release ?? staged,
        gate: groupGate,
        budgets: views,
        needs: groupGate.machines.needs,
        isUp: true,
      },
    };
    const why =
      (extra === undefined ? refuseGrant(question, now) : refuseOffer(question, now)) ??
      extra?.refuse(found, now) ??
      refuseTurn(views, uid, aheadOf(line, uid, mine?.ticket.since ?? now));
    const ticketKey = keys.ticket(group, uid);
    // Also where it counts no more: etcd may keep a lease for longer than its time.
    const ticketKv = results[3]?.find(({ key }) => key === ticketKey);
    if (why !== undefined) {
      const answer: UpdateResult = { outcome: "refused", why };
      // A machine that speaks Omaha asks again in 45 min: a ticket would not live so long.
      if (extra !== undefined) return { answer };
      // What it waits for is its own, and none of the line: nobody is to wait for it.
      if (why.reason === "ReleaseQuarantined") {
        if (ticketKv === undefined) return { answer };
        return {
          compares: [unchanged(ticketKey, ticketKv)],
          operations: [{ delete: ticketKey }],
          committed: () => answer,
        };
      }
      if (mine !== undefined && now - mine.ticket.seenAt < REFRESH) return { answer };
      if (mine === undefined && line.size >= MAX_TICKETS) {
        return refused("WaitingForTurn", `${line.size} machines wait already, the most that are remembered`);
      }
      const ticket: Ticket = { protocol, since: mine?.ticket.since ?? now, seenAt: now };
      const lease = await store.leaseOnce(TICKET_SECONDS);
      return {
        compares: [unchanged(ticketKey, ticketKv)],
        operations: [{ put: ticketKey, value: JSON.stringify(ticket), lease }],
        committed: () => answer,
      };
    }
    const more = extra?.write(found, now) ?? { compares: [], operations: [], update: undefined };
    if (isSlotless) {
      return {
        compares: [...compares, unchanged(keys.groupGate(group), groupKey), ...more.compares],
        operations: more.operations,
        committed: () => ({ outcome: "granted" }),
      };
    }
    const taken = more.update === undefined ? {} : { update: more.update };
    const grant: Grant = {
      ...{
        uid,
        node: name,
        group,
        release: extra?.release ?? "",
        budgets: [...names],
        ...(aliases.length === 0 ? {} : { aliases }),
        nonce,
        epoch: view.record.epoch,
      },
      ...{ incarnation: whole, at: now, target: null, policy: {}, bootNeeds: groupGate.machines.needs },
      foreign: { protocol, ...(reason === undefined ? {} : { reason }), ...taken },
      ...{ supersedes: null, reason: reason ?? "the machine asked for it" },
    };
    return {
      compares: [
        ...compares,
        unchanged(keys.groupGate(group), groupKey),
        ...budgets.flatMap(({ view: { budget }, gate, seq }) => [
          unchanged(keys.budgetGate(budget), gate),
          unchanged(keys.budgetSeq(budget), seq),
        ]),
        ...more.compares,
      ],
      operations: [
        { put: keys.grant(uid), value: JSON.stringify(grant) },
        { put: keys.phase(uid), value: phaseText({ phase: "Committed", at: now, committedAt: now }) },
        ...budgets.flatMap(({ view: { budget }, seq }) => [
          { put: keys.holder(budget, uid), value: JSON.stringify({ at: now } satisfies Holder) },
          bump(budget, seq),
        ]),
        ...known.operations,
        ...(ticketKv === undefined ? [] : [{ delete: ticketKey }]),
        ...more.operations,
      ],
      committed: () => ({ outcome: "granted" }),
    };
  };
  return await changes.change(group, [{ key: keys.groupGate(group) }, ...sure], look);
}

/**
 * Who of a group's machines holds a slot, which of its Nodes asked by their own clients, and who waits, in the order of
 * the line.
 */
export async function readForeign(
  { etcd, clock }: Ports,
  parser: Parser,
  group: string,
): Promise<ForeignLine> {
  const { results } = await etcd.read([
    { key: keys.groupGate(group) },
    { prefix: keys.grants },
    { prefix: keys.phases },
    { prefix: keys.tickets(group) },
    { prefix: keys.budgetGate("") },
    { prefix: keys.budgets },
    { key: keys.incarnation },
    { prefix: keys.requests },
  ]);
  const [gates = [], grants = [], phases = [], tickets = [], budgetGates = [], places = [], whole = []] =
    results;
  const gate = parser.json(GroupGate, gates[0]);
  const phaseOf = new Map(phases.map((kv) => [lastPart(kv.key), kv]));
  const nodes = new Map<string, ForeignNode>();
  for (const kv of results[7] ?? []) {
    const [uid, request] = [lastPart(kv.key), parser.json(RebootRequest, kv)];
    if (request?.group === group)
      nodes.set(uid, { uid, protocol: request.protocol, phase: undefined, client: undefined });
  }
  const holders = grants.flatMap((kv): ForeignHolder[] => {
    const uid = lastPart(kv.key);
    const live = readGrant(kv, phaseOf.get(uid), whole[0]?.value, parser, () => heldBy(uid, places));
    const { node: name, foreign, requested, at: since } = live.grant;
    if (live.grant.group !== group) return [];
    const { phase, clientId: client } = live.phase;
    if (requested !== undefined) nodes.set(uid, { uid, protocol: requested.protocol, phase, client });
    if (foreign === undefined) return [];
    return [{ uid, name, protocol: foreign.protocol, words: wordsOf(live), since }];
  });
  const line = [...readLine(tickets, parser, clock.now())].toSorted((a, b) => before(a[1], b[1], a[0], b[0]));
  const budgets = (gate?.machines?.budgets ?? []).map((budget): BudgetView => {
    const prefix = keys.holders(budget);
    const held = places.filter(({ key }) => key.startsWith(prefix)).map(({ key }) => lastPart(key));
    const of = budgetGates.find(({ key }) => key === keys.budgetGate(budget));
    return { budget, gate: parser.json(BudgetGate, of), holders: new Set(held) };
  });
  return { gate, budgets, holders, nodes: [...nodes.values()], waiting: line.map(([uid]) => uid) };
}

/** Who waits in the line of any group, who waits longest first: one read of tickets, and of nothing else. */
export async function readWaiting({ etcd, clock }: Ports, parser: Parser): Promise<WaitingMachine[]> {
  const { results } = await etcd.read([{ prefix: keys.allTickets }]);
  const now = clock.now();
  return [...Map.groupBy(results[0] ?? [], ({ key }) => groupOfTicket(key))]
    .flatMap(([group, kvs]) => [...readLine(kvs, parser, now)].map(([uid, place]) => ({ group, uid, place })))
    .toSorted((a, b) => before(a.place, b.place, a.uid, b.uid))
    .map(({ group, uid, place: { ticket } }) => ({
      ...{ group, uid, protocol: ticket.protocol, since: ticket.since },
    }));
}

interface Place {
  ticket: Ticket;
  kv: KeyValue;
}

/** The tickets of those who asked of late: a lease that etcd kept for longer gives nobody a place. */
function readLine(kvs: readonly KeyValue[], parser: Parser, now: number): Map<string, Place> {
  const line = new Map<string, Place>();
  for (const kv of kvs) {
    const ticket = parser.json(Ticket, kv);
    if (ticket === undefined || now - ticket.seenAt > TICKET_SECONDS * 1000) continue;
    line.set(lastPart(kv.key), { ticket, kv });
  }
  return line;
}

function aheadOf(line: ReadonlyMap<string, Place>, uid: string, since: number): ReadonlySet<string> {
  const ahead = [...line].filter(
    ([other, { ticket }]) =>
      other !== uid && (ticket.since < since || (ticket.since === since && other < uid)),
  );
  return new Set(ahead.map(([other]) => other));
}

function before(a: Place, b: Place, aUid: string, bUid: string): number {
  return a.ticket.since - b.ticket.since || (aUid < bUid ? -1 : 1);
}
