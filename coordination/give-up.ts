/**
 * What takes the slot of a machine that updates by Omaha is the update, unless an agent of ours asks for the reboot:
 * then the update gives its slot up, and goes on without one (design, section 11, "Omaha").
 */

import { endNames } from "./aliases.ts";
import type { TakeResult } from "./coordination.ts";
import type { Compare, EtcdPort, KeyValue } from "./etcd.ts";
import { bump, heldBy, readGrant } from "./fleet.ts";
import { keys, lastPart } from "./keys.ts";
import type { Parser } from "./parse.ts";
import { type Step, unchanged } from "./transact.ts";

/** Undefined where the slot is not an update's. The asker comes again for the free place. */
export async function giveUpUpdate(
  etcd: Pick<EtcdPort, "read">,
  parser: Parser,
  leader: readonly Compare[],
  held: KeyValue,
  node: string,
): Promise<Step<TakeResult> | undefined> {
  const uid = lastPart(held.key);
  const places = (await etcd.read([{ prefix: keys.budgets }])).results[0] ?? [];
  const { grant, token } = readGrant(held, undefined, undefined, parser, () => heldBy(uid, places));
  if (grant.foreign?.protocol !== "Omaha") return undefined;
  const budgets = grant.budgets.map((budget) => ({
    budget,
    seq: places.find(({ key }) => key === keys.budgetSeq(budget)),
  }));
  const message = `the update of ${node} by Omaha gave its slot up for this reboot; it is asked for anew`;
  return {
    compares: [
      ...leader,
      { key: held.key, target: "create", is: "equal", revision: token.revision },
      ...budgets.map(({ budget, seq }) => unchanged(keys.budgetSeq(budget), seq)),
    ],
    operations: [
      { delete: held.key },
      { delete: keys.phase(uid) },
      ...budgets.flatMap(({ budget, seq }) => [{ delete: keys.holder(budget, uid) }, bump(budget, seq)]),
      ...endNames(grant),
    ],
    committed: () => ({ outcome: "refused", why: { reason: "WaitingForTurn", message } }),
  };
}
