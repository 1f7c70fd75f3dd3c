/**
 * The invariants of design section 5, rules 1 to 4 and 9, checked against the records of a
 * simulated etcd after every revision, whoever wrote it. For tests; it reads records and
 * knows nothing of the code that writes them.
 */
import type { EtcdPort, KeyValue } from "../../coordination/etcd.ts";
import { keys, lastPart } from "../../coordination/keys.ts";
import {
  BudgetGate,
  Epoch,
  Grant,
  GroupGate,
  Phase,
  type Protocol,
  REBUILDING,
  Session,
} from "../../coordination/records.ts";
import type { SimEtcd } from "../sim/etcd.ts";

/** Something that happened to the grant whose create revision is `grant`. */
export interface SlotEvent {
  uid: string;
  grant: number;
  /** `gaveUp`: a manager ended what a machine holds by another protocol. */
  what: "made" | "ended" | "gaveUp" | Phase["phase"];
  revision: number;
  /** Committed: the earliest end of its gates, and of its opening less the boot, wall clock ms. */
  until?: number;
}

const MOVES: Record<Phase["phase"], readonly Phase["phase"][]> = {
  Granted: ["Drained", "Withdrawn"],
  Drained: ["Committed", "Withdrawn"],
  Committed: ["Committed", "Returned", "Withdrawn"],
  Returned: [],
  Withdrawn: [],
};

export class SlotInvariants {
  readonly breaches: string[] = [];
  readonly events: SlotEvent[] = [];
  readonly #etcd: SimEtcd;
  #before: ReadonlyMap<string, KeyValue>;
  /** Who raised each epoch. */
  readonly #leaders = new Map<number, EtcdPort | undefined>();

  constructor(etcd: SimEtcd) {
    this.#etcd = etcd;
    this.#before = new Map(etcd.records);
    etcd.observe((changed, by) => {
      this.#check(changed, by);
      this.#before = new Map(etcd.records);
    });
  }

  /** Whether the grant lives that was made at `revision`. */
  lives(uid: string, revision: number): boolean {
    return this.#etcd.records.get(keys.grant(uid))?.createRevision === revision;
  }

  /** The slot that a machine without our agent holds, and by whose word. */
  foreign(uid: string): { grant: number; words: readonly Protocol[] } | undefined {
    const kv = this.#get(keys.grant(uid));
    if (kv === undefined) return undefined;
    const { foreign } = Grant.parse(JSON.parse(kv.value));
    if (foreign === undefined) return undefined;
    const phase = Phase.parse(JSON.parse(this.#get(keys.phase(uid))?.value ?? "null"));
    return { grant: kv.createRevision, words: phase.heldBy ?? [foreign.protocol] };
  }

  get incarnation(): string | undefined {
    return this.#get(keys.incarnation)?.value;
  }

  #check(changed: readonly string[], by: EtcdPort | undefined): void {
    this.#checkEpoch(changed, by);
    this.#checkHolders();
    this.#checkNames();
    this.#checkSeq(changed);
    for (const key of changed) {
      if (key.startsWith(keys.grants)) this.#checkGrant(key, by);
      if (key.startsWith(keys.phases)) this.#checkPhase(key, changed);
    }
  }

  #breach(text: string): void {
    this.breaches.push(`revision ${this.#etcd.revision}: ${text}`);
  }

  #get(key: string): KeyValue | undefined {
    return this.#etcd.records.get(key);
  }

  #under(prefix: string): KeyValue[] {
    return [...this.#etcd.records.values()].filter((kv) => kv.key.startsWith(prefix));
  }

  get #rebuilding(): boolean {
    return this.#get(keys.incarnation)?.value.startsWith(REBUILDING) ?? false;
  }

  /** "An older epoch writes nothing": what only a leader writes is written by the leader. */
  #checkEpoch(changed: readonly string[], by: EtcdPort | undefined): void {
    const record = this.#get(keys.epoch);
    const epoch = record === undefined ? 0 : Epoch.parse(JSON.parse(record.value)).epoch;
    if (changed.includes(keys.epoch)) {
      const former = this.#before.get(keys.epoch);
      const last = former === undefined ? 0 : Epoch.parse(JSON.parse(former.value)).epoch;
      if (epoch !== last + 1) this.#breach(`the epoch went from ${last} to ${epoch}`);
      this.#leaders.set(epoch, by);
    }
    if (by === undefined) return;
    const led = changed.some(
      (key) =>
        key.startsWith(keys.gates) ||
        (key.startsWith(keys.grants) && !this.#isForeign(lastPart(key))) ||
        // A gateway bumps the seq with a commit.
        (key.startsWith(keys.budgets) && !key.endsWith("/seq") && !this.#isForeign(lastPart(key))) ||
        key.startsWith(keys.desired) ||
        key === keys.incarnation,
    );
    if (led && this.#leaders.get(epoch) !== by) this.#breach(`a manager wrote that epoch ${epoch} is not of`);
  }

  #leads(by: EtcdPort | undefined): boolean {
    return by !== undefined && [...this.#leaders.values()].includes(by);
  }

  /** Before this revision, or from it on. */
  #isForeign(uid: string): boolean {
    const key = keys.grant(uid);
    return isForeign(this.#get(key) ?? this.#before.get(key));
  }

  /** Holders of a uid exist exactly while its grant does, for exactly its budgets; so does its phase. */
  #checkHolders(): void {
    const wanted = new Set<string>();
    for (const kv of this.#under(keys.grants)) {
      const grant = Grant.parse(JSON.parse(kv.value));
      for (const budget of grant.budgets) wanted.add(keys.holder(budget, grant.uid));
      if (this.#get(keys.phase(grant.uid)) === undefined)
        this.#breach(`${grant.uid}: a grant without a phase`);
    }
    for (const kv of this.#under(keys.phases)) {
      if (this.#get(keys.grant(lastPart(kv.key))) === undefined)
        this.#breach(`${kv.key}: a phase without a grant`);
    }
    for (const kv of this.#under(keys.budgets)) {
      if (kv.key.endsWith("/seq") || wanted.delete(kv.key)) continue;
      this.#breach(`${kv.key}: a holder without a grant`);
    }
    for (const key of wanted) this.#breach(`${key}: a grant without its holder`);
  }

  /** One machine has one grant, by whichever name; its other names lead to it exactly while it lives. */
  #checkNames(): void {
    const wanted = new Map<string, string>();
    for (const kv of this.#under(keys.grants)) {
      const { uid, aliases = [] } = Grant.parse(JSON.parse(kv.value));
      for (const alias of aliases) {
        wanted.set(keys.alias(alias), uid);
        if (this.#get(keys.grant(alias)) !== undefined)
          this.#breach(`${uid}: the machine has a second grant as ${alias}`);
      }
    }
    for (const { key, value } of this.#under(keys.aliases)) {
      if (wanted.get(key) !== value)
        this.#breach(`${key}: a name that leads to ${value}, which has no grant`);
      wanted.delete(key);
    }
    for (const key of wanted.keys()) this.#breach(`${key}: a grant without its other name`);
  }

  #checkSeq(changed: readonly string[]): void {
    for (const key of changed) {
      const at = key.indexOf("/holders/");
      if (at >= 0 && !changed.includes(`${key.slice(0, at)}/seq`)) this.#breach(`${key}: seq stood still`);
    }
  }

  #checkGrant(key: string, by: EtcdPort | undefined): void {
    const now = this.#get(key);
    const was = this.#before.get(key);
    const uid = lastPart(key);
    if (was !== undefined && now?.createRevision !== was.createRevision) {
      this.events.push({ uid, grant: was.createRevision, what: "ended", revision: this.#etcd.revision });
      if (isForeign(was) && this.#leads(by) && !this.#rebuilding) this.#checkGivenUp(was);
    }
    if (now === undefined) return;
    if (now.createRevision !== now.modRevision) {
      this.#breach(`${uid}: a living grant was written over`);
      return;
    }
    this.events.push({ uid, grant: now.createRevision, what: "made", revision: this.#etcd.revision });
    const grant = Grant.parse(JSON.parse(now.value));
    if (grant.reason === "rebuilt") return;
    if (this.#rebuilding) this.#breach(`${uid}: granted during a rebuild`);
    if (grant.incarnation !== this.#get(keys.incarnation)?.value)
      this.#breach(`${uid}: of another incarnation`);
    if (grant.foreign !== undefined) {
      const phase = Phase.parse(JSON.parse(this.#get(keys.phase(uid))?.value ?? "null"));
      if (phase.phase !== "Committed") this.#breach(`${uid}: it may go down, and its slot does not say so`);
      const served = this.#checkGroup(uid, grant, "granted")?.machines?.budgets ?? [];
      if (JSON.stringify(served) !== JSON.stringify(grant.budgets))
        this.#breach(`${uid}: its places are not those of the group's machines`);
      for (const budget of grant.budgets) this.#checkBudget(uid, budget, grant);
      return;
    }
    const desired = this.#get(keys.desiredOf(uid));
    const { target = null } =
      desired === undefined ? {} : (JSON.parse(desired.value) as { target?: unknown });
    if (JSON.stringify(target) !== JSON.stringify(grant.target))
      this.#breach(`${uid}: granted what is not desired`);
    this.#checkGroup(uid, grant, "granted");
    for (const budget of grant.budgets) this.#checkBudget(uid, budget, grant);
  }

  /** An update alone gives its slot up for an agent's reboot: who else was told yes may be down. */
  #checkGivenUp(was: KeyValue): void {
    const uid = lastPart(was.key);
    const { foreign } = Grant.parse(JSON.parse(was.value));
    const phase = Phase.parse(JSON.parse(this.#before.get(keys.phase(uid))?.value ?? "null"));
    const words = phase.heldBy ?? [foreign?.protocol];
    if (words.join() !== "Omaha") this.#breach(`${uid}: given up, and held by the word of ${words.join()}`);
    this.events.push({ uid, grant: was.createRevision, what: "gaveUp", revision: this.#etcd.revision });
  }

  #checkGroup(uid: string, grant: Grant, what: string): GroupGate | undefined {
    const record = this.#get(keys.groupGate(grant.group));
    if (record === undefined) {
      this.#breach(`${uid}: ${what} without a gate`);
      return undefined;
    }
    const gate = GroupGate.parse(JSON.parse(record.value));
    if (
      gate.paused ||
      gate.halted ||
      gate.deleting ||
      !gate.open ||
      gate.quarantined.includes(grant.release)
    ) {
      this.#breach(`${uid}: ${what} through a closed gate`);
    }
    return gate;
  }

  /** Rule 1, at the moment of the grant. Whose own client asks is up, whatever the gate says of it. */
  #checkBudget(uid: string, budget: string, { foreign }: Pick<Grant, "foreign">): void {
    const record = this.#get(keys.budgetGate(budget));
    if (record === undefined) return this.#breach(`${uid}: granted without a gate of ${budget}`);
    const gate = BudgetGate.parse(JSON.parse(record.value));
    const held = new Set([
      ...this.#under(keys.holders(budget)).map((kv) => lastPart(kv.key)),
      ...(gate.granted ?? []),
    ]);
    const repair = foreign === undefined && gate.unavailable.includes(uid);
    if (repair && held.size <= Math.max(1, gate.max)) return;
    if (gate.unconfirmed !== undefined) this.#breach(`${uid}: nobody knows who else is down in ${budget}`);
    const away = new Set([...held, ...gate.unavailable]);
    if (away.size > gate.max) this.#breach(`${uid}: ${budget} allows ${gate.max} and has ${away.size}`);
  }

  #checkPhase(key: string, changed: readonly string[]): void {
    const uid = lastPart(key);
    const grant = this.#get(keys.grant(uid));
    const now = this.#get(key);
    const was = this.#before.get(key);
    if (grant === undefined || now === undefined) return;
    const phase = Phase.parse(JSON.parse(now.value));
    const event: SlotEvent = {
      uid,
      grant: grant.createRevision,
      what: phase.phase,
      revision: this.#etcd.revision,
    };
    this.events.push(event);
    if (this.#before.get(keys.grant(uid))?.createRevision !== grant.createRevision || was === undefined)
      return;
    const former = Phase.parse(JSON.parse(was.value));
    if (!MOVES[former.phase].includes(phase.phase))
      this.#breach(`${uid}: ${former.phase} became ${phase.phase}`);
    const committed = Grant.parse(JSON.parse(grant.value));
    if (committed.foreign !== undefined) {
      if (JSON.stringify({ ...former, heldBy: [] }) !== JSON.stringify({ ...phase, heldBy: [] }))
        this.#breach(`${uid}: more than by whose word it is held has changed`);
      return;
    }
    if (phase.phase === "Committed") {
      event.until = this.#checkCommit(uid, committed, phase);
      if (committed.plain === true) this.#checkRoom(uid, committed, changed);
    }
    if (
      phase.phase === "Returned" &&
      phase.committedBoot === undefined &&
      former.committedBoot !== undefined
    ) {
      this.#breach(`${uid}: the commit's boot was forgotten`);
    }
  }

  /** Rule 1, at the moment in which a plain machine may go down: who is down, or will be without asking. */
  #checkRoom(uid: string, grant: Grant, changed: readonly string[]): void {
    const gates = this.#under(keys.budgetGate("")).map((kv) => BudgetGate.parse(JSON.parse(kv.value)));
    for (const { budget, max, unavailable, granted = [] } of gates) {
      if (!grant.budgets.includes(budget) && !granted.includes(uid)) continue;
      if (!changed.includes(keys.budgetSeq(budget)))
        this.#breach(`${uid}: committed and left the seq of ${budget}`);
      const going = this.#under(keys.holders(budget))
        .map((kv) => lastPart(kv.key))
        .filter((holder) => {
          const { plain } = Grant.parse(JSON.parse(this.#get(keys.grant(holder))?.value ?? "null"));
          const { phase } = Phase.parse(JSON.parse(this.#get(keys.phase(holder))?.value ?? "null"));
          return plain !== true || phase === "Committed" || phase === "Returned";
        });
      const away = new Set([...going, ...granted, ...unavailable, uid]);
      if (away.size > max) this.#breach(`${uid}: committed, ${budget} allows ${max} and has ${away.size}`);
    }
  }

  /** Until when the gates that stood at this commit permit a reboot. */
  #checkCommit(uid: string, grant: Grant, phase: Phase): number {
    if (grant.incarnation !== this.#get(keys.incarnation)?.value)
      this.#breach(`${uid}: committed a dead incarnation`);
    if (grant.requested === undefined) {
      const session = Session.parse(JSON.parse(this.#get(keys.session(uid))?.value ?? "null"));
      if (session.session !== phase.committedSession) this.#breach(`${uid}: committed in an older session`);
    }
    if ((phase.client === true) !== (grant.requested !== undefined))
      this.#breach(`${uid}: committed by another than who asked`);
    const gate = this.#checkGroup(uid, grant, "committed");
    const ends = [gate?.validUntil ?? 0, (gate?.openUntil ?? Number.POSITIVE_INFINITY) - grant.bootNeeds];
    for (const budget of grant.budgets) {
      const record = this.#get(keys.budgetGate(budget));
      ends.push(record === undefined ? 0 : BudgetGate.parse(JSON.parse(record.value)).validUntil);
    }
    return Math.min(...ends);
  }
}

function isForeign(kv: KeyValue | undefined): boolean {
  return kv !== undefined && Grant.parse(JSON.parse(kv.value)).foreign !== undefined;
}
