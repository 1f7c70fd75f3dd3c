/** Rate limits: `burst` at once, then `perSecond`. */
import type { Clock } from "../../ports/clock.ts";

export interface Rate {
  perSecond: number;
  burst: number;
}

export class TokenBucket {
  readonly #clock: Clock;
  readonly #perSecond: number;
  readonly #burst: number;
  #tokens: number;
  #at: number;

  constructor(clock: Clock, { perSecond, burst }: Rate) {
    this.#clock = clock;
    this.#perSecond = perSecond;
    this.#burst = burst;
    this.#tokens = burst;
    this.#at = clock.monotonic();
  }

  /** Whether `amount` more may pass now. What is more than the burst passes when the bucket is full, and is owed. */
  take(amount = 1): boolean {
    if (this.wait(amount) > 0) return false;
    this.#tokens -= amount;
    return true;
  }

  /** ms until `amount` may pass. */
  wait(amount = 1): number {
    const now = this.#clock.monotonic();
    this.#tokens = Math.min(this.#burst, this.#tokens + ((now - this.#at) / 1000) * this.#perSecond);
    this.#at = now;
    const missing = Math.min(amount, this.#burst) - this.#tokens;
    return missing <= 0 ? 0 : Math.max(1, Math.ceil((missing / this.#perSecond) * 1000));
  }
}

/** A bucket for each key; of more than `most` the one that was not used for longest begins anew. */
export class KeyedBuckets {
  readonly #make: () => TokenBucket;
  readonly #most: number;
  /** Least recently used first. */
  readonly #buckets = new Map<string, TokenBucket>();

  constructor(clock: Clock, rate: Rate, most: number) {
    this.#make = () => new TokenBucket(clock, rate);
    this.#most = most;
  }

  take(key: string, amount = 1): boolean {
    return this.#of(key).take(amount);
  }

  /** ms until `amount` of `key` may pass. */
  wait(key: string, amount = 1): number {
    return this.#of(key).wait(amount);
  }

  get size(): number {
    return this.#buckets.size;
  }

  #of(key: string): TokenBucket {
    const bucket = this.#buckets.get(key) ?? this.#make();
    this.#buckets.delete(key);
    this.#buckets.set(key, bucket);
    if (this.#buckets.size > this.#most) {
      for (const oldest of this.#buckets.keys()) {
        this.#buckets.delete(oldest);
        break;
      }
    }
    return bucket;
  }
}
