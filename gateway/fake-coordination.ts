/** The part of `Coordination` that a gateway uses, in memory, with calls that can be made to fail. */
import type {
  CommitResult,
  Coordination,
  FleetSnapshot,
  JoinRecord,
  LiveGrant,
  MachineRecord,
} from "../coordination/coordination.ts";
import { EtcdUnavailable } from "../coordination/etcd.ts";
import { type Session, sameToken, type Token } from "../coordination/records.ts";
import { systemClock } from "../ports/clock.ts";
import type { Desired, Observed } from "../proto/gen/agent_pb.ts";

export type GatewayCoordination = Pick<
  Coordination,
  | "readFleet"
  | "watchFleet"
  | "openSession"
  | "closeSession"
  | "putObserved"
  | "commit"
  | "withdraw"
  | "reportReturn"
  | "readNode"
  | "spendJoinToken"
  | "putJoinToken"
  | "readMachine"
>;

export class FakeCoordination implements GatewayCoordination {
  readonly desired = new Map<string, Desired>();
  readonly observed = new Map<string, Observed>();
  readonly grants = new Map<string, LiveGrant>();
  readonly sessions = new Map<string, Session>();
  readonly present = new Map<string, string>();
  readonly joins = new Map<string, JoinRecord>();
  readonly machines = new Map<string, MachineRecord>();
  incarnation: string | undefined = "one";
  /** Names of calls that get no answer. */
  readonly failing = new Set<string>();
  /** Names of calls in their order. */
  readonly calls: string[] = [];
  commitAnswer: CommitResult = { outcome: "committed", goodForSeconds: 20 };
  /** Held calls wait until `letGo`. */
  readonly #held = new Map<string, (() => void)[]>();
  readonly #hints = new Set<() => void>();

  hold(call: string): void {
    this.#held.set(call, []);
  }

  letGo(call: string): void {
    const waiting = this.#held.get(call) ?? [];
    this.#held.delete(call);
    for (const resume of waiting) resume();
  }

  count(call: string): number {
    return this.calls.filter((name) => name === call).length;
  }

  hint(): void {
    for (const hint of this.#hints) hint();
  }

  async #enter(call: string): Promise<void> {
    this.calls.push(call);
    const held = this.#held.get(call);
    if (held !== undefined) await new Promise<void>((resume) => held.push(resume));
    if (this.failing.has(call)) throw new EtcdUnavailable(`${call}: no answer`);
  }

  #newest(uid: string, session: number): boolean {
    return this.sessions.get(uid)?.session === session;
  }

  async readFleet(): Promise<FleetSnapshot> {
    await this.#enter("readFleet");
    return {
      revision: 1,
      pulse: 1,
      incarnation: this.incarnation,
      epoch: 1,
      groupGates: new Map(),
      budgetGates: new Map(),
      offers: new Map(),
      tallies: new Map(),
      machineTotals: new Map(),
      budgets: new Map(),
      grants: new Map(this.grants),
      desired: new Map(this.desired),
      observed: new Map(this.observed),
      sessions: new Map(this.sessions),
      present: new Set(this.present.keys()),
    };
  }

  watchFleet(hint: () => void): { close(): void } {
    this.#hints.add(hint);
    return { close: () => this.#hints.delete(hint) };
  }

  async openSession(uid: string, gateway: string, lease: string): Promise<number> {
    await this.#enter("openSession");
    const session = (this.sessions.get(uid)?.session ?? 0) + 1;
    this.sessions.set(uid, { session, gateway, at: 0 });
    this.present.set(uid, lease);
    this.hint();
    return session;
  }

  async closeSession(uid: string, session: number): Promise<void> {
    await this.#enter("closeSession");
    if (this.#newest(uid, session)) this.present.delete(uid);
  }

  async putObserved(uid: string, session: number, observed: Observed): Promise<boolean> {
    await this.#enter("putObserved");
    if (!this.#newest(uid, session)) return false;
    this.observed.set(uid, observed);
    return true;
  }

  async commit(uid: string, session: number, token: Token): Promise<CommitResult> {
    await this.#enter("commit");
    const live = this.grants.get(uid);
    if (!this.#newest(uid, session) || live === undefined || !sameToken(live.token, token)) {
      return { outcome: "refused", why: { reason: "CommitRefused", message: "the grant is gone" } };
    }
    return this.commitAnswer;
  }

  async withdraw(uid: string, session: number, token: Token): Promise<"done" | "stale"> {
    await this.#enter("withdraw");
    return this.#move(uid, session, token, ["Granted", "Drained", "Committed"], "Withdrawn");
  }

  async reportReturn(uid: string, session: number, token: Token): Promise<"done" | "stale"> {
    await this.#enter("reportReturn");
    return this.#move(uid, session, token, ["Committed"], "Returned");
  }

  #move(
    uid: string,
    session: number,
    token: Token,
    from: readonly string[],
    to: LiveGrant["phase"]["phase"],
  ): "done" | "stale" {
    const live = this.grants.get(uid);
    if (!this.#newest(uid, session) || live === undefined || !sameToken(live.token, token)) return "stale";
    if (!from.includes(live.phase.phase)) return "stale";
    this.grants.set(uid, { ...live, phase: { ...live.phase, phase: to } });
    return "done";
  }

  async readNode(uid: string): Promise<{
    incarnation: string | undefined;
    grant: LiveGrant | undefined;
    desired: Desired | undefined;
    session: Session | undefined;
  }> {
    await this.#enter("readNode");
    return {
      incarnation: this.incarnation,
      grant: this.grants.get(uid),
      desired: this.desired.get(uid),
      session: this.sessions.get(uid),
    };
  }

  async spendJoinToken(tokenHash: string, machineId: string): Promise<MachineRecord | "known" | undefined> {
    await this.#enter("spendJoinToken");
    const record = this.joins.get(tokenHash);
    if (record !== undefined && this.machines.has(machineId)) return "known";
    this.joins.delete(tokenHash);
    if (record === undefined) return undefined;
    const joined = { ...record, joinedAt: systemClock.now() };
    this.machines.set(machineId, joined);
    return joined;
  }

  async putJoinToken(tokenHash: string, record: JoinRecord): Promise<void> {
    await this.#enter("putJoinToken");
    this.joins.set(tokenHash, record);
  }

  async readMachine(machineId: string): Promise<MachineRecord | undefined> {
    await this.#enter("readMachine");
    return this.machines.get(machineId);
  }
}

/** A grant of `uid` in `phase`, with the token (one, `revision`). */
export function fakeGrant(uid: string, revision: number, phase: LiveGrant["phase"]["phase"]): LiveGrant {
  return {
    token: { incarnation: "one", revision },
    phase: { phase, at: 0 },
    grant: {
      uid,
      node: "node-1",
      group: "workers",
      release: "r2",
      budgets: ["group/workers"],
      nonce: "n",
      epoch: 1,
      incarnation: "one",
      at: 0,
      target: { release: "r2", version: "2.0.0", rootHash: "ab" },
      policy: { driver: "fastpatch", rebootMethod: "Reboot" },
      bootNeeds: 60_000,
      supersedes: null,
      reason: "WaitingForTurn",
    },
  };
}
