/** Who leads, and over which data: the epoch and the incarnation (design, rules 2 and 9). */
import type { Leadership } from "./coordination.ts";
import type { Compare, KeyValue, Range } from "./etcd.ts";
import { keys } from "./keys.ts";
import type { Parser } from "./parse.ts";
import { Epoch, REBUILDING } from "./records.ts";
import { type Ports, type Step, transact, unchanged } from "./transact.ts";

/** What to read to know who leads; `leads` takes the results. */
export const LEADERSHIP: readonly [Range, Range] = [{ key: keys.epoch }, { key: keys.incarnation }];

export interface EpochView {
  record: Epoch;
  incarnation: string | undefined;
  /** Holds while neither changed: value and revision, so that a restored snapshot is no match. */
  compares: Compare[];
}

export function viewEpoch(
  epoch: KeyValue | undefined,
  incarnation: KeyValue | undefined,
  parser: Parser,
): EpochView {
  const compares: Compare[] = [];
  for (const [key, kv] of [
    [keys.epoch, epoch],
    [keys.incarnation, incarnation],
  ] as const) {
    compares.push(unchanged(key, kv));
    if (kv !== undefined) compares.push({ key, target: "value", is: "equal", value: kv.value });
  }
  // An epoch that can't be read is nobody's: -1 equals no leader's, and nothing raises it.
  const record =
    epoch === undefined ? { epoch: 0, nonce: "" } : (parser.json(Epoch, epoch) ?? { epoch: -1, nonce: "" });
  return { record, incarnation: incarnation?.value, compares };
}

/** Whether the manager that holds `leader` still leads. */
export function leads(view: EpochView, leader: Leadership): boolean {
  return view.record.epoch === leader.epoch && view.incarnation === leader.incarnation;
}

export async function readEpoch(
  { etcd }: Ports,
  parser: Parser,
): Promise<{ epoch: number; incarnation: string | undefined; revision: number; pulse: number }> {
  const { revision, results } = await etcd.read([...LEADERSHIP, { key: keys.pulse }]);
  const view = viewEpoch(results[0]?.[0], results[1]?.[0], parser);
  const pulse = results[2]?.[0]?.modRevision ?? 0;
  return { epoch: view.record.epoch, incarnation: view.incarnation, revision, pulse };
}

/** Undefined if another was faster, if the data was lost and not `first`, or while a rebuild is under way. */
export function raiseEpoch(
  { etcd, random, log }: Ports,
  parser: Parser,
  from: { epoch: number; incarnation: string | undefined },
  first: boolean,
): Promise<Leadership | undefined> {
  const nonce = random.uuid();
  const fresh = random.uuid();
  return transact(etcd, async (): Promise<Step<Leadership | undefined>> => {
    const { results } = await etcd.read(LEADERSHIP);
    const view = viewEpoch(results[0]?.[0], results[1]?.[0], parser);
    const { record, incarnation } = view;
    if (record.nonce === nonce && incarnation !== undefined) {
      return { answer: { epoch: record.epoch, incarnation } };
    }
    if (record.epoch !== from.epoch || incarnation !== from.incarnation) return { answer: undefined };
    if (record.epoch < 0 || incarnation?.startsWith(REBUILDING) || (incarnation === undefined && !first)) {
      log.error(
        "the epoch can't be raised: holders must be rebuilt first",
        new Error("etcd lost its data, or a rebuild did not end"),
        { epoch: record.epoch, incarnation },
      );
      return { answer: undefined };
    }
    const epoch = record.epoch + 1;
    return {
      compares: view.compares,
      operations: [
        { put: keys.epoch, value: epochText(epoch, nonce) },
        ...(incarnation === undefined ? [{ put: keys.incarnation, value: fresh }] : []),
      ],
      committed: () => ({ epoch, incarnation: incarnation ?? fresh }),
    };
  });
}

export function epochText(epoch: number, nonce: string): string {
  return JSON.stringify({ epoch, nonce } satisfies Epoch);
}
