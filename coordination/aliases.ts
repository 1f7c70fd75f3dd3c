/** One machine has one grant, by whichever of its names it came: what a transaction that makes or ends one does about the others. */
import type { Compare, KeyValue, Operation, Range, Reader } from "./etcd.ts";
import { keys } from "./keys.ts";
import type { Grant } from "./records.ts";
import { unchanged } from "./transact.ts";

/** What is read beside `grants/<uid>`: `viewNames` is given the results, in this order. */
export function nameRanges(uid: string, aliases: readonly string[]): Range[] {
  return [
    { key: keys.alias(uid) },
    ...aliases.flatMap((alias) => [{ key: keys.grant(alias) }, { key: keys.alias(alias) }]),
  ];
}

export interface NameView {
  /** The grant that the machine has by another name. */
  holder: KeyValue | undefined;
  /** Hold while it has none. */
  compares: Compare[];
  /** What goes with a new grant. */
  operations: Operation[];
}

/** One more read where `uid` is another name of a machine that has a grant. */
export async function viewNames(
  etcd: Reader,
  uid: string,
  aliases: readonly string[],
  [own = [], ...others]: readonly KeyValue[][],
): Promise<NameView> {
  const [mine] = own;
  const named = await targetOf(etcd, mine);
  const found = aliases.map((alias, i) => ({
    alias,
    grant: others[2 * i]?.[0],
    kv: others[2 * i + 1]?.[0],
  }));
  return {
    holder: named ?? found.find(({ grant }) => grant !== undefined)?.grant,
    compares: [
      unchanged(keys.alias(uid), mine),
      // What an older version ended, which knew no aliases: the name is free.
      ...(mine === undefined ? [] : [unchanged(keys.grant(mine.value), undefined)]),
      ...found.flatMap(({ alias, kv }) => [
        unchanged(keys.grant(alias), undefined),
        unchanged(keys.alias(alias), kv),
      ]),
    ],
    operations: [
      ...(mine === undefined ? [] : [{ delete: mine.key }]),
      ...aliases.map((alias) => ({ put: keys.alias(alias), value: uid })),
    ],
  };
}

/** The grant that an alias names. */
export async function targetOf(etcd: Reader, alias: KeyValue | undefined): Promise<KeyValue | undefined> {
  if (alias === undefined) return undefined;
  return (await etcd.read([{ key: keys.grant(alias.value) }])).results[0]?.[0];
}

/** What goes with a grant that ends. */
export function endNames({ aliases = [] }: Pick<Grant, "aliases">): Operation[] {
  return aliases.map((alias) => ({ delete: keys.alias(alias) }));
}
