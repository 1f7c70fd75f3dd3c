/** Whose an id is: what the manager says of Nodes and agents, and what gateways saw of machines without our agent. */
import type { Leadership } from "./coordination.ts";
import { LEADERSHIP, leads, viewEpoch } from "./epoch.ts";
import type { KeyValue, Operation } from "./etcd.ts";
import { whoIs, zincatiId } from "./identity.ts";
import { keys, lastPart } from "./keys.ts";
import type { Parser } from "./parse.ts";
import { Identity } from "./records.ts";
import { type Ports, type Step, transact } from "./transact.ts";

/** Written in one transaction, of etcd's 128 operations. */
const BATCH = 100;

/** Who calls itself `id`. Throws `EtcdUnavailable`. */
export async function identify({ etcd }: Pick<Ports, "etcd">, parser: Parser, id: string): Promise<Identity> {
  const { results } = await etcd.read([{ key: keys.identity(id) }, { key: keys.seenAs(id) }]);
  const [told, seen] = results.map((kvs) => kvs[0]);
  return whoIs(id, { told: parser.json(Identity, told), seen: seen?.value });
}

/** All that the manager says. */
export async function readIdentities(
  { etcd }: Pick<Ports, "etcd">,
  parser: Parser,
): Promise<ReadonlyMap<string, Identity>> {
  const { results } = await etcd.read([{ prefix: keys.identities }]);
  const found = new Map<string, Identity>();
  for (const kv of results[0] ?? []) {
    const identity = parser.json(Identity, kv);
    if (identity !== undefined) found.set(lastPart(kv.key), identity);
  }
  return found;
}

/** Writes what is said of each id; undefined takes it away. False if the epoch is no longer ours. */
export async function putIdentities(
  { etcd }: Pick<Ports, "etcd">,
  parser: Parser,
  leader: Leadership,
  changes: ReadonlyMap<string, Identity | undefined>,
): Promise<boolean> {
  const all = [...changes].map(([id, identity]): Operation => {
    const key = keys.identity(id);
    return identity === undefined ? { delete: key } : { put: key, value: JSON.stringify(identity) };
  });
  for (let at = 0; at < all.length; at += BATCH) {
    const operations = all.slice(at, at + BATCH);
    const written = await transact(etcd, async (): Promise<Step<boolean>> => {
      const { results } = await etcd.read(LEADERSHIP);
      const view = viewEpoch(results[0]?.[0], results[1]?.[0], parser);
      if (!leads(view, leader)) return { answer: false };
      return { compares: view.compares, operations, committed: () => true };
    });
    if (!written) return false;
  }
  return true;
}

/**
 * Goes with each write of the record of a machine that came by its machine id: what Zincati calls the machine lives as
 * long as the record. `before`: the record, which has that beside it already where it hangs on the same `lease`.
 */
export function seenOperations(
  uid: string,
  machineId: string,
  lease: string,
  before: KeyValue | undefined,
): Operation[] {
  if (uid !== machineId || before?.lease === lease) return [];
  return [{ put: keys.seenAs(zincatiId(machineId)), value: uid, lease }];
}
