/** Remembers how the nodes that have a staging place get on: one without progress has had its turn. */
import type { FleetSnapshot } from "../../coordination/coordination.ts";
import type { Clock } from "../../ports/clock.ts";
import type { Observed } from "../../proto/gen/agent_pb.ts";

/** How long a place is kept without progress, ms. */
const TURN = 600_000;

interface Course {
  /** Root hash of what it stages. */
  target: string;
  /** The farthest that it came with it. */
  best: number;
  /** Monotonic, ms: when it came so far, or when this turn began. */
  since: number;
  vainTurns: number;
}

export class StagingTurns {
  readonly #clock: Clock;
  /** By uid. Bounded by the nodes that `fleet` knows. */
  readonly #courses = new Map<string, Course>();
  #before: ReadonlySet<string> = new Set();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** By uid: turns in vain since it last got on. `places`: who had one until now. */
  look(
    places: ReadonlySet<string>,
    { desired, observed, present }: Pick<FleetSnapshot, "desired" | "observed" | "present">,
  ): Map<string, number> {
    const now = this.#clock.monotonic();
    for (const uid of this.#courses.keys()) if (!desired.has(uid)) this.#courses.delete(uid);
    for (const uid of places) {
      const target = desired.get(uid)?.target?.rootHash;
      if (target === undefined) continue;
      const course = this.#courses.get(uid);
      const best = progressOf(observed.get(uid));
      if (course === undefined || course.target !== target || best > course.best) {
        this.#courses.set(uid, { target, best, since: now, vainTurns: 0 });
      } else if (!this.#before.has(uid) || !present.has(uid)) {
        course.since = now;
      } else if (now - course.since >= TURN) {
        course.since = now;
        course.vainTurns += 1;
      }
    }
    this.#before = places;
    return new Map([...this.#courses].map(([uid, { vainTurns }]) => [uid, vainTurns]));
  }
}

/** In percent, and verifying comes after fetching: so coarse that an agent can't claim progress for ever. */
function progressOf(observed: Observed | undefined): number {
  if (observed === undefined || observed.totalBytes === 0n) return 0;
  const percent = Math.min(100, Number((observed.doneBytes * 100n) / observed.totalBytes));
  return observed.step === "Verifying" ? 101 + percent : observed.step === "Fetching" ? percent : 0;
}
