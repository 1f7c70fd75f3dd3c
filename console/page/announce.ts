/** What a screen reader is told without being asked: politely, the newest of each subject, and not more often than every few seconds. */
import { signal } from "@preact/signals";
import type { Timers } from "./timers.ts";

/** Between two announcements, ms: long enough to be read out. */
const EVERY = 5000;
/** Sentences of one announcement; of a fleet in motion nobody hears out more. */
const MOST = 4;

export class Announcer {
  readonly text = signal("");
  readonly #timers: Timers;
  readonly #waiting = new Map<string, string>();
  #due = false;
  #last = 0;

  constructor(timers: Timers) {
    this.#timers = timers;
  }

  /** `sentence` replaces what waits to be said of the same `subject`. */
  say(subject: string, sentence: string): void {
    this.#waiting.delete(subject);
    this.#waiting.set(subject, sentence);
    if (this.#due) return;
    this.#due = true;
    this.#timers.after(Math.max(0, this.#last + EVERY - this.#timers.now()), () => this.#speak());
  }

  #speak(): void {
    this.#due = false;
    this.#last = this.#timers.now();
    const all = [...this.#waiting.values()];
    this.#waiting.clear();
    const rest = all.length - MOST;
    this.text.value = [...all.slice(0, MOST), ...(rest > 0 ? [`And ${rest} more changes.`] : [])].join(" ");
  }
}
