/**
 * Events (events.k8s.io/v1), for `kubectl describe` and `kubectl get events`. Recording
 * never waits and never throws: what repeats becomes a series, what is too much is dropped
 * and counted. An event is never the only record of anything.
 */
import type { KubeObject } from "../api/meta.ts";
import { timestamp } from "../api/meta.ts";
import { reasons, type Why } from "../api/reasons.ts";
import type { Clock } from "../ports/clock.ts";
import type { Logger } from "../ports/log.ts";
import type { Random } from "../ports/random.ts";
import { isApiError, type KubeClient } from "./client.ts";
import { EVENTS } from "./core.ts";
import { abortable, startDeadline } from "./deadline.ts";
import type { EventRecorder } from "./events.ts";
import { TokenBucket } from "./token-bucket.ts";

export interface RecorderOptions {
  client: KubeClient;
  clock: Clock;
  random: Random;
  log: Logger;
  /** E.g. `slipway.dev/manager`. */
  controller: string;
  /** Name of the Pod or host. */
  instance: string;
  onDropped?: () => void;
}

/** Event as we write it. */
interface Event extends KubeObject {
  series?: { count: number; lastObservedTime: string };
}

interface Series {
  event: Event;
  count: number;
  /** Monotonic. */
  lastSeen: number;
  /** Count that the API has, and since when (monotonic). */
  stored: number;
  storedAt: number;
}

/** The same event within this time continues its series (client-go, tools/events: finishTime). */
const SERIES_TIME = 360_000;
/** A series that goes on is written this often; its last few repetitions may stay unwritten. */
const SERIES_REFRESH = 60_000;
/** Events of one object: client-go's spam filter allows 25 and one more each five minutes. */
const OBJECT_LIMIT = { rate: 1 / 300, burst: 25 } as const;
/** Writes in all. */
const WRITE_LIMIT = { rate: 10, burst: 50, maxWaiting: 1 } as const;
const MAX_SERIES = 1024;
const MAX_OBJECTS = 4096;
const MAX_PENDING = 1024;
/** Limits of the API: events.k8s.io/v1. */
const MAX_NOTE = 1024;
/** A name is a DNS subdomain of at most 253 characters; the suffix takes 17. */
const MAX_NAME = 236;
const WRITE_DEADLINE = 10_000;

export class Recorder implements EventRecorder {
  readonly #options: RecorderOptions;
  /** Oldest first: the first ones are forgotten when there are too many. */
  readonly #series = new Map<string, Series>();
  readonly #objects = new Map<string, TokenBucket>();
  readonly #pending = new Set<Series>();
  readonly #writes: TokenBucket;
  #writing: Promise<void> | undefined;
  #complained = false;

  constructor(options: RecorderOptions) {
    this.#options = options;
    this.#writes = new TokenBucket(options.clock, WRITE_LIMIT);
  }

  record(regarding: KubeObject, why: Why, action: string): void {
    const { clock, onDropped } = this.#options;
    const now = clock.monotonic();
    const { kind, metadata } = regarding;
    const object = [kind, metadata.namespace, metadata.name, metadata.uid].join("/");
    const key = JSON.stringify([object, why.reason, action, why.message]);
    let series = this.#series.get(key);
    this.#series.delete(key);
    if (series !== undefined && now - series.lastSeen < SERIES_TIME) {
      series.count += 1;
      series.lastSeen = now;
    } else {
      if (!this.#allowed(object) || this.#pending.size >= MAX_PENDING) {
        onDropped?.();
        return;
      }
      series = {
        event: this.#event(regarding, why, action),
        count: 1,
        lastSeen: now,
        stored: 0,
        storedAt: now,
      };
    }
    this.#series.set(key, series);
    forgetOldest(this.#series, MAX_SERIES);
    if (series.stored > 1 && now - series.storedAt < SERIES_REFRESH) return;
    this.#pending.add(series);
    this.#writing ??= this.#write().finally(() => {
      this.#writing = undefined;
    });
  }

  /** Waits until what was recorded is written, at most `milliseconds`. */
  async flush(milliseconds: number): Promise<void> {
    const late = (): Error => new Error("Events were not written in time");
    const limit = startDeadline(this.#options.clock, milliseconds, late);
    try {
      while (this.#writing !== undefined) await abortable(this.#writing, limit.signal);
    } catch (error) {
      this.#options.log.error("gave up on events", error, { events: this.#pending.size });
    } finally {
      limit.cancel();
    }
  }

  #allowed(object: string): boolean {
    const bucket = this.#objects.get(object) ?? new TokenBucket(this.#options.clock, OBJECT_LIMIT);
    this.#objects.delete(object);
    this.#objects.set(object, bucket);
    forgetOldest(this.#objects, MAX_OBJECTS);
    return bucket.tryTake();
  }

  #event({ apiVersion, kind, metadata }: KubeObject, why: Why, action: string): Event {
    const { clock, random, controller, instance } = this.#options;
    const namespace = metadata.namespace ?? "default";
    const suffix = random.uuid().replaceAll("-", "").slice(0, 16);
    const { name, uid, resourceVersion } = metadata;
    const event = {
      apiVersion: "events.k8s.io/v1",
      kind: "Event",
      metadata: { name: `${name.slice(0, MAX_NAME)}.${suffix}`, namespace },
      eventTime: timestamp(clock.now()).replace("Z", ".000000Z"),
      reportingController: controller,
      reportingInstance: instance.slice(0, 128),
      action,
      reason: why.reason,
      type: reasons[why.reason].severity === "warning" ? "Warning" : "Normal",
      note: why.message.slice(0, MAX_NOTE),
      regarding: { apiVersion, kind, name, namespace: metadata.namespace, uid, resourceVersion },
    };
    return event;
  }

  async #write(): Promise<void> {
    const { clock, log, onDropped } = this.#options;
    for (const series of this.#pending) {
      const late = (): Error => new Error("An event was not written in time");
      const limit = startDeadline(clock, WRITE_DEADLINE, late);
      try {
        await this.#writes.take(limit.signal);
        this.#pending.delete(series);
        await abortable(this.#store(series, limit.signal), limit.signal);
        this.#complained = false;
      } catch (error) {
        this.#pending.delete(series);
        onDropped?.();
        if (!this.#complained) log.error("an event was not recorded", error);
        this.#complained = true;
      } finally {
        limit.cancel();
      }
    }
  }

  async #store(series: Series, signal: AbortSignal): Promise<void> {
    const { client, clock } = this.#options;
    const { event, count } = series;
    const lastObservedTime = timestamp(clock.now()).replace("Z", ".000000Z");
    const body = { series: { count, lastObservedTime } };
    try {
      if (series.stored > 0) {
        await client.patch(EVENTS, event.metadata, { type: "merge", body }, { signal });
        series.stored = count;
        series.storedAt = clock.monotonic();
        return;
      }
    } catch (error) {
      // Events live an hour: this one has been cleaned up.
      if (!isApiError(error, "NotFound")) throw error;
    }
    await client.create(EVENTS, count > 1 ? { ...event, ...body } : event, { signal });
    series.stored = count;
  }
}

function forgetOldest<V>(map: Map<string, V>, most: number): void {
  for (const key of map.keys()) {
    if (map.size <= most) return;
    map.delete(key);
  }
}
