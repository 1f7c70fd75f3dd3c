/** The store alone: what each verb does, in a table. That etcd answers the same is `differential.real.test.ts`. */
import { describe, expect, it } from "vitest";
import { V2Error } from "./errors.ts";
import {
  type Command,
  changesOf,
  decide,
  defaultStoreLimits,
  expire,
  limitsFor,
  type StoreLimits,
} from "./store.ts";
import { Tree } from "./tree.ts";

const NOW = 1_800_000_000_000;
const plain = {
  dir: false,
  prevValue: "",
  prevIndex: 0n,
  refresh: false,
  prevExist: undefined,
  expires: undefined,
};
const put = (path: string, more: Partial<Extract<Command, { kind: "put" }>> = {}): Command => ({
  ...{ kind: "put", path, value: "v", ...plain, ...more },
});
const del = (path: string, more: Partial<Extract<Command, { kind: "delete" }>> = {}): Command => ({
  ...{ kind: "delete", path, dir: false, recursive: false, prevValue: "", prevIndex: 0n, ...more },
});

class Store {
  readonly tree = new Tree();
  limits: StoreLimits = defaultStoreLimits;
  index = 0;

  do(command: Command, now = NOW) {
    const draft = decide(this.tree, command, this.index, now, this.limits);
    if (draft instanceof V2Error) return `${draft.code} ${draft.reason} @${draft.index}`;
    this.tree.apply({ ...draft, nonce: "", after: "" });
    this.index = draft.index;
    return draft;
  }
}

function filled(): Store {
  const store = new Store();
  store.do(put("/file"));
  store.do(put("/dir/sub/leaf"));
  store.do(put("/empty", { dir: true, value: "" }));
  return store;
}

describe("a command that can't be done", () => {
  it.each<[string, Command, string]>([
    ["below a file", put("/file/x"), "104 /file @3"],
    ["over a directory", put("/dir"), "102 /dir @3"],
    ["of what exists", put("/file", { prevExist: false }), "105 /file @3"],
    ["of what does not", put("/none/x", { prevExist: true }), "100 /none @3"],
    ["with another value", put("/file", { prevValue: "w" }), "101 [w != v] @3"],
    ["with another index", put("/file", { prevIndex: 9n }), "101 [9 != 1] @3"],
    ["with neither", put("/file", { prevValue: "w", prevIndex: 9n }), "101 [w != v] [9 != 1] @3"],
    ["of the root", put("/"), "107 / @3"],
    ["that refreshes nothing", put("/none", { refresh: true, expires: NOW }), "100 /none @3"],
    ["that deletes a directory as a file", del("/empty"), "102 /empty @3"],
    ["that deletes a directory with something in it", del("/dir", { dir: true }), "108 /dir @3"],
    ["that deletes the root", del("/", { recursive: true }), "107 / @3"],
    ["that compares the root", del("/", { prevIndex: 1n }), "102  @3"],
  ])("%s", (_, command, error) => {
    expect(filled().do(command)).toBe(error);
  });
});

it("keeps the index of creation where a node changes, and not where it is set anew", () => {
  const store = filled();
  expect(store.do(put("/file", { prevExist: true, value: "w" }))).toMatchObject({
    ...{ action: "update", node: { created: 1, modified: 4 }, prev: { value: "v", modified: 1 } },
  });
  expect(store.do(put("/file", { prevIndex: 4n, value: "x" }))).toMatchObject({
    ...{ action: "compareAndSwap", node: { created: 1, modified: 5 } },
  });
  expect(store.do(put("/file"))).toMatchObject({
    action: "set",
    node: { created: 6, modified: 6 },
    prev: { created: 1 },
  });
  expect(store.do(put("/file", { dir: true }))).toMatchObject({
    action: "set",
    node: { dir: true },
    prev: { value: "v" },
  });
});

it("names keys in order by the index of their creation", () => {
  const store = filled();
  const post: Command = { kind: "post", path: "/queue", dir: false, value: "v", expires: undefined };
  expect(store.do(post)).toMatchObject({ action: "create", path: "/queue/00000000000000000004" });
  expect(changesOf(new Tree(), []).nodes.size).toBe(0);
});

it("counts what is there, and nothing after all is gone", () => {
  const store = filled();
  expect(store.tree.count).toBe(5);
  for (const path of ["/file", "/dir", "/empty"]) store.do(del(path, { recursive: true }));
  expect([store.tree.count, store.tree.bytes]).toEqual([0, 0]);
});

it("ends what is due, in its order; what lies in a directory that ended goes with it", () => {
  const store = new Store();
  store.do(put("/d", { dir: true, value: "", expires: NOW + 2000 }));
  store.do(put("/d/x", { expires: NOW + 3000 }));
  store.do(put("/a", { expires: NOW + 1000 }));
  store.do(put("/later", { expires: NOW + 3001 }));
  expect(
    expire(store.tree, store.index, NOW + 3000, 10).map(({ path, index }) => `${path} ${index}`),
  ).toEqual(["/a 5", "/d 6"]);
  expect(expire(store.tree, store.index, NOW + 3000, 1)).toHaveLength(1);
});

it("has all of the memory with three others, and with more a share of it", () => {
  expect(limitsFor(4)).toEqual(defaultStoreLimits);
  expect(limitsFor(16)).toEqual({ ...defaultStoreLimits, keys: 5000, bytes: 4 << 20, history: 2 << 20 });
  for (const spaces of [1, 5, 7, 16]) {
    const { keys, bytes, history } = limitsFor(spaces);
    expect([keys <= 80_000 / spaces, (bytes + history) * spaces <= 96 << 20]).toEqual([true, true]);
  }
});

it("counts a text twice that has more than Latin-1, as memory does", () => {
  const store = new Store();
  store.do(put("/a", { value: "é".repeat(100) }));
  expect(store.tree.bytes).toBe(102);
  store.do(put("/a", { value: "я".repeat(100) }));
  expect(store.tree.bytes).toBe(202);
  store.limits = { ...defaultStoreLimits, bytes: 300 };
  expect(store.do(put("/a", { value: "я".repeat(150) }))).toMatch(
    /^209 the key space has 202 bytes, and 300 at most/,
  );
});

it("that has more than it may, since others came beside it, can be changed and emptied", () => {
  const store = filled();
  store.limits = { ...defaultStoreLimits, keys: 2, bytes: 10 };
  expect(store.do(put("/new"))).toMatch(/^209 the key space has 5 keys, and 2 at most/);
  expect(store.do(put("/file", { value: "w" }))).toMatchObject({ action: "set" });
  expect(store.do(del("/file"))).toMatchObject({ action: "delete" });
});
