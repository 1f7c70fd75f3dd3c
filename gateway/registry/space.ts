/**
 * One key space: a copy of it in memory, which follows etcd, and the one way to change it. Reads are answered from the
 * copy, as a follower of etcd v2 did; writes, reads that ask for a quorum, and refusals rest on what etcd has now.
 */
import { type EtcdPort, EtcdRewound } from "../../coordination/etcd.ts";
import { Parser } from "../../coordination/parse.ts";
import {
  openRegistry,
  type ReadHead,
  type RegistryEvent,
  type RegistryView,
  readRegistrySince,
  registryStep,
  watchRegistry,
} from "../../coordination/registry.ts";
import { guardRewind } from "../../coordination/rewind.ts";
import { type Step, transact } from "../../coordination/transact.ts";
import type { Cancel, Clock } from "../../ports/clock.ts";
import type { Logger } from "../../ports/log.ts";
import type { Random } from "../../ports/random.ts";
import { V2Error } from "./errors.ts";
import { History, isFor, type Watched } from "./history.ts";
import {
  type Command,
  changesOf,
  type Draft,
  decide,
  defaultStoreLimits,
  expire,
  type StoreLimits,
  view,
} from "./store.ts";
import { isRemoval, Tree, type TreeNode } from "./tree.ts";
import { Watcher } from "./watcher.ts";

/** Nodes that end in one transaction: with its event, the one that it displaces and its subtree each takes 4 operations of 128. */
const EXPIRED_AT_ONCE = 20;
/** Writes that wait at one gateway; one more is told to come again. */
const MAX_WAITING = 1000;
/** Long polls at one gateway in one space: each holds a connection. */
const MAX_WATCHERS = 1000;
/** A clock has no timers beyond 2^31 ms; looking once more costs nothing. */
const LONGEST_TIMER = 3_600_000;

export interface SpaceOptions {
  name: string;
  etcd: EtcdPort;
  clock: Clock;
  random: Pick<Random, "uuid">;
  log: Logger;
  limits?: Partial<StoreLimits>;
  /** Index that a space begins with where etcd has none, for tests that compare it with another store. */
  firstIndex?: number;
}

/** A node as it is shown, with what is below where that was asked. */
export interface Shown extends RegistryView {
  path: string;
  nodes?: Shown[];
}

interface Copy {
  head: ReadHead;
  tree: Tree;
  history: History;
}

export class Space {
  readonly name: string;
  readonly #options: SpaceOptions;
  readonly #etcd: EtcdPort;
  readonly #parser: Parser;
  readonly #limits: StoreLimits;
  readonly #watchers = new Set<Watcher>();
  #copy: Copy | undefined;
  #following: { close(): void } | undefined;
  #tail: Promise<unknown> = Promise.resolve();
  #waiting = 0;
  #hinted = false;
  #timer: Cancel | undefined;
  #closed = false;

  constructor(options: SpaceOptions) {
    this.name = options.name;
    this.#options = options;
    this.#etcd = guardRewind(options.etcd);
    this.#parser = new Parser(options.log);
    this.#limits = { ...defaultStoreLimits, ...options.limits };
  }

  /** Long polls that wait here. */
  get watching(): number {
    return this.#watchers.size;
  }

  /** The larger of the shares of keys and of bytes that are taken; undefined while nobody has asked here. */
  get fullness(): number | undefined {
    const tree = this.#copy?.tree;
    return tree && Math.max(tree.count / this.#limits.keys, tree.bytes / this.#limits.bytes);
  }

  /** Does what is asked, and answers the event. Throws `V2Error` where etcd v2 would refuse, `EtcdUnavailable` where it is not known. */
  async write(command: Command): Promise<{ event: RegistryEvent; head: ReadHead }> {
    return this.#alone(async () => {
      const copy = await this.#current(false);
      await this.#sweep(copy);
      const nonce = this.#options.random.uuid();
      let first = true;
      return transact(
        this.#etcd,
        async (uncertain): Promise<Step<{ event: RegistryEvent; head: ReadHead }>> => {
          const now = this.#options.clock.now();
          const fresh = await this.#current(!first || uncertain);
          first = false;
          if (uncertain) {
            const own = fresh.history.find(nonce);
            if (own !== undefined) return { answer: { event: own, head: fresh.head } };
          }
          let at = fresh;
          let draft = decide(at.tree, command, at.head.index, now, this.#limits);
          if (draft instanceof V2Error && !uncertain) {
            // The copy may lag behind: a refusal must rest on what is.
            at = await this.#current(true);
            draft = decide(at.tree, command, at.head.index, now, this.#limits);
          }
          if (draft instanceof V2Error) throw draft;
          return this.#step(at, [draft], nonce, (events, head) => ({
            event: events[0] as RegistryEvent,
            head,
          }));
        },
      );
    });
  }

  /** A node, its children, and with `recursive` all below. With `quorum` it is as new as what etcd has. */
  async read(
    path: string,
    how: { recursive: boolean; quorum: boolean },
  ): Promise<{ node: Shown; head: ReadHead }> {
    const { clock } = this.#options;
    const copy = await this.#settled(how.quorum);
    const now = clock.now();
    const node = copy.tree.find(path, copy.head.index);
    if (node instanceof V2Error) throw node;
    return { node: show(node, now, how.recursive ? Number.POSITIVE_INFINITY : 1), head: copy.head };
  }

  /** Index, and identity of the space. */
  async head(): Promise<ReadHead> {
    return (await this.#settled(false)).head;
  }

  /**
   * What happens at a path from `since` on (0: from now on): the first event, or, with `stream`, all of them. Ends when
   * `gone` aborts. Throws `V2Error` where the history does not reach back so far.
   */
  async watch(
    watched: Watched & { stream: boolean },
    gone: AbortSignal,
  ): Promise<{ head: ReadHead; events: Watcher }> {
    const { head, history } = await this.#settled(false);
    const since = watched.since === 0n ? BigInt(head.index + 1) : watched.since;
    const missed = history.missed({ ...watched, since }, head.index, head.start);
    if (missed instanceof V2Error) throw missed;
    if (this.#watchers.size >= MAX_WATCHERS) throw new V2Error(300, "too many watchers", head.index, 503);
    const watcher = new Watcher({ ...watched, since }, () => this.#watchers.delete(watcher));
    for (const event of missed) watcher.tell(event);
    if (!watcher.done) {
      this.#watchers.add(watcher);
      if (gone.aborted) watcher.end();
      gone.addEventListener("abort", () => watcher.end(), { once: true });
    }
    return { head, events: watcher };
  }

  /** Follows etcd no more; those that wait are answered with nothing. */
  close(): void {
    this.#closed = true;
    this.#following?.close();
    this.#timer?.();
    for (const watcher of this.#watchers) watcher.end();
  }

  /** The copy, with nothing in it whose time is over. */
  async #settled(fresh: boolean): Promise<Copy> {
    const { clock } = this.#options;
    const copy = this.#copy;
    const next = copy?.tree.nextExpiry;
    if (copy !== undefined && !fresh && (next === undefined || next > clock.now())) return copy;
    return this.#alone(async () => {
      await this.#sweep(await this.#current(fresh));
      return this.#current(false);
    });
  }

  /** One at a time: only here the copy changes. */
  async #alone<T>(work: () => Promise<T>): Promise<T> {
    if (this.#waiting >= MAX_WAITING)
      throw new V2Error(300, "too many requests", this.#copy?.head.index ?? 0, 503);
    this.#waiting += 1;
    const turn = this.#tail.then(work, work);
    this.#tail = turn.catch(() => {});
    try {
      return await turn;
    } finally {
      this.#waiting -= 1;
    }
  }

  /** The copy; with `fresh` as etcd has it now. Called alone. */
  async #current(fresh: boolean): Promise<Copy> {
    const copy = this.#copy;
    if (copy === undefined) return this.#load();
    if (!fresh) return copy;
    try {
      const news = await readRegistrySince(this.#etcd, this.#parser, this.name, copy.head);
      if (news === undefined) {
        this.#drop();
        return await this.#load();
      }
      this.#take(copy, news.events, news.head);
      return copy;
    } catch (error) {
      // It may have been restored: what is remembered is then another history.
      if (error instanceof EtcdRewound) this.#drop();
      throw error;
    }
  }

  async #load(): Promise<Copy> {
    const { random, log, firstIndex } = this.#options;
    const { head, nodes, events } = await openRegistry(
      this.#etcd,
      this.#parser,
      this.name,
      random.uuid(),
      firstIndex,
    );
    const tree = new Tree();
    for (const [path, node] of nodes) tree.put(path, node);
    const copy = { head, tree, history: new History(events, this.#limits.history) };
    this.#copy = copy;
    if (!this.#closed) this.#following ??= watchRegistry(this.#etcd, this.name, () => this.#hint());
    log.info("a key space was read", { space: this.name, index: head.index, keys: tree.count });
    this.#arm(copy);
    return copy;
  }

  /** Those that wait can't know what they missed: they are to ask again. */
  #drop(): void {
    this.#copy = undefined;
    for (const watcher of this.#watchers) watcher.end();
  }

  /** Something changed in etcd, by us or another gateway. */
  #hint(): void {
    if (this.#hinted || this.#closed) return;
    this.#hinted = true;
    void this.#alone(async () => {
      this.#hinted = false;
      if (this.#copy !== undefined) await this.#current(true);
    }).catch((error: unknown) => {
      this.#hinted = false;
      this.#options.log.error("a key space can't be read again", error, { space: this.name });
    });
  }

  /** Ends all whose time is over. Called alone. */
  async #sweep(known: Copy): Promise<void> {
    const { clock, random } = this.#options;
    const due = (copy: Copy): Draft[] => expire(copy.tree, copy.head.index, clock.now(), EXPIRED_AT_ONCE);
    if ((known.tree.nextExpiry ?? Number.POSITIVE_INFINITY) > clock.now()) return;
    for (let more = true; more; ) {
      let first = true;
      more = await transact(this.#etcd, async (uncertain): Promise<Step<boolean>> => {
        const copy = await this.#current(!first || uncertain);
        first = false;
        const drafts = due(copy);
        if (drafts.length === 0) return { answer: false };
        return this.#step(copy, drafts, random.uuid(), () => drafts.length >= EXPIRED_AT_ONCE);
      });
    }
  }

  #step<T>(
    copy: Copy,
    drafts: readonly Draft[],
    nonce: string,
    done: (events: readonly RegistryEvent[], head: ReadHead) => T,
  ): Step<T> {
    let after = copy.head.nonce;
    const events = drafts.map((draft, i): RegistryEvent => {
      const event = { ...draft, nonce: drafts.length === 1 ? nonce : `${nonce}/${i}`, after };
      after = event.nonce;
      return event;
    });
    const index = events.at(-1)?.index ?? copy.head.index;
    const excess = copy.history.excess(events, index, copy.head.start);
    return registryStep(
      this.name,
      copy.head,
      { events, ...changesOf(copy.tree, drafts), ...excess },
      (head) => {
        this.#take(copy, events, head);
        return done(events, head);
      },
    );
  }

  /** The copy becomes what the head says, and those that wait for an event are told. */
  #take(copy: Copy, events: readonly RegistryEvent[], head: ReadHead): void {
    for (const event of events) {
      const node = isRemoval(event) && this.#watchers.size > 0 ? copy.tree.find(event.path, 0) : undefined;
      const removed = new Set(node === undefined || node instanceof V2Error ? [] : copy.tree.under(node));
      copy.tree.apply(event);
      copy.history.add(event);
      for (const watcher of this.#watchers) if (isFor(watcher.watched, event, removed)) watcher.tell(event);
    }
    copy.head = head;
    copy.history.trim(head.start);
    if (events.length > 0) this.#arm(copy);
  }

  /** Looks again when the next node ends: those that watch are to hear of it. */
  #arm(copy: Copy): void {
    this.#timer?.();
    this.#timer = undefined;
    const next = copy.tree.nextExpiry;
    if (next === undefined || this.#closed) return;
    const wait = Math.min(Math.max(next - this.#options.clock.now(), 0) + 1, LONGEST_TIMER);
    this.#timer = this.#options.clock.after(wait, () => {
      void this.#settled(false)
        .then((settled) => this.#arm(settled))
        .catch((error: unknown) => {
          this.#options.log.error("a key space can't be read again", error, { space: this.name });
          this.#timer = this.#options.clock.after(LONGEST_TIMER / 3600, () => this.#arm(copy));
        });
    });
  }
}

/** Hidden nodes are shown to who names them only. */
function show(node: TreeNode, now: number, depth: number): Shown {
  const shown: Shown = { path: node.path, ...view(node, now) };
  if (node.children === undefined || depth === 0) return shown;
  const visible = [...node.children].filter(([name]) => !name.startsWith("_"));
  const nodes = visible.map(([, child]) => show(child, now, depth - 1));
  return {
    ...shown,
    nodes: nodes.toSorted((a, b) => Buffer.compare(Buffer.from(a.path), Buffer.from(b.path))),
  };
}
