/**
 * What takes the slot of a machine that updates by Omaha is the update, unless an agent of ours asks for the reboot:
 * then the update gives its slot up, and goes on without one (design, section 11, "Omaha").
 */
import { endNames } from "./aliases.ts";
import type { TakeResult } from "./coordination.ts";
import type { Compare, EtcdPort, KeyValue } from "./etcd.ts";
import { bump, heldBy, readGrant, wordsOf } from "./fleet.ts";
import { keys, lastPart } from "./keys.ts";
import type { Parser } from "./parse.ts";
import { type Step, unchanged } from "./transact.ts";

/**
 * Undefined where the slot is not an update's alone: who else was told that it has it may be rebooting. The asker comes
 * again for the free place. In between another may be faster; the asker is up then and goes down by its own commit only,
 * so that it waits, and no budget is overrun. Both can't be one transaction: etcd writes no key twice in one.
 */
export async function giveUpUpdate(
  etcd: Pick<EtcdPort, "read">,
  parser: Parser,
  leader: readonly Compare[],
  held: KeyValue,
  node: string,
): Promise<Step<TakeResult> | undefined> {
  const uid = lastPart(held.key);
  const { results } = await etcd.read([{ prefix: keys.budgets }, { key: keys.phase(uid) }]);
  const [places = [], [phase] = []] = results;
  const live = readGrant(held, phase, undefined, parser, () => heldBy(uid, places));
  const { grant, token } = live;
  if (wordsOf(live).join() !== "Omaha") return undefined;
  const budgets = grant.budgets.map((budget) => ({
    budget,
    seq: places.find(({ key }) => key === keys.budgetSeq(budget)),
  }));
  const message = `the update of ${node} by Omaha gave its slot up for this reboot; it is asked for anew`;
  return {
    compares: [
      ...leader,
      { key: held.key, target: "create", is: "equal", revision: token.revision },
      unchanged(keys.phase(uid), phase),
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
