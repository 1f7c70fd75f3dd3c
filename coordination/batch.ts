/**
 * Several changes of etcd in one transaction, each decided on top of those before it, as if they came one after the
 * other. Pure, but for the reads: who commits it is `changes.ts`.
 */
import type { Compare, EtcdPort, KeyValue, Operation, Range } from "./etcd.ts";
import { MAX_OPERATIONS } from "./etcd.ts";

/** Of a key that the batch writes: no revision that etcd ever had, so that a compare with it would refuse. */
const PENDING = -1;

interface Found {
  kvs: KeyValue[];
  /** Of the store when it was read. */
  revision: number;
}

export class Batch {
  readonly #etcd: Pick<EtcdPort, "read">;
  readonly #isShared: (range: Range) => boolean;
  /** By range, as etcd will have it. */
  readonly #found = new Map<string, Found>();
  readonly #prefixes = new Map<string, Range>();
  readonly #compares = new Map<string, Compare>();
  readonly #compared = new Set<string>();
  /** By key; undefined where it is deleted. */
  readonly #pending = new Map<string, { operation: Operation; kv: KeyValue | undefined }>();
  /** Shared ranges that were not read ahead. */
  readonly missed: Range[] = [];

  /** `isShared`: whether others are likely to read a range, too. */
  constructor(etcd: Pick<EtcdPort, "read">, isShared: (range: Range) => boolean) {
    this.#etcd = etcd;
    this.#isShared = isShared;
  }

  get compares(): Compare[] {
    return [...this.#compares.values()];
  }

  get operations(): Operation[] {
    return [...this.#pending.values()].map(({ operation }) => operation);
  }

  /** Reads in one call what looks will ask for. */
  async readAhead(ranges: readonly Range[]): Promise<void> {
    const named = new Map(ranges.map((range) => [nameOf(range), range] as const));
    const { revision, results } = await this.#etcd.read([...named.values()]);
    for (const [i, [name, range]] of [...named].entries()) {
      let kvs = results[i] ?? [];
      for (const [key, { kv }] of this.#pending) if (isIn(range, key)) kvs = changed(kvs, key, kv);
      this.#found.set(name, { kvs, revision });
      if ("prefix" in range) this.#prefixes.set(name, range);
    }
  }

  /**
   * As etcd will be once what is staged is committed. All of one call is of one revision, as `EtcdPort.read` has it: who
   * compares a budget's count of changes trusts the holders beside it, which must not be older than the count.
   */
  async read(ranges: readonly Range[]): Promise<{ results: KeyValue[][] }> {
    const known = ranges.map((range) => this.#found.get(nameOf(range)));
    const missing = ranges.filter((_, i) => known[i] === undefined);
    this.missed.push(...missing.filter(this.#isShared));
    if (known.some((found) => found === undefined || found.revision !== known[0]?.revision)) {
      await this.readAhead(ranges);
    }
    return { results: ranges.map((range) => this.#found.get(nameOf(range))?.kvs ?? []) };
  }

  /**
   * Adds a change that was decided by `read`. False where it needs a transaction of its own, after this one: there is no
   * room, or it makes anew what one before it ends, which would keep its create revision.
   */
  stage(compares: readonly Compare[], operations: readonly Operation[]): boolean {
    const further = new Map<string, Compare>();
    for (const compare of compares) {
      const before = this.#pending.get(compare.key);
      if (before === undefined) further.set(textOf(compare), compare);
      // Holds by itself then. It may stand for what goes with the key, so that what the key was must be compared.
      else if (!this.#compared.has(compare.key) || !holds(compare, before.kv)) return false;
    }
    const writes = new Map<string, { operation: Operation; kv: KeyValue | undefined }>();
    for (const operation of operations) {
      if ("deletePrefix" in operation) return false;
      const key = "put" in operation ? operation.put : operation.delete;
      const before = this.#pending.get(key);
      const again = before !== undefined && !(before.kv !== undefined && "put" in operation);
      if (again || writes.has(key)) return false;
      writes.set(key, { operation, kv: pendingOf(operation) });
    }
    for (const name of this.#compares.keys()) further.delete(name);
    const news = [...writes.keys()].filter((key) => !this.#pending.has(key));
    if (this.#compares.size + further.size > MAX_OPERATIONS) return false;
    if (this.#pending.size + news.length > MAX_OPERATIONS) return false;
    for (const [name, compare] of further) {
      this.#compares.set(name, compare);
      if (compare.target === "mod") this.#compared.add(compare.key);
    }
    for (const [key, write] of writes) {
      this.#pending.set(key, write);
      for (const [name, range] of [...this.#prefixes, [nameOf({ key }), { key }] as const]) {
        const found = this.#found.get(name);
        // The revision stays that of what the change rests on.
        if (found !== undefined && isIn(range, key))
          this.#found.set(name, { ...found, kvs: changed(found.kvs, key, write.kv) });
      }
    }
    return true;
  }
}

function isIn(range: Range, key: string): boolean {
  return "key" in range ? range.key === key : key.startsWith(range.prefix);
}

/** With `kv` in place of what `key` was. */
function changed(found: readonly KeyValue[], key: string, kv: KeyValue | undefined): KeyValue[] {
  const at = found.findIndex((one) => one.key >= key);
  const until = found[at]?.key === key ? at + 1 : at;
  const put = kv === undefined ? [] : [kv];
  return at < 0 ? [...found, ...put] : [...found.slice(0, at), ...put, ...found.slice(until)];
}

function holds(compare: Compare, kv: KeyValue | undefined): boolean {
  if (compare.target === "value") return kv?.value === compare.value;
  const revision = compare.target === "mod" ? kv?.modRevision : kv?.createRevision;
  return compare.is === "equal" && (revision ?? 0) === compare.revision;
}

function textOf(compare: Compare): string {
  return `${compare.target} ${compare.key} ${"value" in compare ? compare.value : `${compare.is} ${compare.revision}`}`;
}

function pendingOf(operation: Operation): KeyValue | undefined {
  if (!("put" in operation)) return undefined;
  const { put: key, value, lease } = operation;
  return { key, value, createRevision: PENDING, modRevision: PENDING, lease };
}

/** Of a range without limits: nothing else is read in a batch. */
export function nameOf(range: Range): string {
  if ("key" in range) return `key ${range.key}`;
  if (range.after !== undefined || range.limit !== undefined) throw new RangeError("a batch reads no pages");
  return `prefix ${range.prefix}`;
}
