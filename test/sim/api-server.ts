/**
 * A simulated Kubernetes API server: one store with revisions behind `KubeClient` and
 * `WatchSources`. It knows what the controllers use: optimistic concurrency, server-side
 * apply by one owner, finalizers, status subresource, eviction with a budget of its own.
 */
import type { Resource } from "../../api/kind.ts";
import type { KubeObject, ObjectMeta } from "../../api/meta.ts";
import {
  ApiError,
  type EvictionResult,
  type KubeClient,
  type ListOptions,
  type Patch,
} from "../../runtime/client.ts";
import {
  INITIAL_EVENTS_END,
  type WatchEvent,
  type WatchSource,
  type WatchSources,
} from "../../runtime/watch-source.ts";
import type { ProcessClock, SimClock } from "./clock.ts";
import type { SeededRandom } from "./random.ts";

type Stored = KubeObject & { spec?: Record<string, unknown>; status?: Record<string, unknown> };

interface Entry {
  revision: number;
  plural: string;
  event: WatchEvent;
}

export interface ApiFaults {
  /** No call is answered. */
  down: boolean;
  /** Chance that a write's answer is lost; half of those writes have happened. */
  lostAnswers: number;
  /** Most milliseconds that a call takes. */
  latency: number;
}

/** Refuses an eviction by its message, or lets it be. */
export type EvictionPolicy = (pod: Stored) => string | undefined;

export class SimApiServer {
  readonly faults: ApiFaults = { down: false, lostAnswers: 0, latency: 20 };
  evictionPolicy: EvictionPolicy = () => undefined;
  readonly #clock: SimClock;
  readonly #random: SeededRandom;
  readonly #objects = new Map<string, Stored>();
  readonly #log: Entry[] = [];
  readonly #watchers = new Set<() => void>();
  #revision = 100;

  constructor(clock: SimClock, random: SeededRandom) {
    this.#clock = clock;
    this.#random = random;
  }

  // What people and kubelets do: at once, without faults.

  put(plural: string, object: KubeObject): void {
    const key = keyFor(plural, object.metadata);
    const before = this.#objects.get(key);
    this.#store(
      plural,
      key,
      { ...structuredClone(object), metadata: { ...before?.metadata, ...object.metadata } } as Stored,
      before,
    );
  }

  peek<T extends KubeObject>(plural: string, name: string, namespace?: string): T | undefined {
    return this.#objects.get(keyFor(plural, { name, ...(namespace === undefined ? {} : { namespace }) })) as
      | T
      | undefined;
  }

  all<T extends KubeObject>(plural: string): T[] {
    return [...this.#objects.entries()]
      .filter(([key]) => key.startsWith(`${plural}/`))
      .map(([, object]) => object as unknown as T);
  }

  /** Changes an object as a person with kubectl would. */
  edit<T extends KubeObject>(
    plural: string,
    name: string,
    change: (object: T) => void,
    namespace?: string,
  ): void {
    const key = keyFor(plural, { name, ...(namespace === undefined ? {} : { namespace }) });
    const before = this.#objects.get(key);
    if (before === undefined) return;
    const after = structuredClone(before);
    change(after as unknown as T);
    this.#store(plural, key, after, before);
  }

  remove(plural: string, name: string, namespace?: string): void {
    const key = keyFor(plural, { name, ...(namespace === undefined ? {} : { namespace }) });
    const before = this.#objects.get(key);
    if (before === undefined) return;
    if ((before.metadata.finalizers?.length ?? 0) > 0) {
      if (before.metadata.deletionTimestamp !== undefined) return;
      const metadata = {
        ...before.metadata,
        deletionTimestamp: new Date(this.#clock.process().now()).toISOString(),
      };
      this.#store(plural, key, { ...before, metadata }, before);
    } else this.#drop(plural, key, before);
  }

  // What processes do: through ports, with faults.

  /** A client for one process. */
  client(clock: ProcessClock): KubeClient {
    const call = <T>(write: boolean, work: () => T): Promise<T> => this.#call(clock, write, work);
    return {
      get: (resource, key) => call(false, () => this.#find(resource, key.name, key.namespace) as never),
      list: (resource, options = {}) =>
        call(false, () => ({
          resourceVersion: String(this.#revision),
          items: this.#select(resource, options) as never[],
        })),
      create: (resource, object) => call(true, () => this.#create(resource, object) as never),
      apply: (resource, object, options) =>
        call(true, () => this.#apply(resource, object as unknown as Stored, options.subresource) as never),
      replace: (resource, object, options = {}) =>
        call(true, () => this.#replace(resource, object as unknown as Stored, options.subresource) as never),
      patch: (resource, key, patch, options = {}) =>
        call(true, () => this.#patch(resource, key.name, key.namespace, patch, options.subresource) as never),
      delete: (resource, key, options = {}) =>
        call(true, () => {
          const object = this.peek(resource.plural, key.name, key.namespace);
          if (object === undefined) return;
          if (options.uid !== undefined && object.metadata.uid !== options.uid) {
            throw new ApiError("Conflict", `the object has another uid`, { status: 409 });
          }
          this.remove(resource.plural, key.name, key.namespace);
        }),
      evict: (pod, options = {}) => call(true, () => this.#evict(pod, options.dryRun === true)),
      tokenReview: () => Promise.reject(new ApiError("Unavailable", "tokens are not simulated")),
    };
  }

  /** Watches for one process. */
  watches(clock: ProcessClock): WatchSources {
    return (resource, selection): WatchSource => ({
      list: () =>
        this.#call(clock, false, () => ({
          resourceVersion: String(this.#revision),
          items: this.#select(resource, selection),
          continue: undefined,
        })),
      watch: ({ resourceVersion, timeoutSeconds, signal }) =>
        this.#watch(clock, resource, resourceVersion, timeoutSeconds * 1000, signal),
    });
  }

  async #call<T>(clock: ProcessClock, write: boolean, work: () => T): Promise<T> {
    await this.#delay(clock);
    if (this.faults.down) throw new ApiError("Unavailable", "the API server does not answer");
    if (write && this.#random.chance(this.faults.lostAnswers)) {
      if (this.#random.chance(0.5)) work();
      throw new ApiError("Unavailable", "the answer was lost");
    }
    const result = structuredClone(work());
    await this.#delay(clock);
    return result;
  }

  #delay(clock: ProcessClock): Promise<void> {
    return new Promise((resolve) => clock.after(1 + this.#random.below(this.faults.latency), resolve));
  }

  async *#watch(
    clock: ProcessClock,
    resource: Resource,
    from: string | undefined,
    timeout: number,
    signal: AbortSignal,
  ): AsyncGenerator<WatchEvent> {
    await this.#delay(clock);
    if (this.faults.down) throw new ApiError("Unavailable", "the API server does not answer");
    let ended = false;
    const cancel = clock.after(timeout, () => {
      ended = true;
      wake();
    });
    let wake = (): void => {};
    const onChange = (): void => {
      clock.after(1 + this.#random.below(this.faults.latency), () => wake());
    };
    const onAbort = (): void => wake();
    this.#watchers.add(onChange);
    signal.addEventListener("abort", onAbort);
    try {
      let position = this.#log.length;
      if (from === undefined) {
        for (const object of this.#select(resource, {}))
          yield { type: "ADDED", object: structuredClone(object) };
        yield bookmark(resource, this.#revision);
      } else {
        position = this.#log.findIndex(({ revision }) => revision > Number(from));
        if (position < 0) position = this.#log.length;
      }
      while (!ended && !signal.aborted) {
        if (this.faults.down) throw new ApiError("Unavailable", "the connection was reset");
        for (; position < this.#log.length; position++) {
          const entry = this.#log[position];
          if (entry?.plural === resource.plural) yield structuredClone(entry.event);
        }
        if (ended || signal.aborted) return;
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    } finally {
      cancel();
      this.#watchers.delete(onChange);
      signal.removeEventListener("abort", onAbort);
    }
  }

  /** Ends every watch, as a restart of the API server does. */
  cutWatches(): void {
    for (const notify of this.#watchers) notify();
  }

  #find(resource: Resource, name: string, namespace?: string): Stored {
    const object = this.#objects.get(
      keyFor(resource.plural, { name, ...(namespace === undefined ? {} : { namespace }) }),
    );
    if (object === undefined)
      throw new ApiError("NotFound", `${resource.plural} "${name}" not found`, { status: 404 });
    return object;
  }

  #select(resource: Resource, options: ListOptions): Stored[] {
    const field = /^spec\.nodeName=(.*)$/.exec(options.fieldSelector ?? "")?.[1];
    return [...this.#objects.entries()]
      .filter(([key]) => key.startsWith(`${resource.plural}/`))
      .map(([, object]) => object)
      .filter(({ metadata }) => options.namespace === undefined || metadata.namespace === options.namespace)
      .filter(({ spec }) => field === undefined || spec?.["nodeName"] === field);
  }

  #create(resource: Resource, object: KubeObject): Stored {
    const key = keyFor(resource.plural, object.metadata);
    if (this.#objects.has(key)) throw new ApiError("AlreadyExists", `${key} already exists`, { status: 409 });
    return this.#store(resource.plural, key, structuredClone(object) as Stored, undefined);
  }

  #apply(resource: Resource, object: Stored, subresource: "status" | undefined): Stored {
    const key = keyFor(resource.plural, object.metadata);
    const before = this.#objects.get(key);
    if (subresource === "status") {
      if (before === undefined) throw new ApiError("NotFound", `${key} not found`, { status: 404 });
      checkIdentity(before, object.metadata);
      return this.#store(resource.plural, key, withStatus(before, object.status), before);
    }
    if (before === undefined) return this.#create(resource, object);
    checkIdentity(before, object.metadata);
    const metadata: ObjectMeta = {
      ...before.metadata,
      labels: { ...before.metadata.labels, ...object.metadata.labels },
      annotations: { ...before.metadata.annotations, ...object.metadata.annotations },
      ...(object.metadata.finalizers === undefined ? {} : { finalizers: object.metadata.finalizers }),
    };
    const after: Stored = { ...before, metadata };
    if (object.spec !== undefined) after.spec = structuredClone(object.spec);
    return this.#store(resource.plural, key, after, before);
  }

  #replace(resource: Resource, object: Stored, subresource: "status" | undefined): Stored {
    const before = this.#find(resource, object.metadata.name, object.metadata.namespace);
    checkIdentity(before, object.metadata);
    const key = keyFor(resource.plural, object.metadata);
    if (subresource === "status")
      return this.#store(resource.plural, key, withStatus(before, object.status), before);
    const after = withStatus(structuredClone(object), before.status);
    return this.#store(resource.plural, key, after, before);
  }

  #patch(
    resource: Resource,
    name: string,
    namespace: string | undefined,
    patch: Patch,
    subresource: "status" | undefined,
  ): Stored {
    const before = this.#find(resource, name, namespace);
    const key = keyFor(resource.plural, before.metadata);
    const after = structuredClone(before);
    if (patch.type === "merge") {
      const body = structuredClone(patch.body) as { metadata?: Partial<ObjectMeta> };
      checkIdentity(before, { name, ...body.metadata });
      if (body.metadata !== undefined) delete body.metadata.resourceVersion;
      merge(after as unknown as Record<string, unknown>, body as Record<string, unknown>);
    } else {
      for (const operation of patch.body as readonly { op: string; path: string; value?: unknown }[])
        jsonPatch(after, operation);
    }
    return this.#store(
      resource.plural,
      key,
      subresource === "status" ? withStatus(before, after.status) : withStatus(after, before.status),
      before,
    );
  }

  #evict(pod: { name: string; namespace: string; uid: string }, dryRun: boolean): EvictionResult {
    const object = this.peek<Stored>("pods", pod.name, pod.namespace);
    if (object === undefined || object.metadata.uid !== pod.uid) return { outcome: "gone" };
    const refusal = this.evictionPolicy(object);
    if (refusal !== undefined) return { outcome: "blocked", message: refusal, retryAfter: undefined };
    if (!dryRun) this.remove("pods", pod.name, pod.namespace);
    return { outcome: "evicted" };
  }

  #store(plural: string, key: string, object: Stored, before: Stored | undefined): Stored {
    const metadata: ObjectMeta = {
      ...object.metadata,
      uid: before?.metadata.uid ?? object.metadata.uid ?? this.#random.uuid(),
      creationTimestamp:
        before?.metadata.creationTimestamp ?? new Date(this.#clock.process().now()).toISOString(),
    };
    const generation = before?.metadata.generation ?? 1;
    const specChanged = before !== undefined && JSON.stringify(before.spec) !== JSON.stringify(object.spec);
    metadata.generation = specChanged ? generation + 1 : generation;
    const { resourceVersion: _old, ...rest } = metadata;
    const { resourceVersion: _before, ...restBefore } = before?.metadata ?? { name: "" };
    const same =
      before !== undefined &&
      JSON.stringify({ ...before, metadata: restBefore }) === JSON.stringify({ ...object, metadata: rest });
    if (same) return before;
    if (
      metadata.deletionTimestamp !== undefined &&
      (metadata.finalizers?.length ?? 0) === 0 &&
      before !== undefined
    ) {
      this.#drop(plural, key, before);
      return { ...object, metadata };
    }
    const stored: Stored = {
      ...object,
      metadata: { ...metadata, resourceVersion: String(++this.#revision) },
    };
    this.#objects.set(key, stored);
    this.#announce(plural, { type: before === undefined ? "ADDED" : "MODIFIED", object: stored });
    return stored;
  }

  #drop(plural: string, key: string, before: Stored): void {
    this.#objects.delete(key);
    const metadata = { ...before.metadata, resourceVersion: String(++this.#revision) };
    this.#announce(plural, { type: "DELETED", object: { ...before, metadata } });
  }

  #announce(plural: string, event: WatchEvent): void {
    this.#log.push({ revision: this.#revision, plural, event: structuredClone(event) });
    for (const notify of this.#watchers) notify();
  }
}

function keyFor(
  plural: string,
  { name, namespace }: { name: string; namespace?: string | undefined },
): string {
  return namespace === undefined ? `${plural}/${name}` : `${plural}/${namespace}/${name}`;
}

function withStatus(object: Stored, status: Stored["status"]): Stored {
  const { status: _status, ...rest } = object;
  return status === undefined ? (rest as Stored) : ({ ...rest, status: structuredClone(status) } as Stored);
}

function checkIdentity(before: Stored, wanted: Partial<ObjectMeta>): void {
  if (wanted.resourceVersion !== undefined && wanted.resourceVersion !== before.metadata.resourceVersion) {
    throw new ApiError("Conflict", "the object has been modified", { status: 409 });
  }
  if (wanted.uid !== undefined && wanted.uid !== before.metadata.uid) {
    throw new ApiError("Conflict", "the object has another uid", { status: 409 });
  }
}

function bookmark(resource: Resource, revision: number): WatchEvent {
  return {
    type: "BOOKMARK",
    object: {
      apiVersion: resource.version,
      kind: resource.kind,
      metadata: {
        name: "",
        resourceVersion: String(revision),
        annotations: { [INITIAL_EVENTS_END]: "true" },
      },
    },
  };
}

/** JSON merge patch (RFC 7386). */
function merge(target: Record<string, unknown>, patch: Record<string, unknown>): void {
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete target[key];
    else if (typeof value === "object" && !Array.isArray(value)) {
      const below = target[key];
      const into = typeof below === "object" && below !== null && !Array.isArray(below) ? below : {};
      target[key] = into;
      merge(into as Record<string, unknown>, value as Record<string, unknown>);
    } else target[key] = value;
  }
}

/** The operations of RFC 6902 that Slipway uses: test, add, replace, remove on object members. */
function jsonPatch(target: object, { op, path, value }: { op: string; path: string; value?: unknown }): void {
  const steps = path
    .split("/")
    .slice(1)
    .map((step) => step.replaceAll("~1", "/").replaceAll("~0", "~"));
  const last = steps.pop() ?? "";
  let at = target as Record<string, unknown>;
  for (const step of steps) at = (at[step] ??= {}) as Record<string, unknown>;
  if (op === "test") {
    if (JSON.stringify(at[last]) !== JSON.stringify(value))
      throw new ApiError("Invalid", `test of ${path} failed`, { status: 422 });
  } else if (op === "remove") delete at[last];
  else at[last] = value;
}
