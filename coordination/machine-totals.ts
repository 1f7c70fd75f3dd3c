/** How many machines without our agent each group has, for who has no view of them: one small record for each group. */

import { keys, lastPart } from "./keys.ts";
import type { StateCounts } from "./machine-counts.ts";
import type { Parser } from "./parse.ts";
import { MachineTotals } from "./records.ts";
import { type Ports, type Step, transact, unchanged } from "./transact.ts";

/** As many as a status names, and as long. */
const VERSIONS = 20;
const LONGEST_VERSION = 64;
/** A record that says the same is written again after so long, ms; it ends some minutes after the last gateway that could. */
const REFRESH = 120_000;
const LASTS = 360;
/** Each takes one compare and one operation of etcd's 128. */
const AT_ONCE = 100;

export function totalsOf(versions: ReadonlyMap<string, StateCounts> | undefined): Omit<MachineTotals, "at"> {
  const totals = { known: 0, updating: 0, failed: 0 };
  const running = new Map<string, number>();
  for (const [version, { Idle, Updating, Failed }] of versions ?? []) {
    const machines = Idle + Updating + Failed;
    totals.known += machines;
    totals.updating += Updating;
    totals.failed += Failed;
    const name = version.slice(0, LONGEST_VERSION);
    running.set(name, (running.get(name) ?? 0) + machines);
  }
  const sorted = [...running].toSorted(([a, of], [b, others]) => others - of || (a < b ? -1 : 1));
  return {
    ...totals,
    versions: sorted.slice(0, VERSIONS).map(([version, machines]) => ({ version, machines })),
  };
}

/** Writes those that say something new, or are to be renewed: of several gateways that count alike only one does. */
export async function putMachineTotals(
  { etcd, clock }: Ports,
  parser: Parser,
  totals: ReadonlyMap<string, Omit<MachineTotals, "at">>,
): Promise<void> {
  let lease: string | undefined;
  const { results } = await etcd.read([{ prefix: keys.machineTotals }]);
  const told = new Map(results[0]?.map((kv) => [lastPart(kv.key), parser.json(MachineTotals, kv)]));
  const now = clock.now();
  const due = [...totals].filter(([group, one]) => {
    const { at = 0, ...before } = told.get(group) ?? {};
    return Math.abs(now - at) >= REFRESH || JSON.stringify(before) !== JSON.stringify(one);
  });
  for (let first = 0; first < due.length; first += AT_ONCE) {
    const batch = due.slice(first, first + AT_ONCE);
    await transact(etcd, async (): Promise<Step<void>> => {
      const found = await etcd.read(batch.map(([group]) => ({ key: keys.machineTotalsOf(group) })));
      const on = (lease ??= await etcd.leaseOnce(LASTS));
      return {
        compares: batch.map(([group], i) => unchanged(keys.machineTotalsOf(group), found.results[i]?.[0])),
        operations: batch.map(([group, one]) => ({
          put: keys.machineTotalsOf(group),
          value: JSON.stringify({ ...one, at: now } satisfies MachineTotals),
          lease: on,
        })),
        committed: () => undefined,
      };
    });
  }
}
