/** How many machines ran which version, every quarter of an hour: one sample for all gateways, on the lease of its day. */
import { DAY, DayLease } from "./day-lease.ts";
import { keys } from "./keys.ts";
import type { Parser } from "./parse.ts";
import { Sample } from "./records.ts";
import type { Ports } from "./transact.ts";

/** ms; a month of samples is 3000. */
export const SAMPLE_EVERY = 15 * 60_000;
const RETENTION_DAYS = 30;

export class Samples {
  readonly #ports: Ports;
  readonly #parser: Parser;
  readonly #lease: DayLease;

  constructor(ports: Ports, parser: Parser) {
    this.#ports = ports;
    this.#parser = parser;
    this.#lease = new DayLease(ports, RETENTION_DAYS);
  }

  /** Does nothing where another gateway took this one. Throws `EtcdUnavailable`. */
  async put(sample: Sample): Promise<void> {
    const { etcd } = this.#ports;
    const key = keyOf(sample.at);
    const { results } = await etcd.read([{ key }]);
    if (results[0]?.[0] !== undefined) return;
    const lease = await this.#lease.id();
    const taken = await etcd.txn(
      [{ key, target: "create", is: "equal", revision: 0 }],
      [{ put: key, value: JSON.stringify(sample), lease }],
    );
    // Another one's, or the lease is gone with etcd's data: the next sample is soon.
    if (taken.outcome === "refused") this.#lease.forget();
  }

  /** Those at or after `since` (wall clock, ms), oldest first. */
  async read(since: number): Promise<Sample[]> {
    const { etcd, clock } = this.#ports;
    const today = Math.floor(clock.now() / DAY);
    const first = Math.max(Math.floor(since / DAY), today - RETENTION_DAYS);
    const days = Array.from({ length: today - first + 1 }, (_, i) => ({ prefix: dayPrefix(first + i) }));
    const { results } = await etcd.read(days);
    return results
      .flatMap((kvs) => kvs.map((kv) => this.#parser.json(Sample, kv)))
      .filter((sample) => sample !== undefined && sample.at >= since) as Sample[];
  }
}

function keyOf(at: number): string {
  const slot = Math.floor((at % DAY) / SAMPLE_EVERY);
  return `${dayPrefix(Math.floor(at / DAY))}${String(slot).padStart(3, "0")}`;
}

/** Keys ascend with time. */
function dayPrefix(day: number): string {
  return `${keys.samples}${String(Math.max(0, day)).padStart(6, "0")}/`;
}
