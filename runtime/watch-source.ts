/** Where a reflector gets its objects from: pages and events of one resource, as a port. */
import type { Resource } from "../api/kind.ts";
import type { KubeObject } from "../api/meta.ts";

export interface WatchEvent {
  type: "ADDED" | "MODIFIED" | "DELETED" | "BOOKMARK";
  /** Of a bookmark only `metadata.resourceVersion` and `metadata.annotations` mean something. */
  object: KubeObject;
}

export interface ListPage {
  resourceVersion: string;
  items: KubeObject[];
  /** Token of the next page; undefined on the last one. */
  continue: string | undefined;
}

/**
 * Throws `ApiError`; `Gone` (with status 410) where the resource version or the token is
 * too old. Ends at once when `signal` aborts. Objects are handed over: the reflector
 * prunes and freezes them.
 */
export interface WatchSource {
  /** One page of a consistent list. */
  list(request: { limit: number; continue?: string | undefined; signal: AbortSignal }): Promise<ListPage>;
  /**
   * Events after `resourceVersion`, until `timeoutSeconds` have passed (a clean end).
   * Without one, `initialEvents`: first an ADDED for each object that there is, then a
   * bookmark annotated `k8s.io/initial-events-end`, then what changes (WatchList, KEP-3157).
   */
  watch(request: {
    resourceVersion: string | undefined;
    timeoutSeconds: number;
    signal: AbortSignal;
  }): AsyncIterable<WatchEvent>;
}

export interface Selection {
  namespace?: string;
  labelSelector?: string;
  fieldSelector?: string;
}

/** Makes the source for one resource: `createRestClient(...).watches`, or a simulation's. */
export type WatchSources = (resource: Resource, selection: Selection) => WatchSource;

/** Annotation of the bookmark that ends the initial events (KEP-3157). */
export const INITIAL_EVENTS_END = "k8s.io/initial-events-end";
