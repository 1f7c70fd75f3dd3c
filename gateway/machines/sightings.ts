/**
 * What nobody waits for: that a machine was here, why it was offered nothing, and how far its download is; written for
 * many machines at once. One that is lost is told again at the machine's next check, or is of no weight.
 */
import type { Coordination } from "../../coordination/coordination.ts";
import { historyWith } from "../../coordination/machine-history.ts";
import { MAX_SIGHTINGS, type Sighting } from "../../coordination/updates.ts";
import type { Cancel, Clock } from "../../ports/clock.ts";
import type { Logger } from "../../ports/log.ts";

/** Those of so long are written together, ms. */
const GATHER = 1000;
/** After a write that failed, ms. */
const PAUSE = 5000;
/** Machines that wait to be written: more is lost. 100,000 machines that ask every 45 min are 37 a second. */
const MOST = 20_000;

export interface SightingsOptions {
  coordination: Pick<Coordination, "putSightings">;
  clock: Clock;
  log: Logger;
}

export class Sightings {
  readonly #options: SightingsOptions;
  readonly #waiting = new Map<string, Sighting>();
  #timer: Cancel | undefined;
  #writing = false;
  #stopped = false;

  constructor(options: SightingsOptions) {
    this.#options = options;
  }

  /** The machine's that is written soon. */
  get(uid: string): Sighting | undefined {
    return this.#waiting.get(uid);
  }

  /** False where it is lost. */
  note(uid: string, sighting: Sighting): boolean {
    const before = this.#waiting.get(uid);
    if (this.#stopped || (this.#waiting.size >= MOST && before === undefined)) return false;
    const { progress = before?.progress } = sighting;
    const history = historyWith(before?.history ?? [], sighting.history);
    this.#waiting.set(uid, {
      ...sighting,
      ...(progress === undefined ? {} : { progress }),
      ...(history.length === 0 ? {} : { history }),
    });
    if (!this.#writing) this.#later(GATHER);
    return true;
  }

  /** Another wrote `sighting` with what it wrote of the machine: it need not be written again. */
  written(uid: string, sighting: Sighting | undefined): void {
    if (sighting !== undefined && this.#waiting.get(uid) === sighting) this.#waiting.delete(uid);
  }

  /** What waits is lost. */
  stop(): void {
    this.#stopped = true;
    this.#timer?.();
  }

  #later(wait: number): void {
    this.#timer ??= this.#options.clock.after(wait, () => {
      this.#timer = undefined;
      void this.#write();
    });
  }

  async #write(): Promise<void> {
    const { coordination, log } = this.#options;
    this.#writing = true;
    let wait = GATHER;
    while (this.#waiting.size > 0 && !this.#stopped) {
      const batch = new Map(this.#waiting.entries().take(MAX_SIGHTINGS));
      try {
        await coordination.putSightings(batch);
      } catch (error) {
        log.error("can't write which machines were here", error, { machines: this.#waiting.size });
        wait = PAUSE;
        break;
      }
      // What was told of a machine meanwhile is written next.
      for (const [uid, sighting] of batch) this.written(uid, sighting);
    }
    this.#writing = false;
    if (this.#waiting.size > 0 && !this.#stopped) this.#later(wait);
  }
}
