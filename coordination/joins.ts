/** Join tokens of plain machines: each is spent once, by one machine. */
import * as z from "zod";
import { keys, lastPart } from "./keys.ts";
import type { Parser } from "./parse.ts";
import { JoinRecord } from "./records.ts";
import { type Ports, type Step, transact, unchanged } from "./transact.ts";

/** `machines/<machine id>`: what the token fixed, and which token it was, to know our own write. */
const Machine = JoinRecord.extend({ spent: z.string() });

/** The record goes by itself when it expires. */
export async function putJoinToken(
  { etcd, clock }: Ports,
  tokenHash: string,
  record: JoinRecord,
): Promise<void> {
  const seconds = Math.ceil((record.expiresAt - clock.now()) / 1000);
  if (seconds <= 0) throw new RangeError("the join token has expired already: give it a later expiry");
  const key = keys.join(tokenHash);
  const value = JSON.stringify(record);
  const lease = await etcd.leaseOnce(seconds);
  return transact(etcd, async (): Promise<Step<void>> => {
    const found = (await etcd.read([{ key }])).results[0]?.[0];
    if (found?.value === value) return { answer: undefined };
    return {
      compares: [unchanged(key, found)],
      operations: [{ put: key, value, lease }],
      committed: () => undefined,
    };
  });
}

/** Undefined if the token is unknown, spent or expired. */
export function spendJoinToken(
  { etcd, clock }: Ports,
  parser: Parser,
  tokenHash: string,
  machineId: string,
): Promise<JoinRecord | undefined> {
  const [join, machine] = [keys.join(tokenHash), keys.machine(machineId)];
  return transact(etcd, async (uncertain): Promise<Step<JoinRecord | undefined>> => {
    const { results } = await etcd.read([{ key: join }, { key: machine }]);
    const [token, known] = results.map((kvs) => kvs[0]);
    const record = parser.json(JoinRecord, token);
    if (record === undefined) {
      const spent = uncertain ? parser.json(Machine, known) : undefined;
      return { answer: spent?.spent === tokenHash ? JoinRecord.parse(spent) : undefined };
    }
    if (record.expiresAt <= clock.now()) return { answer: undefined };
    return {
      compares: [unchanged(join, token), unchanged(machine, known)],
      operations: [
        { delete: join },
        { put: machine, value: JSON.stringify({ ...record, spent: tokenHash }) },
      ],
      committed: () => record,
    };
  });
}

export async function readMachines(
  { etcd }: Ports,
  parser: Parser,
): Promise<ReadonlyMap<string, JoinRecord>> {
  const { results } = await etcd.read([{ prefix: keys.machines }]);
  const machines = new Map<string, JoinRecord>();
  for (const kv of results[0] ?? []) {
    const record = parser.json(JoinRecord, kv);
    if (record !== undefined) machines.set(lastPart(kv.key), record);
  }
  return machines;
}
