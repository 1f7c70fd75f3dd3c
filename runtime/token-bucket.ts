/** A token bucket on the clock port: bounds the rate of calls. */
import { type Clock, sleep } from "../ports/clock.ts";
import { ApiError } from "./client.ts";

export interface TokenBucketOptions {
  /** Tokens a second. */
  rate: number;
  /** Tokens that a quiet bucket holds. */
  burst: number;
  /** How many callers may wait for a token at once; further ones are refused. */
  maxWaiting?: number;
}

export class TokenBucket {
  readonly #clock: Clock;
  readonly #rate: number;
  readonly #burst: number;
  readonly #maxWaiting: number;
  /** Negative while callers wait: each of them has taken its token in advance. */
  #tokens: number;
  #filledAt: number;

  constructor(clock: Clock, { rate, burst, maxWaiting = 1000 }: TokenBucketOptions) {
    this.#clock = clock;
    this.#rate = rate;
    this.#burst = burst;
    this.#maxWaiting = maxWaiting;
    this.#tokens = burst;
    this.#filledAt = clock.monotonic();
  }

  /** Takes a token if one is there now. */
  tryTake(): boolean {
    this.#fill();
    if (this.#tokens < 1) return false;
    this.#tokens -= 1;
    return true;
  }

  /** Waits for a token. Throws `ApiError` TooManyRequests if too many wait already. */
  async take(signal: AbortSignal): Promise<void> {
    this.#fill();
    if (this.#tokens < 1 - this.#maxWaiting) {
      throw new ApiError(
        "TooManyRequests",
        `More than ${this.#maxWaiting} calls wait for our own rate limit`,
      );
    }
    this.#tokens -= 1;
    if (this.#tokens >= 0) return;
    try {
      await sleep(this.#clock, (-this.#tokens / this.#rate) * 1000, signal);
    } catch (error) {
      this.#tokens += 1;
      throw error;
    }
  }

  #fill(): void {
    const now = this.#clock.monotonic();
    this.#tokens = Math.min(this.#burst, this.#tokens + ((now - this.#filledAt) / 1000) * this.#rate);
    this.#filledAt = now;
  }
}
