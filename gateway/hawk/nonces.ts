/**
 * Requests that were seen, so that none counts twice. One is remembered for as long as its time stamp would be taken:
 * afterwards the time stamp alone refuses it.
 */

/** Of one gateway: 83 requests a second for two minutes, which no people and few scripts make. */
const MAX_REMEMBERED = 10_000;

export type Freshness = "fresh" | "replayed" | "full";

export class Nonces {
  /** Until when each is remembered (ms), in the order in which they came. */
  readonly #until = new Map<string, number>();
  readonly #most: number;

  constructor(most = MAX_REMEMBERED) {
    this.#most = most;
  }

  get size(): number {
    return this.#until.size;
  }

  /** `until`: when the time stamp is too old by itself; wall clock, ms. What is `full` was not remembered. */
  spend(key: string, until: number, now: number): Freshness {
    const known = this.#until.get(key);
    if (known !== undefined && known >= now) return "replayed";
    if (this.#until.size >= this.#most) this.#forget(now);
    if (this.#until.size >= this.#most) return "full";
    this.#until.delete(key);
    this.#until.set(key, until);
    return "fresh";
  }

  #forget(now: number): void {
    for (const [key, until] of this.#until) if (until < now) this.#until.delete(key);
  }
}
