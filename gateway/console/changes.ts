/**
 * What the console shows, as items by topic and key, and the order in which they changed. A reader remembers a position
 * only: what it missed is whatever changed after it, each item once, as it is now. So nothing is kept for a reader, and
 * one that is slow gets fewer and larger changes.
 */
import type { Topic } from "../../console/events.ts";
import { sameJson } from "../../runtime/apply-status.ts";

/** Changes that are remembered; a reader that missed more gets everything anew. */
const MAX_REMEMBERED = 20_000;

export interface Missed {
  /** Where the reader is then. */
  position: number;
  /** Undefined where it is too far behind: it needs everything anew. */
  changes: ReadonlyMap<Topic, { put: unknown[]; gone: string[] }> | undefined;
}

export class Changes {
  readonly #items = new Map<Topic, Map<string, unknown>>();
  readonly #log: { topic: Topic; key: string }[] = [];
  /** Position of the first change in the log. */
  #first = 0;
  readonly #most: number;

  constructor(most = MAX_REMEMBERED) {
    this.#most = most;
  }

  /** After the newest change. */
  get position(): number {
    return this.#first + this.#log.length;
  }

  get(topic: Topic, key: string): unknown {
    return this.#items.get(topic)?.get(key);
  }

  items(topic: Topic): ReadonlyMap<string, unknown> {
    return this.#of(topic);
  }

  /** Does nothing where the item is as it was. */
  put(topic: Topic, key: string, item: unknown): void {
    const items = this.#of(topic);
    const before = items.get(key);
    if (before !== undefined && sameJson(before, item)) return;
    items.set(key, item);
    this.#remember(topic, key);
  }

  remove(topic: Topic, key: string): void {
    if (this.#of(topic).delete(key)) this.#remember(topic, key);
  }

  /** Of a topic whose items are few: all of them. */
  replace(topic: Topic, items: Iterable<readonly [string, unknown]>): void {
    const now = new Map(items);
    for (const key of this.#of(topic).keys()) if (!now.has(key)) this.remove(topic, key);
    for (const [key, item] of now) this.put(topic, key, item);
  }

  /** What changed from `position` on in `topics`. */
  since(position: number, topics: ReadonlySet<Topic>): Missed {
    if (position < this.#first || position > this.position) {
      return { position: this.position, changes: undefined };
    }
    const changes = new Map<Topic, { put: unknown[]; gone: string[] }>();
    const seen = new Set<string>();
    for (let at = this.#log.length - 1; at >= position - this.#first; at--) {
      const change = this.#log[at];
      if (change === undefined || !topics.has(change.topic)) continue;
      const { topic, key } = change;
      const name = `${topic} ${key}`;
      if (seen.has(name)) continue;
      seen.add(name);
      const of = changes.get(topic) ?? { put: [], gone: [] };
      changes.set(topic, of);
      const item = this.get(topic, key);
      if (item === undefined) of.gone.push(key);
      else of.put.push(item);
    }
    return { position: this.position, changes };
  }

  #of(topic: Topic): Map<string, unknown> {
    const items = this.#items.get(topic) ?? new Map<string, unknown>();
    this.#items.set(topic, items);
    return items;
  }

  #remember(topic: Topic, key: string): void {
    this.#log.push({ topic, key });
    // Half at a time: to cut one off each time would copy the rest each time.
    if (this.#log.length <= this.#most * 2) return;
    this.#first += this.#most;
    this.#log.splice(0, this.#most);
  }
}
