/**
 * What every implementation of the etcd port must do: run against the real one and the
 * simulated one. A factory gives each test a port and a prefix that nobody else uses.
 */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type Change, type EtcdPort, type KeyValue, MAX_OPERATIONS, type TxnResult } from "./etcd.ts";

export interface EtcdUnderTest {
  port: EtcdPort;
  /** Another client of the same etcd. */
  other: EtcdPort;
  prefix: string;
  /** Lets time pass until `holds`, or fails. */
  until(holds: () => boolean | Promise<boolean>): Promise<void>;
  close(): Promise<void>;
}

export function etcdSuite(name: string, create: () => Promise<EtcdUnderTest>): void {
  describe(name, () => {
    let under: EtcdUnderTest;
    let port: EtcdPort;
    let at: (key: string) => string;

    beforeEach(async () => {
      under = await create();
      port = under.port;
      at = (key) => under.prefix + key;
    });
    afterEach(() => under.close());

    async function put(key: string, value: string, lease?: string): Promise<number> {
      return revisionOf(await port.txn([], [{ put: at(key), value, lease }]));
    }

    async function get(key: string, from: EtcdPort = port): Promise<KeyValue | undefined> {
      return (await from.read([{ key: at(key) }])).results[0]?.[0];
    }

    it("reads nothing as nothing, at a revision", async () => {
      const { revision, results } = await port.read([{ key: at("a") }, { prefix: at("") }]);
      expect(results).toEqual([[], []]);
      expect(revision).toBeGreaterThan(0);
    });

    it("gives a written key its create and mod revision", async () => {
      const first = await put("a", "1");
      const second = await put("a", "zwei ✓");
      expect(await get("a")).toEqual({
        key: at("a"),
        value: "zwei ✓",
        createRevision: first,
        modRevision: second,
        lease: undefined,
      });
      expect(second).toBeGreaterThan(first);
      await port.txn([], [{ delete: at("a") }]);
      const third = await put("a", "3");
      expect((await get("a"))?.createRevision).toBe(third);
    });

    it("reads several ranges at one revision, keys ascending", async () => {
      const revision = await put("b/2", "x");
      await port.txn(
        [],
        [
          { put: at("b/1"), value: "y" },
          { put: at("c"), value: "z" },
        ],
      );
      const read = await port.read([{ prefix: at("b/") }, { key: at("c") }, { key: at("d") }]);
      expect(read.revision).toBeGreaterThan(revision);
      expect(read.results.map((kvs) => kvs.map((kv) => kv.key.slice(under.prefix.length)))).toEqual([
        ["b/1", "b/2"],
        ["c"],
        [],
      ]);
      expect((await port.read([])).results).toEqual([]);
    });

    it("reads a prefix in pages, each after the last key of the one before", async () => {
      for (const key of ["p/1", "p/10", "p/2", "p/3"]) await put(key, key);
      const page = async (after?: string) => {
        const range = { prefix: at("p/"), limit: 2, ...(after === undefined ? {} : { after: at(after) }) };
        const { results } = await port.read([range]);
        return results[0]?.map((kv) => kv.value);
      };
      expect(await page()).toEqual(["p/1", "p/10"]);
      expect(await page("p/10")).toEqual(["p/2", "p/3"]);
      expect(await page("p/1")).toEqual(["p/10", "p/2"]);
      expect(await page("p/3")).toEqual([]);
    });

    it("commits all operations of a transaction at one revision", async () => {
      await put("old/1", "x");
      await put("old/2", "x");
      await put("gone", "x");
      const revision = revisionOf(
        await port.txn(
          [],
          [
            { put: at("n/1"), value: "1" },
            { put: at("n/2"), value: "2" },
            { delete: at("gone") },
            { deletePrefix: at("old/") },
          ],
        ),
      );
      const { results } = await port.read([{ prefix: at("") }]);
      expect(results[0]?.map((kv) => [kv.value, kv.modRevision])).toEqual([
        ["1", revision],
        ["2", revision],
      ]);
    });

    it("refuses on each kind of compare, and then changes nothing", async () => {
      const revision = await put("a", "1");
      const key = at("a");
      for (const compare of [
        { key, target: "mod", is: "equal", revision: revision - 1 },
        { key, target: "mod", is: "greater", revision },
        { key, target: "mod", is: "less", revision },
        { key, target: "create", is: "equal", revision: 0 },
        { key, target: "value", is: "equal", value: "2" },
        { key: at("none"), target: "mod", is: "equal", revision },
        { key: at("none"), target: "value", is: "equal", value: "" },
      ] as const) {
        expect(await port.txn([compare], [{ put: key, value: "2" }])).toEqual({ outcome: "refused" });
      }
      expect(await get("a")).toMatchObject({ value: "1", modRevision: revision });
    });

    it("commits where every compare holds", async () => {
      const revision = await put("a", "1");
      const key = at("a");
      const result = await port.txn(
        [
          { key, target: "mod", is: "equal", revision },
          { key, target: "create", is: "greater", revision: revision - 1 },
          { key, target: "mod", is: "less", revision: revision + 1 },
          { key, target: "value", is: "equal", value: "1" },
          { key: at("none"), target: "mod", is: "equal", revision: 0 },
          { key: at("none"), target: "create", is: "equal", revision: 0 },
        ],
        [{ put: key, value: "2" }],
      );
      expect(result.outcome).toBe("committed");
      expect(await get("a", under.other)).toMatchObject({ value: "2" });
    });

    it("lets exactly one of many racing transactions win", async () => {
      const key = at("race");
      const results = await Promise.all(
        Array.from({ length: 20 }, (_, i) =>
          (i % 2 ? port : under.other).txn(
            [{ key, target: "create", is: "equal", revision: 0 }],
            [{ put: key, value: String(i) }],
          ),
        ),
      );
      expect(results.filter((result) => result.outcome === "committed")).toHaveLength(1);
      expect(results.filter((result) => result.outcome === "refused")).toHaveLength(19);
    });

    it("throws for a transaction that can never be", async () => {
      const twice = [
        { put: at("a"), value: "1" },
        { put: at("a"), value: "2" },
      ];
      await expect(port.txn([], twice)).rejects.toThrow(/duplicate/);
      const many = Array.from({ length: MAX_OPERATIONS + 1 }, (_, i) => ({ put: at(`m${i}`), value: "" }));
      await expect(port.txn([], many)).rejects.toThrow(RangeError);
      expect((await port.txn([], many.slice(1))).outcome).toBe("committed");
    });

    it("keeps a key as long as its lease session lives, and no longer", async () => {
      const session = await port.lease(2);
      await put("present", "x", session.id);
      expect((await get("present"))?.lease).toBe(session.id);
      const once = await port.leaseOnce(4);
      await put("clock", "x", once);
      await under.until(async () => (await get("clock")) === undefined);
      expect(await get("present")).toBeDefined();
      expect(session.lost.aborted).toBe(false);
      await session.close();
      await under.until(async () => (await get("present")) === undefined);
    });

    it("tells a session whose lease is gone that it is lost", async () => {
      const session = await port.lease(2);
      // Nothing in the port revokes another's lease: its owner's end does.
      const same = await port.lease(2);
      await put("p", "x", session.id);
      await same.close();
      expect(session.lost.aborted).toBe(false);
      await port.close();
      expect(session.lost.aborted).toBe(true);
      await under.until(async () => (await get("p", under.other)) === undefined);
    });

    it("refuses a key on a lease that does not exist", async () => {
      const result = await port.txn([], [{ put: at("a"), value: "1", lease: "4611686018427387905" }]);
      expect(result).toEqual({ outcome: "refused" });
      expect(await get("a")).toBeUndefined();
    });

    it("hints once connected, and after each change below the prefix", async () => {
      let hints = 0;
      const watch = port.watch(at("w/"), () => hints++);
      await under.until(() => hints > 0);
      for (let change = 0; change < 5; change++) {
        const before = hints;
        await under.other.txn([], [{ put: at(`w/${change}`), value: "x" }]);
        await under.until(() => hints > before);
      }
      const before = hints;
      await under.other.txn([], [{ deletePrefix: at("w/") }]);
      await under.until(() => hints > before);
      watch.close();
      watch.close();
    });

    it("forgets the past and keeps the present, for readers and watches alike", async () => {
      let hints = 0;
      port.watch(at("w/"), () => hints++);
      await under.until(() => hints > 0);
      await put("w/a", "1");
      const created = (await get("w/a"))?.createRevision;
      const revision = await put("w/a", "2");
      await port.compact(revision);
      // Done already, done further, and not possible yet: none is an error.
      await under.other.compact(revision);
      await port.compact(revision - 1);
      await port.compact(revision + 1_000_000);
      expect(await get("w/a")).toMatchObject({ value: "2", createRevision: created, modRevision: revision });
      const before = hints;
      const key = at("w/a");
      const compares = [{ key, target: "mod", is: "equal", revision } as const];
      expect((await under.other.txn(compares, [{ put: key, value: "3" }])).outcome).toBe("committed");
      await under.until(() => hints > before);
      expect((await get("w/a"))?.createRevision).toBe(created);
    });

    it("tells each change under a prefix after a revision, and how far that is", async () => {
      const first = await put("f/a", "1");
      const told: Change[] = [];
      let reached = 0;
      const follow = port.follow(at("f/"), first, {
        changed: (changes) => told.push(...changes),
        reached: (revision) => (reached = revision),
        lost: () => told.push({ key: "lost", revision: 0, value: undefined }),
      });
      const second = await put("f/a", "2");
      await put("other", "x");
      const third = revisionOf(
        await under.other.txn([], [{ put: at("f/b"), value: "3" }, { delete: at("f/a") }]),
      );
      const fourth = await put("other", "y");
      await under.until(() => {
        follow.ask();
        return reached >= fourth;
      });
      expect(told[0]).toEqual({ key: at("f/a"), revision: second, value: "2" });
      expect(told.slice(1).toSorted((a, b) => (a.key < b.key ? -1 : 1))).toEqual([
        { key: at("f/a"), revision: third, value: undefined },
        { key: at("f/b"), revision: third, value: "3" },
      ]);
      follow.close();
      follow.close();
      await put("f/a", "5");
      expect((await get("f/a"))?.value).toBe("5");
      expect(told).toHaveLength(3);
    });

    it("says so where the changes to be told are forgotten", async () => {
      const first = await put("f/a", "1");
      await put("f/a", "2");
      await port.compact(await put("f/a", "3"));
      let lost = 0;
      port.follow(at("f/"), first, { changed: () => {}, reached: () => {}, lost: () => lost++ });
      await under.until(() => lost > 0);
      expect(lost).toBe(1);
    });

    it("hints no more after close", async () => {
      let hints = 0;
      let others = 0;
      const watch = port.watch(at(""), () => hints++);
      await under.until(() => hints > 0);
      watch.close();
      const after = hints;
      const sentinel = under.other.watch(at(""), () => others++);
      await under.until(() => others > 0);
      const seen = others;
      await put("a", "1");
      await under.until(() => others > seen);
      expect(hints).toBe(after);
      sentinel.close();
    });
  });
}

function revisionOf(result: TxnResult): number {
  if (result.outcome !== "committed") throw new Error(`the transaction is ${result.outcome}`);
  return result.revision;
}
