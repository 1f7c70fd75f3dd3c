/** People by a Kubernetes bearer token: the API server says whose it is. */
import * as z from "zod";
import type { Clock } from "../../ports/clock.ts";
import type { AccessClient, Person, PersonReview } from "../../runtime/access.ts";
import { ApiError } from "../../runtime/client.ts";
import { startDeadline } from "../../runtime/deadline.ts";
import { Busy, Turnstile } from "../agents/turnstile.ts";
import { Answers } from "../answers.ts";

/** Longest use of one answer, ms: a token that was revoked works for as long. */
const LIFE = 30_000;
const MAX_CACHED = 1000;
/** Kubernetes' own have 1 to 2 KiB, those of OIDC with many groups more. */
const MAX_TOKEN = 16 * 1024;
/** For a review, ms: a person waits for it, and others behind it. */
const DEADLINE = 5000;
const MAX_REVIEWS = 8;
const MAX_WAITING = 100;

export interface TokensOptions {
  access: Pick<AccessClient, "reviewPerson">;
  clock: Clock;
}

export class Tokens {
  readonly #options: TokensOptions;
  readonly #turnstile = new Turnstile(MAX_REVIEWS, MAX_WAITING);
  /** Of tokens that are known: what somebody made up takes nobody's place. */
  readonly #answers: Answers<PersonReview>;

  constructor(options: TokensOptions) {
    this.#options = options;
    const life = ({ authenticated }: PersonReview): number => (authenticated ? LIFE : 0);
    this.#answers = new Answers({ life, most: MAX_CACHED, clock: options.clock });
  }

  /** Undefined where the API server doesn't know it. Throws `ApiError` where it gives no answer. */
  async person(token: string): Promise<Person | undefined> {
    if (token === "" || token.length > MAX_TOKEN) return undefined;
    const answer = await this.#answers.get(token, () => this.#review(token));
    return answer.authenticated ? answer.person : undefined;
  }

  /** Whether the API server knew it when it was last asked. */
  remembers(token: string): boolean {
    return this.#answers.last(token) !== undefined;
  }

  async #review(token: string): Promise<PersonReview> {
    const { access, clock } = this.#options;
    const late = (): ApiError => new ApiError("Timeout", "The API server says nothing of a person's token");
    try {
      return await this.#turnstile.run(async () => {
        const deadline = startDeadline(clock, DEADLINE, late);
        return await access.reviewPerson(token, { signal: deadline.signal }).finally(() => deadline.cancel());
      });
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
