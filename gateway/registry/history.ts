/** The newest events of a key space: what a watcher that names an index is answered, and what is told to those that wait. */
import type { RegistryEvent } from "../../coordination/registry.ts";
import { V2Error } from "./errors.ts";
import { size } from "./tree.ts";

/** Events that are kept, as etcd keeps them: clients know to read anew at error 401. */
export const KEPT_EVENTS = 1000;
/** Forgotten in one write: with its other operations it stays below etcd's 128. What is over goes with the next writes. */
const FORGOTTEN_AT_ONCE = 40;

/** What a watcher waits for. */
export interface Watched {
  path: string;
  recursive: boolean;
  /** The first index that counts. */
  since: bigint;
}

export class History {
  #events: RegistryEvent[] = [];
  #bytes = 0;
  readonly #most: number;

  /** `most`: bytes in memory. */
  constructor(events: readonly RegistryEvent[], most: number) {
    this.#most = most;
    for (const event of events) this.add(event);
  }

  /** The newest event. */
  add(event: RegistryEvent): void {
    this.#events.push(event);
    this.#bytes += weight(event);
  }

  /** Indexes to forget in a write that adds `added`, and the index at which the history begins then. */
  excess(
    added: readonly RegistryEvent[],
    index: number,
    start: number,
  ): { forgotten: number[]; start: number } {
    let count = this.#events.length + added.length;
    let bytes = this.#bytes + added.reduce((sum, event) => sum + weight(event), 0);
    const forgotten: number[] = [];
    for (const event of this.#events) {
      const old = event.index <= index - KEPT_EVENTS;
      if (!old && count <= KEPT_EVENTS && bytes <= this.#most) break;
      if (forgotten.length >= FORGOTTEN_AT_ONCE) break;
      forgotten.push(event.index);
      count -= 1;
      bytes -= weight(event);
    }
    const last = forgotten.at(-1);
    const oldest = Math.max(start, last === undefined ? 0 : last + 1);
    // Events that were there before the space was: none is kept, so that only their number counts.
    return { forgotten, start: index > KEPT_EVENTS ? Math.max(oldest, index - KEPT_EVENTS + 1) : oldest };
  }

  /** The event of one write. */
  find(nonce: string): RegistryEvent | undefined {
    return this.#events.findLast((event) => event.nonce === nonce);
  }

  /** Lets go of what lies before `start`. */
  trim(start: number): void {
    const keep = this.#events.findIndex(({ index }) => index >= start);
    const gone = this.#events.splice(0, keep < 0 ? this.#events.length : keep);
    for (const event of gone) this.#bytes -= weight(event);
  }

  /** Events that the watcher missed, oldest first; an error where some of them are no more. */
  missed(watched: Watched, index: number, start: number): RegistryEvent[] | V2Error {
    if (watched.since < BigInt(start)) {
      return new V2Error(401, `the requested history has been cleared [${start}/${watched.since}]`, index);
    }
    return this.#events.filter((event) => BigInt(event.index) >= watched.since && wasFor(watched, event));
  }
}

/** Of the past even hidden keys are told, and the end of a directory to all whose path begins like its own, as etcd does. */
function wasFor({ path, recursive }: Watched, event: RegistryEvent): boolean {
  if (event.refresh === true) return false;
  if (event.path === path || (recursive && isBelow(path, event.path))) return true;
  const ended = event.action === "delete" || event.action === "expire";
  return ended && event.prev?.dir === true && path.startsWith(event.path);
}

/**
 * Whether an event that happens now is told to one that waits. `removed`: every path that went with it, since who
 * watches below a directory hears of its end.
 */
export function isFor(
  { path, recursive, since }: Watched,
  event: RegistryEvent,
  removed: ReadonlySet<string>,
): boolean {
  if (event.refresh === true || BigInt(event.index) < since) return false;
  if (event.path === path || removed.has(path)) return true;
  return recursive && isBelow(path, event.path) && !isHidden(path, event.path);
}

function isBelow(path: string, other: string): boolean {
  return path === "/" || other.startsWith(`${path}/`);
}

/** A name that begins with `_`, or all below it, is hidden from who watches above. */
function isHidden(path: string, below: string): boolean {
  return below.slice(path === "/" ? 0 : path.length).includes("/_");
}

function weight({ path, node, prev }: RegistryEvent): number {
  return size(path) + size(node.value) + size(prev?.value);
}
