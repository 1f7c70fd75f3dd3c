/**
 * What waits to be written to one agent. One message is on its way at a time; meanwhile
 * only the newest of each kind is kept: state is level-triggered, and an answer is asked
 * for again. A peer that takes nothing for `stallAfter` is given up.
 */
import type { Cancel, Clock } from "../../ports/clock.ts";
import type { SessionResponse } from "../../proto/gen/agent_pb.ts";

export interface OutboxOptions {
  clock: Clock;
  /** ms. */
  stallAfter: number;
  /** Calls `flushed` when the peer's window took the message. */
  write: (message: SessionResponse, flushed: () => void) => void;
  /** Called once. */
  stalled: () => void;
}

export class Outbox {
  readonly #options: OutboxOptions;
  readonly #waiting = new Map<SessionResponse["body"]["case"], SessionResponse>();
  #underWay = false;
  #closed = false;
  #cancel: Cancel | undefined;

  constructor(options: OutboxOptions) {
    this.#options = options;
  }

  /** Messages that wait: at most one of each kind. */
  get waiting(): number {
    return this.#waiting.size;
  }

  push(message: SessionResponse): void {
    if (this.#closed) return;
    if (this.#underWay) this.#waiting.set(message.body.case, message);
    else this.#write(message);
  }

  /** Writes what waits without waiting, for a stream that ends. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#cancel?.();
    for (const message of this.#waiting.values()) this.#options.write(message, () => {});
    this.#waiting.clear();
  }

  #write(message: SessionResponse): void {
    this.#underWay = true;
    this.#cancel = this.#options.clock.after(this.#options.stallAfter, () => {
      this.#closed = true;
      this.#waiting.clear();
      this.#options.stalled();
    });
    this.#options.write(message, () => this.#flushed());
  }

  #flushed(): void {
    if (this.#closed) return;
    this.#cancel?.();
    this.#underWay = false;
    const [next] = this.#waiting.values();
    if (next === undefined) return;
    this.#waiting.delete(next.body.case);
    this.#write(next);
  }
}
