/** The agent's side of a grant: commit, withdrawal, return (design, rules 2, 3 and 4). */
import type { Why } from "../api/reasons.ts";
import { answerCommit, type BudgetView } from "./admission.ts";
import type { CommitResult, Fenced, LiveGrant } from "./coordination.ts";
import type { Compare, KeyValue, Operation } from "./etcd.ts";
import { bump, isAgents, readGrant, readGrants } from "./fleet.ts";
import { phaseText } from "./grants.ts";
import { keys, lastPart } from "./keys.ts";
import type { Parser } from "./parse.ts";
import { BudgetGate, GroupGate, type Phase, Session, sameToken, type Token } from "./records.ts";
import { type Ports, type Step, transact, unchanged } from "./transact.ts";

/**
 * Answers for how many seconds the agent may flip and reboot. Where an answer is lost the
 * agent asks again, or withdraws: a commit that landed unanswered permits nothing.
 */
export function commit(
  { etcd, clock }: Ports,
  parser: Parser,
  uid: string,
  session: number,
  token: Token,
  boot: string,
): Promise<CommitResult> {
  return transact(etcd, async (): Promise<Step<CommitResult>> => {
    const { live, session: newest, compares } = await readNode(etcd, parser, uid);
    return commitStep(
      etcd,
      parser,
      () => clock.now(),
      { uid, live, token, session, newest, boot },
      (phase) => ({
        compares,
        operations: [{ put: keys.phase(uid), value: phaseText({ ...phase, committedSession: session }) }],
      }),
    );
  });
}

interface CommitAsk {
  uid: string;
  live: LiveGrant | undefined;
  token: Token;
  session: number;
  /** Of the sessions of the node. */
  newest: number | undefined;
  boot: string;
}

/** One look at what may go on, and the step that commits it. `write` gives what is the asker's own: its compares, and the phase that it writes. */
export async function commitStep(
  etcd: Ports["etcd"],
  parser: Parser,
  clock: () => number,
  { uid, live, token, session, newest, boot }: CommitAsk,
  write: (phase: Phase) => { compares: Compare[]; operations: Operation[] },
): Promise<Step<CommitResult>> {
  const group = live?.grant.group ?? "";
  // Read after the grant that names the group; what the answer rests on is compared.
  const { results } = await etcd.read([
    { key: keys.incarnation },
    { key: keys.groupGate(group) },
    { prefix: keys.budgetGate("") },
    { prefix: keys.budgets },
    { prefix: keys.grants },
    { prefix: keys.phases },
  ]);
  const [incarnation, groupGate] = results.map((found) => found[0]);
  const [gates = [], places = [], grants = [], phases = []] = results.slice(2);
  const bound = boundBy(uid, live?.grant.budgets ?? [], gates, places, parser);
  const now = clock();
  const answer = answerCommit(
    {
      token,
      session,
      boot,
      incarnation: incarnation?.value,
      newest,
      grant: live?.grant,
      living: live?.token,
      phase: live?.phase,
      gate: parser.json(GroupGate, groupGate),
      budgets: bound,
      grants: readGrants(grants, phases, places, incarnation?.value, parser),
    },
    now,
  );
  if ("reason" in answer) return { answer: { outcome: "refused", why: answer } };
  const own = write({ phase: "Committed", at: now, committedAt: now, committedBoot: boot });
  return {
    compares: [
      ...own.compares,
      unchanged(keys.incarnation, incarnation),
      { key: keys.incarnation, target: "value", is: "equal", value: token.incarnation },
      unchanged(keys.groupGate(group), groupGate),
      // Rule 1: who holds a place, and which plain machines have committed, is as it was read.
      ...bound.flatMap(({ budget, gateKey, seq }) => [
        unchanged(keys.budgetGate(budget), gateKey),
        unchanged(keys.budgetSeq(budget), seq),
      ]),
    ],
    operations: [
      ...own.operations,
      ...(live?.grant.plain === true ? bound.map(({ budget, seq }) => bump(budget, seq)) : []),
    ],
    committed: () => ({ outcome: "committed", ...answer }),
  };
}

interface BoundBudget extends BudgetView {
  gateKey: KeyValue | undefined;
  seq: KeyValue | undefined;
}

/** The budgets that the grant of `uid` names, and those whose gates count it because they bound it later. */
function boundBy(
  uid: string,
  named: readonly string[],
  gates: readonly KeyValue[],
  places: readonly KeyValue[],
  parser: Parser,
): BoundBudget[] {
  const found = new Map(
    gates.map((kv) => [lastPart(kv.key), { kv, gate: parser.json(BudgetGate, kv) }] as const),
  );
  const later = [...found].flatMap(([budget, { gate }]) => (gate?.granted?.includes(uid) ? [budget] : []));
  return [...new Set([...named, ...later])].map((budget) => {
    const prefix = keys.holders(budget);
    const holders = places.filter(({ key }) => key.startsWith(prefix)).map(({ key }) => lastPart(key));
    return {
      budget,
      gate: found.get(budget)?.gate,
      gateKey: found.get(budget)?.kv,
      seq: places.find(({ key }) => key === keys.budgetSeq(budget)),
      holders: new Set(holders),
    };
  });
}

/**
 * Granted, Drained or Committed -> Withdrawn. The agent may know the grant by the token
 * from before a rebuild: giving a place back is safe under either.
 */
export function withdraw(
  { etcd, clock }: Ports,
  parser: Parser,
  uid: string,
  session: number,
  token: Token,
  why: Why,
): Promise<Fenced> {
  return move({ etcd }, parser, uid, session, token, ({ phase }) =>
    phase.phase === "Withdrawn"
      ? "already"
      : phase.phase === "Returned"
        ? undefined
        : { ...phase, phase: "Withdrawn", at: clock.now(), ...why },
  );
}

/**
 * Committed -> Returned, in a newer session and another boot than the commit's. A boot
 * whose commit is not recorded (its answer was lost, or the machine went down by itself)
 * is a withdrawal: Granted or Drained -> Withdrawn. After a rebuild the commit's session
 * and boot are not known; the agent's word is taken.
 */
export function reportReturn(
  { etcd, clock }: Ports,
  parser: Parser,
  uid: string,
  session: number,
  token: Token,
  boot: string,
  verdict: NonNullable<Phase["verdict"]>,
  why: Why,
): Promise<Fenced> {
  return move({ etcd }, parser, uid, session, token, ({ phase }) => {
    switch (phase.phase) {
      case "Returned":
      case "Withdrawn":
        return "already";
      case "Granted":
      case "Drained":
        return { ...phase, phase: "Withdrawn", at: clock.now(), ...why };
      case "Committed":
        if (phase.committedSession !== undefined && session <= phase.committedSession) return undefined;
        if (phase.committedBoot === boot) return undefined;
        return { ...phase, phase: "Returned", at: clock.now(), verdict, ...why };
    }
  });
}

function move(
  { etcd }: Pick<Ports, "etcd">,
  parser: Parser,
  uid: string,
  session: number,
  token: Token,
  next: (live: LiveGrant) => Phase | "already" | undefined,
): Promise<Fenced> {
  return transact(etcd, async (): Promise<Step<Fenced>> => {
    const { live, session: newest, compares } = await readNode(etcd, parser, uid);
    if (live === undefined || newest !== session) return { answer: "stale" };
    const superseded = live.grant.supersedes ?? undefined;
    if (!sameToken(live.token, token) && !sameToken(superseded, token)) return { answer: "stale" };
    const phase = next(live);
    if (phase === undefined) return { answer: "stale" };
    if (phase === "already") return { answer: "done" };
    return {
      compares,
      operations: [{ put: keys.phase(uid), value: phaseText(phase) }],
      committed: () => "done",
    };
  });
}

interface NodeView {
  live: LiveGrant | undefined;
  session: number | undefined;
  /** Hold while grant, phase and session are still these. */
  compares: Compare[];
}

async function readNode(etcd: Ports["etcd"], parser: Parser, uid: string): Promise<NodeView> {
  const { results } = await etcd.read([
    { key: keys.grant(uid) },
    { key: keys.phase(uid) },
    { key: keys.session(uid) },
  ]);
  const [grant, phase, session] = results.map((found): KeyValue | undefined => found[0]);
  const live = grant && readGrant(grant, phase, undefined, parser, () => []);
  return {
    live: isAgents(live) ? live : undefined,
    session: parser.json(Session, session)?.session,
    compares: [
      { key: keys.grant(uid), target: "create", is: "equal", revision: grant?.createRevision ?? 0 },
      unchanged(keys.phase(uid), phase),
      unchanged(keys.session(uid), session),
    ],
  };
}
