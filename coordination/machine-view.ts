/**
 * The machines without our agent, in memory: read in pages, then followed change by change. It may lag behind etcd, so
 * that nothing rests on it that a transaction does not compare as well; it says how old it may be at most.
 */
import type { Cancel, Clock } from "../ports/clock.ts";
import type { Logger } from "../ports/log.ts";
import { type Change, type EtcdPort, EtcdRewound } from "./etcd.ts";
import { keys, lastPart } from "./keys.ts";
import { MachineCounts } from "./machine-counts.ts";
import { SharedTexts, slim } from "./machine-record.ts";
import { Parser } from "./parse.ts";
import { ForeignMachine } from "./records.ts";
import { guardRewind } from "./rewind.ts";

export interface MachineViewLimits {
  /** Machines that are kept: each takes about 400 bytes. */
  machines: number;
  /** Machines in one read: an answer of about 1 MiB. */
  page: number;
}

/** Twice what one Slipway is made for. */
export const defaultMachineViewLimits: MachineViewLimits = { machines: 200_000, page: 1000 };

export interface MachineViewOptions {
  etcd: EtcdPort;
  clock: Clock;
  log: Logger;
  limits?: Partial<MachineViewLimits>;
}

/** uids; undefined where any may have changed. */
export type MachinesChanged = (uids: ReadonlySet<string> | undefined) => void;

/** How often etcd is asked how far it is, ms. */
const CHECK = 5_000;
/** Age at which the view counts as stale, and a stream that says nothing as dead, ms. */
const STALE = 15_000;
/** First and longest pause after a read that failed, ms. */
const RETRY = [500, 10_000] as const;
/** Listeners are told of all changes within so long at once, ms; of more than so many as of any. */
const TELL_AFTER = 200;
const MOST_TOLD = 5_000;

/** What it told is asked of etcd by who shows it. */
const InView = ForeignMachine.omit({ history: true, boots: true });

interface Known {
  machine: ForeignMachine;
  revision: number;
}

export class MachineView {
  readonly #options: MachineViewOptions;
  readonly #etcd: EtcdPort;
  readonly #parser: Parser;
  readonly #limits: MachineViewLimits;
  readonly #machines = new Map<string, Known>();
  readonly #counts = new MachineCounts();
  readonly #texts = new SharedTexts();
  readonly #listeners = new Set<MachinesChanged>();
  #changed: Set<string> | "any" = new Set();
  #telling: Cancel | undefined;
  /** Rises with each load: what belongs to an earlier one counts no more. */
  #generation = 0;
  #failures = 0;
  #incarnation: string | undefined;
  #feed: { ask(): void; close(): void } | undefined;
  #timer: Cancel = () => {};
  /** The newest change that was told, or the revision of the load. */
  #told = 0;
  /** A revision that etcd had, and when it was asked: reached, all of that moment is here. */
  #awaited: { revision: number; at: number; since: number } | undefined;
  #asOf: number | undefined;
  #fresh = false;
  #staling: Cancel = () => {};
  #full = false;

  constructor(options: MachineViewOptions) {
    this.#options = options;
    this.#etcd = guardRewind(options.etcd);
    this.#parser = new Parser(options.log);
    this.#limits = { ...defaultMachineViewLimits, ...options.limits };
  }

  start(): void {
    this.#reload(false);
  }

  stop(): void {
    this.#generation++;
    this.#unfollow();
    this.#stale();
    this.#telling?.();
    this.#listeners.clear();
  }

  get size(): number {
    return this.#machines.size;
  }

  /** Whether it has all that etcd had some seconds ago. */
  get fresh(): boolean {
    return this.#fresh;
  }

  /** All that etcd had then is here; wall clock, ms. Undefined before the first time. */
  get asOf(): number | undefined {
    return this.#asOf;
  }

  /** Whether there are more than it keeps. */
  get full(): boolean {
    return this.#full;
  }

  /** What is to be told of it: that it is incomplete. */
  get wrong(): string | undefined {
    return this.#full
      ? `more than ${this.#limits.machines} machines without our agent are known: the others are not counted, each of their checks reads etcd, and no new one is served`
      : undefined;
  }

  /** By group, version and state. */
  get counts(): MachineCounts["groups"] {
    return this.#counts.groups;
  }

  get(uid: string): ForeignMachine | undefined {
    return this.#machines.get(uid)?.machine;
  }

  *[Symbol.iterator](): IterableIterator<[uid: string, machine: ForeignMachine]> {
    for (const [uid, { machine }] of this.#machines) yield [uid, machine];
  }

  /** Calls `listener` some times a second at most. Gives what ends it. */
  onChange(listener: MachinesChanged): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** `anew`: nothing of what is known holds any more. */
  #reload(anew: boolean, wait = 0): void {
    const generation = ++this.#generation;
    this.#unfollow();
    this.#stale();
    if (anew) {
      this.#machines.clear();
      this.#counts.clear();
      this.#tell(undefined);
    }
    const current = (): boolean => generation === this.#generation;
    this.#timer = this.#options.clock.after(wait, () => {
      this.#load(current).catch((error: unknown) => {
        if (!current()) return;
        this.#options.log.error("can't read the machines without our agent, trying again", error);
        const pause = Math.min(RETRY[1], RETRY[0] * 2 ** Math.min(this.#failures, 10));
        this.#failures += 1;
        this.#reload(error instanceof EtcdRewound, pause);
      });
    });
  }

  /** Pages are of different revisions: what changes meanwhile is told again by the feed, which begins at the first. */
  async #load(current: () => boolean): Promise<void> {
    const { page } = this.#limits;
    const seen = new Set<string>();
    this.#full = false;
    let begin: number | undefined;
    for (let after: string | undefined; ; ) {
      const range = { prefix: keys.foreignMachines, limit: page, ...(after === undefined ? {} : { after }) };
      const { revision, results } = await this.#etcd.read([range, { key: keys.incarnation }]);
      if (!current()) return;
      const [kvs = [], incarnation = []] = results;
      if (begin === undefined) this.#incarnation = incarnation[0]?.value;
      begin ??= revision;
      for (const kv of kvs) {
        const uid = lastPart(kv.key);
        seen.add(uid);
        this.#put(uid, { key: kv.key, revision: kv.modRevision, value: kv.value });
      }
      after = kvs.at(-1)?.key;
      if (kvs.length < page) break;
    }
    for (const uid of this.#machines.keys()) if (!seen.has(uid)) this.#remove(uid);
    this.#failures = 0;
    this.#told = begin;
    this.#follow();
    await this.#check(current);
  }

  #follow(): void {
    this.#feed?.close();
    this.#feed = this.#etcd.follow(keys.foreignMachines, this.#told, {
      changed: (changes) => {
        for (const change of changes) this.#apply(change);
      },
      reached: (revision) => this.#reached(revision),
      lost: () => this.#reload(false),
    });
  }

  #unfollow(): void {
    this.#timer();
    this.#feed?.close();
    this.#feed = undefined;
    this.#awaited = undefined;
  }

  /** Asks etcd how far it is, and the feed for the same: a feed that stays behind is of a member that is cut off. */
  async #check(current: () => boolean): Promise<void> {
    const { clock, log } = this.#options;
    try {
      const at = clock.now();
      const { revision, results } = await this.#etcd.read([{ key: keys.incarnation }]);
      if (!current()) return;
      if (results[0]?.[0]?.value !== this.#incarnation) {
        this.#reload(true);
        return;
      }
      if (this.#awaited !== undefined && clock.monotonic() - this.#awaited.since > STALE) {
        this.#awaited = undefined;
        this.#follow();
      }
      this.#awaited ??= { revision, at, since: clock.monotonic() };
      this.#feed?.ask();
    } catch (error) {
      if (!current()) return;
      if (error instanceof EtcdRewound) {
        this.#reload(true);
        return;
      }
      log.error("etcd does not say how far it is; the view of machines grows old", error);
    }
    this.#timer = clock.after(CHECK, () => void this.#check(current));
  }

  #reached(revision: number): void {
    if (this.#awaited === undefined || revision < this.#awaited.revision) return;
    this.#asOf = this.#awaited.at;
    this.#awaited = undefined;
    this.#fresh = true;
    this.#staling();
    this.#staling = this.#options.clock.after(STALE, () => this.#stale());
  }

  #stale(): void {
    this.#fresh = false;
    this.#staling();
  }

  #apply(change: Change): void {
    this.#told = Math.max(this.#told, change.revision);
    const uid = lastPart(change.key);
    if (change.value !== undefined) this.#put(uid, change);
    else if ((this.#machines.get(uid)?.revision ?? change.revision) < change.revision) this.#remove(uid);
  }

  #put(uid: string, { key, revision, value }: Change): void {
    const before = this.#machines.get(uid);
    if (before !== undefined && before.revision >= revision) return;
    const kv = { key, value: value ?? "", createRevision: 0, modRevision: revision, lease: undefined };
    const read = this.#parser.json(InView, kv);
    if (read === undefined) {
      this.#remove(uid);
      return;
    }
    if (before === undefined && this.#machines.size >= this.#limits.machines) {
      if (this.#full) return;
      this.#full = true;
      this.#options.log.error("the view of machines is full", new RangeError(this.wrong));
      return;
    }
    const machine = slim(uid, read, this.#texts);
    this.#counts.change(before?.machine, machine);
    if (before === undefined) this.#machines.set(uid, { machine, revision });
    else {
      before.machine = machine;
      before.revision = revision;
    }
    this.#tell(uid);
  }

  #remove(uid: string): void {
    const known = this.#machines.get(uid);
    if (known === undefined) return;
    this.#machines.delete(uid);
    this.#counts.change(known.machine, undefined);
    this.#tell(uid);
  }

  #tell(uid: string | undefined): void {
    if (this.#listeners.size === 0) return;
    if (uid === undefined || (this.#changed !== "any" && this.#changed.size >= MOST_TOLD)) {
      this.#changed = "any";
    } else if (this.#changed !== "any") this.#changed.add(uid);
    this.#telling ??= this.#options.clock.after(TELL_AFTER, () => {
      this.#telling = undefined;
      const changed = this.#changed;
      this.#changed = new Set();
      for (const listener of this.#listeners) listener(changed === "any" ? undefined : changed);
    });
  }
}
