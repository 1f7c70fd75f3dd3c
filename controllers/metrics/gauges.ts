/** Gauges that are read from the controllers' own copies at each scrape. */
import { Gauge, type Registry } from "prom-client";

/** Sets one series; a second call with the same labels replaces the first. */
export type Put = (labels: Record<string, string>, value: number) => void;

export type DeclareGauge = (
  name: string,
  help: string,
  labelNames: readonly string[],
  read: (put: Put) => void,
) => void;

/** Each gauge forgets its series before a scrape, so that what is gone is not told for ever. */
export function gaugesOf(registry: Registry): DeclareGauge {
  return (name, help, labelNames, read) => {
    const own: Gauge = new Gauge({
      name,
      help,
      labelNames: [...labelNames],
      registers: [registry],
      collect() {
        own.reset();
        // A gauge without labels is set to 0 by a reset, which is an answer.
        if (labelNames.length === 0) own.remove();
        read((labels, value) => own.set(labels, value));
      },
    });
  };
}

/** Numbers by labels, added up. */
export class Tally {
  readonly #sums = new Map<string, { labels: Record<string, string>; value: number }>();

  add(labels: Record<string, string>, value = 1): void {
    const key = JSON.stringify(labels);
    const known = this.#sums.get(key);
    if (known === undefined) this.#sums.set(key, { labels, value });
    else known.value += value;
  }

  /** Keeps the larger of `value` and what is there. */
  most(labels: Record<string, string>, value: number): void {
    const key = JSON.stringify(labels);
    const known = this.#sums.get(key);
    if (known === undefined) this.#sums.set(key, { labels, value });
    else known.value = Math.max(known.value, value);
  }

  tell(put: Put): void {
    for (const { labels, value } of this.#sums.values()) put(labels, value);
  }
}
