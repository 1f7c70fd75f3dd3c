/**
 * The newest read of etcd, for what need not be exact: presence, observations, progress.
 * It follows hints, reads at least every 15 s, rests between two reads in proportion to
 * what the last one cost, and tells which nodes changed. What changes a slot reads anew.
 */
import { equals } from "@bufbuild/protobuf";
import type { Coordination, FleetSnapshot } from "../coordination/coordination.ts";
import { EtcdRewound } from "../coordination/etcd.ts";
import { sameToken } from "../coordination/records.ts";
import { type Clock, sleep } from "../ports/clock.ts";
import type { Logger } from "../ports/log.ts";
import { ObservedSchema } from "../proto/gen/agent_pb.ts";
import { LeadershipLost } from "../runtime/leader-election.ts";
import type { Floor } from "./leadership.ts";

/** Milliseconds. */
const LEAST_REST = 250;
const PERIOD = 15_000;
const RETRY = 1000;
/** The rest after a read, in times of how long it took. */
const REST = 4;

export interface FleetCacheDeps {
  coordination: Pick<Coordination, "readFleet" | "watchFleet">;
  clock: Clock;
  log: Logger;
  /** What a read sees at least, if it begins now. */
  floor: () => Floor;
  /** Told of each read, and of the floor when it began, before it counts; what it throws ends `run`. */
  check: (fleet: FleetSnapshot, floor: Floor) => void;
}

export class FleetCache {
  readonly #deps: FleetCacheDeps;
  readonly #listeners = new Set<(uids: readonly string[]) => void>();
  #snapshot: FleetSnapshot | undefined;
  #readAt: number | undefined;
  #wake: (() => void) | undefined;
  #hinted = false;

  constructor(deps: FleetCacheDeps) {
    this.#deps = deps;
  }

  /** The newest read; undefined until the first one. */
  get snapshot(): FleetSnapshot | undefined {
    return this.#snapshot;
  }

  /** Wall clock, ms: when the newest read began; undefined until the first one. */
  get readAt(): number | undefined {
    return this.#readAt;
  }

  /** Calls `listener` with the uids that changed, after each read that found any. */
  onChange(listener: (uids: readonly string[]) => void): void {
    this.#listeners.add(listener);
  }

  /** A consistent read, now. Throws `EtcdUnavailable`, or what `check` throws. */
  async read(): Promise<FleetSnapshot> {
    const began = this.#deps.clock.now();
    const floor = this.#deps.floor();
    const fleet = await this.#deps.coordination.readFleet();
    this.#deps.check(fleet, floor);
    const before = this.#snapshot;
    if (
      before !== undefined &&
      before.incarnation === fleet.incarnation &&
      before.revision > fleet.revision
    ) {
      return fleet;
    }
    this.#snapshot = fleet;
    this.#readAt = began;
    const changed = changedUids(before, fleet);
    if (changed.length > 0) for (const listener of this.#listeners) listener(changed);
    return fleet;
  }

  /** Follows etcd until `signal` aborts; throws what `check` throws. */
  async run(signal: AbortSignal): Promise<void> {
    const { coordination, clock, log } = this.#deps;
    const watch = coordination.watchFleet(() => {
      this.#hinted = true;
      this.#wake?.();
    });
    try {
      while (!signal.aborted) {
        this.#hinted = false;
        const began = clock.monotonic();
        let rest = RETRY;
        try {
          await this.read();
          rest = Math.max(LEAST_REST, REST * (clock.monotonic() - began));
        } catch (error) {
          if (isLost(error)) throw error;
          log.error("can't read the fleet, trying again", error);
        }
        await sleep(clock, rest, signal).catch(() => {});
        if (!this.#hinted && !signal.aborted) await this.#hintOrPeriod(signal);
      }
    } finally {
      watch.close();
    }
  }

  async #hintOrPeriod(signal: AbortSignal): Promise<void> {
    const woken = new AbortController();
    this.#wake = () => woken.abort();
    await sleep(this.#deps.clock, PERIOD, AbortSignal.any([signal, woken.signal])).catch(() => {});
    this.#wake = undefined;
  }
}

/** Whether this manager has to start anew: it does not lead any more, or etcd went back in time and needs a leader that rebuilds. */
export function isLost(error: unknown): boolean {
  return error instanceof LeadershipLost || error instanceof EtcdRewound;
}

/** uids whose grant, phase, report or presence differ. */
export function changedUids(before: FleetSnapshot | undefined, after: FleetSnapshot): string[] {
  const maps = (fleet: FleetSnapshot): Iterable<string>[] => [
    fleet.grants.keys(),
    fleet.observed.keys(),
    fleet.present,
  ];
  const all = new Set<string>();
  for (const keys of [...maps(after), ...(before === undefined ? [] : maps(before))])
    for (const uid of keys) all.add(uid);
  if (before === undefined) return [...all];
  return [...all].filter((uid) => {
    const [old, now] = [before.grants.get(uid), after.grants.get(uid)];
    const [seen, sees] = [before.observed.get(uid), after.observed.get(uid)];
    const grant = (old === undefined && now === undefined) || sameToken(old?.token, now?.token);
    const phase = old?.phase.phase === now?.phase.phase && old?.phase.at === now?.phase.at;
    const report =
      seen === sees || (seen !== undefined && sees !== undefined && equals(ObservedSchema, seen, sees));
    return !grant || !phase || !report || before.present.has(uid) !== after.present.has(uid);
  });
}
