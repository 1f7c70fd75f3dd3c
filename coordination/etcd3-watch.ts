/**
 * A watch as a source of hints. Each stream is used once and never resumed: after any
 * error, end or cancellation (compaction, no leader) a new one starts at the present, and a
 * hint right after it stands makes the reader look at all that was missed.
 */
import type { Cancel, Clock } from "../ports/clock.ts";

/** What is used of etcd's bidirectional Watch stream. */
export interface WatchStream {
  write(request: {
    create_request?: { key: Buffer; range_end: Buffer; progress_notify?: boolean; start_revision?: number };
    progress_request?: object;
  }): unknown;
  cancel(): void;
  on(event: "data", fn: (response: WatchResponse) => void): unknown;
  on(event: "error", fn: (error: Error) => void): unknown;
  on(event: "end", fn: () => void): unknown;
}

export interface WatchResponse {
  header: { revision: string };
  created: boolean;
  canceled: boolean;
  /** Of a watch that began at what was forgotten; else "0". */
  compact_revision: string;
  events: { type: number | string; kv: { key: Buffer; value: Buffer; mod_revision: string } }[];
}

/** A hint comes at least this often: a stream that hangs on a cut-off member says nothing. Ms. */
const NET = 30_000;
/** A stream that was not confirmed by then is given up, ms. */
export const CONFIRM_WITHIN = 5_000;
/** Wait before the next stream, ms: doubles up to the second. */
export const [FIRST_BACKOFF, LAST_BACKOFF] = [100, 5_000];

export class HintWatch {
  readonly #open: () => Promise<WatchStream>;
  readonly #failed: () => void;
  readonly #prefix: string;
  readonly #clock: Clock;
  readonly #hint: () => void;
  #stream: WatchStream | undefined;
  #generation = 0;
  #backoff = FIRST_BACKOFF;
  #wait: Cancel = () => {};
  #net: Cancel = () => {};

  /** `failed` is told of each stream that ended, so that the next one is opened elsewhere. */
  constructor(
    open: () => Promise<WatchStream>,
    failed: () => void,
    prefix: string,
    clock: Clock,
    hint: () => void,
  ) {
    this.#open = open;
    this.#failed = failed;
    this.#prefix = prefix;
    this.#clock = clock;
    this.#hint = hint;
    this.#armNet();
    this.#start();
  }

  close(): void {
    this.#drop();
    this.#net();
  }

  #armNet(): void {
    this.#net = this.#clock.after(NET, () => {
      this.#armNet();
      this.#hint();
    });
  }

  #start(): void {
    const generation = ++this.#generation;
    const current = (): boolean => generation === this.#generation;
    const again = (): void => {
      if (current()) this.#again();
    };
    this.#wait = this.#clock.after(CONFIRM_WITHIN, again);
    this.#use(current, again).catch(again);
  }

  async #use(current: () => boolean, again: () => void): Promise<void> {
    const stream = await this.#open();
    // The listener stays: a stream without one that fails ends the process.
    stream.on("error", again);
    stream.on("end", again);
    if (!current()) {
      stream.cancel();
      return;
    }
    this.#stream = stream;
    stream.on("data", (response) => {
      if (!current()) return;
      if (response.canceled) {
        again();
      } else if (response.created) {
        this.#wait();
        this.#backoff = FIRST_BACKOFF;
        this.#hint();
      } else if (response.events.length > 0) {
        this.#hint();
      }
    });
    const key = Buffer.from(this.#prefix);
    stream.write({ create_request: { key, range_end: prefixEnd(key), progress_notify: true } });
  }

  #again(): void {
    this.#drop();
    this.#failed();
    this.#wait = this.#clock.after(this.#backoff, () => this.#start());
    this.#backoff = Math.min(this.#backoff * 2, LAST_BACKOFF);
  }

  #drop(): void {
    this.#generation++;
    this.#wait();
    this.#stream?.cancel();
    this.#stream = undefined;
  }
}

/** The first key after all that start with `prefix` (etcd API: range_end). */
export function prefixEnd(prefix: Buffer): Buffer {
  const end = Buffer.from(prefix);
  for (let i = end.length - 1; i >= 0; i--) {
    const byte = end[i] ?? 0xff;
    if (byte < 0xff) {
      end[i] = byte + 1;
      return end.subarray(0, i + 1);
    }
  }
  return Buffer.from([0]);
}
