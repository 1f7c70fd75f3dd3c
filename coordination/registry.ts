/**
 * Key spaces of etcd's v2 API in etcd v3. One record, the head, has the index of the newest write; each write is one
 * transaction that compares the head, so that over all gateways writes are in one order, and each is one event. The
 * nodes are what the events led to. All of it lies beside the prefixes of the fleet: nobody looks at the fleet again
 * because somebody wrote a key.
 */
import * as z from "zod";
import { type EtcdPort, EtcdUnavailable, type KeyValue, MAX_OPERATIONS, type Operation } from "./etcd.ts";
import type { Parser } from "./parse.ts";
import { type Step, transact, unchanged } from "./transact.ts";

const PREFIX = "/slipway-registry/";
/** Digits of an index in a key, so that keys are in the order of their indexes: 2^53 has 16. */
const DIGITS = 16;

function part(text: string): string {
  return encodeURIComponent(text);
}

const keys = {
  head: (space: string): string => `${PREFIX}${part(space)}/head`,
  nodes: (space: string): string => `${PREFIX}${part(space)}/nodes/`,
  /** The whole path is one part, so that all below a directory begin with its key and an escaped slash. */
  node: (space: string, path: string): string => `${PREFIX}${part(space)}/nodes/${part(path)}`,
  below: (space: string, path: string): string => `${PREFIX}${part(space)}/nodes/${part(`${path}/`)}`,
  events: (space: string): string => `${PREFIX}${part(space)}/events/`,
  event: (space: string, index: number): string =>
    `${PREFIX}${part(space)}/events/${String(index).padStart(DIGITS, "0")}`,
};

/** Index and identity of a space. Invariant: the event of `index`, if there was one, has `nonce`. */
export const RegistryHead = z.object({
  /** Never changes while the space lives: a space that was lost and made anew has another. */
  id: z.string(),
  index: z.number().int().min(0),
  nonce: z.string(),
  /** The oldest event that is still kept; 0 while none was forgotten. */
  start: z.number().int().min(0),
});
export type RegistryHead = z.output<typeof RegistryHead>;

/** A file, or a directory where it has no value. */
export const RegistryNode = z.object({
  created: z.number().int(),
  modified: z.number().int(),
  value: z.string().optional(),
  /** Wall clock, ms. */
  expires: z.number().optional(),
});
export type RegistryNode = z.output<typeof RegistryNode>;

/** A node as an event showed it: the file that a deletion names has neither value nor `dir`. */
export const RegistryView = RegistryNode.extend({
  dir: z.boolean().optional(),
  /** Seconds that were left then. */
  ttl: z.number().int().optional(),
});
export type RegistryView = z.output<typeof RegistryView>;

export const RegistryEvent = z.object({
  action: z.enum(["set", "create", "update", "compareAndSwap", "delete", "compareAndDelete", "expire"]),
  index: z.number().int(),
  path: z.string(),
  node: RegistryView,
  prev: RegistryView.optional(),
  /** Only the time to live changed: watchers are not told. */
  refresh: z.boolean().optional(),
  /** Of the write, unique. */
  nonce: z.string(),
  /** Nonce of the event before: a chain that doesn't fit is another history, of a restored snapshot. */
  after: z.string(),
});
export type RegistryEvent = z.output<typeof RegistryEvent>;

/** A head as it was read. */
export interface ReadHead extends RegistryHead {
  modRevision: number;
}

/** All of a space at one revision. */
export interface RegistryCopy {
  head: ReadHead;
  nodes: ReadonlyMap<string, RegistryNode>;
  /** Ascending. */
  events: readonly RegistryEvent[];
}

/** What one write does to the records. */
export interface RegistryWrite {
  events: readonly RegistryEvent[];
  nodes: ReadonlyMap<string, RegistryNode>;
  /** Paths that are removed, with everything below. */
  removed: readonly string[];
  /** Indexes of events that are forgotten. */
  forgotten: readonly number[];
  start: number;
}

type Source = Pick<EtcdPort, "read" | "txn">;

/** Reads a space, and makes it with `id` where there is none. Throws `EtcdUnavailable`. */
export async function openRegistry(
  etcd: Source,
  parser: Parser,
  space: string,
  id: string,
  index = 0,
): Promise<RegistryCopy> {
  const key = keys.head(space);
  return transact(etcd as EtcdPort, async (): Promise<Step<RegistryCopy>> => {
    const { results } = await etcd.read([
      { key },
      { prefix: keys.nodes(space) },
      { prefix: keys.events(space) },
    ]);
    const [heads = [], nodes = [], events = []] = results;
    const [found] = heads;
    if (found === undefined) {
      const made: RegistryHead = { id, index, nonce: "", start: 0 };
      return {
        compares: [unchanged(key, undefined)],
        operations: [{ put: key, value: textOf(made) }],
        committed: (modRevision) => ({ head: { ...made, modRevision }, nodes: new Map(), events: [] }),
      };
    }
    const prefix = keys.nodes(space).length;
    const readable = nodes.flatMap((kv): [string, RegistryNode][] => {
      const node = parser.json(RegistryNode, kv);
      return node === undefined ? [] : [[decodeURIComponent(kv.key.slice(prefix)), node]];
    });
    return {
      answer: {
        head: headOf(parser, found),
        nodes: new Map(readable),
        events: events.flatMap((kv) => parser.json(RegistryEvent, kv) ?? []),
      },
    };
  });
}

/**
 * The head and the events after `known`; `undefined` in place of the events where they are no more, too many for one
 * look, or of another history: then the whole space has to be read.
 */
export async function readRegistrySince(
  etcd: Source,
  parser: Parser,
  space: string,
  known: ReadHead,
): Promise<{ head: ReadHead; events: readonly RegistryEvent[] } | undefined> {
  const first = await etcd.read([{ key: keys.head(space) }]);
  const head = headOf(parser, first.results[0]?.[0]);
  if (head.modRevision === known.modRevision && head.nonce === known.nonce) return { head, events: [] };
  const count = head.index - known.index;
  if (head.id !== known.id || count < 0 || count > MAX_OPERATIONS - 1) return undefined;
  const ranges = Array.from({ length: count }, (_, i) => ({ key: keys.event(space, known.index + 1 + i) }));
  const events: RegistryEvent[] = [];
  let after = known.nonce;
  for (const [kv] of count === 0 ? [] : (await etcd.read(ranges)).results) {
    const event = parser.json(RegistryEvent, kv);
    if (event === undefined || event.after !== after) return undefined;
    after = event.nonce;
    events.push(event);
  }
  return after === head.nonce ? { head, events } : undefined;
}

/** The transaction of one write; the head that was read must still be there. */
export function registryStep<T>(
  space: string,
  head: ReadHead,
  write: RegistryWrite,
  committed: (head: ReadHead) => T,
): Step<T> {
  const last = write.events.at(-1);
  if (last === undefined) throw new RangeError("a write of a registry has at least one event");
  const key = keys.head(space);
  const next: RegistryHead = { id: head.id, index: last.index, nonce: last.nonce, start: write.start };
  const operations: Operation[] = [
    { put: key, value: textOf(next) },
    ...write.events.map((event) => ({ put: keys.event(space, event.index), value: JSON.stringify(event) })),
    ...write.forgotten.map((index) => ({ delete: keys.event(space, index) })),
    ...write.removed.flatMap((path) => [
      { delete: keys.node(space, path) },
      { deletePrefix: keys.below(space, path) },
    ]),
    ...[...write.nodes].map(([path, node]) => ({ put: keys.node(space, path), value: JSON.stringify(node) })),
  ];
  return {
    // In a restored etcd another head may have come to the same revision.
    compares: [
      { key, target: "mod", is: "equal", revision: head.modRevision },
      { key, target: "value", is: "equal", value: textOf(head) },
    ],
    operations,
    committed: (modRevision) => committed({ ...next, modRevision }),
  };
}

/** Calls `hint` when the space may have changed. */
export function watchRegistry(
  etcd: Pick<EtcdPort, "watch">,
  space: string,
  hint: () => void,
): { close(): void } {
  return etcd.watch(keys.head(space), hint);
}

function textOf({ id, index, nonce, start }: RegistryHead): string {
  return JSON.stringify({ id, index, nonce, start });
}

function headOf(parser: Parser, kv: KeyValue | undefined): ReadHead {
  const head = parser.json(RegistryHead, kv);
  if (kv === undefined || head === undefined) {
    throw new EtcdUnavailable("the head of a registry's key space is lost or can't be read");
  }
  return { ...head, modRevision: kv.modRevision };
}
