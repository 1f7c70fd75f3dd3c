/** Holders anew from what Kubernetes remembers, after etcd lost its data or went back in time (rule 9). */
import type { Leadership, RebuiltGrant } from "./coordination.ts";
import { epochText, LEADERSHIP, viewEpoch } from "./epoch.ts";
import type { Operation } from "./etcd.ts";
import { MAX_BUDGETS, phaseText } from "./grants.ts";
import { aliasesOf } from "./identity.ts";
import { keys } from "./keys.ts";
import type { Parser } from "./parse.ts";
import { type Grant, type Holder, REBUILDING } from "./records.ts";
import { type Ports, type Step, transact, unchanged } from "./transact.ts";

/** Operations in one transaction, of etcd's 128. */
const BATCH = 120;

/**
 * Undefined if another manager was faster. The first transaction raises the epoch, marks the
 * incarnation as being rebuilt and removes every gate, so that nothing can be granted or
 * committed; the last one makes the new incarnation, when all holders are there. A crash in
 * between leaves the mark, and the next leader rebuilds from the start.
 */
export async function rebuild(
  { etcd, random, log }: Ports,
  parser: Parser,
  from: { epoch: number; incarnation: string | undefined },
  grants: readonly RebuiltGrant[],
): Promise<Leadership | undefined> {
  const leader: Leadership = { epoch: from.epoch + 1, incarnation: random.uuid() };
  const mark = `${REBUILDING}${leader.incarnation}`;
  for (const { uid, budgets } of grants) {
    if (budgets.length === 0 || budgets.length > MAX_BUDGETS) {
      throw new RangeError(
        `rebuild: the grant of ${uid} needs 1 to ${MAX_BUDGETS} budgets, got ${budgets.length}`,
      );
    }
  }
  const begun = await transact(etcd, async (): Promise<Step<boolean>> => {
    const { results } = await etcd.read(LEADERSHIP);
    const view = viewEpoch(results[0]?.[0], results[1]?.[0], parser);
    if (view.incarnation === mark) return { answer: true };
    if (view.record.epoch !== from.epoch || view.incarnation !== from.incarnation) return { answer: false };
    return {
      compares: view.compares,
      operations: [
        { put: keys.epoch, value: epochText(leader.epoch, leader.incarnation) },
        { put: keys.incarnation, value: mark },
        { deletePrefix: keys.gates },
        { deletePrefix: keys.grants },
        { deletePrefix: keys.phases },
        { deletePrefix: keys.budgets },
        { deletePrefix: keys.aliases },
        // Of a restored snapshot it may be old, and verdicts are judged by it: each agent reports anew.
        { deletePrefix: keys.observed },
      ],
      committed: () => true,
    };
  });
  if (!begun) return undefined;
  for (const operations of batches(leader, grants)) {
    if (!(await underMark(etcd, mark, mark, operations))) return undefined;
  }
  if (!(await underMark(etcd, mark, leader.incarnation, []))) return undefined;
  log.info("holders were rebuilt under a new incarnation of etcd", {
    incarnation: leader.incarnation,
    epoch: leader.epoch,
    grants: grants.length,
  });
  return leader;
}

/**
 * Writes while the mark is ours, and `next` as the incarnation; false if another manager
 * took over. A batch that landed unanswered is not written again: an agent may have
 * withdrawn or returned under it since.
 */
function underMark(
  etcd: Ports["etcd"],
  mark: string,
  next: string,
  operations: readonly Operation[],
): Promise<boolean> {
  let compared: number | undefined;
  return transact(etcd, async (uncertain): Promise<Step<boolean>> => {
    const found = (await etcd.read([{ key: keys.incarnation }])).results[0]?.[0];
    if (uncertain && found?.value === next && found.modRevision !== compared) return { answer: true };
    if (found?.value !== mark) return { answer: false };
    compared = found.modRevision;
    return {
      compares: [unchanged(keys.incarnation, found)],
      operations: [...operations, { put: keys.incarnation, value: next }],
      committed: () => true,
    };
  });
}

/** A grant with its holders is never torn apart; no key stands twice in a batch. */
function batches(leader: Leadership, grants: readonly RebuiltGrant[]): Operation[][] {
  const all: Operation[][] = [];
  let batch = new Map<string, Operation>();
  const byUid = new Map(grants.map((grant) => [grant.uid, grant]));
  for (const rebuilt of byUid.values()) {
    const operations = operationsOf(leader, rebuilt);
    if (batch.size + operations.length > BATCH) {
      all.push([...batch.values()]);
      batch = new Map();
    }
    for (const operation of operations) batch.set(operation.put, operation);
  }
  if (batch.size > 0) all.push([...batch.values()]);
  return all;
}

/** The names of a Node are left out (`Grant`). */
function operationsOf(leader: Leadership, rebuilt: RebuiltGrant): (Operation & { put: string })[] {
  const { phase, at, ...rest } = rebuilt;
  const budgets = [...new Set(rebuilt.budgets)];
  const aliases = aliasesOf(rebuilt.uid);
  const grant: Grant = {
    ...rest,
    at,
    budgets,
    ...(aliases.length === 0 ? {} : { aliases }),
    epoch: leader.epoch,
    incarnation: leader.incarnation,
    target: null,
    policy: {},
    bootNeeds: 0,
    reason: "rebuilt",
  };
  return [
    { put: keys.grant(rebuilt.uid), value: JSON.stringify(grant) },
    {
      put: keys.phase(rebuilt.uid),
      value: phaseText(phase === "Committed" ? { phase, at, committedAt: at } : { phase, at }),
    },
    ...budgets.flatMap((budget) => [
      { put: keys.holder(budget, rebuilt.uid), value: JSON.stringify({ at } satisfies Holder) },
      { put: keys.budgetSeq(budget), value: "1" },
    ]),
    ...aliases.map((alias) => ({ put: keys.alias(alias), value: rebuilt.uid })),
  ];
}
