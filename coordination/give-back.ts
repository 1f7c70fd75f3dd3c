/**
 * What a machine without our agent gives back. One machine may speak two protocols, and have been told by both that it
 * may reboot: its slot ends when the last of them says that it is back.
 */
import type { Why } from "../api/reasons.ts";
import { refuseReboot } from "./admission.ts";
import { endNames, targetOf } from "./aliases.ts";
import type { Changes } from "./changes.ts";
import type { ForeignAsk, ForeignFreed, LiveGrant } from "./coordination.ts";
import { LEADERSHIP, viewEpoch } from "./epoch.ts";
import {
  type Compare,
  EtcdUnavailable,
  type KeyValue,
  type Operation,
  type Range,
  type Reader,
} from "./etcd.ts";
import { bump, readGrant, wordsOf } from "./fleet.ts";
import { phaseText } from "./grants.ts";
import { aliasesOf } from "./identity.ts";
import { keys, lastPart } from "./keys.ts";
import type { Parser } from "./parse.ts";
import { type Grant, type GroupGate, isWhole, type Protocol, sameToken, type Token } from "./records.ts";
import { type Ports, type Step, unchanged } from "./transact.ts";

/** What ends beside a slot, in the same transaction, and also where the slot is gone. */
export interface ForeignEnd {
  ranges: readonly { key: string }[];
  /** Undefined where it has ended. */
  write: (
    found: readonly (KeyValue | undefined)[],
    now: number,
  ) => { compares: Compare[]; operations: Operation[] } | undefined;
}

/**
 * Gives back what `uid` took in `group` by the same protocol, and its ticket. `none` where it holds nothing there. Throws `EtcdUnavailable`
 * where that can't be known: the machine is to ask again.
 */
export function freeForeign(
  ports: Ports,
  parser: Parser,
  changes: Changes,
  uid: string,
  group: string,
  protocol: Protocol,
): Promise<ForeignFreed> {
  return freeWith(ports, parser, changes, { uid, group, protocol, its: (grant) => grant.group === group });
}

export interface ForeignGiver {
  uid: string;
  /** Of the place in the line. */
  group: string;
  protocol: Protocol;
  its: (grant: Grant) => boolean;
}

/** Of `beside` too; `none` where that has ended already. */
export async function freeWith(
  { clock }: Pick<Ports, "clock">,
  parser: Parser,
  changes: Changes,
  { uid, group, protocol, its }: ForeignGiver,
  beside?: ForeignEnd,
): Promise<ForeignFreed> {
  /** Of the slot that the first look found: one that the machine took since is not given back by this word (rule 3). */
  let giving: Token | undefined;
  const names = aliasesOf(uid);
  const ranges: Range[] = [
    ...LEADERSHIP,
    { key: keys.ticket(group, uid) },
    { key: keys.grant(uid) },
    { key: keys.alias(uid) },
    ...names.map((alias) => ({ key: keys.grant(alias) })),
    ...(beside?.ranges ?? []),
  ];
  const look = async (etcd: Reader, uncertain: boolean): Promise<Step<ForeignFreed>> => {
    const { results } = await etcd.read(ranges);
    const [epoch, incarnation, ticket, own, alias, ...rest] = results.map((kvs) => kvs[0]);
    const [others, found] = [rest.slice(0, names.length), rest.slice(names.length)];
    const view = viewEpoch(epoch, incarnation, parser);
    if (!isWhole(view.incarnation)) {
      throw new EtcdUnavailable("etcd has lost who holds a slot, and is not rebuilt yet");
    }
    const kv = own ?? (await targetOf(etcd, alias)) ?? others.find((other) => other !== undefined);
    const holder = kv === undefined ? uid : lastPart(kv.key);
    const held = kv && (await readHeld(etcd, parser, kv, view.incarnation));
    const live = held?.live;
    const more = beside?.write(found, clock.now());
    if (beside !== undefined && more === undefined) return { answer: uncertain ? "freed" : "none" };
    const words = live === undefined ? [] : wordsOf(live);
    const compares = [
      ...view.compares.filter(({ key }) => key === keys.incarnation),
      ...(more?.compares ?? []),
    ];
    // Who asks by Omaha has no place in the line, and may have one by the protocol that it asks for its reboot by.
    const place = protocol === "Omaha" ? undefined : ticket;
    const operations: Operation[] = [
      ...(place === undefined ? [] : [{ delete: place.key }]),
      ...(more?.operations ?? []),
    ];
    const isLater = giving !== undefined && live !== undefined && !sameToken(giving, live.token);
    if (
      held === undefined ||
      live === undefined ||
      isLater ||
      !words.includes(protocol) ||
      !its(live.grant)
    ) {
      const gone = more !== undefined || isLater || (giving !== undefined && uncertain && live === undefined);
      const outcome: ForeignFreed = gone ? "freed" : "none";
      if (operations.length === 0) return { answer: outcome };
      const line = place === undefined ? [] : [unchanged(place.key, place)];
      return { compares: [...compares, ...line], operations, committed: () => outcome };
    }
    // One that the same batch makes has no revision yet.
    if (live.token.revision > 0) giving ??= live.token;
    const kept = words.filter((word) => word !== protocol);
    if (kept.length > 0) {
      return {
        compares: [...compares, ...held.compares],
        operations: [
          { put: held.phaseKey, value: phaseText({ ...live.phase, heldBy: kept }) },
          ...operations,
        ],
        committed: () => "freed",
      };
    }
    const { budgets } = live.grant;
    const seqs = (await etcd.read(budgets.map((budget) => ({ key: keys.budgetSeq(budget) })))).results;
    const taken = budgets.map((budget, i) => ({ budget, seq: seqs[i]?.[0] }));
    return {
      compares: [
        ...compares,
        ...held.compares,
        ...taken.map(({ budget, seq }) => unchanged(keys.budgetSeq(budget), seq)),
      ],
      operations: [
        { delete: keys.grant(holder) },
        { delete: held.phaseKey },
        ...taken.flatMap(({ budget, seq }) => [{ delete: keys.holder(budget, holder) }, bump(budget, seq)]),
        ...endNames(live.grant),
        ...operations,
      ],
      committed: () => "freed",
    };
  };
  return await changes.change(group, [...ranges, { key: keys.phase(uid) }], look);
}

export interface Held {
  live: LiveGrant;
  phaseKey: string;
  /** Hold while the grant is there, by the word of the same. */
  compares: Compare[];
}

/**
 * What a holder hears that asks by `protocol`. Who hears "yes" reboots: that must be in time, which what the slot was
 * taken for need not have been (rule 4), and the slot must not end by another's word. `gate`: of the group, as read.
 */
export function heldToo<T>(
  { live, compares }: Pick<Held, "live" | "compares">,
  { uid, group, protocol }: Pick<ForeignAsk, "uid" | "group" | "protocol">,
  gate: { kv: KeyValue | undefined; of: GroupGate | undefined },
  answer: T,
  now: number,
): Step<T | { outcome: "refused"; why: Why }> {
  const words = wordsOf(live);
  if (words.includes(protocol)) return { answer };
  const why = refuseReboot(uid, group, gate.of, now);
  if (why !== undefined) return { answer: { outcome: "refused", why } };
  const value = phaseText({ ...live.phase, heldBy: [...words, protocol] });
  return {
    compares: [...compares, unchanged(keys.groupGate(group), gate.kv)],
    operations: [{ put: keys.phase(live.grant.uid), value }],
    committed: () => answer,
  };
}

/** A grant with its phase, of one revision: a phase that is gone means another thing beside a grant that is. Undefined where it has ended. */
export async function readHeld(
  etcd: Reader,
  parser: Parser,
  { key }: Pick<KeyValue, "key">,
  incarnation: string | undefined,
): Promise<Held | undefined> {
  const phaseKey = keys.phase(lastPart(key));
  const { results } = await etcd.read([{ key }, { key: phaseKey }]);
  const [grant, phase] = results.map((kvs) => kvs[0]);
  if (grant === undefined) return undefined;
  const live = readGrant(grant, phase, incarnation, parser, () => []);
  const compares: Compare[] = [
    { key: grant.key, target: "create", is: "equal", revision: live.token.revision },
    unchanged(phaseKey, phase),
  ];
  return { live, phaseKey, compares };
}
