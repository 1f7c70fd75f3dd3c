/** People by a Kubernetes bearer token: the API server says whose it is. */
import { createHash } from "node:crypto";
import * as z from "zod";
import type { Clock } from "../../ports/clock.ts";
import type { AccessClient, Person, PersonReview } from "../../runtime/access.ts";
import { ApiError } from "../../runtime/client.ts";
import { Busy, Turnstile } from "../agents/turnstile.ts";

/** Longest use of one answer, ms: a token that was revoked works for as long. */
const LIFE = 30_000;
const REFUSAL_LIFE = 5000;
const MAX_CACHED = 1000;
/** Kubernetes' own have 1 to 2 KiB, those of OIDC with many groups more. */
const MAX_TOKEN = 16 * 1024;
const MAX_REVIEWS = 8;
const MAX_WAITING = 100;

export interface TokensOptions {
  access: Pick<AccessClient, "reviewPerson">;
  clock: Clock;
}

interface Entry {
  answer: Promise<PersonReview>;
  /** Monotonic, ms. */
  until: number;
  good: boolean;
}

export class Tokens {
  readonly #options: TokensOptions;
  readonly #turnstile = new Turnstile(MAX_REVIEWS, MAX_WAITING);
  /** By SHA-256 of the token; least recently used first. */
  readonly #cache = new Map<string, Entry>();

  constructor(options: TokensOptions) {
    this.#options = options;
  }

  /** Undefined where the API server doesn't know it. Throws `ApiError` where it gives no answer. */
  async person(token: string): Promise<Person | undefined> {
    if (token === "" || token.length > MAX_TOKEN) return undefined;
    const { clock } = this.#options;
    const hash = hashOf(token);
    const now = clock.monotonic();
    let entry = this.#cache.get(hash);
    if (entry === undefined || entry.until <= now) {
      entry = { answer: this.#review(token), until: now + LIFE, good: false };
    }
    this.#cache.delete(hash);
    this.#cache.set(hash, entry);
    for (const oldest of this.#cache.keys()) {
      if (this.#cache.size <= MAX_CACHED) break;
      this.#cache.delete(oldest);
    }
    try {
      const answer = await entry.answer;
      entry.good = answer.authenticated;
      if (answer.authenticated) return answer.person;
      entry.until = Math.min(entry.until, now + REFUSAL_LIFE);
      return undefined;
    } catch (error) {
      if (this.#cache.get(hash) === entry) this.#cache.delete(hash);
      throw error;
    }
  }

  /** Whether the API server knew it a moment ago. */
  remembers(token: string): boolean {
    const entry = this.#cache.get(hashOf(token));
    return entry?.good === true && entry.until > this.#options.clock.monotonic();
  }

  async #review(token: string): Promise<PersonReview> {
    try {
      return await this.#turnstile.run(() => this.#options.access.reviewPerson(token));
    } catch (error) {
      if (error instanceof Busy) throw new ApiError("Unavailable", error.message, { cause: error });
      throw error;
    }
  }
}

const Claims = z.object({ exp: z.number() });

/** When a token ends that the API server took, wall clock, ms (RFC 7519); undefined where it does not say. */
export function endOf(token: string): number | undefined {
  try {
    const [, payload = ""] = token.split(".");
    return Claims.parse(JSON.parse(Buffer.from(payload, "base64url").toString())).exp * 1000;
  } catch {
    // No JWT: a static token, or one of a webhook.
    return undefined;
  }
}

function hashOf(token: string): string {
  return createHash("sha256").update(token).digest("base64");
}
