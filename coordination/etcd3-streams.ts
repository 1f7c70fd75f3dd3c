/**
 * One watch over as many streams as it takes. Each stream is used once and never resumed: after any error, end or
 * cancellation (compaction, no leader) a new one is opened, after a pause.
 */
import type { Cancel, Clock } from "../ports/clock.ts";

/** What is used of etcd's bidirectional Watch stream. */
export interface WatchStream {
  write(request: { create_request?: WatchRequest; progress_request?: object }): unknown;
  cancel(): void;
  on(event: "data", fn: (response: WatchResponse) => void): unknown;
  on(event: "error", fn: (error: Error) => void): unknown;
  on(event: "end", fn: () => void): unknown;
}

export interface WatchRequest {
  key: Buffer;
  range_end: Buffer;
  progress_notify?: boolean;
  start_revision?: number;
}

export interface WatchResponse {
  header: { revision: string };
  created: boolean;
  canceled: boolean;
  /** Of a watch that began at what was forgotten; else "0". */
  compact_revision: string;
  events: { type: number | string; kv: { key: Buffer; value: Buffer; mod_revision: string } }[];
}

export interface WatchSource {
  open: () => Promise<WatchStream>;
  /** Told of each stream that ended, so that the next one is opened elsewhere. */
  failed: () => void;
  prefix: string;
  clock: Clock;
}

export interface WatchUse {
  /** How the next stream begins. */
  from: () => Pick<WatchRequest, "progress_notify" | "start_revision">;
  /** etcd confirmed a stream. */
  stands: () => void;
  told: (response: WatchResponse) => void;
  /** Where it began etcd has forgotten. False where another stream would not begin there. */
  compacted: () => boolean;
}

/** A stream that was not confirmed by then is given up, ms. */
const CONFIRM_WITHIN = 5_000;
/** Wait before the next stream, ms: doubles up to the second. */
const [FIRST_BACKOFF, LAST_BACKOFF] = [100, 5_000];

export class WatchStreams {
  readonly #source: WatchSource;
  readonly #use: WatchUse;
  #stream: WatchStream | undefined;
  #stands = false;
  #generation = 0;
  #backoff = FIRST_BACKOFF;
  #wait: Cancel = () => {};

  constructor(source: WatchSource, use: WatchUse) {
    this.#source = source;
    this.#use = use;
    this.#start();
  }

  /** Asks how far etcd is, where it would hear that. */
  askProgress(): void {
    if (this.#stands) this.#stream?.write({ progress_request: {} });
  }

  close(): void {
    this.#generation++;
    this.#wait();
    this.#stream?.cancel();
    this.#stream = undefined;
    this.#stands = false;
  }

  #start(): void {
    const generation = ++this.#generation;
    const current = (): boolean => generation === this.#generation;
    const again = (): void => {
      if (current()) this.#again();
    };
    this.#wait = this.#source.clock.after(CONFIRM_WITHIN, again);
    this.#listen(current, again).catch(again);
  }

  async #listen(current: () => boolean, again: () => void): Promise<void> {
    const stream = await this.#source.open();
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
        if (Number(response.compact_revision) === 0 || this.#use.compacted()) again();
      } else if (response.created) {
        this.#wait();
        this.#backoff = FIRST_BACKOFF;
        this.#stands = true;
        this.#use.stands();
      } else this.#use.told(response);
    });
    const key = Buffer.from(this.#source.prefix);
    stream.write({ create_request: { key, range_end: prefixEnd(key), ...this.#use.from() } });
  }

  #again(): void {
    this.close();
    this.#source.failed();
    this.#wait = this.#source.clock.after(this.#backoff, () => this.#start());
    this.#backoff = Math.min(this.#backoff * 2, LAST_BACKOFF);
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
