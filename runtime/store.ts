/** What a controller reads: a local copy of one resource, kept current by a reflector. */
import type { KubeObject } from "../api/meta.ts";

export type Change<T> =
  | { type: "added"; object: T }
  | { type: "updated"; object: T; before: T }
  | { type: "deleted"; before: T };

/** Read side of a store. Objects are frozen: copy before changing. */
export interface Store<T extends KubeObject> {
  /** False until the first complete list. Nothing may be decided before. */
  readonly synced: boolean;
  /** Newest resourceVersion seen. */
  readonly resourceVersion: string;
  /** `key` is `name` or `namespace/name`. */
  get(key: string): T | undefined;
  list(): readonly T[];
  /** Objects whose index `index` (declared when the store was made) gives `value`. */
  byIndex(index: string, value: string): readonly T[];
  /** Calls `listener` after each change; returns what ends it. */
  onChange(listener: (change: Change<T>) => void): () => void;
}

/** `name` or `namespace/name`. */
export function keyOf(object: KubeObject): string {
  const { namespace, name } = object.metadata;
  return namespace === undefined ? name : `${namespace}/${name}`;
}
