/** What RBAC lets a person do, asked of the API server and remembered for a moment. */
import { createHash } from "node:crypto";
import type { Clock } from "../../ports/clock.ts";
import type { AccessClient, AccessQuestion } from "../../runtime/access.ts";
import { ApiError } from "../../runtime/client.ts";
import { startDeadline } from "../../runtime/deadline.ts";

/** An answer is used for so long, ms: a right that was taken away ends as soon. */
const LIFE = 10_000;
/** While the API server is away the last answer lets a person go on reading for so long, ms. */
const READING_LIFE = 3_600_000;
/** For an answer, ms: a person waits for it. */
const DEADLINE = 5000;
/** People times what they ask about. */
const MAX_ANSWERS = 5000;

export interface AccessReviewerOptions {
  access: Pick<AccessClient, "reviewAccess">;
  clock: Clock;
}

interface Answer {
  allowed: Promise<boolean>;
  /** Monotonic, ms. */
  until: number;
  /** The last answer that came. */
  last: { allowed: boolean; at: number } | undefined;
}

export class AccessReviewer {
  readonly #options: AccessReviewerOptions;
  /** Least recently used first. */
  readonly #answers = new Map<string, Answer>();

  constructor(options: AccessReviewerOptions) {
    this.#options = options;
  }

  /** Throws `ApiError` where nobody could be asked. */
  async allows(question: AccessQuestion): Promise<boolean> {
    return await this.#ask(keyOf(question), question).allowed;
  }

  /** For reading what is known: where nobody can be asked, the last answer of the hour before. Throws `ApiError`. */
  async allowsReading(question: AccessQuestion): Promise<boolean> {
    const { clock } = this.#options;
    const answer = this.#ask(keyOf(question), question);
    try {
      return await answer.allowed;
    } catch (error) {
      const { last } = answer;
      if (last === undefined || clock.monotonic() - last.at > READING_LIFE) throw error;
      return last.allowed;
    }
  }

  #ask(key: string, question: AccessQuestion): Answer {
    const { access, clock } = this.#options;
    const now = clock.monotonic();
    const known = this.#answers.get(key);
    this.#answers.delete(key);
    if (known !== undefined && known.until > now) {
      this.#answers.set(key, known);
      return known;
    }
    const late = (): ApiError => new ApiError("Timeout", "The API server says nothing of a person's rights");
    const deadline = startDeadline(clock, DEADLINE, late);
    const answer: Answer = {
      allowed: access
        .reviewAccess(question, { signal: deadline.signal })
        .then(({ allowed }) => allowed)
        .finally(() => deadline.cancel()),
      until: now + LIFE,
      last: known?.last,
    };
    answer.allowed.then(
      (allowed) => {
        answer.last = { allowed, at: clock.monotonic() };
      },
      () => {
        answer.until = -Infinity;
      },
    );
    for (const oldest of this.#answers.keys()) {
      if (this.#answers.size < MAX_ANSWERS) break;
      this.#answers.delete(oldest);
    }
    this.#answers.set(key, answer);
    return answer;
  }
}

/** People may have many groups: what is remembered of a question has one length. */
function keyOf({ person, verb, resource, subresource, name }: AccessQuestion): string {
  const { username, groups } = person;
  const parts = [username, groups, verb, resource.group, resource.plural, subresource ?? null, name ?? null];
  return createHash("sha256").update(JSON.stringify(parts)).digest("base64");
}
