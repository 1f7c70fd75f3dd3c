/** The local copy of one resource: frozen objects, declared indexes, a change for each difference. */
import type { KubeObject } from "../api/meta.ts";
import { type Change, keyOf, type Store } from "./store.ts";

/** The values under which an object is found in an index. */
export type IndexFunction<T> = (object: T) => readonly string[];

export interface MemoryStoreOptions<T> {
  indexes?: Record<string, IndexFunction<T>>;
  /** Told of a listener that threw; the other listeners are called all the same. */
  onListenerError?: (error: unknown) => void;
}

export class MemoryStore<T extends KubeObject> implements Store<T> {
  readonly #objects = new Map<string, T>();
  readonly #indexes = new Map<string, { of: IndexFunction<T>; entries: Map<string, Map<string, T>> }>();
  readonly #listeners = new Set<(change: Change<T>) => void>();
  readonly #onListenerError: (error: unknown) => void;
  #synced = false;
  #resourceVersion = "";

  constructor({ indexes = {}, onListenerError = () => {} }: MemoryStoreOptions<T> = {}) {
    for (const [name, of] of Object.entries(indexes)) this.#indexes.set(name, { of, entries: new Map() });
    this.#onListenerError = onListenerError;
  }

  get synced(): boolean {
    return this.#synced;
  }

  get resourceVersion(): string {
    return this.#resourceVersion;
  }

  get(key: string): T | undefined {
    return this.#objects.get(key);
  }

  list(): readonly T[] {
    return [...this.#objects.values()];
  }

  byIndex(index: string, value: string): readonly T[] {
    const declared = this.#indexes.get(index);
    if (declared === undefined)
      throw new Error(`The store has no index ${index}: declare it where the store is made`);
    return [...(declared.entries.get(value)?.values() ?? [])];
  }

  onChange(listener: (change: Change<T>) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  // Write side: for the reflector (and tests) only.

  /** Takes a complete list as the truth, and tells the listeners of the differences only. */
  replace(objects: Iterable<T>, resourceVersion: string): void {
    const listed = new Map<string, T>();
    for (const object of objects) listed.set(keyOf(object), object);
    this.#resourceVersion = resourceVersion;
    this.#synced = true;
    for (const key of this.#objects.keys()) if (!listed.has(key)) this.#remove(key);
    for (const object of listed.values()) this.#put(object);
  }

  /** An ADDED or MODIFIED event. */
  put(object: T): void {
    this.#resourceVersion = object.metadata.resourceVersion ?? this.#resourceVersion;
    this.#put(object);
  }

  /** A DELETED event, at `resourceVersion`. */
  remove(key: string, resourceVersion: string): void {
    this.#resourceVersion = resourceVersion;
    this.#remove(key);
  }

  /** A bookmark: nothing changed up to `resourceVersion`. */
  advance(resourceVersion: string): void {
    this.#resourceVersion = resourceVersion;
  }

  #put(object: T): void {
    const key = keyOf(object);
    const before = this.#objects.get(key);
    if (before !== undefined && before.metadata.uid !== object.metadata.uid) {
      // Deleted and made anew between two looks: the old one gets its tombstone.
      this.#remove(key);
      return this.#put(object);
    }
    const { resourceVersion } = object.metadata;
    if (resourceVersion !== undefined && before?.metadata.resourceVersion === resourceVersion) return;
    freeze(object);
    this.#objects.set(key, object);
    for (const index of this.#indexes.values()) {
      if (before !== undefined) unindex(index.entries, index.of(before), key);
      for (const value of index.of(object)) {
        const bucket = index.entries.get(value);
        if (bucket === undefined) index.entries.set(value, new Map([[key, object]]));
        else bucket.set(key, object);
      }
    }
    this.#tell(before === undefined ? { type: "added", object } : { type: "updated", object, before });
  }

  #remove(key: string): void {
    const before = this.#objects.get(key);
    if (before === undefined) return;
    this.#objects.delete(key);
    for (const index of this.#indexes.values()) unindex(index.entries, index.of(before), key);
    this.#tell({ type: "deleted", before });
  }

  #tell(change: Change<T>): void {
    for (const listener of this.#listeners) {
      try {
        listener(change);
      } catch (error) {
        this.#onListenerError(error);
      }
    }
  }
}

function unindex<T>(entries: Map<string, Map<string, T>>, values: readonly string[], key: string): void {
  for (const value of values) {
    const bucket = entries.get(value);
    bucket?.delete(key);
    if (bucket?.size === 0) entries.delete(value);
  }
}

function freeze(value: object): void {
  if (Object.isFrozen(value)) return;
  Object.freeze(value);
  for (const part of Object.values(value) as unknown[]) {
    if (typeof part === "object" && part !== null) freeze(part);
  }
}
