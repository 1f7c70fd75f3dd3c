/**
 * A simulated Kubernetes API server: one store with revisions behind `KubeClient` and
 * `WatchSources`. It knows what the controllers use: optimistic concurrency, server-side
 * apply, finalizers, status subresource, eviction with a policy of its own.
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
import type { WatchSource, WatchSources } from "../../runtime/watch-source.ts";
import type { ProcessClock, SimClock } from "./clock.ts";
import { applyFields, copy, type JsonOperation, jsonPatch, mergePatch } from "./patch.ts";
import type { SeededRandom } from "./random.ts";
import { WatchLog } from "./watch-log.ts";

export type Stored = KubeObject & { spec?: Record<string, unknown>; status?: Record<string, unknown> };

export interface ApiFaults {
  /** No call is answered. */
  down: boolean;
  /** Chance that a write's answer is lost; half of those writes have happened. */
  lostAnswers: number;
  /** Most milliseconds that a call takes. */
  latency: number;
}

/** Refuses an eviction, by a budget's message or by an error, or lets it be. */
export type EvictionPolicy = (pod: Stored) => string | ApiError | undefined;

/** A change, told before anybody else can act. `by`: the process, or "person" (which kubelets are, too). */
export interface ApiChange {
  plural: string;
  before: Stored | undefined;
  after: Stored | undefined;
  by: string;
}

/** Written by everybody, read by nobody: accepted and forgotten. */
const FORGOTTEN = new Set(["events"]);

export class SimApiServer {
  readonly faults: ApiFaults = { down: false, lostAnswers: 0, latency: 20 };
  evictionPolicy: EvictionPolicy = () => undefined;
  observer: (change: ApiChange) => void = () => {};
  readonly #clock: SimClock;
  readonly #random: SeededRandom;
  readonly #tables = new Map<string, Map<string, Stored>>();
  readonly #watches: WatchLog;
  /** By object, then by manager and part: the fields that it applied last. */
  readonly #owners = new Map<string, Map<string, Set<string>>>();
  #revision = 100;
  #by = "person";

  constructor(clock: SimClock, random: SeededRandom) {
    this.#clock = clock;
    this.#random = random;
    this.#watches = new WatchLog({
      random,
      faults: this.faults,
      revision: () => this.#revision,
      select: (resource) => this.#select(resource, {}),
    });
  }

  // What people and kubelets do: at once, without faults.

  put(plural: string, object: KubeObject): void {
    const key = keyFor(object.metadata);
    const before = this.#table(plural).get(key);
    const metadata = { ...before?.metadata, ...object.metadata };
    this.#store(plural, key, { ...copy(object), metadata }, before);
  }

  // oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- the caller knows what it asks for
  peek<T extends KubeObject>(plural: string, name: string, namespace?: string): T | undefined {
    return this.#table(plural).get(keyFor({ name, namespace })) as T | undefined;
  }

  all<T extends KubeObject>(plural: string): T[] {
    return [...this.#table(plural).values()] as unknown as T[];
  }

  /** Changes an object as a person with kubectl would. */
  // oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- the caller knows what it asks for
  edit<T extends KubeObject>(
    plural: string,
    name: string,
    change: (object: T) => void,
    namespace?: string,
  ): void {
    const key = keyFor({ name, namespace });
    const before = this.#table(plural).get(key);
    if (before === undefined) return;
    const after = copy(before);
    change(after as unknown as T);
    this.#store(plural, key, after, before);
  }

  remove(plural: string, name: string, namespace?: string): void {
    const key = keyFor({ name, namespace });
    const before = this.#table(plural).get(key);
    if (before === undefined) return;
    if ((before.metadata.finalizers?.length ?? 0) === 0) {
      this.#drop(plural, key, before);
      return;
    }
    if (before.metadata.deletionTimestamp !== undefined) return;
    const metadata = { ...before.metadata, deletionTimestamp: this.#timestamp() };
    this.#store(plural, key, { ...before, metadata }, before);
  }

  /** Answers nothing, or answers again. */
  setDown(down: boolean): void {
    this.faults.down = down;
    this.#watches.cut();
  }

  // What processes do: through ports, with faults.

  /** A client for the process `by`. */
  client(clock: ProcessClock, by: string): KubeClient {
    const read = <T>(work: () => T): Promise<T> => this.#call(clock, by, false, work);
    const write = <T>(work: () => T): Promise<T> => this.#call(clock, by, true, work);
    return {
      get: (resource, key) => read(() => this.#find(resource, key.name, key.namespace) as never),
      list: (resource, options = {}) =>
        read(() => ({
          resourceVersion: String(this.#revision),
          items: this.#select(resource, options) as never[],
        })),
      create: (resource, object) => write(() => this.#create(resource, object) as never),
      apply: (resource, object, { fieldManager, subresource }) =>
        write(() => this.#apply(resource, object as unknown as Stored, fieldManager, subresource) as never),
      replace: (resource, object, options = {}) =>
        write(() => this.#replace(resource, object as unknown as Stored, options.subresource) as never),
      patch: (resource, key, patch, options = {}) =>
        write(() => this.#patch(resource, key.name, key.namespace, patch, options.subresource) as never),
      delete: (resource, key, options = {}) =>
        write(() => {
          const object = this.peek(resource.plural, key.name, key.namespace);
          if (object === undefined) return;
          if (options.uid !== undefined) checkIdentity(object, { uid: options.uid });
          this.remove(resource.plural, key.name, key.namespace);
        }),
      evict: (pod, options = {}) => write(() => this.#evict(pod, options.dryRun === true)),
      tokenReview: () => Promise.reject(new ApiError("Unavailable", "tokens are not simulated")),
    };
  }

  /** Watches for one process. */
  watches(clock: ProcessClock): WatchSources {
    return (resource, selection): WatchSource => ({
      list: () =>
        this.#call(clock, "", false, () => ({
          resourceVersion: String(this.#revision),
          items: this.#select(resource, selection),
          continue: undefined,
        })),
      watch: (request) => this.#watches.follow(clock, resource, request),
    });
  }

  async #call<T>(clock: ProcessClock, by: string, write: boolean, work: () => T): Promise<T> {
    await this.#delay(clock);
    if (this.faults.down) throw new ApiError("Unavailable", "the API server does not answer");
    const lost = write && this.#random.chance(this.faults.lostAnswers);
    const happens = !lost || this.#random.chance(0.5);
    this.#by = by;
    let result: T | undefined;
    try {
      if (happens) result = copy(work());
    } finally {
      this.#by = "person";
    }
    await this.#delay(clock);
    if (lost) throw new ApiError("Unavailable", "the answer was lost");
    return result as T;
  }

  #delay(clock: ProcessClock): Promise<void> {
    return new Promise((resolve) => clock.after(1 + this.#random.below(this.faults.latency), resolve));
  }

  #table(plural: string): Map<string, Stored> {
    let table = this.#tables.get(plural);
    if (table === undefined) {
      table = new Map();
      this.#tables.set(plural, table);
    }
    return table;
  }

  #timestamp(): string {
    return new Date(this.#clock.wall).toISOString();
  }

  #find(resource: Resource, name: string, namespace?: string): Stored {
    const object = this.peek<Stored>(resource.plural, name, namespace);
    if (object === undefined)
      throw new ApiError("NotFound", `${resource.plural} "${name}" not found`, { status: 404 });
    return object;
  }

  #select(resource: Resource, options: ListOptions): Stored[] {
    const field = /^spec\.nodeName=(.*)$/.exec(options.fieldSelector ?? "")?.[1];
    const [label, value] = options.labelSelector?.split("=") ?? [];
    return this.all<Stored>(resource.plural).filter(
      ({ metadata, spec }) =>
        (options.namespace === undefined || metadata.namespace === options.namespace) &&
        (field === undefined || spec?.["nodeName"] === field) &&
        (label === undefined || metadata.labels?.[label] === value),
    );
  }

  #create(resource: Resource, object: KubeObject): Stored {
    if (FORGOTTEN.has(resource.plural)) return object;
    const key = keyFor(object.metadata);
    if (this.#table(resource.plural).has(key))
      throw new ApiError("AlreadyExists", `${key} already exists`, { status: 409 });
    return this.#store(resource.plural, key, copy(object), undefined);
  }

  #apply(resource: Resource, object: Stored, manager: string, subresource: "status" | undefined): Stored {
    if (FORGOTTEN.has(resource.plural)) return object;
    const key = keyFor(object.metadata);
    const before = this.#table(resource.plural).get(key);
    const fields = (
      part: string,
      old: object | undefined,
      applied: object | undefined,
    ): Record<string, unknown> => {
      const place = `${resource.plural}/${key}/${part}`;
      let owners = this.#owners.get(place);
      if (owners === undefined) this.#owners.set(place, (owners = new Map()));
      const typed = old as Record<string, unknown> | undefined;
      return applyFields(typed, applied as Record<string, unknown> | undefined, manager, owners);
    };
    if (subresource === "status") {
      if (before === undefined) throw new ApiError("NotFound", `${key} not found`, { status: 404 });
      checkIdentity(before, object.metadata);
      const status = fields("status", before.status, object.status);
      return this.#store(resource.plural, key, { ...before, status }, before);
    }
    if (before !== undefined) checkIdentity(before, object.metadata);
    else if (object.metadata.uid !== undefined)
      throw new ApiError("Conflict", "no object has that uid", { status: 409 });
    const { finalizers } = object.metadata;
    const metadata = {
      ...(before?.metadata ?? { name: object.metadata.name }),
      labels: fields("labels", before?.metadata.labels, object.metadata.labels),
      annotations: fields("annotations", before?.metadata.annotations, object.metadata.annotations),
      ...(finalizers === undefined ? {} : { finalizers }),
    } as ObjectMeta;
    const { status: _status, ...rest } = object;
    const after = { ...(before ?? rest), metadata } as Stored;
    if (object.spec !== undefined) after.spec = copy(object.spec);
    return this.#store(resource.plural, key, after, before);
  }

  #replace(resource: Resource, object: Stored, subresource: "status" | undefined): Stored {
    const before = this.#find(resource, object.metadata.name, object.metadata.namespace);
    checkIdentity(before, object.metadata);
    const after =
      subresource === "status" ? withStatus(before, object.status) : withStatus(copy(object), before.status);
    return this.#store(resource.plural, keyFor(object.metadata), after, before);
  }

  #patch(
    resource: Resource,
    name: string,
    namespace: string | undefined,
    patch: Patch,
    subresource: "status" | undefined,
  ): Stored {
    const before = this.#find(resource, name, namespace);
    const after = copy(before);
    if (patch.type === "merge") {
      const body = copy(patch.body) as { metadata?: Partial<ObjectMeta> };
      checkIdentity(before, { name, ...body.metadata });
      if (body.metadata !== undefined) delete body.metadata.resourceVersion;
      mergePatch(after as unknown as Record<string, unknown>, { ...body });
    } else {
      for (const operation of patch.body as readonly JsonOperation[]) jsonPatch(after, operation);
    }
    const next =
      subresource === "status" ? withStatus(before, after.status) : withStatus(after, before.status);
    return this.#store(resource.plural, keyFor(before.metadata), next, before);
  }

  #evict(pod: { name: string; namespace: string; uid: string }, dryRun: boolean): EvictionResult {
    const object = this.peek<Stored>("pods", pod.name, pod.namespace);
    if (object === undefined || object.metadata.uid !== pod.uid) return { outcome: "gone" };
    const refusal = this.evictionPolicy(object);
    if (refusal instanceof ApiError) throw refusal;
    if (refusal !== undefined) return { outcome: "blocked", message: refusal, retryAfter: undefined };
    if (!dryRun) this.remove("pods", pod.name, pod.namespace);
    return { outcome: "evicted" };
  }

  #store(plural: string, key: string, object: Stored, before: Stored | undefined): Stored {
    const metadata: ObjectMeta = {
      ...object.metadata,
      uid: before?.metadata.uid ?? object.metadata.uid ?? this.#random.uuid(),
      creationTimestamp: before?.metadata.creationTimestamp ?? this.#timestamp(),
    };
    const generation = before?.metadata.generation ?? 1;
    const specChanged = before !== undefined && JSON.stringify(before.spec) !== JSON.stringify(object.spec);
    metadata.generation = specChanged ? generation + 1 : generation;
    if (before !== undefined && !specChanged && sameRest(before, { ...object, metadata })) return before;
    const ends = metadata.deletionTimestamp !== undefined && (metadata.finalizers?.length ?? 0) === 0;
    if (ends && before !== undefined) {
      this.#drop(plural, key, before);
      return { ...object, metadata };
    }
    metadata.resourceVersion = String(++this.#revision);
    const stored: Stored = { ...object, metadata };
    this.#table(plural).set(key, stored);
    this.#watches.append(this.#revision, plural, {
      type: before === undefined ? "ADDED" : "MODIFIED",
      object: stored,
    });
    this.observer({ plural, before, after: stored, by: this.#by });
    return stored;
  }

  #drop(plural: string, key: string, before: Stored): void {
    this.#table(plural).delete(key);
    for (const place of this.#owners.keys())
      if (place.startsWith(`${plural}/${key}/`)) this.#owners.delete(place);
    const metadata = { ...before.metadata, resourceVersion: String(++this.#revision) };
    this.#watches.append(this.#revision, plural, { type: "DELETED", object: { ...before, metadata } });
    this.observer({ plural, before, after: undefined, by: this.#by });
  }
}

function sameRest(before: Stored, after: Stored): boolean {
  const rest = ({ metadata, status, spec: _spec }: Stored): string =>
    JSON.stringify([{ ...metadata, resourceVersion: "" }, status]);
  return rest(before) === rest(after);
}

function keyFor({ name, namespace }: { name: string; namespace?: string | undefined }): string {
  return namespace === undefined ? name : `${namespace}/${name}`;
}

function withStatus(object: Stored, status: Stored["status"]): Stored {
  const { status: _status, ...rest } = object;
  return status === undefined ? rest : { ...rest, status: copy(status) };
}

function checkIdentity(before: Stored, wanted: Partial<ObjectMeta>): void {
  if (wanted.resourceVersion !== undefined && wanted.resourceVersion !== before.metadata.resourceVersion) {
    throw new ApiError("Conflict", "the object has been modified", { status: 409 });
  }
  if (wanted.uid !== undefined && wanted.uid !== before.metadata.uid) {
    throw new ApiError("Conflict", "the object has another uid", { status: 409 });
  }
}
