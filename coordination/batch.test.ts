import { beforeEach, describe, expect, it } from "vitest";
import { SimClock } from "../test/sim/clock.ts";
import { SimEtcd } from "../test/sim/etcd.ts";
import { Batch } from "./batch.ts";
import type { Compare, EtcdPort, KeyValue, Range } from "./etcd.ts";
import { unchanged } from "./transact.ts";

let port: EtcdPort;
let batch: Batch;
beforeEach(async () => {
  port = new SimEtcd(new SimClock().process()).connect();
  await port.txn([], [{ put: "/a", value: "1" }]);
  await port.txn([], [{ put: "/p/2", value: "2" }]);
  batch = new Batch(port, () => false);
});

const read = async (range: Range): Promise<KeyValue[]> => (await batch.read([range])).results[0] ?? [];
const values = async (range: Range): Promise<string[]> => (await read(range)).map(({ value }) => value);

/** Stages a change of `key` that compares what was read. */
async function stage(key: string, value?: string): Promise<boolean> {
  const [found] = await read({ key });
  return batch.stage([unchanged(key, found)], [value === undefined ? { delete: key } : { put: key, value }]);
}

describe("a batch", () => {
  it.each([true, false])("reads what is staged, in order; the range was read before: %s", async (before) => {
    if (before) expect(await values({ prefix: "/p/" })).toEqual(["2"]);
    for (const [key, value] of [
      ["/p/3", "3"],
      ["/p/1", "1"],
      ["/p/2", undefined],
      ["/p/3", "4"],
    ] as const)
      expect(await stage(key, value)).toBe(true);
    expect(await values({ prefix: "/p/" })).toEqual(["1", "4"]);
    expect(await values({ key: "/p/2" })).toEqual([]);
    expect(await values({ key: "/p/3" })).toEqual(["4"]);
    expect(await port.txn(batch.compares, batch.operations)).toMatchObject({ outcome: "committed" });
    const after = (await port.read([{ prefix: "/p/" }])).results[0] ?? [];
    expect(after.map(({ value }) => value)).toEqual(["1", "4"]);
  });

  it.each(["/a", "/p/"])(
    "reads in one call what is of one revision, whatever of it was read before: %s",
    async (before) => {
      await batch.read([before === "/a" ? { key: before } : { prefix: before }]);
      await port.txn(
        [],
        [
          { put: "/a", value: "2" },
          { put: "/p/3", value: "3" },
        ],
      );
      const both = [{ key: "/a" }, { prefix: "/p/" }] as const;
      const { results } = await batch.read(both);
      expect(results.map((kvs) => kvs.map(({ value }) => value))).toEqual([["2"], ["2", "3"]]);
    },
  );

  it("trusts no holders that are older than the count that a change before rests on", async () => {
    await batch.read([{ prefix: "/p/" }]);
    await port.txn(
      [],
      [
        { put: "/a", value: "2" },
        { put: "/p/3", value: "3" },
      ],
    );
    expect(await stage("/a", "3")).toBe(true);
    const { results } = await batch.read([{ key: "/a" }, { prefix: "/p/" }]);
    expect(results.map((kvs) => kvs.map(({ value }) => value))).toEqual([["3"], ["2", "3"]]);
    expect(await port.txn(batch.compares, batch.operations)).toMatchObject({ outcome: "committed" });
  });

  it("holds only while all of it is as it was read", async () => {
    await stage("/a", "2");
    await stage("/p/2", "3");
    await port.txn([], [{ put: "/p/2", value: "by another" }]);
    expect(await port.txn(batch.compares, batch.operations)).toEqual({ outcome: "refused" });
  });

  it("makes nothing anew that it ends, nor the other way round: the key would be the same to etcd", async () => {
    expect(await stage("/a")).toBe(true);
    expect(await stage("/a", "2")).toBe(false);
    expect(await stage("/a")).toBe(false);
    expect(await stage("/p/2", "3")).toBe(true);
    expect(await stage("/p/2")).toBe(false);
    expect(batch.operations).toEqual([{ delete: "/a" }, { put: "/p/2", value: "3" }]);
  });

  it("takes no compare with a staged key for granted whose own revision nobody compared, or that does not hold", async () => {
    expect(batch.stage([], [{ put: "/a", value: "2" }])).toBe(true);
    const [kv] = await read({ key: "/a" });
    expect(batch.stage([unchanged("/a", kv)], [{ put: "/b", value: "" }])).toBe(false);
    expect(await stage("/p/2", "3")).toBe(true);
    const rest: Compare[] = [
      { key: "/p/2", target: "value", is: "equal", value: "2" },
      { key: "/p/2", target: "create", is: "equal", revision: 0 },
      unchanged("/p/2", undefined),
    ];
    for (const compare of rest) expect(batch.stage([compare], [{ put: "/b", value: "" }])).toBe(false);
    expect(batch.operations).toHaveLength(2);
  });

  it("has as much room as a transaction", async () => {
    const puts = (first: number, count: number) =>
      Array.from({ length: count }, (_, i) => ({ put: `/n/${first + i}`, value: "" }));
    expect(batch.stage([], puts(0, 100))).toBe(true);
    expect(batch.stage([], puts(100, 29))).toBe(false);
    expect(batch.stage([], puts(72, 56))).toBe(true);
    const compares = Array.from({ length: 129 }, (_, i) => unchanged(`/c/${i}`, undefined));
    expect(batch.stage(compares, [])).toBe(false);
    expect(batch.stage(compares.slice(1), [])).toBe(true);
    expect(await port.txn(batch.compares, batch.operations)).toMatchObject({ outcome: "committed" });
  });
});
