/**
 * A watch as a source of changes. Each stream is used once: after any error, end or cancellation a new one begins at
 * the last change that was told, which is then told twice. Only changes say from where: what etcd says of its progress
 * was ahead of what it had told before 3.4.25 and 3.5.8 (etcd pull request 15248).
 */
import type { Cancel, Clock } from "../ports/clock.ts";
import type { Change, Follower } from "./etcd.ts";
import {
  CONFIRM_WITHIN,
  FIRST_BACKOFF,
  LAST_BACKOFF,
  prefixEnd,
  type WatchResponse,
  type WatchStream,
} from "./etcd3-watch.ts";

export class FollowWatch {
  readonly #open: () => Promise<WatchStream>;
  readonly #failed: () => void;
  readonly #prefix: string;
  readonly #clock: Clock;
  readonly #follower: Follower;
  readonly #revision: number;
  /** The next stream begins here: at what is known, since a watch of the future says nothing of its progress. */
  #from: number;
  #stream: WatchStream | undefined;
  /** Whether etcd confirmed the stream. */
  #stands = false;
  #asked = false;
  #generation = 0;
  #backoff = FIRST_BACKOFF;
  #wait: Cancel = () => {};

  /** `failed` is told of each stream that ended, so that the next one is opened elsewhere. */
  constructor(
    open: () => Promise<WatchStream>,
    failed: () => void,
    prefix: string,
    revision: number,
    clock: Clock,
    follower: Follower,
  ) {
    this.#open = open;
    this.#failed = failed;
    this.#prefix = prefix;
    this.#revision = revision;
    this.#from = revision;
    this.#clock = clock;
    this.#follower = follower;
    this.#start();
  }

  ask(): void {
    this.#asked = true;
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
        if (Number(response.compact_revision) === 0) again();
        else {
          this.close();
          this.#follower.lost();
        }
      } else if (response.created) {
        this.#wait();
        this.#backoff = FIRST_BACKOFF;
        this.#stands = true;
        if (this.#asked) this.ask();
      } else this.#tell(response);
    });
    const key = Buffer.from(this.#prefix);
    stream.write({ create_request: { key, range_end: prefixEnd(key), start_revision: this.#from } });
  }

  #tell({ header, events }: WatchResponse): void {
    if (events.length === 0) {
      this.#asked = false;
      this.#follower.reached(Number(header.revision));
      return;
    }
    const changes = events.map(({ type, kv }): Change => {
      const removed = type === "Delete" || type === 1;
      const revision = Number(kv.mod_revision);
      this.#from = Math.max(this.#from, revision);
      return { key: kv.key.toString(), revision, value: removed ? undefined : kv.value.toString() };
    });
    const news = changes.filter(({ revision }) => revision > this.#revision);
    if (news.length > 0) this.#follower.changed(news);
  }

  #again(): void {
    this.close();
    this.#failed();
    this.#wait = this.#clock.after(this.#backoff, () => this.#start());
    this.#backoff = Math.min(this.#backoff * 2, LAST_BACKOFF);
  }
}
