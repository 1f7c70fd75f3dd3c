/**
 * Our objects of the Kubernetes API in a gateway's memory, for those who show or change them: watched, read without
 * asking, and with the time until which they are known to be the present.
 */
import { type Channel, channel } from "../../api/channel.ts";
import type { Resource } from "../../api/kind.ts";
import type { KubeObject } from "../../api/meta.ts";
import { type NodeUpdate, nodeUpdate } from "../../api/node-update.ts";
import { type RebootBudget, rebootBudget } from "../../api/reboot-budget.ts";
import { type RebootWindow, rebootWindow } from "../../api/reboot-window.ts";
import { type Release, release } from "../../api/release.ts";
import { type UpdateGroup, updateGroup } from "../../api/update-group.ts";
import { type Clock, sleep } from "../../ports/clock.ts";
import type { Logger } from "../../ports/log.ts";
import type { Random } from "../../ports/random.ts";
import { MemoryStore } from "../../runtime/memory-store.ts";
import { reflect } from "../../runtime/reflector.ts";
import type { Change, Store } from "../../runtime/store.ts";
import type { WatchSource, WatchSources } from "../../runtime/watch-source.ts";

/** How often the API server is asked whether it is there, ms; by how much the view may be older than it says. */
const PROBE = 5000;
/** For its answer, ms. */
const PROBE_DEADLINE = 4000;

/** What a reader needs; tests make one of stores of their own. */
export interface Objects {
  readonly releases: Store<Release>;
  readonly channels: Store<Channel>;
  readonly groups: Store<UpdateGroup>;
  readonly windows: Store<RebootWindow>;
  readonly budgets: Store<RebootBudget>;
  /** Indexed by `group`. */
  readonly nodeUpdates: Store<NodeUpdate>;
  /** Whether all were listed once; before, nothing may be shown. */
  readonly synced: boolean;
  /** Wall clock, ms: until then the view is known to be the present; undefined before it is synced. */
  readonly asOf: number | undefined;
  /** Calls `listener` after each change of any of them; returns what ends it. */
  onChange(listener: (resource: Resource, change: Change<KubeObject>) => void): () => void;
}

export interface ObjectViewOptions {
  watches: WatchSources;
  clock: Clock;
  random: Random;
  log: Logger;
}

interface Watched {
  resource: Resource;
  store: MemoryStore<KubeObject>;
  source: SeenSource;
}

export class ObjectView implements Objects {
  readonly releases: Store<Release>;
  readonly channels: Store<Channel>;
  readonly groups: Store<UpdateGroup>;
  readonly windows: Store<RebootWindow>;
  readonly budgets: Store<RebootBudget>;
  readonly nodeUpdates: Store<NodeUpdate>;
  readonly #options: ObjectViewOptions;
  readonly #watched: Watched[] = [];
  readonly #stop = new AbortController();
  #asOf: number | undefined;
  #running: Promise<unknown> | undefined;

  constructor(options: ObjectViewOptions) {
    this.#options = options;
    this.releases = this.#watch<Release>(release);
    this.channels = this.#watch<Channel>(channel);
    this.groups = this.#watch<UpdateGroup>(updateGroup);
    this.windows = this.#watch<RebootWindow>(rebootWindow);
    this.budgets = this.#watch<RebootBudget>(rebootBudget);
    this.nodeUpdates = this.#watch<NodeUpdate>(nodeUpdate, { group: ({ spec }) => [spec.group] });
  }

  get synced(): boolean {
    return this.#watched.every(({ store }) => store.synced);
  }

  get asOf(): number | undefined {
    return this.#asOf;
  }

  onChange(listener: (resource: Resource, change: Change<KubeObject>) => void): () => void {
    const ends = this.#watched.map(({ resource, store }) =>
      store.onChange((change) => listener(resource, change)),
    );
    return () => {
      for (const end of ends) end();
    };
  }

  start(): void {
    const { clock, random } = this.#options;
    const { signal } = this.#stop;
    this.#running ??= Promise.all([
      ...this.#watched.map(({ resource, store, source }) =>
        reflect(
          { source, store, clock, random, log: this.#options.log.with({ resource: resource.plural }) },
          signal,
        ),
      ),
      this.#probe(signal),
    ]);
  }

  async stop(): Promise<void> {
    this.#stop.abort(new Error("The view stops"));
    await this.#running;
  }

  #watch<T extends KubeObject>(
    resource: Resource,
    indexes: Record<string, (object: T) => readonly string[]> = {},
  ): Store<T> {
    const { watches, clock, log } = this.#options;
    const store = new MemoryStore<T>({
      indexes,
      onListenerError: (error) => log.error("a listener of the view failed", error),
    });
    const source = new SeenSource(watches(resource, {}), clock);
    this.#watched.push({ resource, store: store as unknown as MemoryStore<KubeObject>, source });
    return store;
  }

  /**
   * The view is the present while every watch is open. That one is shows by what comes, which may be nothing for a
   * minute; so the server is asked, and an answer vouches for each watch that began before and has not broken off.
   */
  async #probe(signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    while (!signal.aborted) {
      const began = { wall: clock.now(), monotonic: clock.monotonic() };
      if (this.synced && (await this.#answers(signal))) {
        const open = this.#watched.every(({ source }) => (source.openSince ?? Infinity) <= began.monotonic);
        if (open) this.#asOf = began.wall;
      }
      await sleep(clock, this.synced ? PROBE : PROBE / 10, signal).catch(() => {});
    }
  }

  async #answers(signal: AbortSignal): Promise<boolean> {
    const late = new AbortController();
    const cancel = this.#options.clock.after(PROBE_DEADLINE, () =>
      late.abort(new Error("No answer in time")),
    );
    try {
      const source = this.#options.watches(updateGroup, {});
      await source.list({ limit: 1, signal: AbortSignal.any([signal, late.signal]) });
      return true;
    } catch {
      return false;
    } finally {
      cancel();
    }
  }
}

/** A source that remembers since when its watch is open. */
class SeenSource implements WatchSource {
  readonly #source: WatchSource;
  readonly #clock: Clock;
  /** Monotonic, ms; undefined while none is. */
  openSince: number | undefined;

  constructor(source: WatchSource, clock: Clock) {
    this.#source = source;
    this.#clock = clock;
  }

  list(request: Parameters<WatchSource["list"]>[0]): ReturnType<WatchSource["list"]> {
    return this.#source.list(request);
  }

  async *watch(request: Parameters<WatchSource["watch"]>[0]): ReturnType<WatchSource["watch"]> {
    this.openSince = this.#clock.monotonic();
    try {
      yield* this.#source.watch(request);
    } finally {
      this.openSince = undefined;
    }
  }
}
