/** The slot of a node: taking it and giving it back (design, rules 1, 2 and 3). */
import { equals, toJson } from "@bufbuild/protobuf";
import type { Why } from "../api/reasons.ts";
import { DesiredSchema, PolicySchema, TargetSchema } from "../proto/gen/agent_pb.ts";
import { type GrantQuestion, isRepair, refuseGrant } from "./admission.ts";
import { endNames, nameRanges, viewNames } from "./aliases.ts";
import type { Fenced, Leadership, LiveGrant, TakeGrant, TakeResult } from "./coordination.ts";
import { LEADERSHIP, leads, viewEpoch } from "./epoch.ts";
import type { Compare, EtcdPort, KeyValue } from "./etcd.ts";
import { bump, heldBy, readGrant } from "./fleet.ts";
import { giveUpUpdate } from "./give-up.ts";
import { aliasesOf } from "./identity.ts";
import { keys, lastPart } from "./keys.ts";
import type { Parser } from "./parse.ts";
import {
  BudgetGate,
  type Grant,
  GroupGate,
  type Holder,
  type Phase,
  sameToken,
  type Token,
} from "./records.ts";
import { type Ports, refused, type Step, transact, unchanged } from "./transact.ts";

/** Budgets of one node at most: 2 operations and 2 compares for each, of etcd's 128. */
export const MAX_BUDGETS = 32;

/**
 * Takes a place in every budget and makes the grant, or says why not. Calling it again with
 * the same nonce is safe. Throws `EtcdUnavailable` where even reading back fails: the grant
 * with this nonce may then exist, and the next look at the fleet tells.
 */
export async function takeGrant(
  { etcd, clock }: Ports,
  parser: Parser,
  leader: Leadership,
  request: TakeGrant,
): Promise<TakeResult> {
  const { uid, budgets } = request;
  if (budgets.length === 0 || budgets.length > MAX_BUDGETS || new Set(budgets).size !== budgets.length) {
    throw new RangeError(
      `takeGrant: ${uid} needs 1 to ${MAX_BUDGETS} different budgets, got ${budgets.length}`,
    );
  }
  const aliases = [...new Set([...aliasesOf(uid), ...(request.aliases ?? [])])];
  return transact(etcd, async (uncertain): Promise<Step<TakeResult>> => {
    const { results } = await etcd.read([
      ...LEADERSHIP,
      { key: keys.grant(uid) },
      { key: keys.desiredOf(uid) },
      { key: keys.groupGate(request.group) },
      ...budgets.flatMap((budget) => [
        { key: keys.budgetGate(budget) },
        { key: keys.budgetSeq(budget) },
        { prefix: keys.holders(budget) },
      ]),
      ...nameRanges(uid, aliases),
    ]);
    const [epoch, incarnation, existing, desired, groupGate] = results.slice(0, 5).map((found) => found[0]);
    const views = budgets.map((budget, i) => {
      const [gate = [], seq = [], holders = []] = results.slice(5 + 3 * i, 8 + 3 * i);
      return { budget, gate: gate[0], seq: seq[0], holders: new Set(holders.map((kv) => lastPart(kv.key))) };
    });

    if (existing !== undefined) {
      const { grant, token } = readGrant(existing, undefined, incarnation?.value, parser, () => []);
      if (grant.nonce === request.nonce) return { answer: { outcome: "granted", token } };
      if (grant.foreign === undefined)
        return refused("AlreadyGranted", `${request.node} holds a slot already`);
    }
    const view = viewEpoch(epoch, incarnation, parser);
    if (!leads(view, leader)) {
      return refused("LeaderChanged", `epoch ${view.record.epoch} leads, not ${leader.epoch}`);
    }
    if (uncertain) return fence(view.compares, budgets[0] ?? "", views[0]?.seq);
    const known = await viewNames(etcd, uid, aliases, results.slice(5 + 3 * budgets.length));
    const holder = existing ?? known.holder;
    if (holder !== undefined) {
      const given = await giveUpUpdate(etcd, parser, view.compares, holder, request.node);
      if (given !== undefined) return given;
      const { grant } = readGrant(holder, undefined, incarnation?.value, parser, () => []);
      const by = grant.foreign === undefined ? "" : ` by ${grant.foreign.protocol}`;
      return refused("AlreadyGranted", `${request.node} holds a slot already${by}, as ${grant.node}`);
    }
    const asked = parser.proto(DesiredSchema, desired);
    if (asked === undefined || !equals(DesiredSchema, asked, request.desired)) {
      return refused("DesiredChanged", `what ${request.node} should run is no longer what the plan rests on`);
    }
    const now = clock.now();
    const question: GrantQuestion = {
      uid,
      release: request.release,
      group: request.group,
      gate: parser.json(GroupGate, groupGate),
      budgets: views.map(({ budget, gate, holders }) => ({
        budget,
        gate: parser.json(BudgetGate, gate),
        holders,
      })),
      needs: request.needs,
      ...(request.asked === undefined ? {} : { asked: request.asked }),
    };
    const why = refuseGrant(question, now);
    if (why !== undefined) return { answer: { outcome: "refused", why } };
    return {
      compares: [
        ...view.compares,
        { key: keys.grant(uid), target: "create", is: "equal", revision: 0 },
        ...known.compares,
        unchanged(keys.desiredOf(uid), desired),
        unchanged(keys.groupGate(request.group), groupGate),
        ...views.flatMap(({ budget, gate, seq }) => [
          unchanged(keys.budgetGate(budget), gate),
          unchanged(keys.budgetSeq(budget), seq),
        ]),
      ],
      operations: [
        {
          put: keys.grant(uid),
          value: JSON.stringify(newGrant(leader, request, aliases, isRepair(question), now)),
        },
        ...known.operations,
        { put: keys.phase(uid), value: phaseText({ phase: "Granted", at: now }) },
        ...views.flatMap(({ budget, seq }) => [
          { put: keys.holder(budget, uid), value: JSON.stringify({ at: now } satisfies Holder) },
          bump(budget, seq),
        ]),
      ],
      committed: (revision) => ({
        outcome: "granted",
        token: { incarnation: leader.incarnation, revision },
      }),
    };
  });
}

/**
 * After an unknown outcome that left no grant: changes a key that the lost transaction
 * compares, so that it can never land, and only then says that nothing was taken.
 */
function fence(leader: readonly Compare[], budget: string, seq: KeyValue | undefined): Step<TakeResult> {
  return {
    compares: [...leader, unchanged(keys.budgetSeq(budget), seq)],
    operations: [bump(budget, seq)],
    committed: () => ({
      outcome: "refused",
      why: { reason: "EtcdUnavailable", message: "etcd gave no answer to the grant; nothing was taken" },
    }),
  };
}

function newGrant(
  leader: Leadership,
  request: TakeGrant,
  aliases: string[],
  repair: boolean,
  now: number,
): Grant {
  const { target, policy } = request.desired;
  return {
    uid: request.uid,
    node: request.node,
    group: request.group,
    release: request.release,
    budgets: [...request.budgets],
    ...(aliases.length === 0 ? {} : { aliases }),
    nonce: request.nonce,
    epoch: leader.epoch,
    incarnation: leader.incarnation,
    at: now,
    target: target === undefined ? null : (toJson(TargetSchema, target) as Record<string, unknown>),
    policy: policy === undefined ? {} : (toJson(PolicySchema, policy) as Record<string, unknown>),
    bootNeeds: request.bootNeeds,
    ...(request.finishes === true ? { finishes: true } : {}),
    ...(request.asked === undefined ? {} : { asked: request.asked.why, inFreeze: request.asked.inFreeze }),
    ...(request.plain === true ? { plain: true } : {}),
    ...(request.requested === undefined ? {} : { requested: request.requested }),
    ...(repair ? { repair: true } : {}),
    supersedes: null,
    reason: request.reason,
  };
}

/** Granted -> Drained. */
export function markDrained(
  ports: Ports,
  parser: Parser,
  leader: Leadership,
  uid: string,
  token: Token,
): Promise<Fenced> {
  return moveAsLeader(ports, parser, leader, uid, token, (phase) =>
    phase.phase === "Drained"
      ? "already"
      : phase.phase === "Granted"
        ? { phase: "Drained", at: ports.clock.now() }
        : undefined,
  );
}

/** Granted or Drained -> Withdrawn. */
export function revoke(
  ports: Ports,
  parser: Parser,
  leader: Leadership,
  uid: string,
  token: Token,
  why: Why,
): Promise<Fenced> {
  return moveAsLeader(ports, parser, leader, uid, token, (phase) =>
    phase.phase === "Withdrawn"
      ? "already"
      : phase.phase === "Granted" || phase.phase === "Drained"
        ? { phase: "Withdrawn", at: ports.clock.now(), ...why }
        : undefined,
  );
}

function moveAsLeader(
  { etcd }: Ports,
  parser: Parser,
  leader: Leadership,
  uid: string,
  token: Token,
  next: (phase: Phase) => Phase | "already" | undefined,
): Promise<Fenced> {
  return transact(etcd, async (): Promise<Step<Fenced>> => {
    const held = await readHeld(etcd, parser, leader, uid, token);
    if (typeof held === "string") return { answer: "stale" };
    const phase = next(held.live.phase);
    if (phase === undefined) return { answer: "stale" };
    if (phase === "already") return { answer: "done" };
    return {
      compares: held.compares,
      operations: [{ put: keys.phase(uid), value: phaseText(phase) }],
      committed: () => "done",
    };
  });
}

/** Ends a grant that is over: its phase is Returned or Withdrawn. */
export function release(
  ports: Ports,
  parser: Parser,
  leader: Leadership,
  uid: string,
  token: Token,
): Promise<Fenced> {
  return end(ports, parser, leader, uid, token, ({ phase }) =>
    phase.phase === "Returned" || phase.phase === "Withdrawn" ? [] : undefined,
  );
}

/**
 * Ends a grant whatever its phase. `NodeGone` waits until a committed node's presence has
 * ended: it may be about to reboot. In other phases the commit that may still be asked for
 * finds no grant.
 */
export function free(
  ports: Ports,
  parser: Parser,
  leader: Leadership,
  uid: string,
  token: Token,
  cause: "Stolen" | "HolderExpired" | "NodeGone",
): Promise<Fenced> {
  return end(ports, parser, leader, uid, token, ({ phase }, presence) => {
    if (cause !== "NodeGone" || phase.phase !== "Committed") return [];
    return presence === undefined ? [unchanged(keys.presenceOf(uid), undefined)] : undefined;
  });
}

/** `allow` gives further compares, or undefined where the grant may not end yet. */
function end(
  { etcd }: Ports,
  parser: Parser,
  leader: Leadership,
  uid: string,
  token: Token,
  allow: (live: LiveGrant, presence: KeyValue | undefined) => Compare[] | undefined,
): Promise<Fenced> {
  return transact(etcd, async (uncertain): Promise<Step<Fenced>> => {
    const held = await readHeld(etcd, parser, leader, uid, token);
    // Only the leader ends grants: one that is gone after an unknown outcome is our doing.
    if (held === "gone") return { answer: uncertain ? "done" : "stale" };
    if (held === "not leading") return { answer: "stale" };
    const further = allow(held.live, held.presence);
    if (further === undefined) return { answer: "stale" };
    const places = held.live.grant.budgets.map((budget) => ({
      budget,
      seq: held.budgets.find((kv) => kv.key === keys.budgetSeq(budget)),
    }));
    return {
      compares: [
        ...held.compares,
        ...further,
        ...places.map(({ budget, seq }) => unchanged(keys.budgetSeq(budget), seq)),
      ],
      operations: [
        { delete: keys.grant(uid) },
        { delete: keys.phase(uid) },
        ...places.flatMap(({ budget, seq }) => [{ delete: keys.holder(budget, uid) }, bump(budget, seq)]),
        ...endNames(held.live.grant),
      ],
      committed: () => "done",
    };
  });
}

interface Held {
  live: LiveGrant;
  presence: KeyValue | undefined;
  /** Everything under `budgets/`. */
  budgets: readonly KeyValue[];
  /** Hold while the grant, its phase and the leader are still these. */
  compares: Compare[];
}

/** The living grant under `token`. */
async function readHeld(
  etcd: EtcdPort,
  parser: Parser,
  leader: Leadership,
  uid: string,
  token: Token,
): Promise<Held | "gone" | "not leading"> {
  const { results } = await etcd.read([
    ...LEADERSHIP,
    { key: keys.grant(uid) },
    { key: keys.phase(uid) },
    { key: keys.presenceOf(uid) },
    { prefix: keys.budgets },
  ]);
  const [epoch, incarnation, grant, phase, presence] = results.slice(0, 5).map((found) => found[0]);
  const budgets = results[5] ?? [];
  const view = viewEpoch(epoch, incarnation, parser);
  if (!leads(view, leader)) return "not leading";
  if (grant === undefined) return "gone";
  const live = readGrant(grant, phase, incarnation?.value, parser, () => heldBy(uid, budgets));
  if (!sameToken(live.token, token)) return "gone";
  return {
    live,
    presence,
    budgets,
    compares: [
      ...view.compares,
      { key: keys.grant(uid), target: "create", is: "equal", revision: token.revision },
      unchanged(keys.phase(uid), phase),
    ],
  };
}

export function phaseText(phase: Phase): string {
  return JSON.stringify(phase);
}
