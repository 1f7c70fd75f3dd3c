/**
 * What the runtime tells Prometheus. Names are controller-runtime's and client-go's where
 * the meaning is the same, so that dashboards made for Go operators work.
 */
import { monitorEventLoopDelay } from "node:perf_hooks";
import { Counter, Gauge, Histogram, Registry } from "prom-client";

export type ReconcileResult = "success" | "error" | "requeue" | "requeue_after";

/** The part that a queue reports to. Times in seconds. */
export interface QueueMetrics {
  added(): void;
  retried(): void;
  depth(keys: number): void;
  /** A key waited this long for a worker. */
  queued(seconds: number): void;
  /** A worker had a key this long. */
  worked(seconds: number): void;
}

export interface RuntimeMetrics {
  /** To hang own metrics on, and to render. */
  readonly registry: Registry;
  queue(controller: string): QueueMetrics;
  workers(controller: string, most: number, active: number): void;
  /** `longest` and `sum`: how long keys now in work have been so. */
  unfinished(controller: string, longest: number, sum: number): void;
  reconciled(controller: string, result: ReconcileResult, seconds: number, terminal: boolean): void;
  watchRestarted(resource: string): void;
  relisted(resource: string): void;
  objects(resource: string, count: number): void;
  leader(name: string, leading: boolean): void;
  /** Status 0: no answer came. */
  apiAnswered(method: string, status: number): void;
  eventDropped(): void;
}

/** controller-runtime's buckets for reconcile times, thinned. */
const RECONCILE_BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];
/** client-go's workqueue buckets: 10 ns to 10 s; what is below a millisecond we can't measure. */
const QUEUE_BUCKETS = [0.001, 0.01, 0.1, 1, 10, 100];

/** A registry with the runtime's metrics in it. Touches no clock and no process. */
export function createMetrics(): RuntimeMetrics {
  const registry = new Registry();
  const registers = [registry];
  const counter = <L extends string>(name: string, help: string, labelNames: L[]): Counter<L> =>
    new Counter({ name, help, labelNames, registers });
  const gauge = <L extends string>(name: string, help: string, labelNames: L[]): Gauge<L> =>
    new Gauge({ name, help, labelNames, registers });
  const histogram = <L extends string>(
    name: string,
    help: string,
    labelNames: L[],
    buckets: number[],
  ): Histogram<L> => new Histogram({ name, help, labelNames, buckets, registers });

  const reconciles = counter("controller_runtime_reconcile_total", "Reconciliations by result.", [
    "controller",
    "result",
  ]);
  const errors = counter("controller_runtime_reconcile_errors_total", "Reconciliations that failed.", [
    "controller",
  ]);
  const terminals = counter(
    "controller_runtime_terminal_reconcile_errors_total",
    "Reconciliations that failed and are not tried again.",
    ["controller"],
  );
  const times = histogram(
    "controller_runtime_reconcile_time_seconds",
    "Length of a reconciliation.",
    ["controller"],
    RECONCILE_BUCKETS,
  );
  const most = gauge("controller_runtime_max_concurrent_reconciles", "Workers.", ["controller"]);
  const active = gauge("controller_runtime_active_workers", "Workers that have a key.", ["controller"]);
  const depth = gauge("workqueue_depth", "Keys that wait for a worker.", ["name"]);
  const adds = counter("workqueue_adds_total", "Keys added.", ["name"]);
  const retries = counter("workqueue_retries_total", "Keys added after a failure.", ["name"]);
  const waits = histogram(
    "workqueue_queue_duration_seconds",
    "How long a key waited for a worker.",
    ["name"],
    QUEUE_BUCKETS,
  );
  const works = histogram(
    "workqueue_work_duration_seconds",
    "How long a worker had a key.",
    ["name"],
    QUEUE_BUCKETS,
  );
  const unfinished = gauge("workqueue_unfinished_work_seconds", "Time spent on keys now in work, summed.", [
    "name",
  ]);
  const longest = gauge(
    "workqueue_longest_running_processor_seconds",
    "Time spent on the key that has been in work longest.",
    ["name"],
  );
  const restarts = counter("slipway_watch_restarts_total", "Watches opened again.", ["resource"]);
  const relists = counter("slipway_relists_total", "Lists repeated because a watch could not resume.", [
    "resource",
  ]);
  const objects = gauge("slipway_cached_objects", "Objects in the local copy.", ["resource"]);
  const leader = gauge("leader_election_master_status", "1 while this process leads.", ["name"]);
  const calls = counter("rest_client_requests_total", "Answers of the API server; code 0: none came.", [
    "code",
    "method",
  ]);
  const dropped = counter("slipway_events_dropped_total", "Events that were not recorded.", []);

  return {
    registry,
    queue: (name) => ({
      added: () => adds.inc({ name }),
      retried: () => retries.inc({ name }),
      depth: (keys) => depth.set({ name }, keys),
      queued: (seconds) => waits.observe({ name }, seconds),
      worked: (seconds) => works.observe({ name }, seconds),
    }),
    workers(controller, limit, busy) {
      most.set({ controller }, limit);
      active.set({ controller }, busy);
    },
    unfinished(name, most, sum) {
      longest.set({ name }, most);
      unfinished.set({ name }, sum);
    },
    reconciled(controller, result, seconds, terminal) {
      reconciles.inc({ controller, result });
      times.observe({ controller }, seconds);
      if (result === "error") errors.inc({ controller });
      if (terminal) terminals.inc({ controller });
    },
    watchRestarted: (resource) => restarts.inc({ resource }),
    relisted: (resource) => relists.inc({ resource }),
    objects: (resource, count) => objects.set({ resource }, count),
    leader: (name, leading) => leader.set({ name }, leading ? 1 : 0),
    apiAnswered: (method, status) => calls.inc({ method, code: String(status) }),
    eventDropped: () => dropped.inc(),
  };
}

/** Adds what is true of this process: build, memory, CPU, event loop. For `main` files; returns what ends it. */
export function observeProcess(registry: Registry, build: { role: string; version: string }): () => void {
  const lag = monitorEventLoopDelay({ resolution: 20 });
  lag.enable();
  const info = new Gauge({
    name: "slipway_build_info",
    help: "Always 1; the labels say what runs.",
    labelNames: ["role", "version", "node"],
    registers: [],
  });
  info.set({ ...build, node: process.version }, 1);
  const start = new Gauge({
    name: "process_start_time_seconds",
    help: "When the process started, in Unix time.",
    registers: [],
  });
  start.set(Math.floor(performance.timeOrigin / 1000));
  const memory: Gauge = new Gauge({
    name: "process_resident_memory_bytes",
    help: "Resident memory.",
    registers: [],
    collect(): void {
      memory.set(process.memoryUsage.rss());
    },
  });
  const cpu = new Counter({
    name: "process_cpu_seconds_total",
    help: "CPU time, user and system.",
    registers: [],
    collect() {
      const { user, system } = process.cpuUsage();
      cpu.reset();
      cpu.inc((user + system) / 1e6);
    },
  });
  const delay = new Gauge({
    name: "slipway_event_loop_lag_seconds",
    help: "How late the event loop was since the last scrape.",
    labelNames: ["stat"],
    registers: [],
    collect() {
      const seconds = (nanoseconds: number): number => (Number.isFinite(nanoseconds) ? nanoseconds / 1e9 : 0);
      delay.set({ stat: "median" }, seconds(lag.percentile(50)));
      delay.set({ stat: "p99" }, seconds(lag.percentile(99)));
      delay.set({ stat: "max" }, seconds(lag.max));
      lag.reset();
    },
  });
  for (const metric of [info, start, memory, cpu, delay]) registry.registerMetric(metric);
  return () => {
    lag.disable();
  };
}
