/**
 * The controller runtime: stores that follow the API server, controllers that work on
 * keys, one leader, an ordered start and stop.
 *
 *     const api = createRestClient(loadKubeConfig(path), { clock, random });
 *     const manager = createManager({ client: api, watches: api.watches, clock, random, log, metrics });
 *     const nodes = manager.store<Node>(NODES, { indexes: { zone: (node) => [zoneOf(node)] } });
 *     manager.controller("nodes", reconciler, {
 *       watches: [watching(nodes, (change) => [keyOf(objectOf(change))])],
 *     });
 *     await manager.start(signal);
 *
 * | file | noun |
 * |---|---|
 * | kubeconfig, pool, transport, rest-client | the API server over HTTP/2: `KubeClient` and `WatchSources` |
 * | watch-source, reflector, memory-store | a local copy of one resource |
 * | queue, controller, reconciler | keys, workers, retries |
 * | leader-election | the Lease |
 * | recorder, apply-status | what a controller writes besides its own objects |
 * | metrics, health | what others see of the process |
 *
 * Everything but kubeconfig, pool, transport, rest-client, health and `observeProcess`
 * runs on ports: a simulation gives another `KubeClient`, other `WatchSources` and its own
 * clock, and the same code runs without a socket or a timer.
 *
 * Start: reflectors run and are synced; the Lease is ours; `onElected` is done; controllers
 * and loops run. Stop: not ready; queues give nothing out and loops are told; workers
 * finish, or are told to at the deadline; events are written; the Lease is released;
 * watches end. If leadership is lost, the same with no time for the workers.
 */
import type { Resource } from "../api/kind.ts";
import type { KubeObject } from "../api/meta.ts";
import { type Clock, sleep } from "../ports/clock.ts";
import type { Logger } from "../ports/log.ts";
import type { Random } from "../ports/random.ts";
import type { KubeClient } from "./client.ts";
import { Controller } from "./controller.ts";
import { abortable, startDeadline } from "./deadline.ts";
import type { Check } from "./health.ts";
import { acquireLeadership, type LeaderElectionOptions, type Tenure } from "./leader-election.ts";
import { type IndexFunction, MemoryStore } from "./memory-store.ts";
import type { RuntimeMetrics } from "./metrics.ts";
import type { Reconciler } from "./reconciler.ts";
import { Recorder } from "./recorder.ts";
import { reflect } from "./reflector.ts";
import type { Change, Store } from "./store.ts";
import type { Selection, WatchSources } from "./watch-source.ts";

export interface ManagerOptions {
  client: KubeClient;
  watches: WatchSources;
  clock: Clock;
  random: Random;
  log: Logger;
  metrics: RuntimeMetrics;
  /** Without it the controllers run as soon as the stores are synced. */
  leaderElection?: Pick<
    LeaderElectionOptions,
    "name" | "namespace" | "identity" | "leaseDuration" | "renewDeadline" | "retryPeriod" | "beforeAcquire"
  > & {
    /** Runs once elected, before any controller. If it throws, the manager stops. */
    onElected?: (tenure: Tenure) => Promise<void>;
  };
  /** Who records events: `slipway.dev/manager` and the Pod's name. */
  reporter: { controller: string; instance: string };
  /** Milliseconds that workers have to finish on stop; 20 s if absent. Must be less than the Pod's grace period. */
  stopTimeout?: number;
}

export interface StoreOptions<T> extends Selection {
  indexes?: Record<string, IndexFunction<T>>;
  /** Keeps only what is needed of each object; may change its argument. */
  transform?: (object: T) => T;
}

/** A store whose changes lead to keys. Made by `watching`. */
export interface Watching {
  subscribe(enqueue: (key: string) => void): void;
}

/** Changes of `store` lead to the keys that `map` gives. */
export function watching<T extends KubeObject>(
  store: Store<T>,
  map: (change: Change<T>) => readonly string[],
): Watching {
  return {
    subscribe(enqueue) {
      store.onChange((change) => {
        for (const key of map(change)) enqueue(key);
      });
    },
  };
}

/** The object of a change: the last one known, if it was deleted. */
export function objectOf<T>(change: Change<T>): T {
  return change.type === "deleted" ? change.before : change.object;
}

export interface ControllerSettings {
  watches: readonly Watching[];
  /** Keys worked on at once; 1 if absent. */
  workers?: number;
  /** Milliseconds for one reconciliation; 60 s if absent. */
  deadline?: number;
}

export interface Manager {
  /** A local copy of a resource. The same store serves all controllers: make it once. Before `start` only. */
  store<T extends KubeObject>(resource: Resource, options?: StoreOptions<T>): Store<T>;
  /** A controller, which runs while we lead. `enqueue` asks for a look at a key (after `milliseconds`): for hints from elsewhere than a store. */
  controller(
    name: string,
    reconciler: Reconciler,
    settings: ControllerSettings,
  ): { enqueue(key: string, milliseconds?: number): void };
  /** Something else that runs while we lead, until its signal aborts. If it throws, the manager stops. */
  loop(name: string, run: (signal: AbortSignal) => Promise<void>): void;
  readonly events: Recorder;
  /** For `startHealth`. */
  readonly live: Map<string, Check>;
  readonly ready: Map<string, Check>;
  /** Brings gauges up to date: for `startHealth`'s `beforeScrape`. */
  report(): void;
  /** Leads until `signal` aborts, then stops in order. Rejects when leadership is lost or a loop failed. */
  start(signal: AbortSignal): Promise<void>;
}

const STOP_TIMEOUT = 20_000;
/** What workers get after they were told, and what events get. */
const LAST_TIMEOUT = 3000;
/** How often waiting for the first lists looks whether they came. */
const SYNC_POLL = 50;

export function createManager(options: ManagerOptions): Manager {
  return new OrderedManager(options);
}

interface Cache {
  name: string;
  store: Store<KubeObject>;
  run(signal: AbortSignal): Promise<void>;
}

class OrderedManager implements Manager {
  readonly events: Recorder;
  readonly live = new Map<string, Check>();
  readonly ready = new Map<string, Check>();
  readonly #options: ManagerOptions;
  readonly #caches: Cache[] = [];
  readonly #controllers: Controller[] = [];
  readonly #loops: { name: string; run: (signal: AbortSignal) => Promise<void> }[] = [];
  #state: "new" | "running" | "stopping" = "new";

  constructor(options: ManagerOptions) {
    const { client, clock, random, log, metrics, reporter } = options;
    this.#options = options;
    this.events = new Recorder({
      client,
      clock,
      random,
      log,
      ...reporter,
      onDropped: () => metrics.eventDropped(),
    });
    this.live.set("process", () => undefined);
    this.ready.set("running", () =>
      this.#state === "running" ? undefined : `The manager is ${this.#state}`,
    );
    this.ready.set("caches", () => {
      const missing = this.#caches.filter(({ store }) => !store.synced).map(({ name }) => name);
      return missing.length === 0 ? undefined : `Not listed yet: ${missing.join(", ")}`;
    });
  }

  store<T extends KubeObject>(resource: Resource, options: StoreOptions<T> = {}): Store<T> {
    this.#beforeStart("store");
    const { watches, clock, random, metrics } = this.#options;
    const { indexes, transform, ...selection } = options;
    const log = this.#options.log.with({ resource: resource.plural });
    const store = new MemoryStore<T>({
      ...(indexes === undefined ? {} : { indexes }),
      onListenerError: (error) => log.error("a listener of the store failed", error),
    });
    this.#caches.push({
      name: resource.plural,
      store,
      run: (signal) =>
        reflect(
          {
            source: watches(resource, selection),
            store,
            ...(transform === undefined ? {} : { transform }),
            clock,
            random,
            log,
            onRelist: () => metrics.relisted(resource.plural),
            onRestart: () => metrics.watchRestarted(resource.plural),
          },
          signal,
        ),
    });
    return store;
  }

  controller(
    name: string,
    reconciler: Reconciler,
    { watches, ...settings }: ControllerSettings,
  ): { enqueue(key: string, milliseconds?: number): void } {
    this.#beforeStart("controller");
    const { clock, log, metrics } = this.#options;
    const controller = new Controller({ name, reconciler, clock, log, metrics, ...settings });
    for (const watch of watches) watch.subscribe((key) => controller.enqueue(key));
    this.#controllers.push(controller);
    return controller;
  }

  loop(name: string, run: (signal: AbortSignal) => Promise<void>): void {
    this.#beforeStart("loop");
    this.#loops.push({ name, run });
  }

  report(): void {
    for (const controller of this.#controllers) controller.report();
    for (const { name, store } of this.#caches) this.#options.metrics.objects(name, store.list().length);
  }

  async start(signal: AbortSignal): Promise<void> {
    this.#beforeStart("start");
    this.#state = "running";
    const { log, clock, metrics, leaderElection } = this.#options;
    const reflectors = new AbortController();
    const reflecting = Promise.all(this.#caches.map((cache) => cache.run(reflectors.signal)));
    let tenure: Tenure | undefined;
    try {
      while (this.#caches.some(({ store }) => !store.synced)) await sleep(clock, SYNC_POLL, signal);
      log.info("the caches are synced", { caches: this.#caches.length });
      if (leaderElection !== undefined) {
        tenure = await acquireLeadership({ ...this.#options, ...leaderElection }, signal);
        metrics.leader(leaderElection.name, true);
      }
      await this.#lead(tenure, signal);
      tenure?.signal.throwIfAborted();
    } catch (error) {
      // Told to stop before it led: that is no failure.
      if (!signal.aborted || tenure !== undefined) throw error;
    } finally {
      this.#state = "stopping";
      await this.events.flush(LAST_TIMEOUT);
      if (leaderElection !== undefined) metrics.leader(leaderElection.name, false);
      await tenure?.release();
      reflectors.abort(new Error("The manager stops"));
      await reflecting;
      log.info("the manager has stopped");
    }
  }

  /** Runs controllers and loops until told to stop, leadership ends or a loop fails; returns when they have ended. */
  async #lead(tenure: Tenure | undefined, signal: AbortSignal): Promise<void> {
    const { clock, log, leaderElection, stopTimeout = STOP_TIMEOUT } = this.#options;
    /** No new work. */
    const stop = new AbortController();
    /** Leave what you are at. */
    const abandon = new AbortController();
    let failure: unknown;
    const onStop = (): void => stop.abort(signal.reason);
    const onLost = (): void => {
      stop.abort(tenure?.signal.reason);
      abandon.abort(tenure?.signal.reason);
    };
    signal.addEventListener("abort", onStop);
    tenure?.signal.addEventListener("abort", onLost);
    if (signal.aborted) onStop();
    if (tenure?.signal.aborted) onLost();
    const fail = (name: string) => (error: unknown) => {
      if (stop.signal.aborted) return;
      failure = error;
      log.error("a loop failed, the manager stops", error, { loop: name });
      stop.abort(error);
    };
    try {
      if (tenure !== undefined && leaderElection?.onElected !== undefined) {
        await abortable(leaderElection.onElected(tenure), stop.signal).catch(fail("elected"));
      }
      const work = Promise.all([
        ...this.#controllers.map((controller) => controller.run(stop.signal, abandon.signal)),
        ...this.#loops.map(({ name, run }) =>
          stop.signal.aborted ? undefined : run(stop.signal).catch(fail(name)),
        ),
      ]);
      await abortable(work, stop.signal).catch(() => {});
      this.#state = "stopping";
      const grace = startDeadline(
        clock,
        stopTimeout,
        () => new Error("The time to stop is up"),
        abandon.signal,
      );
      await abortable(work, grace.signal).catch(() => abandon.abort(grace.signal.reason));
      grace.cancel();
      const last = startDeadline(clock, LAST_TIMEOUT, () => new Error("Workers did not heed their signal"));
      await abortable(work, last.signal).catch((error: unknown) =>
        log.error("workers were left behind", error),
      );
      last.cancel();
    } finally {
      signal.removeEventListener("abort", onStop);
      tenure?.signal.removeEventListener("abort", onLost);
    }
    if (failure !== undefined) throw failure;
  }

  #beforeStart(what: string): void {
    if (this.#state !== "new") throw new Error(`${what}: the manager has been started already`);
  }
}
