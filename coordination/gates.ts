/** The gates: what Kubernetes says, where a transaction can compare it (design, section 4). */
import type { Coordination, Leadership } from "./coordination.ts";
import { LEADERSHIP, leads, viewEpoch } from "./epoch.ts";
import type { Compare, Operation } from "./etcd.ts";
import { keys } from "./keys.ts";
import type { Parser } from "./parse.ts";
import { type Ports, type Step, transact, unchanged } from "./transact.ts";

/** The lease that gates hang on, seconds: bounds them where clocks differ. */
const GATE_LEASE_SECONDS = 30;

/** Gates in one transaction: a compare and an operation each, of etcd's 128. */
const BATCH = 100;

/**
 * Replaces all gates; false if the epoch is no longer ours, or etcd older than it was. Gates that are no longer wanted
 * go first. Between batches some are new and some old: each is true by itself until its
 * `validUntil`. Each write compares what it replaces, so that a lost one never lands over
 * a later one (a pause stays a pause).
 */
export async function writeGates(
  { etcd }: Ports,
  parser: Parser,
  leader: Leadership,
  gates: Parameters<Coordination["writeGates"]>[1],
): Promise<boolean> {
  const wanted = new Map([
    ...gates.groups.map((gate) => [keys.groupGate(gate.group), JSON.stringify(gate)] as const),
    ...(gates.offers ?? []).map((offer) => [keys.offer(offer.group), JSON.stringify(offer)] as const),
    ...gates.budgets.map((gate) => [keys.budgetGate(gate.budget), JSON.stringify(gate)] as const),
  ]);
  const { results } = await etcd.read([{ prefix: keys.gates }]);
  const unwanted = (results[0] ?? []).map((kv) => kv.key).filter((key) => !wanted.has(key));
  const lease = wanted.size > 0 ? await etcd.leaseOnce(GATE_LEASE_SECONDS) : "";
  const all: Operation[] = [
    { put: keys.pulse, value: String(leader.epoch) },
    ...unwanted.map((key) => ({ delete: key })),
    ...[...wanted].map(([key, value]) => ({ put: key, value, lease })),
  ];
  for (let from = 0; from < all.length; from += BATCH) {
    if (!(await writeBatch(etcd, parser, leader, gates.pulse ?? 0, all.slice(from, from + BATCH))))
      return false;
  }
  return true;
}

function writeBatch(
  etcd: Ports["etcd"],
  parser: Parser,
  leader: Leadership,
  pulse: number,
  operations: readonly Operation[],
): Promise<boolean> {
  const touched = operations.map((operation) => ("put" in operation ? operation.put : keyOf(operation)));
  return transact(etcd, async (): Promise<Step<boolean>> => {
    const { results } = await etcd.read([
      ...LEADERSHIP,
      { key: keys.pulse },
      ...touched.map((key) => ({ key })),
    ]);
    const view = viewEpoch(results[0]?.[0], results[1]?.[0], parser);
    if (!leads(view, leader) || (results[2]?.[0]?.modRevision ?? 0) < pulse) return { answer: false };
    const compares: Compare[] = [
      ...view.compares,
      ...touched.map((key, i) => unchanged(key, results[i + 3]?.[0])),
    ];
    return { compares, operations, committed: () => true };
  });
}

function keyOf(operation: Operation): string {
  return "delete" in operation ? operation.delete : "";
}

/**
 * Removes `budgets/<b>/seq`. Afterwards whoever planned with the count finds none, and whoever
 * planned while there was none compares a gate, too, as each take and commit does: the gate is
 * compared as absent here, and one that is written later has another revision. So nothing that
 * was lost on its way lands because the key is absent once more.
 */
export function forgetBudget(
  { etcd }: Ports,
  parser: Parser,
  leader: Leadership,
  budget: string,
): Promise<boolean> {
  return transact(etcd, async (): Promise<Step<boolean>> => {
    const { results } = await etcd.read([
      ...LEADERSHIP,
      { key: keys.budgetSeq(budget) },
      { key: keys.budgetGate(budget) },
      { prefix: keys.holders(budget) },
    ]);
    const view = viewEpoch(results[0]?.[0], results[1]?.[0], parser);
    const [seq, gate] = [results[2]?.[0], results[3]?.[0]];
    if (!leads(view, leader) || gate !== undefined || results[4]?.length !== 0) return { answer: false };
    if (seq === undefined) return { answer: true };
    return {
      // No holder comes without changing the seq.
      compares: [
        ...view.compares,
        unchanged(keys.budgetSeq(budget), seq),
        unchanged(keys.budgetGate(budget), undefined),
      ],
      operations: [{ delete: keys.budgetSeq(budget) }],
      committed: () => true,
    };
  });
}
