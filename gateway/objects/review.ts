/** What RBAC lets a person do, asked of the API server and remembered for a moment. */
import { createHash } from "node:crypto";
import type { Clock } from "../../ports/clock.ts";
import type { AccessClient, AccessQuestion } from "../../runtime/access.ts";

/** An answer is used for so long, ms: a right that was taken away ends as soon. */
const LIFE = 10_000;
/** People times what they ask about. */
const MAX_ANSWERS = 5000;

export interface AccessReviewerOptions {
  access: Pick<AccessClient, "reviewAccess">;
  clock: Clock;
}

export class AccessReviewer {
  readonly #options: AccessReviewerOptions;
  /** Oldest first. */
  readonly #answers = new Map<string, { allowed: Promise<boolean>; until: number }>();

  constructor(options: AccessReviewerOptions) {
    this.#options = options;
  }

  /** Throws `ApiError` where nobody could be asked; that is never remembered. */
  async allows(question: AccessQuestion): Promise<boolean> {
    const now = this.#options.clock.monotonic();
    const key = keyOf(question);
    const known = this.#answers.get(key);
    if (known !== undefined && known.until > now) return await known.allowed;
    const allowed = this.#options.access.reviewAccess(question).then((answer) => answer.allowed);
    this.#answers.delete(key);
    for (const oldest of this.#answers.keys()) {
      if (this.#answers.size < MAX_ANSWERS) break;
      this.#answers.delete(oldest);
    }
    this.#answers.set(key, { allowed, until: now + LIFE });
    try {
      return await allowed;
    } catch (error) {
      if (this.#answers.get(key)?.allowed === allowed) this.#answers.delete(key);
      throw error;
    }
  }
}

/** People may have many groups: what is remembered of a question has one length. */
function keyOf({ person, verb, resource, subresource, name }: AccessQuestion): string {
  const parts = [
    person.username,
    person.groups,
    verb,
    resource.group,
    resource.plural,
    subresource ?? null,
    name ?? null,
  ];
  return createHash("sha256").update(JSON.stringify(parts)).digest("base64");
}
