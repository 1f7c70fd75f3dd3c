/** The nodes of a key space as a tree in memory. Only events change it. */
import type { RegistryEvent, RegistryNode } from "../../coordination/registry.ts";
import { V2Error } from "./errors.ts";

const LATIN_1 = /^[\0-\xff]*$/;

export interface TreeNode {
  /** `/` for the root; else no slash at the end. */
  readonly path: string;
  created: number;
  modified: number;
  /** Wall clock, ms. */
  expires: number | undefined;
  /** Of a file. */
  value: string | undefined;
  /** Of a directory. */
  children: Map<string, TreeNode> | undefined;
}

export class Tree {
  readonly root: TreeNode = {
    ...{ path: "/", created: 0, modified: 0, expires: undefined, value: undefined, children: new Map() },
  };
  readonly #mortal = new Set<TreeNode>();
  /** Of all the mortal; undefined after one came or went. */
  #next: number | undefined;
  #count = 0;
  #bytes = 0;

  /** Nodes below the root. */
  get count(): number {
    return this.#count;
  }

  /** Of paths and values, in memory. */
  get bytes(): number {
    return this.#bytes;
  }

  /** When the next node ends, wall clock in ms. */
  get nextExpiry(): number | undefined {
    if (this.#next === undefined) {
      this.#next = Number.POSITIVE_INFINITY;
      for (const { expires = this.#next } of this.#mortal) this.#next = Math.min(this.#next, expires);
    }
    return Number.isFinite(this.#next) ? this.#next : undefined;
  }

  /** Those whose time is over, in its order; of the same moment the older first. */
  due(now: number): TreeNode[] {
    const due = [...this.#mortal].filter(({ expires }) => expires !== undefined && expires <= now);
    return due.toSorted((a, b) => (a.expires ?? 0) - (b.expires ?? 0) || a.created - b.created);
  }

  /** The node, or the error that etcd gives: of the first part that is missing, or is no directory. */
  find(path: string, index: number): TreeNode | V2Error {
    let at = this.root;
    for (const name of parts(path)) {
      if (at.children === undefined) return new V2Error(104, at.path, index);
      const child = at.children.get(name);
      if (child === undefined) return new V2Error(100, join(at.path, name), index);
      at = child;
    }
    return at;
  }

  /** Directories on the way to `path` that an event would make; the error where a file is in the way. */
  missingParents(path: string, index: number): string[] | V2Error {
    const names = parts(path).slice(0, -1);
    let at: TreeNode | undefined = this.root;
    let walked = "/";
    const missing: string[] = [];
    for (const name of names) {
      walked = join(walked, name);
      at = at?.children?.get(name);
      if (at === undefined) missing.push(walked);
      else if (at.children === undefined) return new V2Error(104, at.path, index);
    }
    return missing;
  }

  /** Paths of the node and of everything below, those below first. */
  under(node: TreeNode): string[] {
    const below = [...(node.children?.values() ?? [])].flatMap((child) => this.under(child));
    return [...below, node.path];
  }

  /** Puts a node as it was stored; directories that are missing are made with its index. */
  put(path: string, { created, modified, expires, value }: RegistryNode): void {
    const names = parts(path);
    const name = names.pop();
    if (name === undefined) return;
    let at = this.root;
    for (const between of names) {
      const next = at.children?.get(between) ?? this.#add(at, between, created);
      at = next;
    }
    const node = at.children?.get(name) ?? this.#add(at, name, created);
    this.#bytes += size(value) - size(node.value);
    node.created = created;
    node.modified = modified;
    node.expires = expires;
    node.value = value;
    node.children = value === undefined ? (node.children ?? new Map()) : undefined;
    if (expires !== undefined) this.#mortal.add(node);
    else if (!this.#mortal.delete(node)) return;
    this.#next = undefined;
  }

  /** Does what an event says. */
  apply(event: RegistryEvent): void {
    if (isRemoval(event)) this.#remove(event.path);
    else this.put(event.path, stored(event));
  }

  #add(parent: TreeNode, name: string, index: number): TreeNode {
    const path = join(parent.path, name);
    const node: TreeNode = {
      ...{ path, created: index, modified: index, expires: undefined, value: undefined, children: new Map() },
    };
    parent.children ??= new Map();
    parent.children.set(name, node);
    this.#count += 1;
    this.#bytes += size(path);
    return node;
  }

  #remove(path: string): void {
    const node = this.find(path, 0);
    const parent = this.find(parentOf(path), 0);
    if (node instanceof V2Error || parent instanceof V2Error) return;
    parent.children?.delete(path.slice(path.lastIndexOf("/") + 1));
    const forget = (gone: TreeNode): void => {
      this.#count -= 1;
      this.#bytes -= size(gone.path) + size(gone.value);
      if (this.#mortal.delete(gone)) this.#next = undefined;
      for (const child of gone.children?.values() ?? []) forget(child);
    };
    forget(node);
  }
}

/** Whether the event took a node away. */
export function isRemoval({ action }: Pick<RegistryEvent, "action">): boolean {
  return action === "delete" || action === "compareAndDelete" || action === "expire";
}

/** The node that an event leaves. A directory whose time to live is updated keeps its index, as in etcd, though the event has a new one. */
export function stored({
  action,
  node,
  prev,
}: Pick<RegistryEvent, "action" | "node" | "prev">): RegistryNode {
  const { created, value, expires } = node;
  const kept = action === "update" && node.dir === true;
  return { created, modified: kept ? (prev?.modified ?? node.modified) : node.modified, value, expires };
}

/** The names in a path, from the root. */
export function parts(path: string): string[] {
  return path.split("/").filter((name) => name !== "");
}

/** The path of `name` in a directory. */
export function join(directory: string, name: string): string {
  return directory === "/" ? `/${name}` : `${directory}/${name}`;
}

function parentOf(path: string): string {
  return path.slice(0, path.lastIndexOf("/")) || "/";
}

/** Bytes that a text takes in memory: one for each character, two where one of them is not of Latin-1. */
export function size(text: string | undefined): number {
  if (text === undefined) return 0;
  return LATIN_1.test(text) ? text.length : 2 * text.length;
}
