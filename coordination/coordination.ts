/**
 * Everything that Slipway does with etcd, as one interface: the manager, the gateways and
 * the simulation use the same functions. Who may call what is design section 4.
 *
 * Each transaction reads what it needs at one revision, decides, and compares what it
 * read; an unknown outcome is resolved by reading back before the function returns.
 */
import type { Why } from "../api/reasons.ts";
import type { Desired, Observed } from "../proto/gen/agent_pb.ts";
import type { BudgetView } from "./admission.ts";
import type {
  BudgetGate,
  ForeignMachine,
  Grant,
  GroupGate,
  Identity,
  JoinRecord,
  JournalEntry,
  MachineRecord,
  MachineTotals,
  Offer,
  Phase,
  Protocol,
  RebootRequest,
  Sample,
  Session,
  Tally,
  Token,
} from "./records.ts";
import type { Sighting } from "./updates.ts";

export interface LiveGrant {
  grant: Grant;
  token: Token;
  phase: Phase;
}

export interface BudgetState {
  seq: number;
  /** uid -> wall clock ms since when it holds a place. */
  holders: ReadonlyMap<string, number>;
}

/** All of etcd's state under our prefix (but the journal) at one revision. */
export interface FleetSnapshot {
  revision: number;
  /** Mod revision of the pulse; 0 before the first. */
  pulse: number;
  incarnation: string | undefined;
  epoch: number;
  groupGates: ReadonlyMap<string, GroupGate>;
  budgetGates: ReadonlyMap<string, BudgetGate>;
  /** What machines that speak Omaha may be offered, by group. */
  offers: ReadonlyMap<string, Offer>;
  /** How it goes on them, by group and release. */
  tallies: ReadonlyMap<string, ReadonlyMap<string, Tally>>;
  /** How many machines without our agent there are, by group, as gateways told some minutes ago at most. */
  machineTotals: ReadonlyMap<string, MachineTotals>;
  budgets: ReadonlyMap<string, BudgetState>;
  grants: ReadonlyMap<string, LiveGrant>;
  desired: ReadonlyMap<string, Desired>;
  observed: ReadonlyMap<string, Observed>;
  sessions: ReadonlyMap<string, Session>;
  /** By uid: Nodes whose own clients ask for their reboot. */
  requests: ReadonlyMap<string, RebootRequest>;
  /** uids whose agents have a living session. */
  present: ReadonlySet<string>;
}

/** What a leader needs to prove in each transaction. */
export interface Leadership {
  epoch: number;
  incarnation: string;
}

export interface TakeGrant {
  uid: string;
  node: string;
  group: string;
  release: string;
  budgets: readonly string[];
  /** Other uids of the machine, beside those that follow from `uid`. */
  aliases?: readonly string[];
  /** The `desired` record that the plan rests on must still be this one. */
  desired: Desired;
  nonce: string;
  /** Time from the grant to the end of a fallback boot, ms: must fit before the window closes. */
  needs: number;
  /** The part of `needs` after the drain: frozen for the commit's check. */
  bootNeeds: number;
  /** Frozen for the commit's check: whether it may come after the window has closed. */
  finishes?: boolean;
  /** A person asked for this reboot, and why: it needs no open window. */
  asked?: { why: string; inFreeze: boolean };
  /** Frozen for the commit's check: whether the machine is no Node, so that it serves until it commits. */
  plain?: boolean;
  /** The Node asked by its own client. */
  requested?: { protocol: Protocol; boot: string };
  reason: string;
}

export type TakeResult = { outcome: "granted"; token: Token } | { outcome: "refused"; why: Why };

export type CommitResult =
  | { outcome: "committed"; goodForSeconds: number }
  | { outcome: "refused"; why: Why };

/** Why a write under a token was not done. `stale`: the token is not the living grant's, or the phase is past it. */
export type Fenced = "done" | "stale";

export interface Coordination {
  /** A consistent read of everything. Throws `EtcdUnavailable`. */
  readFleet(): Promise<FleetSnapshot>;
  /** Calls `hint` when anything may have changed. */
  watchFleet(hint: () => void): { close(): void };

  // Leadership (manager)
  /** The epoch and incarnation now: read *before* the Lease is acquired (rule 2). */
  readEpoch(): Promise<{
    epoch: number;
    incarnation: string | undefined;
    revision: number;
    pulse: number;
  }>;
  /** Raises the epoch from what `readEpoch` gave; undefined if another was faster. Makes the incarnation if there is none and `first` says that there never was. */
  raiseEpoch(
    from: { epoch: number; incarnation: string | undefined },
    first: boolean,
  ): Promise<Leadership | undefined>;
  /**
   * After a loss or a restored snapshot: a new incarnation, every gate, grant and holder
   * replaced by `grants` (from NodeUpdate.status), in transactions that leave no moment
   * in which a gate of the new incarnation exists before all holders do.
   */
  rebuild(
    from: { epoch: number; incarnation: string | undefined },
    grants: readonly RebuiltGrant[],
  ): Promise<Leadership | undefined>;

  // Gates (manager)
  /** Replaces all gates, on a lease of 30 s, and beats the pulse. False if the epoch is no longer ours, or the pulse older than `pulse`, that of the read on which they rest. */
  writeGates(
    leader: Leadership,
    gates: {
      groups: readonly GroupGate[];
      budgets: readonly BudgetGate[];
      offers?: readonly Offer[];
      pulse?: number;
    },
  ): Promise<boolean>;
  /** Writes `desired/<uid>` if it differs. False if the epoch is no longer ours. */
  putDesired(leader: Leadership, uid: string, desired: Desired): Promise<boolean>;
  /** Removes desired, observed and session of a node that is gone and holds no grant. */
  forgetNode(leader: Leadership, uid: string): Promise<boolean>;
  /** Forgets etcd's history before `revision`. False if the epoch is no longer ours. */
  compact(leader: Leadership, revision: number): Promise<boolean>;
  /** Removes the count of a budget that has neither a gate nor holders. False where it has, or the epoch is no longer ours. */
  forgetBudget(leader: Leadership, budget: string): Promise<boolean>;

  // The slot of a node (manager)
  /** Takes a place in each budget and makes the grant, in one transaction (rule 1). */
  takeGrant(leader: Leadership, request: TakeGrant): Promise<TakeResult>;
  /** Granted -> Drained: the agent may ask to commit. */
  markDrained(leader: Leadership, uid: string, token: Token): Promise<Fenced>;
  /** Granted or Drained -> Withdrawn, by the manager; never once Committed. */
  revoke(leader: Leadership, uid: string, token: Token, why: Why): Promise<Fenced>;
  /** Ends a grant whose phase is Returned or Withdrawn: frees every place. */
  release(leader: Leadership, uid: string, token: Token): Promise<Fenced>;
  /**
   * Frees every place whatever the phase: a person's steal, an opt-in TTL, or a Node that
   * is gone (then only after its presence ended, if it was committed).
   */
  free(
    leader: Leadership,
    uid: string,
    token: Token,
    cause: "Stolen" | "HolderExpired" | "NodeGone",
  ): Promise<Fenced>;

  // A node's own records (gateway, for the node that it authenticated)
  /** Opens a session: raises the counter, binds presence to `lease`. */
  openSession(uid: string, gateway: string, lease: string): Promise<number>;
  /** Ends the presence of this session; does nothing where a newer session exists. */
  closeSession(uid: string, session: number): Promise<void>;
  /** False if a newer session exists. */
  putObserved(uid: string, session: number, observed: Observed): Promise<boolean>;
  /** Drained -> Committed, or again while Committed in the same boot: checks gates anew (rule 4). */
  commit(uid: string, session: number, token: Token, boot: string): Promise<CommitResult>;
  /** Granted, Drained or Committed -> Withdrawn. */
  withdraw(uid: string, session: number, token: Token, why: Why): Promise<Fenced>;
  /** Committed -> Returned: only in a session newer than the commit's, with another boot identity. */
  reportReturn(
    uid: string,
    session: number,
    token: Token,
    boot: string,
    verdict: NonNullable<Phase["verdict"]>,
    why: Why,
  ): Promise<Fenced>;
  /** The living grant and the desired record of one node, and of which incarnation they are. */
  readNode(uid: string): Promise<{
    incarnation: string | undefined;
    grant: LiveGrant | undefined;
    desired: Desired | undefined;
    session: Session | undefined;
  }>;

  // Plain machines
  /**
   * Spends a join token once (by its SHA-256): the labels and group that it fixes, undefined
   * if it is unknown, spent or expired, `known` if the machine joined by another one.
   */
  spendJoinToken(tokenHash: string, machineId: string): Promise<MachineRecord | "known" | undefined>;
  putJoinToken(tokenHash: string, record: JoinRecord): Promise<void>;
  readMachines(): Promise<ReadonlyMap<string, MachineRecord>>;
  /** Undefined if the machine did not join, or was forgotten. Throws `EtcdUnavailable` where that can't be known. */
  readMachine(machineId: string): Promise<MachineRecord | undefined>;
  /** A person's removal, into the journal with `why`: then a new token lets the machine join again. False if it is not known. */
  forgetMachine(machineId: string, why: string): Promise<boolean>;
  /** A person gives a machine another group. False if it is not known. */
  moveMachine(machineId: string, group: string): Promise<boolean>;
  /** After a loss: writes the machines that etcd does not know any more. False if the epoch is no longer ours. */
  restoreMachines(
    leader: Leadership,
    machines: ReadonlyMap<string, Omit<MachineRecord, "expiresAt">>,
  ): Promise<boolean>;

  // Machines that no agent of ours runs on (gateway, in the machine's own protocol)
  /** Takes a slot, or a place in the line; who holds one keeps it. Throws `EtcdUnavailable`: ask again. */
  takeForeign(ask: ForeignAsk): Promise<ForeignResult>;
  /** Gives the slot and the place in the line back. Throws `EtcdUnavailable`: ask again. */
  freeForeign(uid: string, group: string, protocol: Protocol): Promise<ForeignFreed>;
  /** Offers a release to a machine that speaks Omaha: a slot, until `endUpdate`. Throws `EtcdUnavailable`. */
  takeUpdate(ask: UpdateAsk): Promise<UpdateResult>;
  /** The machine's record then; undefined where that update has ended. Throws `EtcdUnavailable`. */
  endUpdate(end: UpdateEnd): Promise<ForeignMachine | undefined>;
  readForeignMachine(uid: string): Promise<ForeignMachine | undefined>;
  putForeignMachine(uid: string, machine: ForeignMachine): Promise<void>;
  /** By uid, at most `MAX_SIGHTINGS`: that machines were here, and why they were offered nothing. Throws `EtcdUnavailable`. */
  putSightings(sightings: ReadonlyMap<string, Sighting>): Promise<void>;
  /** Whose an id is that a machine calls itself by. Throws `EtcdUnavailable`. */
  identify(id: string): Promise<Identity>;
  /** What the manager says of ids. */
  readIdentities(): Promise<ReadonlyMap<string, Identity>>;
  /** Says whose each id is; undefined for nobody's. False if the epoch is no longer ours. */
  putIdentities(leader: Leadership, changes: ReadonlyMap<string, Identity | undefined>): Promise<boolean>;
  /**
   * Asks the manager for the reboot of a Node on which no agent runs, and commits it once it is drained: `granted` then,
   * `held` if that was so before. Throws `EtcdUnavailable`: ask again.
   */
  requestReboot(ask: RebootAsk): Promise<ForeignResult>;
  /** The Node's client says that it is back, or does not want to go: the manager ends the grant. `agent`: one of ours runs there by now. Throws `EtcdUnavailable`. */
  endReboot(uid: string, group: string, protocol: Protocol, agent?: boolean): Promise<ForeignFreed>;
  /** A person's word: what failed on the machine may be offered to it again. False where nothing failed, or it is not known. */
  forgiveMachine(uid: string): Promise<boolean>;
  /** By group; a record that says the same and is young stays as it is. Throws `EtcdUnavailable`. */
  putMachineTotals(totals: ReadonlyMap<string, Omit<MachineTotals, "at">>): Promise<void>;
  /** Calls `hint` when a place in any budget may have been taken or freed. */
  watchBudgets(hint: () => void): { close(): void };
  /** A group's slots as its machines see them. */
  readForeign(group: string): Promise<ForeignLine>;
  /** Who waits in the lines of all groups, longest first. */
  readWaiting(): Promise<readonly WaitingMachine[]>;

  // Journal
  append(entry: JournalEntry): Promise<void>;
  readJournal(since: number): Promise<JournalEntry[]>;
  /** The one of its quarter of an hour, whoever comes first. */
  putSample(sample: Sample): Promise<void>;
  /** Oldest first, of 30 days. */
  readSamples(since: number): Promise<Sample[]>;
}

export interface ForeignAsk {
  uid: string;
  /** For people. */
  name: string;
  group: string;
  protocol: Protocol;
  nonce: string;
  /** Why a person takes it for the machine: kept with the slot. Undefined where the machine asks. */
  reason?: string;
}

/** `uid`, `name`: of the Node. */
export interface RebootAsk extends Omit<ForeignAsk, "nonce" | "reason"> {
  /** What its client calls itself: it may hold a slot by that from before anybody knew that it is a Node. */
  id?: string;
}

export type ForeignResult =
  | { outcome: "granted" }
  /** `since`: wall clock, ms. */
  | { outcome: "held"; since: number }
  | { outcome: "refused"; why: Why };

export type UpdateResult =
  | Exclude<ForeignResult, { outcome: "held" }>
  | { outcome: "held"; since: number; release: string };

export interface UpdateAsk extends Omit<ForeignAsk, "protocol"> {
  release: string;
  version: string;
  /** Of failures, and of machines that may have the release without a verdict. */
  threshold: number;
  /** Failures up to then don't count; wall clock, ms. */
  resumedAt?: number;
  /** What failed on the machine up to then may be tried again; wall clock, ms. */
  retriedAt?: number;
  /** `period`: ms. */
  rate?: { updates: number; period: number };
  /** As it says of itself now. */
  machine: ForeignMachine;
  /** Its machine needs to show no secret. */
  open?: boolean;
}

export interface UpdateEnd {
  uid: string;
  /** As it says of itself now; `update` is what ends. */
  machine: ForeignMachine;
  /** `withdrawn`: it ended without a verdict, and may be offered again. */
  how: "good" | "failed" | "withdrawn";
  /** Of the failure, as Omaha counts them. */
  code: number;
}

export type ForeignFreed = "freed" | "none";

export interface ForeignHolder {
  uid: string;
  name: string;
  protocol: Protocol;
  /** By whose word it is held. */
  words: readonly Protocol[];
  /** Wall clock, ms. */
  since: number;
}

export interface ForeignNode {
  uid: string;
  protocol: Protocol;
  /** Of its slot; undefined where it has none yet. */
  phase: Phase["phase"] | undefined;
  /** What its client called itself when it was told yes. */
  client: string | undefined;
}

export interface ForeignLine {
  gate: GroupGate | undefined;
  /** Those that bind the group's machines. */
  budgets: readonly BudgetView[];
  holders: readonly ForeignHolder[];
  /** Nodes of the group whose own clients ask for their reboot, or were told that it may be. */
  nodes: readonly ForeignNode[];
  /** uids, in the order of the line. */
  waiting: readonly string[];
}

/** A machine without our agent in the line of its group. */
export interface WaitingMachine {
  group: string;
  uid: string;
  protocol: Protocol;
  /** Wall clock, ms: its first asking. */
  since: number;
}

export type { JoinRecord, MachineRecord } from "./records.ts";

export interface RebuiltGrant {
  uid: string;
  node: string;
  group: string;
  release: string;
  budgets: readonly string[];
  nonce: string;
  phase: Phase["phase"];
  supersedes: Token | null;
  at: number;
}
