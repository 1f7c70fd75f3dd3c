/** What RBAC lets a person do, asked of the API server and remembered for a moment. */
import type { Clock } from "../../ports/clock.ts";
import type { AccessClient, AccessQuestion } from "../../runtime/access.ts";
import { ApiError } from "../../runtime/client.ts";
import { startDeadline } from "../../runtime/deadline.ts";
import { Answers } from "../answers.ts";

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

export class AccessReviewer {
  readonly #options: AccessReviewerOptions;
  readonly #answers: Answers<boolean>;

  constructor(options: AccessReviewerOptions) {
    this.#options = options;
    this.#answers = new Answers({ life: () => LIFE, most: MAX_ANSWERS, clock: options.clock });
  }

  /** Throws `ApiError` where nobody could be asked. */
  async allows(question: AccessQuestion): Promise<boolean> {
    return await this.#answers.get(keyOf(question), () => this.#ask(question));
  }

  /** For reading what is known: where nobody can be asked, the last answer of the hour before. Throws `ApiError`. */
  async allowsReading(question: AccessQuestion): Promise<boolean> {
    try {
      return await this.allows(question);
    } catch (error) {
      const last = this.#answers.last(keyOf(question));
      if (last === undefined || this.#options.clock.monotonic() - last.at > READING_LIFE) throw error;
      return last.answer;
    }
  }

  async #ask(question: AccessQuestion): Promise<boolean> {
    const { access, clock } = this.#options;
    const late = (): ApiError => new ApiError("Timeout", "The API server says nothing of a person's rights");
    const deadline = startDeadline(clock, DEADLINE, late);
    try {
      return (await access.reviewAccess(question, { signal: deadline.signal })).allowed;
    } finally {
      deadline.cancel();
    }
  }
}

function keyOf({ person, verb, resource, subresource, name }: AccessQuestion): string {
  const { username, groups } = person;
  const parts = [username, groups, verb, resource.group, resource.plural, subresource ?? null, name ?? null];
  return JSON.stringify(parts);
}
