/**
 * How often machines of a group asked, by version and by event, over time: CoreUpdate's graphs. Each gateway counts for
 * itself and writes whole records now and then, one for an hour in minutes and one for a day in hours; readers add them
 * up. What a gateway counted since it wrote last is lost with it.
 *
 * `samples.ts` keeps something else: a state of the whole fleet, which is the same for all gateways, so that one writes it
 * once, and a page reads all of a time. Here are sums of what each saw, for one group, which only it may write again. They
 * share what they have in common, the lease of a day.
 */
import * as z from "zod";
import { DAY, DayLease } from "./day-lease.ts";
import { MACHINES_PREFIX } from "./keys.ts";
import type { Parser } from "./parse.ts";
import { type Ports, type Step, transact, unchanged } from "./transact.ts";

/** A minute of the last day, an hour of the last month: how long a span is, and its parts, ms; days that it is kept. */
export const SPANS = {
  minutes: { span: 3_600_000, part: 60_000, days: 1 },
  hours: { span: DAY, part: 3_600_000, days: 30 },
} as const;
export type Span = keyof typeof SPANS;

const Counts = z.record(z.string(), z.number().int());
/** `parts`: by number of the part, counts by `version` and by `version type result`. */
export const CountRecord = z.object({
  parts: z.record(z.string(), z.object({ versions: Counts, events: Counts })),
});
export type CountRecord = z.output<typeof CountRecord>;

const prefixOf = (span: Span, group: string): string =>
  `${MACHINES_PREFIX}counts/${span}/${encodeURIComponent(group)}/`;
/** Keys ascend with time. */
const keyOf = (span: Span, group: string, start: number, gateway: string): string =>
  `${prefixOf(span, group)}${String(start).padStart(15, "0")}/${encodeURIComponent(gateway)}`;

export class CountStore {
  readonly #ports: Ports;
  readonly #parser: Parser;
  readonly #leases: Record<Span, DayLease>;

  constructor(ports: Ports, parser: Parser) {
    this.#ports = ports;
    this.#parser = parser;
    const lease = (span: Span): DayLease => new DayLease(ports, SPANS[span].days);
    this.#leases = { minutes: lease("minutes"), hours: lease("hours") };
  }

  /** Writes what `gateway` counted in the span that begins at `start`; it is the only one that writes there. */
  async put(span: Span, group: string, start: number, gateway: string, record: CountRecord): Promise<void> {
    const { etcd } = this.#ports;
    const key = keyOf(span, group, start, gateway);
    await this.#leases[span].use((lease) =>
      transact(etcd, async (): Promise<Step<void>> => {
        const { results } = await etcd.read([{ key }]);
        return {
          compares: [unchanged(key, results[0]?.[0])],
          operations: [{ put: key, value: JSON.stringify(record), lease }],
          committed: () => undefined,
        };
      }),
    );
  }

  /** What all gateways wrote of a group, by the start of the span. Throws `EtcdUnavailable`. */
  async read(span: Span, group: string): Promise<{ start: number; record: CountRecord }[]> {
    const { results } = await this.#ports.etcd.read([{ prefix: prefixOf(span, group) }]);
    return (results[0] ?? []).flatMap((kv) => {
      const record = this.#parser.json(CountRecord, kv);
      const start = Number(kv.key.slice(prefixOf(span, group).length).split("/", 1)[0]);
      return record === undefined ? [] : [{ start, record }];
    });
  }
}
