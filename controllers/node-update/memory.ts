/** What this manager saw of a node over time; a new manager begins anew, which only ever gives more time. */
import type { Clock } from "../../ports/clock.ts";
import type { ReleaseLook } from "./release-check.ts";

/** Most time that one look adds, ms: a longer gap means that nobody could be asked. */
const LOOK_AT_MOST = 15_000;

interface Return {
  revision: number;
  first: string;
  heartbeat: boolean;
  askedFor: number;
  lookedAt: number;
}

interface Absence {
  milliseconds: number;
  lookedAt: number;
}

interface Presence extends Absence {
  revision: number;
}

export class NodeMemory {
  readonly #clock: Clock;
  /** By name of the NodeUpdate. */
  readonly #absent = new Map<string, Absence>();
  readonly #connected = new Map<string, Presence>();
  readonly #returns = new Map<string, Return>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  forget(key: string): void {
    this.#absent.delete(key);
    this.#connected.delete(key);
    this.#returns.delete(key);
  }

  /** Milliseconds for which its agent was looked for in vain. Where no agent is present at all, nobody can be missed. */
  absentFor(key: string, present: ReadonlySet<string>, uid: string): number {
    if (present.has(uid) || present.size === 0) {
      this.#absent.delete(key);
      return 0;
    }
    const now = this.#clock.monotonic();
    const before = this.#absent.get(key);
    const added = before === undefined ? 0 : Math.min(now - before.lookedAt, LOOK_AT_MOST);
    const milliseconds = (before?.milliseconds ?? 0) + added;
    this.#absent.set(key, { milliseconds, lookedAt: now });
    return milliseconds;
  }

  /**
   * Milliseconds for which its agent was seen connected under the grant of `revision`, however often it came and went:
   * one that has just come has not told yet what it runs.
   */
  connectedFor(key: string, revision: number, present: boolean): number {
    const now = this.#clock.monotonic();
    const known = this.#connected.get(key);
    const before = known?.revision === revision ? known : { revision, milliseconds: 0, lookedAt: now };
    const added = present ? Math.min(now - before.lookedAt, LOOK_AT_MOST) : 0;
    const milliseconds = before.milliseconds + added;
    this.#connected.set(key, { revision, milliseconds, lookedAt: now });
    return milliseconds;
  }

  /** A look at a node that came back under the grant of `revision`. `sign` changes with each sign of its kubelet. */
  look(key: string, revision: number, sign: string): ReleaseLook {
    const now = this.#clock.monotonic();
    const known = this.#returns.get(key);
    if (known?.revision !== revision) {
      this.#returns.set(key, { revision, first: sign, heartbeat: false, askedFor: 0, lookedAt: now });
      return { askedFor: 0, heartbeat: false };
    }
    known.askedFor += Math.min(now - known.lookedAt, LOOK_AT_MOST);
    known.lookedAt = now;
    known.heartbeat ||= sign !== known.first;
    return { askedFor: known.askedFor, heartbeat: known.heartbeat };
  }
}
