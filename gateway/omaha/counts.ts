/** Requests of machines that a gateway answers, counted by minute and by hour, and written down each minute. */
import type { CountRecord, CountStore, Span } from "../../coordination/request-counts.ts";
import { SPANS } from "../../coordination/request-counts.ts";
import type { Cancel, Clock } from "../../ports/clock.ts";
import type { Logger } from "../../ports/log.ts";
import type { OmahaApp } from "./request.ts";

/** How often what was counted is written, ms. */
const PERIOD = 60_000;
/** Groups that are counted at once. */
const MAX_GROUPS = 500;
/** Versions, and kinds of events, of one part; what is above is counted as `other`. */
const MAX_NAMES = 64;
const OTHER = "other";
/** What is counted by itself: a version is what a machine says it is. */
const VERSION = /^\d[\w.+-]{0,63}$/;
const SPAN_NAMES = ["minutes", "hours"] as const satisfies readonly Span[];

export interface RequestCountsOptions {
  store: Pick<CountStore, "put">;
  gateway: string;
  clock: Clock;
  log: Logger;
}

interface Open {
  span: Span;
  group: string;
  start: number;
  record: CountRecord;
  changed: boolean;
}

export class RequestCounts {
  readonly #options: RequestCountsOptions;
  /** By span and group: the record that is being filled. */
  readonly #open = new Map<string, Open>();
  /** Full ones that are still to be written. */
  #closed: Open[] = [];
  #cancel: Cancel | undefined;
  #stopped = false;

  constructor(options: RequestCountsOptions) {
    this.#options = options;
  }

  saw(group: string, { version, events }: Pick<OmahaApp, "version" | "events">, now: number): void {
    for (const span of SPAN_NAMES) {
      const open = this.#recordOf(span, group, now);
      if (open === undefined) continue;
      open.changed = true;
      const part = String(Math.floor((now - open.start) / SPANS[span].part));
      const counts = (open.record.parts[part] ??= { versions: {}, events: {} });
      const name = VERSION.test(version) ? version : OTHER;
      count(counts.versions, name);
      for (const { type, result } of events) count(counts.events, `${name} ${type} ${result}`);
    }
  }

  start(): void {
    this.#cancel = this.#options.clock.after(PERIOD, () => {
      void this.flush().finally(() => {
        if (!this.#stopped) this.start();
      });
    });
  }

  /** Writes what was counted; where etcd gives no answer it is tried again with the next. */
  async flush(): Promise<void> {
    const { store, gateway, log } = this.#options;
    try {
      for (const one of [...this.#closed, ...this.#open.values()]) {
        if (!one.changed) continue;
        one.changed = false;
        await store.put(one.span, one.group, one.start, gateway, one.record).catch((error: unknown) => {
          one.changed = true;
          throw error;
        });
      }
    } catch (error) {
      log.error("can't write how often machines asked", error);
    }
    // Of a long loss the oldest are given up.
    this.#closed = this.#closed.filter(({ changed }) => changed).slice(-MAX_GROUPS);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#cancel?.();
    await this.flush();
  }

  #recordOf(span: Span, group: string, now: number): Open | undefined {
    const start = Math.floor(now / SPANS[span].span) * SPANS[span].span;
    const key = `${span}/${group}`;
    const open = this.#open.get(key);
    if (open?.start === start) return open;
    if (open !== undefined) {
      this.#closed.push(open);
      this.#open.delete(key);
    }
    if (this.#open.size >= MAX_GROUPS * SPAN_NAMES.length) return undefined;
    const made: Open = { span, group, start, record: { parts: {} }, changed: false };
    this.#open.set(key, made);
    return made;
  }
}

function count(counts: Record<string, number>, name: string): void {
  const known = Object.hasOwn(counts, name) || Object.keys(counts).length < MAX_NAMES;
  const key = known ? name : OTHER;
  counts[key] = (counts[key] ?? 0) + 1;
}
