/** Join tokens of plain machines: each is spent once, by one machine, which no other token takes over. */
import * as z from "zod";
import type { Leadership } from "./coordination.ts";
import { LEADERSHIP, leads, viewEpoch } from "./epoch.ts";
import { EtcdUnavailable } from "./etcd.ts";
import type { Journal } from "./journal.ts";
import { keys, lastPart } from "./keys.ts";
import type { Parser } from "./parse.ts";
import { isWhole, JoinRecord, MachineRecord } from "./records.ts";
import { type Ports, type Step, transact, unchanged } from "./transact.ts";

/** `machines/<machine id>`: what the token fixed, and which token it was, to know our own write; "" once it was restored. */
const Machine = MachineRecord.extend({ spent: z.string() });
type Machine = z.output<typeof Machine>;

/** What Kubernetes remembers of a time has whole seconds, ms. */
const SECOND = 1000;
/** Machines restored in one transaction, of etcd's 128 compares. */
const BATCH = 100;

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

/**
 * Undefined if the token is unknown, spent or expired. `known`, and nothing spent, if the
 * machine joined by another token: who has one may add a machine, not become another.
 */
export function spendJoinToken(
  { etcd, clock }: Ports,
  parser: Parser,
  tokenHash: string,
  machineId: string,
): Promise<MachineRecord | "known" | undefined> {
  const [join, machine] = [keys.join(tokenHash), keys.machine(machineId)];
  return transact(etcd, async (uncertain): Promise<Step<MachineRecord | "known" | undefined>> => {
    const { results } = await etcd.read([{ key: join }, { key: machine }]);
    const [token, known] = results.map((kvs) => kvs[0]);
    const record = parser.json(JoinRecord, token);
    const before = parser.json(Machine, known);
    if (record === undefined) {
      const ours = uncertain && before?.spent === tokenHash;
      return { answer: ours ? MachineRecord.parse(before) : undefined };
    }
    if (record.expiresAt <= clock.now()) return { answer: undefined };
    if (known !== undefined && before?.spent !== tokenHash) return { answer: "known" };
    const joined: MachineRecord = { ...record, joinedAt: clock.now() };
    return {
      compares: [unchanged(join, token), unchanged(machine, known)],
      operations: [
        { delete: join },
        { put: machine, value: JSON.stringify({ ...joined, spent: tokenHash } satisfies Machine) },
      ],
      committed: () => joined,
    };
  });
}

export async function readMachines(
  { etcd }: Ports,
  parser: Parser,
): Promise<ReadonlyMap<string, MachineRecord>> {
  const { results } = await etcd.read([{ prefix: keys.machines }]);
  const machines = new Map<string, MachineRecord>();
  for (const kv of results[0] ?? []) {
    const record = parser.json(MachineRecord, kv);
    if (record !== undefined) machines.set(lastPart(kv.key), record);
  }
  return machines;
}

/** Undefined where nobody joined under this id, or a person forgot it. Throws `EtcdUnavailable` where etcd may have lost it. */
export async function readMachine(
  { etcd }: Pick<Ports, "etcd">,
  parser: Parser,
  machineId: string,
): Promise<MachineRecord | undefined> {
  const { results } = await etcd.read([{ key: keys.incarnation }, { key: keys.machine(machineId) }]);
  const [incarnation, machine] = results.map((kvs) => kvs[0]);
  if (machine === undefined && !isWhole(incarnation?.value)) {
    throw new EtcdUnavailable("etcd has lost its data, and is not rebuilt yet");
  }
  return parser.json(MachineRecord, machine);
}

/**
 * Removes what was fixed for a machine, so that a new token lets it join again; false if it
 * is not known. The journal says so first: nothing is removed unseen.
 */
export async function forgetMachine(
  { etcd, clock }: Ports,
  parser: Parser,
  journal: Pick<Journal, "append">,
  machineId: string,
  why: string,
): Promise<boolean> {
  const key = keys.machine(machineId);
  const read = async () => (await etcd.read([{ key }])).results[0]?.[0];
  const known = await read();
  if (known === undefined) return false;
  await journal.append({
    at: clock.now(),
    uid: machineId,
    node: machineId,
    group: parser.json(Machine, known)?.group ?? "",
    what: "machine",
    reason: "MachineForgotten",
    message: why,
  });
  return transact(etcd, async (): Promise<Step<boolean>> => {
    const found = await read();
    if (found === undefined) return { answer: true };
    return {
      compares: [unchanged(key, found)],
      operations: [{ delete: key }],
      committed: () => true,
    };
  });
}

/** Gives a machine that joined another group, which its token had fixed. False if it is not known. */
export async function moveMachine(
  { etcd }: Pick<Ports, "etcd">,
  parser: Parser,
  machineId: string,
  group: string,
): Promise<boolean> {
  const key = keys.machine(machineId);
  return transact(etcd, async (): Promise<Step<boolean>> => {
    const { results } = await etcd.read([{ key }]);
    const found = results[0]?.[0];
    const machine = parser.json(Machine, found);
    if (machine === undefined) return { answer: false };
    if (machine.group === group) return { answer: true };
    return {
      compares: [unchanged(key, found)],
      operations: [{ put: key, value: JSON.stringify({ ...machine, group } satisfies Machine) }],
      committed: () => true,
    };
  });
}

/**
 * Writes the machines that etcd does not know, or only from before they joined anew; others
 * that it knows stay as they are. False if the epoch is no longer ours.
 */
export async function restoreMachines(
  { etcd }: Pick<Ports, "etcd">,
  parser: Parser,
  leader: Leadership,
  machines: ReadonlyMap<string, Omit<MachineRecord, "expiresAt">>,
): Promise<boolean> {
  const all = [...machines].map(([id, { group, labels, joinedAt }]) => ({
    key: keys.machine(id),
    joinedAt,
    value: JSON.stringify({ group, labels, joinedAt, expiresAt: 0, spent: "" } satisfies Machine),
  }));
  for (let at = 0; at < all.length; at += BATCH) {
    const batch = all.slice(at, at + BATCH);
    const written = await transact(etcd, async (): Promise<Step<boolean>> => {
      const { results } = await etcd.read([...LEADERSHIP, ...batch.map(({ key }) => ({ key }))]);
      const [epoch, incarnation, ...found] = results.map((kvs) => kvs[0]);
      const view = viewEpoch(epoch, incarnation, parser);
      if (!leads(view, leader)) return { answer: false };
      const told = batch.map((machine, index) => ({ ...machine, kv: found[index] }));
      const missing = told.filter(
        ({ kv, joinedAt }) =>
          kv === undefined || (parser.json(Machine, kv)?.joinedAt ?? joinedAt) + SECOND <= joinedAt,
      );
      if (missing.length === 0) return { answer: true };
      return {
        compares: [...view.compares, ...missing.map(({ key, kv }) => unchanged(key, kv))],
        operations: missing.map(({ key, value }) => ({ put: key, value })),
        committed: () => true,
      };
    });
    if (!written) return false;
  }
  return true;
}
