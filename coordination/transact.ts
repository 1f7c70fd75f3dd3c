/** Read, decide, compare what was read: the one loop that every write to etcd goes through. */
import type { Reason, Why } from "../api/reasons.ts";
import type { Clock } from "../ports/clock.ts";
import type { Logger } from "../ports/log.ts";
import type { Random } from "../ports/random.ts";
import { type Compare, type EtcdPort, EtcdUnavailable, type KeyValue, type Operation } from "./etcd.ts";

/** What every part of this room is given. */
export interface Ports {
  etcd: EtcdPort;
  clock: Clock;
  random: Random;
  log: Logger;
}

/** Each try of a transaction was decided and refused: what it compares was always another, or its lease is gone. */
export class AlwaysRefused extends EtcdUnavailable {}

/** Times that a transaction is decided anew after a refusal or an unknown outcome. */
export const ATTEMPTS = 8;

/**
 * What one look at etcd led to: an answer, or a transaction and what it answers when committed.
 * Invariant of `compares`: they include the mod revision of a key that `operations` change, so
 * that of several tries of one write at most one lands, whatever the network does to the others.
 */
export type Step<T> =
  | { answer: T }
  | { compares: readonly Compare[]; operations: readonly Operation[]; committed: (revision: number) => T };

/**
 * Repeats `look` until it answers or its transaction commits. `uncertain` tells it that an
 * earlier try had an unknown outcome and may have landed, or may still land: it must know its
 * own traces. Throws `EtcdUnavailable` when reads fail, or after `ATTEMPTS`.
 */
export async function transact<T>(
  etcd: EtcdPort,
  look: (uncertain: boolean) => Promise<Step<T>>,
): Promise<T> {
  let uncertain = false;
  let last: string | undefined;
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const step = await look(uncertain);
    if ("answer" in step) return step.answer;
    const result = await etcd.txn(step.compares, step.operations);
    if (result.outcome === "committed") return step.committed(result.revision);
    if (result.outcome === "unknown") {
      uncertain = true;
      last = result.cause;
    }
  }
  throw noOutcome(last);
}

/** Of the last of `ATTEMPTS` tries; `cause`: why one had an unknown outcome, where one had. */
export function noOutcome(cause: string | undefined): EtcdUnavailable {
  const message = `etcd: no clear outcome after ${ATTEMPTS} tries: ${cause ?? "others were always faster"}`;
  return cause === undefined ? new AlwaysRefused(message) : new EtcdUnavailable(message);
}

/** Holds while `key` is as `found` says: unchanged, or still absent. */
export function unchanged(key: string, found: KeyValue | undefined): Compare {
  return { key, target: "mod", is: "equal", revision: found?.modRevision ?? 0 };
}

export function refused(reason: Reason, message: string): { answer: { outcome: "refused"; why: Why } } {
  return { answer: { outcome: "refused", why: { reason, message } } };
}
