/** What this manager saw of a node over time; a new manager begins anew, which only ever gives more time. */
import type { Clock } from "../../ports/clock.ts";
import type { ReleaseLook } from "./release-check.ts";

/** Most time that one look adds, ms: a longer gap means that the API could not be asked. */
const LOOK_AT_MOST = 15_000;

interface Return {
  revision: number;
  first: string;
  heartbeat: boolean;
  askedFor: number;
  lookedAt: number;
}

export class NodeMemory {
  readonly #clock: Clock;
  /** By name of the NodeUpdate: monotonic, since when its agent is away. */
  readonly #absent = new Map<string, number>();
  readonly #returns = new Map<string, Return>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  forget(key: string): void {
    this.#absent.delete(key);
    this.#returns.delete(key);
  }

  absentFor(key: string, present: boolean): number {
    if (present) {
      this.#absent.delete(key);
      return 0;
    }
    const now = this.#clock.monotonic();
    const since = this.#absent.get(key) ?? now;
    this.#absent.set(key, since);
    return now - since;
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
