/**
 * Nodes on which no agent of ours runs, and whose own client asks before it reboots them (FleetLock, locksmith). The
 * slot is given as to any Node, by the manager, which cordons and drains; the client's protocol takes the place of the
 * agent's: it commits once the Node is drained, and says when it is back (design, rules 1, 3 and 4).
 */
import type { Why } from "../api/reasons.ts";
import { refuseReboot } from "./admission.ts";
import { nameRanges, viewNames } from "./aliases.ts";
import { commitStep } from "./commit.ts";
import type { CommitResult, ForeignFreed, ForeignResult, LiveGrant, RebootAsk } from "./coordination.ts";
import { type Compare, EtcdUnavailable, type KeyValue, type Operation } from "./etcd.ts";
import { readGrant, wordsOf } from "./fleet.ts";
import { heldToo, readHeld } from "./give-back.ts";
import { phaseText } from "./grants.ts";
import { aliasesOf, uidOf } from "./identity.ts";
import { keys } from "./keys.ts";
import type { Parser } from "./parse.ts";
import {
  GroupGate,
  isWhole,
  type Phase,
  type Protocol,
  RebootRequest,
  sameToken,
  type Token,
} from "./records.ts";
import { type Ports, refused, type Step, transact, unchanged } from "./transact.ts";

/** As long as a ticket: two askings of Zincati, seconds. */
const REQUEST_SECONDS = 720;
/** A request is written again after so long, ms. */
const REFRESH = 60_000;

export function requestReboot(ports: Ports, parser: Parser, ask: RebootAsk): Promise<ForeignResult> {
  const { etcd, clock } = ports;
  return transact(etcd, async (): Promise<Step<ForeignResult>> => {
    const seen = await look(ports, parser, ask.uid, ask.group);
    const { live } = seen;
    if (live !== undefined) {
      const { grant } = live;
      const held: ForeignResult = { outcome: "held", since: grant.at };
      if (grant.foreign !== undefined && grant.group === ask.group)
        return heldToo({ live, compares: seen.compares }, ask, seen.gate, held, clock.now());
      if (grant.requested?.protocol !== ask.protocol || grant.group !== ask.group)
        return refused("AlreadyGranted", `${ask.name} holds a slot that it did not ask for in this way`);
      if (live.phase.phase === "Committed") return { answer: held };
      if (live.phase.phase === "Drained") return await commitIt(ports, parser, ask, live, seen);
      if (live.phase.phase !== "Granted")
        return refused("WaitingForTurn", `the reboot of ${ask.name} before this one is not over yet`);
    }
    const before = live === undefined ? await heldBefore(etcd, parser, ask) : undefined;
    if (before !== undefined) return { answer: { outcome: "held", since: before.grant.at } };
    const now = clock.now();
    const why = live === undefined ? waitsFor(ask, seen.gate.of, now) : draining(ask);
    const answer: ForeignResult = { outcome: "refused", why };
    if (seen.known !== undefined && now - seen.known.seenAt < REFRESH) return { answer };
    const { protocol, group } = ask;
    const request: RebootRequest = { protocol, group, since: seen.known?.since ?? now, seenAt: now };
    const lease = await etcd.leaseOnce(REQUEST_SECONDS);
    const key = keys.request(ask.uid);
    return {
      compares: [...seen.compares, unchanged(key, seen.request)],
      operations: [{ put: key, value: JSON.stringify(request), lease }],
      committed: () => answer,
    };
  });
}

/**
 * What its client was told that it has before anybody knew that it is a Node: whoever lost that answer gets no other
 * slot while it has this one.
 */
async function heldBefore(
  etcd: Ports["etcd"],
  parser: Parser,
  { id, group, protocol }: RebootAsk,
): Promise<LiveGrant | undefined> {
  if (id === undefined) return undefined;
  const former = uidOf(id);
  const aliases = aliasesOf(former);
  const { results } = await etcd.read([{ key: keys.grant(former) }, ...nameRanges(former, aliases)]);
  const [own = [], ...names] = results;
  const kv = own[0] ?? (await viewNames(etcd, former, aliases, names)).holder;
  const live = kv && (await readHeld(etcd, parser, kv, undefined))?.live;
  return live?.grant.group === group && wordsOf(live).includes(protocol) ? live : undefined;
}

function waitsFor({ uid, group, name }: RebootAsk, gate: GroupGate | undefined, now: number): Why {
  const message = `${name} waits for its slot: "kubectl slipway why ${name}" says what for`;
  return refuseReboot(uid, group, gate, now) ?? { reason: "WaitingForTurn", message };
}

function draining({ name }: RebootAsk): Why {
  return { reason: "Draining", message: `Node ${name} is being drained: ask again` };
}

/** The commit of a drained Node. Where the moment has passed the slot is given back, and the cordon with it. */
async function commitIt(
  { etcd, clock }: Ports,
  parser: Parser,
  { uid, id }: RebootAsk,
  live: LiveGrant,
  { compares, request }: Looked,
): Promise<Step<ForeignResult>> {
  const boot = `${live.grant.requested?.boot ?? ""}/0`;
  const asked = { uid, live, token: live.token, session: 0, newest: 0, boot };
  const step = await commitStep(
    etcd,
    parser,
    () => clock.now(),
    asked,
    (phase) => ({
      compares,
      operations: [
        put(uid, { ...phase, client: true, ...(id === undefined ? {} : { clientId: id }) }),
        ...without(request),
      ],
    }),
  );
  if (!("answer" in step)) return { ...step, committed: () => ({ outcome: "granted" }) };
  const answer = answerOf(step.answer);
  if (answer.outcome !== "refused" || !PASSED.has(answer.why.reason)) return { answer };
  const phase: Phase = { phase: "Withdrawn", at: clock.now(), ...answer.why };
  return { compares, operations: [put(uid, phase)], committed: () => answer };
}

/** What does not come again by asking again soon. */
const PASSED: ReadonlySet<string> = new Set([
  "WaitingForWindow",
  "WindowClosing",
  "ChangeFreeze",
  "WaitingForBudget",
]);

function answerOf(result: CommitResult): ForeignResult {
  return result.outcome === "committed" ? { outcome: "granted" } : result;
}

export function endReboot(
  ports: Ports,
  parser: Parser,
  uid: string,
  group: string,
  protocol: Protocol,
  agent = false,
): Promise<ForeignFreed> {
  const { etcd, clock } = ports;
  /** Of the grant that the first look found: what the machine asked for since is not ended by this word (rule 3). */
  let ending: Token | undefined;
  return transact(etcd, async (uncertain): Promise<Step<ForeignFreed>> => {
    const { live, request, compares } = await look(ports, parser, uid, group);
    if (ending !== undefined && live !== undefined && !sameToken(ending, live.token))
      return { answer: "freed" };
    const next = live && endOf(live, group, protocol, agent, clock.now());
    if (next !== undefined) ending ??= live?.token;
    if (next === undefined && request === undefined)
      return { answer: uncertain && ending !== undefined ? "freed" : "none" };
    return {
      compares: [...compares, unchanged(keys.request(uid), request)],
      operations: [...(next === undefined ? [] : [put(uid, next)]), ...without(request)],
      committed: () => (next === undefined ? "none" : "freed"),
    };
  });
}

/** The phase in which the client's word ends its grant; undefined where that is not its grant, or has ended. */
function endOf(
  { grant, phase }: LiveGrant,
  group: string,
  protocol: Protocol,
  agent: boolean,
  now: number,
): Phase | undefined {
  // A rebuild does not know by whom it was asked for: where an agent runs, by that.
  const rebuilt = !agent && (grant.supersedes !== null || grant.reason === "rebuilt");
  const its = grant.requested?.protocol === protocol || rebuilt;
  if (!its || grant.foreign !== undefined || grant.group !== group) return undefined;
  switch (phase.phase) {
    case "Granted":
    case "Drained": {
      const message = "Its client does not want to reboot any more.";
      return { phase: "Withdrawn", at: now, reason: "Withdrawn", message };
    }
    case "Committed": {
      const said = { reason: "Rebooted", message: "Its client says that the machine is back." };
      return { ...phase, phase: "Returned", at: now, client: true, verdict: "Rebooted", ...said };
    }
    default:
      return undefined;
  }
}

interface Looked {
  live: LiveGrant | undefined;
  request: KeyValue | undefined;
  known: RebootRequest | undefined;
  gate: { kv: KeyValue | undefined; of: GroupGate | undefined };
  /** Hold while grant and phase are still these. */
  compares: Compare[];
}

async function look({ etcd }: Ports, parser: Parser, uid: string, group: string): Promise<Looked> {
  const { results } = await etcd.read([
    { key: keys.incarnation },
    { key: keys.grant(uid) },
    { key: keys.phase(uid) },
    { key: keys.request(uid) },
    { key: keys.groupGate(group) },
  ]);
  const [incarnation, grant, phase, request, gate] = results.map((found): KeyValue | undefined => found[0]);
  if (!isWhole(incarnation?.value))
    throw new EtcdUnavailable("etcd has lost who holds a slot, and is not rebuilt yet");
  return {
    live: grant && readGrant(grant, phase, incarnation?.value, parser, () => []),
    request,
    known: parser.json(RebootRequest, request),
    gate: { kv: gate, of: parser.json(GroupGate, gate) },
    compares: [
      { key: keys.grant(uid), target: "create", is: "equal", revision: grant?.createRevision ?? 0 },
      unchanged(keys.phase(uid), phase),
    ],
  };
}

function put(uid: string, phase: Phase): Operation {
  return { put: keys.phase(uid), value: phaseText(phase) };
}

function without(request: KeyValue | undefined): Operation[] {
  return request === undefined ? [] : [{ delete: request.key }];
}
