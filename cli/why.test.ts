/** Names that mean nothing, or several machines: what a person is told. */
import { expect, test } from "vitest";
import type { ListedMachine, Story } from "../console/contract.ts";
import { operations } from "../console/operations.ts";
import { NotThere, type Read } from "./console-api.ts";
import { findForeign } from "./console-machine.ts";
import { recorded } from "./explain/cases.ts";
import { unknownName } from "./why.ts";

const { snapshot } = recorded("window-closed");

/** A console that knows these machines, each of them by its uid, and lists two a page. */
function consoleOf(machines: readonly { uid: string; name: string; kind?: string }[]): {
  read: Read;
  asked: string[];
} {
  const asked: string[] = [];
  const all = machines.map((machine) => ({ kind: "foreign", group: "tills", ...machine }));
  const read = async (
    operation: { path: string },
    query: Record<string, string | number | undefined>,
    uid = "",
  ) => {
    asked.push(uid === "" ? `${String(query["search"])} from ${String(query["continue"] ?? 0)}` : uid);
    if (operation.path === operations.readMachine.path) {
      const machine = all.find((one) => one.uid === uid);
      if (machine === undefined) throw new NotThere("the console says: There is no such machine");
      return { machine } as Story;
    }
    const found = all.filter(({ name }) => name.includes(String(query["search"])));
    const from = Number(query["continue"] ?? 0);
    const next = from + 2 < found.length ? { continue: String(from + 2) } : {};
    return { items: found.slice(from, from + 2) as ListedMachine[], total: found.length, ...next };
  };
  return { read: read as unknown as Read, asked };
}

const A = "a".repeat(32);

test("a machine is found by its id, whatever others call themselves, and else by its alias", async () => {
  const { read, asked } = consoleOf([
    ...[1, 2, 3].map((n) => ({ uid: `foreign/pos-${n}`, name: `till-${n}0` })),
    { uid: "foreign/pos-9", name: "till-1" },
    { uid: A, name: "till-2" },
    { uid: "foreign/liar", name: A },
  ]);
  const uidOf = async (name: string): Promise<string | undefined> => {
    const found = await findForeign(read, name);
    return found.is === "found" ? found.story.machine.uid : undefined;
  };
  expect(await uidOf(A)).toBe(A);
  expect(asked).toEqual([A]);
  expect(await uidOf("pos-9")).toBe("foreign/pos-9");
  expect(await uidOf("till-1")).toBe("foreign/pos-9");
  expect(await findForeign(read, "till")).toEqual({
    ...{ is: "none", whole: true },
    near: ["till-10", "till-20", "till-30", "till-1", "till-2"],
  });
});

test("who has our agent is no machine without it, and nobody is asked for what no name can be", async () => {
  const { read, asked } = consoleOf([{ uid: A, name: "node-01", kind: "node" }]);
  expect(await findForeign(read, A)).toMatchObject({ is: "none" });
  asked.length = 0;
  for (const name of ["", "x".repeat(254)])
    expect(await findForeign(read, name)).toMatchObject({ is: "none" });
  expect(asked).toEqual([]);
});

test("several that call themselves so are named by their ids", async () => {
  const { read } = consoleOf(["b", "c", "d"].map((uid) => ({ uid: `foreign/${uid}`, name: "till" })));
  const found = await findForeign(read, "till");
  if (found.is === "found") throw new Error("one of them was taken");
  expect(unknownName(snapshot, "till", found)).toBe(
    "there is no Node, NodeUpdate or machine id till, and 3 machines without our agent call themselves so: give the machine id of one, b (group tills), c (group tills) and d (group tills)",
  );
});

test.each([
  [
    "node-0",
    undefined,
    "there is no Node, NodeUpdate or machine id node-0: did you mean node-01, node-02, node-03?",
  ],
  [
    "x",
    { missing: "the console does not know the token: give another one by --token" },
    "there is no Node, NodeUpdate or machine id x (`kubectl get nodes,nodeupdates` lists what there is); whether a machine without our agent is called so is not known, because the console does not know the token: give another one by --token",
  ],
  [
    "x",
    { is: "none", near: [], whole: true } as const,
    "there is no Node, NodeUpdate or machine id x, and no machine without our agent is called so: `kubectl get nodes,nodeupdates` or `kubectl slipway machines` lists what there is",
  ],
  [
    "x\u001B[2K",
    { is: "none", near: ["till\n7"], whole: false } as const,
    "there is no Node, NodeUpdate or machine id x\uFFFD[2K, and no machine without our agent is called so: did you mean till 7?; more are alike than were looked through: give its machine id",
  ],
])("%j is nobody's name", (name, console, sentence) => {
  expect(unknownName(snapshot, name, console)).toBe(sentence);
});
