/** One that waits for events: a queue between the key space and the connection of a client. */
import type { RegistryEvent } from "../../coordination/registry.ts";
import type { Watched } from "./history.ts";

/** Events that a client may be behind, as in etcd; one that is slower is ended, and asks again by index. */
const MAX_BEHIND = 100;

/** The events, one after the other; ends after the first unless it streams. */
export class Watcher implements AsyncIterable<RegistryEvent> {
  readonly watched: Watched & { stream: boolean };
  readonly #left: () => void;
  readonly #queue: RegistryEvent[] = [];
  #wake: (() => void) | undefined;
  #done = false;

  /** `left` is called once, when nothing more is to be told. */
  constructor(watched: Watched & { stream: boolean }, left: () => void) {
    this.watched = watched;
    this.#left = left;
  }

  /** Whether nothing more is to be told. */
  get done(): boolean {
    return this.#done;
  }

  tell(event: RegistryEvent): void {
    if (this.#done) return;
    this.#queue.push(event);
    this.#wake?.();
    if (!this.watched.stream || this.#queue.length > MAX_BEHIND) this.end();
  }

  /** What was told is still read. */
  end(): void {
    if (this.#done) return;
    this.#done = true;
    this.#left();
    this.#wake?.();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<RegistryEvent> {
    try {
      for (;;) {
        const event = this.#queue.shift();
        if (event !== undefined) yield event;
        else if (this.#done) return;
        else {
          await new Promise<void>((resolve) => {
            this.#wake = resolve;
          });
          this.#wake = undefined;
        }
      }
    } finally {
      this.end();
    }
  }
}
