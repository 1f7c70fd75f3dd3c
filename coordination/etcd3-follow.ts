/**
 * A watch as a source of changes. Each stream begins at the last change that was told, which is then told twice. Only
 * changes say from where: what etcd says of its progress was ahead of what it had told before 3.4.25 and 3.5.8 (etcd
 * pull request 15248).
 */
import type { Change, Follower } from "./etcd.ts";
import { type WatchResponse, type WatchSource, WatchStreams } from "./etcd3-streams.ts";

export class FollowWatch {
  readonly #follower: Follower;
  readonly #revision: number;
  /** The next stream begins here: at what is known, since a watch of the future says nothing of its progress. */
  #from: number;
  #asked = false;
  readonly #streams: WatchStreams;

  constructor(source: WatchSource, revision: number, follower: Follower) {
    this.#follower = follower;
    this.#revision = revision;
    this.#from = revision;
    this.#streams = new WatchStreams(source, {
      from: () => ({ start_revision: this.#from }),
      stands: () => {
        if (this.#asked) this.#streams.askProgress();
      },
      told: (response) => this.#tell(response),
      compacted: () => {
        this.close();
        follower.lost();
        return false;
      },
    });
  }

  ask(): void {
    this.#asked = true;
    this.#streams.askProgress();
  }

  close(): void {
    this.#streams.close();
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
}
