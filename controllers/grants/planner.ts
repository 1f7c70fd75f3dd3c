/**
 * Holds the newest plan for the node controller, and remembers whose slot is being taken,
 * so that a plan made meanwhile counts it although no list shows it yet.
 */
import type { Why } from "../../api/reasons.ts";
import type { FleetSnapshot } from "../../coordination/coordination.ts";
import type { Clock } from "../../ports/clock.ts";
import type { Readings } from "../blockers/policy.ts";
import type { World } from "../world.ts";
import { type Plan, planGrants, type TakePlan } from "./policy.ts";
import { planStaging, type StagingPlan } from "./staging-policy.ts";
import { StagingTurns } from "./staging-turns.ts";

/** A plan older than this takes nothing, ms: it rests on a read like the gates do. */
const FRESH = 20_000;

export class Planner {
  readonly #clock: Clock;
  readonly #readings: () => ReadonlyMap<string, Readings>;
  /** By uid: monotonic time when the taking ended; undefined while it lasts. */
  readonly #claims = new Map<string, number | undefined>();
  readonly #blocked = new Map<string, { why: Why; until: number }>();
  readonly #listeners = new Set<(uids: readonly string[]) => void>();
  #take = new Map<string, TakePlan>();
  #plan: Plan = { take: [], waiting: new Map(), short: new Map() };
  #staging: StagingPlan = { may: new Set(), places: new Set() };
  readonly #turns: StagingTurns;
  #startedAt = Number.NEGATIVE_INFINITY;

  /** `readings`: what blockers were last read to say, by group. */
  constructor(clock: Clock, readings: () => ReadonlyMap<string, Readings> = () => new Map()) {
    this.#clock = clock;
    this.#readings = readings;
    this.#turns = new StagingTurns(clock);
  }

  /** The newest plan. */
  get plan(): Plan {
    return this.#plan;
  }

  /** Calls `listener` with the uids for which a new plan says something else. */
  onChange(listener: (uids: readonly string[]) => void): void {
    this.#listeners.add(listener);
  }

  /** `startedAt`: monotonic ms when the reads began. `now`: wall clock, ms. */
  make(world: World, fleet: FleetSnapshot, startedAt: number, now: number): Plan {
    for (const [uid, ended] of this.#claims)
      if (ended !== undefined && ended < startedAt) this.#claims.delete(uid);
    for (const [uid, { until }] of this.#blocked)
      if (until <= this.#clock.monotonic()) this.#blocked.delete(uid);
    const blocked = new Map([...this.#blocked].map(([uid, { why }]) => [uid, why]));
    const snapshot = {
      ...world,
      fleet,
      claims: new Set(this.#claims.keys()),
      blocked,
      readings: this.#readings(),
    };
    const before = { plan: this.#plan, take: this.#take, staging: this.#staging.may };
    this.#plan = planGrants(snapshot, now);
    this.#take = new Map(this.#plan.take.map((take) => [take.uid, take]));
    const vainTurns = this.#turns.look(this.#staging.places, fleet);
    this.#staging = planStaging({ ...snapshot, vainTurns }, now);
    this.#startedAt = startedAt;
    const { waiting } = this.#plan;
    const uids = new Set([
      ...waiting.keys(),
      ...before.plan.waiting.keys(),
      ...before.staging,
      ...this.#staging.may,
    ]);
    const changed = [...uids].filter(
      (uid) =>
        before.staging.has(uid) !== this.#staging.may.has(uid) ||
        before.plan.waiting.get(uid)?.message !== waiting.get(uid)?.message,
    );
    const wake = [...changed, ...this.#take.keys()];
    if (wake.length > 0) for (const listener of this.#listeners) listener(wake);
    return this.#plan;
  }

  /** The slot that `uid` may ask for, and counts it as asked for until `settle`. */
  claim(uid: string): TakePlan | undefined {
    const take = this.#take.get(uid);
    if (take === undefined || this.#clock.monotonic() - this.#startedAt > FRESH) return undefined;
    this.#take.delete(uid);
    this.#claims.set(uid, undefined);
    return take;
  }

  settle(uid: string): void {
    if (this.#claims.has(uid)) this.#claims.set(uid, this.#clock.monotonic());
  }

  /** Whether a slot may be asked for. */
  has(uid: string): boolean {
    return this.#take.has(uid);
  }

  waiting(uid: string): Why | undefined {
    return this.#blocked.get(uid)?.why ?? this.#plan.waiting.get(uid);
  }

  mayStage(uid: string): boolean {
    return this.#staging.may.has(uid);
  }

  /** `uid` loses its place in the queue for `milliseconds`. */
  block(uid: string, why: Why, milliseconds: number): void {
    this.#blocked.set(uid, { why, until: this.#clock.monotonic() + milliseconds });
  }
}
