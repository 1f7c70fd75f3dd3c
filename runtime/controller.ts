/** Runs a `Reconciler`: workers over a queue of keys. */
import type { Clock } from "../ports/clock.ts";
import type { Logger } from "../ports/log.ts";
import { isApiError } from "./client.ts";
import { startDeadline } from "./deadline.ts";
import type { ReconcileResult, RuntimeMetrics } from "./metrics.ts";
import { WorkQueue } from "./queue.ts";
import { type Reconciler, type Result, TerminalError } from "./reconciler.ts";

export interface ControllerOptions {
  name: string;
  reconciler: Reconciler;
  /** Keys worked on at once; 1 if absent. */
  workers?: number;
  /** Milliseconds that one reconciliation may take; 60 s if absent. */
  deadline?: number;
  clock: Clock;
  log: Logger;
  metrics: RuntimeMetrics;
}

const DEADLINE = 60_000;

export class Controller {
  readonly name: string;
  readonly #reconciler: Reconciler;
  readonly #workers: number;
  readonly #deadline: number;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #metrics: RuntimeMetrics;
  readonly #queue: WorkQueue;

  constructor(options: ControllerOptions) {
    const { name, reconciler, workers = 1, deadline = DEADLINE, clock, log, metrics } = options;
    this.name = name;
    this.#reconciler = reconciler;
    this.#workers = workers;
    this.#deadline = deadline;
    this.#clock = clock;
    this.#log = log.with({ controller: name });
    this.#metrics = metrics;
    this.#queue = new WorkQueue({ clock, metrics: metrics.queue(name) });
  }

  /** Asks for a look at `key`, now or after `milliseconds`. Works before `run`, too. */
  enqueue(key: string, milliseconds = 0): void {
    if (!this.#queue.addAfter(key, milliseconds) && !this.#stopped) {
      this.#log.error("the queue is full, a key was not added", new Error("Too many keys"), { key });
    }
  }

  #stopped = false;

  /**
   * Works until `stop` aborts, then lets the workers finish what they have. `abandon`
   * aborts what they are doing at once (leadership was lost, or the time to stop is up).
   * A reconciler that does not heed its signal keeps its worker: its key must not be
   * given to a second one.
   */
  async run(stop: AbortSignal, abandon: AbortSignal): Promise<void> {
    const close = (): void => {
      this.#stopped = true;
      this.#queue.close();
    };
    if (stop.aborted) close();
    else stop.addEventListener("abort", close, { once: true });
    this.report();
    await Promise.all(Array.from({ length: this.#workers }, () => this.#work(abandon)));
  }

  /** Brings the gauges of what is in work up to date: called before each scrape. */
  report(): void {
    const now = this.#clock.monotonic();
    const ages = [...this.#queue.processing.values()].map((since) => (now - since) / 1000);
    this.#metrics.workers(this.name, this.#workers, ages.length);
    this.#metrics.unfinished(
      this.name,
      Math.max(0, ...ages),
      ages.reduce((sum, age) => sum + age, 0),
    );
  }

  async #work(abandon: AbortSignal): Promise<void> {
    for (;;) {
      const key = await this.#queue.take();
      if (key === undefined) return;
      try {
        await this.#reconcile(key, abandon);
      } finally {
        this.#queue.done(key);
      }
    }
  }

  async #reconcile(key: string, abandon: AbortSignal): Promise<void> {
    const began = this.#clock.monotonic();
    const late = (): Error => new Error(`Reconciling took longer than ${this.#deadline} ms`);
    const limit = startDeadline(this.#clock, this.#deadline, late, abandon);
    let result: ReconcileResult = "success";
    let terminal = false;
    try {
      const { requeueAfter }: Result = await this.#reconciler.reconcile(key, limit.signal);
      this.#queue.forget(key);
      if (requeueAfter !== undefined) {
        result = "requeue_after";
        this.#queue.addAfter(key, requeueAfter);
      }
    } catch (error) {
      terminal = error instanceof TerminalError;
      if (abandon.aborted) {
        result = "requeue";
      } else if (isApiError(error, "Conflict")) {
        result = "requeue";
        this.#queue.retry(key);
      } else {
        result = "error";
        if (terminal) this.#queue.forget(key);
        else this.#queue.retry(key);
        this.#log.error(terminal ? "reconciling failed for good" : "reconciling failed", error, { key });
      }
    } finally {
      limit.cancel();
      this.#metrics.reconciled(this.name, result, (this.#clock.monotonic() - began) / 1000, terminal);
    }
  }
}
