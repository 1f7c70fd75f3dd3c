/**
 * What one process changes of a group's slots, several machines at a time: those that ask while a transaction is under
 * way go together into the next. So they are never in each other's way, and share one look at etcd and one commit.
 */
import { Batch, nameOf } from "./batch.ts";
import {
  type Compare,
  type EtcdPort,
  EtcdUnavailable,
  type Operation,
  type Range,
  type Reader,
  type TxnResult,
} from "./etcd.ts";
import { keys } from "./keys.ts";
import { AlwaysRefused, ATTEMPTS, noOutcome, type Step } from "./transact.ts";

/** Ranges that are read ahead: etcd's `--max-txn-ops` is 128, and others are read with them. */
const MAX_RANGES = 100;
/** Attempts that all of a batch make together; then it is halved, so that who is always refused stands alone in the end. */
const TOGETHER = 2;
/** Of those, ranges of the group's budgets that the last batches read: those of sixteen. */
const MAX_SHARED = 48;
/** Changes of a group that wait; one more is told to come again. A machine has one, and a gateway hears 2,000 at once. */
const MAX_WAITING = 4000;

/** One look at etcd by `read`, as in `transact`: it may be repeated, and what it leads to counts once it is committed. */
export type Look<T> = (etcd: Reader, uncertain: boolean) => Promise<Step<T>>;

interface Change {
  ranges: readonly Range[];
  /** Looks, and gives the step without its type: what is given once it is committed. */
  look: (batch: Batch) => Promise<Step<() => void>>;
  uncertain: boolean;
  fail: (error: unknown) => void;
}

export class Changes {
  readonly #etcd: EtcdPort;
  readonly #lines = new Map<string, Line>();

  constructor(etcd: EtcdPort) {
    this.#etcd = etcd;
  }

  /** `ranges`: what the look reads for sure. Throws `EtcdUnavailable`, and what `look` throws. */
  async change<T>(group: string, ranges: readonly Range[], look: Look<T>): Promise<T> {
    const known = this.#lines.get(group);
    const line = known ?? new Line(this.#etcd, () => this.#lines.delete(group));
    if (known === undefined) this.#lines.set(group, line);
    return await line.change(ranges, look);
  }
}

/** Of one group. */
class Line {
  readonly #etcd: EtcdPort;
  readonly #idle: () => void;
  #waiting: Change[] = [];
  #serving = false;
  /** What the last batches read of the group's budgets: the next reads it ahead, all of it or nothing. */
  #shared: readonly Range[] = [];

  constructor(etcd: EtcdPort, idle: () => void) {
    this.#etcd = etcd;
    this.#idle = idle;
  }

  change<T>(ranges: readonly Range[], look: Look<T>): Promise<T> {
    if (this.#waiting.length >= MAX_WAITING) {
      throw new EtcdUnavailable(`${this.#waiting.length} changes of the group's slots wait already`);
    }
    return new Promise((resolve, reject) => {
      const change: Change = {
        ranges,
        look: async (batch) => {
          const step = await look(batch, change.uncertain);
          if ("answer" in step) return { answer: () => resolve(step.answer) };
          return { ...step, committed: (revision) => () => resolve(step.committed(revision)) };
        },
        uncertain: false,
        fail: reject,
      };
      this.#waiting.push(change);
      if (!this.#serving) void this.#serve();
    });
  }

  async #serve(): Promise<void> {
    this.#serving = true;
    while (this.#waiting.length > 0) {
      const batch = this.#next();
      try {
        await this.#commit(batch);
      } catch (error) {
        // Who waited meanwhile would wait as long again, and hear the same, unless it is of the batch alone.
        const isAway = error instanceof EtcdUnavailable && !(error instanceof AlwaysRefused);
        const all = isAway ? [...batch, ...this.#waiting.splice(0)] : batch;
        for (const { fail } of all) fail(error);
      }
    }
    this.#idle();
  }

  /** As many as one look can read for: what several of them read counts once. */
  #next(): Change[] {
    const names = new Set(this.#shared.map(nameOf));
    const count = this.#waiting.findIndex(({ ranges }) => {
      for (const range of ranges) names.add(nameOf(range));
      return names.size > MAX_RANGES;
    });
    return this.#waiting.splice(0, count < 0 ? this.#waiting.length : Math.max(1, count));
  }

  /** Settles each of `changes`, or puts it back to the head of the line. Throws where none of those left can be. */
  async #commit(changes: Change[]): Promise<void> {
    let last: string | undefined;
    for (let attempt = 0; attempt < ATTEMPTS && changes.length > 0; attempt++) {
      if (attempt >= TOGETHER) this.#waiting.unshift(...changes.splice(Math.ceil(changes.length / 2)));
      const batch = new Batch(this.#etcd, isOfBudgets);
      await batch.readAhead([...this.#shared, ...changes.flatMap(({ ranges }) => ranges)]);
      const done = await this.#stage(batch, changes);
      const shared = [...this.#shared, ...batch.missed];
      this.#shared = shared.length > MAX_SHARED ? [] : shared;
      const { compares, operations } = batch;
      const result = operations.length === 0 ? undefined : await this.#txn(compares, operations, changes);
      if (result === undefined || result.outcome === "committed") {
        for (const give of done) give(result?.revision ?? 0);
        return;
      }
      if (result.outcome === "unknown") {
        last = result.cause;
        for (const change of changes) change.uncertain = true;
      }
    }
    if (changes.length > 0) throw noOutcome(last);
  }

  /** Refused where etcd takes it for wrong, unless one of `changes` is left: which of several is wrong nobody says. */
  async #txn(
    compares: readonly Compare[],
    operations: readonly Operation[],
    changes: readonly Change[],
  ): Promise<TxnResult> {
    try {
      return await this.#etcd.txn(compares, operations);
    } catch (error) {
      if (changes.length === 1) throw error;
      return { outcome: "refused" };
    }
  }

  /** Takes out of `changes` those whose look fails, and those that are to come after the batch. */
  async #stage(batch: Batch, changes: Change[]): Promise<((revision: number) => void)[]> {
    const done: ((revision: number) => void)[] = [];
    for (let i = 0; i < changes.length; ) {
      const change = changes[i] as Change;
      let step: Step<() => void>;
      try {
        step = await change.look(batch);
      } catch (error) {
        changes.splice(i, 1);
        change.fail(error);
        continue;
      }
      if ("answer" in step) done.push(step.answer);
      else if (batch.stage(step.compares, step.operations)) {
        const { committed } = step;
        done.push((revision) => committed(revision)());
      } else if (batch.operations.length > 0) this.#waiting.unshift(...changes.splice(i));
      else {
        changes.splice(i, 1);
        change.fail(new RangeError(`a change of ${step.operations.length} keys fits no transaction`));
        continue;
      }
      i += 1;
    }
    return done;
  }
}

function isOfBudgets(range: Range): boolean {
  const key = "key" in range ? range.key : range.prefix;
  return key.startsWith(keys.budgets) || key.startsWith(keys.budgetGate(""));
}
