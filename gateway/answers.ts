/**
 * What the API server answered, remembered for a moment: who asks the same meanwhile shares the call and its answer. Of
 * a question only its SHA-256 is kept, since it may be a token, or long.
 */
import { createHash } from "node:crypto";
import type { Clock } from "../ports/clock.ts";

export interface AnswersOptions<T> {
  /** For how long an answer is used, ms since it was asked for; one of 0 is not kept. */
  life: (answer: T) => number;
  most: number;
  clock: Clock;
}

interface Known<T> {
  answer: Promise<T>;
  /** Monotonic, ms; a call that is under way has its own deadline. */
  until: number;
  last: Last<T> | undefined;
}

export interface Last<T> {
  answer: T;
  /** Monotonic, ms. */
  at: number;
}

export class Answers<T> {
  readonly #options: AnswersOptions<T>;
  /** Least recently used first. */
  readonly #known = new Map<string, Known<T>>();

  constructor(options: AnswersOptions<T>) {
    this.#options = options;
  }

  /** Throws what `ask` throws, which is not remembered. */
  async get(question: string, ask: () => Promise<T>): Promise<T> {
    const key = keyOf(question);
    let known = this.#known.get(key);
    this.#known.delete(key);
    if (known === undefined || known.until <= this.#options.clock.monotonic())
      known = this.#ask(key, ask, known?.last);
    this.#known.set(key, known);
    for (const oldest of this.#known.keys()) {
      if (this.#known.size <= this.#options.most) break;
      this.#known.delete(oldest);
    }
    return await known.answer;
  }

  /** The last answer that came, however old. */
  last(question: string): Last<T> | undefined {
    return this.#known.get(keyOf(question))?.last;
  }

  #ask(key: string, ask: () => Promise<T>, last: Last<T> | undefined): Known<T> {
    const { clock, life } = this.#options;
    const began = clock.monotonic();
    const known: Known<T> = { answer: ask(), until: Infinity, last };
    const end = (until: number): void => {
      known.until = until;
      if (until <= began && known.last === undefined && this.#known.get(key) === known)
        this.#known.delete(key);
    };
    known.answer.then(
      (answer) => {
        const use = life(answer);
        known.last = use > 0 ? { answer, at: clock.monotonic() } : undefined;
        end(began + use);
      },
      () => end(-Infinity),
    );
    return known;
  }
}

function keyOf(question: string): string {
  return createHash("sha256").update(question).digest("base64");
}
