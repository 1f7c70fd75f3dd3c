/** What changed in a simulated etcd, for those that follow a prefix: as etcd itself they can be told of the past until it is forgotten. */
import type { Change, Follower } from "../../coordination/etcd.ts";
import type { Cancel, Clock } from "../../ports/clock.ts";

/** Nobody follows from further back: a follower is told a moment after each change. */
const KEPT = 10_000;

export class SimLog {
  #changes: Change[] = [];
  #forgotten = 0;

  add(changes: readonly Change[]): void {
    this.#changes.push(...changes);
    const excess = this.#changes.length - KEPT;
    if (excess > KEPT) this.forget(this.#changes[excess]?.revision ?? 0);
  }

  /** All up to `revision`. */
  forget(revision: number): void {
    this.#forgotten = Math.max(this.#forgotten, revision);
    this.#changes = this.#changes.filter((change) => change.revision > revision);
  }

  /** The store was restored: what it is now is all that it knows. */
  restart(revision: number): void {
    this.#changes = [];
    this.#forgotten = revision;
  }

  /** Those after `revision`; undefined where they are forgotten. */
  since(revision: number, prefix: string): Change[] | undefined {
    if (revision < this.#forgotten) return undefined;
    return this.#changes.filter((change) => change.revision > revision && change.key.startsWith(prefix));
  }
}

export class SimFollow {
  readonly #log: SimLog;
  readonly #revision: () => number | undefined;
  readonly #prefix: string;
  readonly #clock: Clock;
  readonly #follower: Follower;
  #told: number;
  #asked = false;
  #due: Cancel | undefined;
  #closed = false;

  /** `revision` gives the newest, or undefined where nothing can be told now. */
  constructor(
    log: SimLog,
    revision: () => number | undefined,
    prefix: string,
    from: number,
    clock: Clock,
    follower: Follower,
  ) {
    this.#log = log;
    this.#revision = revision;
    this.#prefix = prefix;
    this.#told = from;
    this.#clock = clock;
    this.#follower = follower;
    this.schedule();
  }

  ask(): void {
    this.#asked = true;
    this.schedule();
  }

  /** A moment later it tells what there is. */
  schedule(): void {
    this.#due ??= this.#clock.after(1, () => {
      this.#due = undefined;
      if (!this.#closed) this.#tell();
    });
  }

  close(): void {
    this.#closed = true;
    this.#due?.();
  }

  #tell(): void {
    const revision = this.#revision();
    // Of another history: a store that was restored waits for the revision that it is asked for.
    if (revision === undefined || revision < this.#told) return;
    const changes = this.#log.since(this.#told, this.#prefix);
    if (changes === undefined) {
      this.close();
      this.#follower.lost();
      return;
    }
    this.#told = revision;
    if (changes.length > 0) this.#follower.changed(changes);
    if (this.#asked && !this.#closed) this.#follower.reached(revision);
    this.#asked = false;
  }
}
