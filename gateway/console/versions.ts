/** How many machines ran what, over time: samples in etcd, one each quarter of an hour for all gateways together. */
import { timestamp } from "../../api/meta.ts";
import type * as view from "../../console/contract.ts";
import type { Coordination } from "../../coordination/coordination.ts";
import type { Sample } from "../../coordination/records.ts";
import { SAMPLE_EVERY } from "../../coordination/samples.ts";
import { type Clock, sleep } from "../../ports/clock.ts";
import type { Logger } from "../../ports/log.ts";

/** Pairs of group and version of one sample, those with most machines: a fleet has tens. */
const MAX_COUNTS = 100;
/** Points of a graph. */
const MAX_POINTS = 200;
/** Versions of a graph; what is beyond is one more. */
const MAX_SERIES = 12;
const OTHER = "other";
/** How long one read of etcd serves all pages, ms. */
const FRESH = 60_000;
/** How often it is looked whether a sample is due, ms. */
const LOOK = 60_000;

export interface VersionSeriesOptions {
  coordination: Pick<Coordination, "putSample" | "readSamples">;
  /** All that are known; undefined while they are not read. */
  machines: () => Iterable<view.Machine> | undefined;
  clock: Clock;
  log: Logger;
}

export class VersionSeries {
  readonly #options: VersionSeriesOptions;
  #read: { samples: Promise<Sample[]>; hours: number; until: number } | undefined;

  constructor(options: VersionSeriesOptions) {
    this.#options = options;
  }

  /** Takes samples until `signal` aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { coordination, clock, log, machines } = this.#options;
    let last = -1;
    while (!signal.aborted) {
      const quarter = Math.floor(clock.now() / SAMPLE_EVERY);
      const known = machines();
      if (quarter !== last && known !== undefined) {
        try {
          await coordination.putSample(sampleOf(known, clock.now()));
          last = quarter;
        } catch (error) {
          log.error("can't keep how many machines run what", error);
        }
      }
      await sleep(clock, LOOK, signal).catch(() => {});
    }
  }

  /** The last `hours` and now; of the whole fleet where `group` is empty. Throws `EtcdUnavailable`. */
  async read(group: string, hours: number): Promise<Pick<view.Versions, "times" | "series">> {
    const { coordination, clock, machines } = this.#options;
    const now = clock.now();
    let read = this.#read;
    if (read === undefined || read.until <= clock.monotonic() || read.hours < hours) {
      const samples = coordination.readSamples(now - hours * 3_600_000);
      read = { samples, hours, until: clock.monotonic() + FRESH };
      this.#read = read;
      samples.catch(() => {
        if (this.#read?.samples === samples) this.#read = undefined;
      });
    }
    const since = now - hours * 3_600_000;
    const past = (await read.samples).filter(({ at }) => at >= since && at < now);
    return seriesOf([...past, sampleOf(machines() ?? [], now)], group);
  }
}

export function sampleOf(machines: Iterable<view.Machine>, at: number): Sample {
  const counts = new Map<string, Sample["counts"][number]>();
  for (const { group, version } of machines) {
    const key = JSON.stringify([group, version]);
    const found = counts.get(key) ?? { group, version, count: 0 };
    found.count += 1;
    counts.set(key, found);
  }
  return { at, counts: [...counts.values()].toSorted((a, b) => b.count - a.count).slice(0, MAX_COUNTS) };
}

/** `samples`: oldest first. Of many each n-th, and the newest. */
export function seriesOf(samples: readonly Sample[], group: string): Pick<view.Versions, "times" | "series"> {
  const step = Math.ceil(samples.length / MAX_POINTS);
  const shown = samples.filter((_, index) => (samples.length - 1 - index) % step === 0);
  const points = shown.map(({ counts }) => {
    const at = new Map<string, number>();
    for (const { group: of, version, count } of counts) {
      if (group === "" || of === group) at.set(version, (at.get(version) ?? 0) + count);
    }
    return at;
  });
  const sums = new Map<string, number>();
  for (const point of points)
    for (const [version, count] of point) sums.set(version, (sums.get(version) ?? 0) + count);
  const ranked = [...sums].toSorted((a, b) => b[1] - a[1]).map(([version]) => version);
  const kept = ranked.slice(0, MAX_SERIES);
  const rest = new Set(ranked.slice(MAX_SERIES));
  const series = kept.map((version) => ({ version, counts: points.map((at) => at.get(version) ?? 0) }));
  if (rest.size > 0) {
    const beyond = (at: ReadonlyMap<string, number>): number =>
      [...at].reduce((sum, [version, count]) => sum + (rest.has(version) ? count : 0), 0);
    series.push({ version: OTHER, counts: points.map(beyond) });
  }
  return { times: shown.map(({ at }) => timestamp(at)), series };
}
