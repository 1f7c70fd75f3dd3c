/**
 * The v2 store as a pure state machine: what a command leads to, as etcd 3.4 decides it. Answers, with their numbers and
 * causes, are compared with that of a real one by `differential.real.test.ts`.
 */
import type { RegistryEvent, RegistryNode, RegistryView } from "../../coordination/registry.ts";
import { beyondLimit, V2Error } from "./errors.ts";
import { isRemoval, join, parts, size, stored, type Tree, type TreeNode } from "./tree.ts";

/** What is asked of a key. */
export type Command =
  | {
      kind: "put";
      path: string;
      dir: boolean;
      value: string;
      /** Empty where it is not compared, as etcd has it. */
      prevValue: string;
      /** 0 where it is not compared. */
      prevIndex: bigint;
      prevExist: boolean | undefined;
      /** Wall clock, ms. */
      expires: number | undefined;
      refresh: boolean;
    }
  | { kind: "post"; path: string; dir: boolean; value: string; expires: number | undefined }
  | { kind: "delete"; path: string; dir: boolean; recursive: boolean; prevValue: string; prevIndex: bigint };

/** An event before it is written: the space gives it its place in the chain. */
export type Draft = Omit<RegistryEvent, "nonce" | "after">;

export interface StoreLimits {
  /** Nodes in a space: a fleet of 1,000 machines and 5,000 units has fewer. A copy of all is in each gateway. */
  keys: number;
  /** Of all paths and values, in memory: etcd v3 keeps 2 GiB by default, for the fleet as well. */
  bytes: number;
  /** Of the paths and values in the events that are kept, in memory: a thousand of the largest would be 500 MiB. */
  history: number;
  /** Bytes of one value as JSON: it stands up to three times in a transaction, of 1.5 MiB at most. */
  value: number;
  /** Names in a path: each directory that is missing is an operation of the transaction, which has 128. */
  depth: number;
  /** Bytes of a path: escaped it has three times as many in etcd's key. */
  path: number;
}

export const defaultStoreLimits: StoreLimits = {
  ...{ keys: 20_000, bytes: 16 << 20, history: 8 << 20, value: 256 << 10, depth: 32, path: 1024 },
};
/** Spaces that may be full at once in a gateway's 512 MiB; they take 110 MiB of them. */
const FULL_SPACES = 4;

/**
 * Of each of so many spaces: more than four share what four have. By their number alone, so that all gateways judge a
 * write alike, whichever spaces they have read.
 */
export function limitsFor(spaces: number): StoreLimits {
  const { keys, bytes, history, ...others } = defaultStoreLimits;
  const share = (most: number): number => Math.floor((most * FULL_SPACES) / Math.max(spaces, FULL_SPACES));
  return { ...others, keys: share(keys), bytes: share(bytes), history: share(history) };
}

/** What the command does to the tree at `index` (that of the newest event), or why it does nothing. */
export function decide(
  tree: Tree,
  command: Command,
  index: number,
  now: number,
  limits: StoreLimits,
): Draft | V2Error {
  const draft = draftOf(tree, command, index, now);
  return draft instanceof V2Error ? draft : (limited(tree, draft, index, limits) ?? draft);
}

function draftOf(tree: Tree, command: Command, index: number, now: number): Draft | V2Error {
  if (command.kind === "post") {
    const path = join(command.path, String(index + 1).padStart(20, "0"));
    return make(tree, { ...command, path }, "create", index, now);
  }
  const compares = command.prevIndex > 0n || command.prevValue !== "";
  if (command.kind === "delete") {
    return compares ? compareAndDelete(tree, command, index, now) : remove(tree, command, index, now);
  }
  if (command.prevExist === false) return make(tree, command, "create", index, now);
  if (compares) return compareAndSwap(tree, command, index, now);
  return command.prevExist === true ? update(tree, command, index, now) : set(tree, command, index, now);
}

type Put = Extract<Command, { kind: "put" }>;
type Delete = Extract<Command, { kind: "delete" }>;
type Content = Pick<Put, "path" | "dir" | "value" | "expires">;

function make(
  tree: Tree,
  { path, dir, value, expires }: Content,
  action: "create" | "set",
  index: number,
  now: number,
): Draft | V2Error {
  if (path === "/") return new V2Error(107, "/", index);
  const blocked = tree.missingParents(path, index);
  if (blocked instanceof V2Error) return blocked;
  const existing = tree.find(path, index);
  if (!(existing instanceof V2Error)) {
    if (action === "create") return new V2Error(105, path, index);
    if (existing.children !== undefined) return new V2Error(102, path, index);
  }
  const next = index + 1;
  return {
    ...{ action, index: next, path },
    node: { created: next, modified: next, ...(dir ? { dir: true } : { value }), ...lifetime(expires, now) },
    ...(existing instanceof V2Error ? {} : { prev: view(existing, now) }),
  };
}

function set(tree: Tree, command: Put, index: number, now: number): Draft | V2Error {
  const existing = tree.find(command.path, index);
  if (existing instanceof V2Error) {
    if (existing.code !== 100 || command.refresh) return existing;
    return make(tree, command, "set", index, now);
  }
  if (!command.refresh) return make(tree, command, "set", index, now);
  const draft = make(tree, { ...command, value: existing.value ?? "" }, "set", index, now);
  return draft instanceof V2Error ? draft : { ...draft, refresh: true };
}

function update(
  tree: Tree,
  { path, value, expires, refresh }: Put,
  index: number,
  now: number,
): Draft | V2Error {
  if (path === "/") return new V2Error(107, "/", index);
  const node = tree.find(path, index);
  if (node instanceof V2Error) return node;
  if (node.children !== undefined && value !== "") return new V2Error(102, path, index);
  return change(node, "update", refresh ? undefined : value, expires, index, now);
}

function compareAndSwap(tree: Tree, command: Put, index: number, now: number): Draft | V2Error {
  if (command.path === "/") return new V2Error(107, "/", index);
  const node = tree.find(command.path, index);
  if (node instanceof V2Error) return node;
  const failed = compare(node, command, index);
  if (failed !== undefined) return failed;
  return change(
    node,
    "compareAndSwap",
    command.refresh ? undefined : command.value,
    command.expires,
    index,
    now,
  );
}

/** `value` undefined: a refresh, which leaves it. */
function change(
  node: TreeNode,
  action: "update" | "compareAndSwap",
  value: string | undefined,
  expires: number | undefined,
  index: number,
  now: number,
): Draft {
  const next = index + 1;
  const content = node.children === undefined ? { value: value ?? node.value ?? "" } : { dir: true };
  return {
    ...{ action, index: next, path: node.path },
    node: { created: node.created, modified: next, ...content, ...lifetime(expires, now) },
    prev: view(node, now),
    ...(value === undefined ? { refresh: true } : {}),
  };
}

function remove(tree: Tree, { path, dir, recursive }: Delete, index: number, now: number): Draft | V2Error {
  if (path === "/") return new V2Error(107, "/", index);
  const node = tree.find(path, index);
  if (node instanceof V2Error) return node;
  if (node.children !== undefined) {
    if (!dir && !recursive) return new V2Error(102, path, index);
    if (node.children.size > 0 && !recursive) return new V2Error(108, path, index);
  }
  return removal(node, "delete", index, now);
}

function compareAndDelete(tree: Tree, command: Delete, index: number, now: number): Draft | V2Error {
  const node = tree.find(command.path, index);
  if (node instanceof V2Error) return node;
  return compare(node, command, index) ?? removal(node, "compareAndDelete", index, now);
}

function removal(
  node: TreeNode,
  action: "delete" | "compareAndDelete" | "expire",
  index: number,
  now: number,
): Draft {
  const next = index + 1;
  return {
    ...{ action, index: next, path: node.path },
    node: { created: node.created, modified: next, ...(node.children === undefined ? {} : { dir: true }) },
    prev: view(node, now),
  };
}

function compare(
  node: TreeNode,
  { path, prevValue, prevIndex }: Put | Delete,
  index: number,
): V2Error | undefined {
  // The root's path is empty once etcd has taken its own prefix from it.
  if (node.children !== undefined) return new V2Error(102, path === "/" ? "" : path, index);
  const value = prevValue === "" || node.value === prevValue;
  const place = prevIndex === 0n || BigInt(node.modified) === prevIndex;
  if (value && place) return undefined;
  const texts = [`[${prevValue} != ${node.value ?? ""}]`, `[${prevIndex} != ${node.modified}]`];
  return new V2Error(101, value ? (texts[1] ?? "") : place ? (texts[0] ?? "") : texts.join(" "), index);
}

/** The events of all whose time is over, `most` at most; what ended with its directory has none of its own. */
export function expire(tree: Tree, index: number, now: number, most: number): Draft[] {
  const drafts: Draft[] = [];
  for (const node of tree.due(now)) {
    if (drafts.length >= most) break;
    if (drafts.some(({ path }) => node.path.startsWith(`${path}/`))) continue;
    drafts.push(removal(node, "expire", index + drafts.length, now));
  }
  return drafts;
}

/** The records that the events change, for a tree in which none of them happened yet. */
export function changesOf(
  tree: Tree,
  drafts: readonly Draft[],
): { nodes: Map<string, RegistryNode>; removed: string[] } {
  const nodes = new Map<string, RegistryNode>();
  const removed: string[] = [];
  for (const draft of drafts) {
    const { path, index } = draft;
    if (isRemoval(draft)) {
      removed.push(path);
      continue;
    }
    const missing = tree.missingParents(path, index);
    for (const directory of missing instanceof V2Error ? [] : missing) {
      nodes.set(directory, { created: index, modified: index });
    }
    nodes.set(path, stored(draft));
  }
  return { nodes, removed };
}

/** How a node is shown. */
export function view(node: TreeNode, now: number): RegistryView {
  const content = node.children === undefined ? { value: node.value ?? "" } : { dir: true };
  return { created: node.created, modified: node.modified, ...content, ...lifetime(node.expires, now) };
}

/** Seconds are rounded up, as etcd does; 0, which it leaves out, once there are none. */
function lifetime(expires: number | undefined, now: number): Pick<RegistryView, "expires" | "ttl"> {
  if (expires === undefined) return {};
  const left = expires - now;
  return { expires, ttl: Math.trunc(left / 1000) + (left % 1000 > 0 ? 1 : 0) };
}

function limited(
  tree: Tree,
  { action, path, node, prev }: Draft,
  index: number,
  limits: StoreLimits,
): V2Error | undefined {
  if (isRemoval({ action })) return undefined;
  if (Buffer.byteLength(path) > limits.path)
    return beyondLimit(`a key has at most ${limits.path} bytes`, index);
  if (parts(path).length > limits.depth) return beyondLimit(`a key has at most ${limits.depth} parts`, index);
  if (node.value !== undefined && Buffer.byteLength(JSON.stringify(node.value)) > limits.value) {
    return beyondLimit(`a value has at most ${limits.value} bytes as JSON`, index);
  }
  const missing = tree.missingParents(path, index);
  const made = prev === undefined ? [...(missing instanceof V2Error ? [] : missing), path] : [];
  if (made.length > 0 && tree.count + made.length > limits.keys) {
    return beyondLimit(`the key space has ${tree.count} keys, and ${limits.keys} at most`, index);
  }
  const more = made.reduce((sum, name) => sum + size(name), 0) + size(node.value) - size(prev?.value);
  if (more > 0 && tree.bytes + more > limits.bytes) {
    return beyondLimit(`the key space has ${tree.bytes} bytes, and ${limits.bytes} at most`, index);
  }
  return undefined;
}
