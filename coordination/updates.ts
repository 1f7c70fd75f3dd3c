/**
 * Updates of machines that speak Omaha, and no agent of ours: a gateway offers a release under the same gates and in
 * the same budgets as the cluster's nodes move to it, and the machine's own events end it (design, rules 1, 4 and 8).
 * The slot is the machine's from the offer until it runs the release, failed, or fell back.
 */
import type { Why } from "../api/reasons.ts";
import { refuseFailed } from "./admission.ts";
import type { Changes } from "./changes.ts";
import type { UpdateAsk, UpdateEnd, UpdateResult } from "./coordination.ts";
import type { DayLease } from "./day-lease.ts";
import type { KeyValue } from "./etcd.ts";
import { readGrant, wordsOf } from "./fleet.ts";
import { type ForeignExtra, takeWith } from "./foreign.ts";
import { type ForeignEnd, type ForeignGiver, freeWith } from "./give-back.ts";
import { seenOperations } from "./identities.ts";
import type { KeyReads } from "./key-reads.ts";
import { keys } from "./keys.ts";
import { type History, historyWith } from "./machine-history.ts";
import type { Parser } from "./parse.ts";
import { ForeignMachine, isStaged, Tally } from "./records.ts";
import { type Ports, type Step, transact, unchanged } from "./transact.ts";

/** Failures that a tally names, and releases that a machine's record does. */
const KEPT = 50;
/** Parts of a rate's period that grants are counted by: their error is one of them. */
const PARTS = 50;

type Update = NonNullable<ForeignMachine["update"]>;

export function emptyTally(): Tally {
  return { granted: 0, good: 0, failed: 0, failures: [], recent: [] };
}

/**
 * Rule 8 for machines without our agent: until `threshold` of them are good on a release, at most so many may have it
 * without that; and the group's rate. Undefined where one more may.
 */
export function refuseUpdate(
  tally: Tally,
  { threshold, rate, resumedAt }: Pick<UpdateAsk, "threshold" | "rate" | "resumedAt">,
  now: number,
): Why | undefined {
  // What a tally does not name any more is older than all that it names.
  const failed =
    resumedAt === undefined ? tally.failed : tally.failures.filter(({ at }) => at > resumedAt).length;
  if (failed >= threshold) {
    return { reason: "FailureThresholdReached", message: `${failed} machines failed on the release` };
  }
  const unverified = Math.max(0, tally.granted - tally.good - tally.failed);
  if (tally.good < threshold && unverified + failed >= threshold) {
    return {
      reason: "WaitingForEvidence",
      message: `${unverified} machines have the release and ${tally.good} are good on it: ${threshold} must be before more get it`,
    };
  }
  if (rate === undefined) return undefined;
  const used = tally.recent.filter(({ at }) => now - at < rate.period).reduce((sum, { n }) => sum + n, 0);
  if (used < rate.updates) return undefined;
  return {
    reason: "WaitingForRate",
    message: `${used} updates of ${rate.updates} began within ${Math.round(rate.period / 1000)} s`,
  };
}

/** A grant more: at most `PARTS` entries, and one for a rate that is gone. */
function counted(tally: Tally, rate: UpdateAsk["rate"], now: number): Tally {
  const granted = tally.granted + 1;
  if (rate === undefined) return { ...tally, granted, recent: [] };
  const width = Math.max(1, rate.period / PARTS);
  const at = Math.floor(now / width) * width;
  const recent = tally.recent.filter((part) => now - part.at < rate.period && part.at !== at).slice(-PARTS);
  const n = (tally.recent.find((part) => part.at === at)?.n ?? 0) + 1;
  return { ...tally, granted, recent: [...recent, { at, n }] };
}

/**
 * Offers `ask.release`, or says why not. Again for the same machine and release is the same offer, with no place taken
 * twice. Throws `EtcdUnavailable`: nothing is offered then, and what was taken is found at the next check.
 */
export async function takeUpdate(
  ports: Ports,
  parser: Parser,
  changes: Changes,
  leases: DayLease,
  ask: UpdateAsk,
): Promise<UpdateResult> {
  const { uid, group, release, machine } = ask;
  const [tallyKey, machineKey] = [keys.tally(group, release), keys.foreignMachine(uid)];
  const extra = (lease: string): ForeignExtra => ({
    release,
    ranges: [{ key: tallyKey }, { key: machineKey }],
    has: ([, known]) => {
      const update = parser.again(ForeignMachine, known)?.update;
      return update && { since: update.at, release: update.group === group ? update.release : "" };
    },
    refuse: ([tally, known], now) =>
      refuseFailed(parser.again(ForeignMachine, known), release, ask.retriedAt) ??
      refuseUpdate(parser.again(Tally, tally) ?? emptyTally(), ask, now),
    write: ([tally, known], now) => {
      const before = parser.again(ForeignMachine, known);
      const tried = before?.tried?.release === release ? before.tried.times : 0;
      const update: Update = {
        ...{ group, release, version: ask.version, bootId: machine.bootId },
        ...{ state: "Granted", attempt: tried + 1, at: now },
        ...(ask.open === true ? { open: true } : {}),
      };
      const total = parser.again(Tally, tally) ?? emptyTally();
      // Whose slot was taken from its update asks again: it is one update still.
      const again = before?.update?.release === release && before.update.group === group;
      return {
        compares: [unchanged(tallyKey, tally), unchanged(machineKey, known)],
        operations: [
          { put: tallyKey, value: JSON.stringify(again ? total : counted(total, ask.rate, now)), lease },
          { put: machineKey, value: JSON.stringify({ ...machine, ...kept(before, machine), update }), lease },
          ...seenOperations(uid, machine.id, lease, known),
        ],
        update: { version: update.version, bootId: update.bootId, attempt: update.attempt },
      };
    },
  });
  const result = await leases.use((lease) =>
    takeWith(ports, parser, changes, { ...ask, protocol: "Omaha" }, extra(lease)),
  );
  if (result.outcome !== "held" || result.release === release) return result;
  return {
    outcome: "refused",
    why: {
      reason: "AlreadyGranted",
      message: `${ask.name} has a slot or an update already${result.release === "" ? "" : ` for ${result.release}`}`,
    },
  };
}

/**
 * Ends the update `end.machine.update`: the slot is free, and the tally says how it went; that too where the slot was
 * taken from it meanwhile. Gives the machine's record; undefined where it has ended, or the machine has another one by
 * now: whoever sends a request twice, through two gateways, must not end what it was given in between.
 */
export async function endUpdate(
  ports: Ports,
  parser: Parser,
  changes: Changes,
  leases: DayLease,
  end: UpdateEnd,
): Promise<ForeignMachine | undefined> {
  const { uid, machine } = end;
  const { update } = machine;
  if (update === undefined) return undefined;
  const { group, release, at } = update;
  const giver: ForeignGiver = { uid, group, protocol: "Omaha", its: (grant) => grant.at === at };
  let record: ForeignMachine | undefined;
  const beside = (lease: string): ForeignEnd => ({
    ranges: [{ key: keys.tally(group, release) }, ...machineRanges(uid)],
    write: ([tally, ...found], now) => {
      const ending = endingOf(parser, end, update, tally, found, now);
      if (ending === undefined) return undefined;
      record = ending.record;
      return {
        compares: [
          unchanged(keys.tally(group, release), tally),
          unchanged(keys.foreignMachine(uid), found[0]),
        ],
        operations: [
          { put: keys.tally(group, release), value: JSON.stringify(ending.tally), lease },
          { put: keys.foreignMachine(uid), value: JSON.stringify(record), lease },
          ...seenOperations(uid, machine.id, lease, found[0]),
        ],
      };
    },
  });
  const freed = await leases.use((lease) => freeWith(ports, parser, changes, giver, beside(lease)));
  return freed === "freed" ? record : undefined;
}

function endingOf(
  parser: Parser,
  { machine, how, code }: UpdateEnd,
  { release, at }: Update,
  tally: KeyValue | undefined,
  found: readonly (KeyValue | undefined)[],
  now: number,
): { tally: Tally; record: ForeignMachine } | undefined {
  const before = machineOf(parser, found);
  if (before?.update?.release !== release || before.update.at !== at) return undefined;
  const total = parser.again(Tally, tally) ?? emptyTally();
  const failure = { machine: machine.id, code, at: now };
  const next: Tally =
    how === "good"
      ? { ...total, good: total.good + 1, lastGoodAt: now }
      : how === "failed"
        ? { ...total, failed: total.failed + 1, failures: [failure, ...total.failures].slice(0, KEPT) }
        : { ...total, granted: Math.max(0, total.granted - 1) };
  const failed = before.failed.filter((one) => one.release !== release);
  const record = {
    ...machine,
    ...toldBesides(before, machine),
    tried: how === "withdrawn" ? { release, times: before.update.attempt } : undefined,
    failed: how === "failed" ? [{ release, code, at: now }, ...failed].slice(0, KEPT) : failed,
    update: undefined,
  };
  return { tally: next, record };
}

/** Of a record: what only the ends of updates change, and `toldBesides`. */
function kept(before: ForeignMachine | undefined, machine: ForeignMachine): Partial<ForeignMachine> {
  return { failed: before?.failed ?? [], tried: before?.tried, ...toldBesides(before, machine) };
}

/** What its record knows besides what `machine` says, which may be of an older look, or of one without them. */
function toldBesides(
  before: ForeignMachine | undefined,
  { history: told, boots = before?.boots }: ForeignMachine,
): Pick<ForeignMachine, "history" | "boots"> {
  const history = historyWith(before?.history ?? [], told);
  return { ...(boots === undefined ? {} : { boots }), ...(history.length === 0 ? {} : { history }) };
}

export async function readForeignMachine(
  reads: KeyReads,
  parser: Parser,
  uid: string,
): Promise<ForeignMachine | undefined> {
  const known = await reads.read(keys.foreignMachine(uid));
  // Few have none, and of these only who comes back after half a year has a slot.
  const isRead = parser.again(ForeignMachine, known) !== undefined;
  const rest = isRead ? [] : [keys.grant(uid), keys.phase(uid)];
  return machineOf(parser, [known, ...(await Promise.all(rest.map((key) => reads.read(key))))]);
}

/** `machineOf` is given what is read there, in this order. */
function machineRanges(uid: string): { key: string }[] {
  return [{ key: keys.foreignMachine(uid) }, { key: keys.grant(uid) }, { key: keys.phase(uid) }];
}

/** The machine's record, or where that has ended what its grant says of the update that holds it. */
function machineOf(
  parser: Parser,
  [known, held, phase]: readonly (KeyValue | undefined)[],
): ForeignMachine | undefined {
  const record = parser.again(ForeignMachine, known);
  if (record !== undefined || held === undefined) return record;
  const live = readGrant(held, phase, undefined, parser, () => []);
  const { group, release, node, at, foreign } = live.grant;
  if (foreign?.update === undefined || !wordsOf(live).includes("Omaha")) return undefined;
  return {
    ...{ id: node, group, product: "", version: "", track: "", board: "", oem: "", alias: "" },
    ...{ bootId: foreign.update.bootId, firstSeen: at, lastSeen: at, failed: [] },
    update: { group, release, state: "Granted", at, ...foreign.update },
  };
}

/** Forgets what failed on the machine `uid`, so that it may be offered again. False where it is not known, or nothing failed. */
export async function forgiveMachine(
  { etcd }: Pick<Ports, "etcd">,
  parser: Parser,
  leases: DayLease,
  uid: string,
): Promise<boolean> {
  const key = keys.foreignMachine(uid);
  return await leases.use((lease) =>
    transact(etcd, async (uncertain): Promise<Step<boolean>> => {
      const found = (await etcd.read([{ key }])).results[0]?.[0];
      const machine = parser.again(ForeignMachine, found);
      if (machine === undefined || (machine.failed.length === 0 && machine.tried === undefined))
        return { answer: uncertain && machine !== undefined };
      const value = JSON.stringify({ ...machine, failed: [], tried: undefined });
      return {
        compares: [unchanged(key, found)],
        operations: [{ put: key, value, lease }, ...seenOperations(uid, machine.id, lease, found)],
        committed: () => true,
      };
    }),
  );
}

/** Writes what a machine said of itself; its update and its failures stay as they are but for `state`. */
export async function putForeignMachine(
  parser: Parser,
  changes: Changes,
  leases: DayLease,
  uid: string,
  machine: ForeignMachine,
): Promise<void> {
  const key = keys.foreignMachine(uid);
  // Who was here before has a record, most likely.
  const sure = machine.firstSeen < machine.lastSeen ? [{ key }] : machineRanges(uid);
  return await leases.use((lease) =>
    changes.change(machine.group, sure, async (etcd): Promise<Step<void>> => {
      const { results } = await etcd.read([{ key }]);
      const isRead = parser.again(ForeignMachine, results[0]?.[0]) !== undefined;
      // As in `readForeignMachine`; what a batch reads later may be of another revision.
      const all = isRead ? results : (await etcd.read(machineRanges(uid))).results;
      const known = all.map((kvs) => kvs[0]);
      const before = machineOf(parser, known);
      const [found] = known;
      const [now, said] = [before?.update, machine.update];
      // It may have ended meanwhile, or be another one than the machine spoke of.
      const update = now && { ...now, state: said?.at === now.at ? said.state : now.state };
      const value = JSON.stringify({ ...machine, ...kept(before, machine), update });
      return {
        compares: [unchanged(key, found)],
        operations: [{ put: key, value, lease }, ...seenOperations(uid, machine.id, lease, found)],
        committed: () => undefined,
      };
    }),
  );
}

/** That a machine was here, and why it was offered nothing. */
export interface Sighting {
  /** Wall clock, ms. */
  lastSeen: number;
  why: ForeignMachine["why"];
  /** What it told, newest first. */
  history?: History;
  /** How far the update has come that was offered at `at`. */
  progress?: { at: number; state: Update["state"] };
}

/** The record with it, or the same where it tells nothing new. What is older than the record adds its events only. */
export function withSighting(
  before: ForeignMachine,
  { lastSeen, why, history: told, progress }: Sighting,
): ForeignMachine {
  const known = before.history ?? [];
  const history = historyWith(known, told);
  const isNewer = before.lastSeen < lastSeen;
  if (!isNewer && history === known) return before;
  const { update } = before;
  // Two gateways have two clocks, and what is staged stays so until the machine says otherwise.
  const isIts = isNewer && progress !== undefined && update?.at === progress.at && !isStaged(update);
  return {
    ...before,
    ...(isNewer ? { lastSeen, why } : {}),
    ...(isIts ? { update: { ...update, state: progress.state } } : {}),
    ...(history.length === 0 ? {} : { history }),
  };
}

/** In one transaction, of which each takes two operations: the record's, and once a day the name's beside it. */
export const MAX_SIGHTINGS = 60;

/**
 * Writes them into the records, by uid, at most `MAX_SIGHTINGS`. A record that is gone stays so, and all else in it
 * stays as it is. Throws `EtcdUnavailable`.
 */
export async function putSightings(
  { etcd }: Pick<Ports, "etcd">,
  parser: Parser,
  leases: DayLease,
  sightings: ReadonlyMap<string, Sighting>,
): Promise<void> {
  const ranges = [...sightings.keys()].map((uid) => ({ key: keys.foreignMachine(uid) }));
  return await leases.use((lease) =>
    transact(etcd, async (): Promise<Step<void>> => {
      const { results } = await etcd.read(ranges);
      const found = [...sightings].flatMap(([uid, sighting], i) => {
        const kv = results[i]?.[0];
        const before = parser.json(ForeignMachine, kv);
        if (kv === undefined || before === undefined) return [];
        const after = withSighting(before, sighting);
        if (after === before) return [];
        const put = { put: kv.key, value: JSON.stringify(after), lease };
        return [{ kv, operations: [put, ...seenOperations(uid, before.id, lease, kv)] }];
      });
      if (found.length === 0) return { answer: undefined };
      return {
        compares: found.map(({ kv }) => unchanged(kv.key, kv)),
        operations: found.flatMap(({ operations }) => operations),
        committed: () => undefined,
      };
    }),
  );
}
