import { expect, it } from "vitest";
import { SimClock } from "../test/sim/clock.ts";
import { SimEtcd } from "../test/sim/etcd.ts";
import { EtcdUnavailable } from "./etcd.ts";
import { KeyReads } from "./key-reads.ts";

async function storeOf(count: number) {
  const port = new SimEtcd(new SimClock().process()).connect();
  for (let n = 0; n < count; n += 1) await port.txn([], [{ put: `/${n}`, value: String(n) }]);
  return port;
}

it("shares a read among those that asked during the last one, and sees what was written before each asked", async () => {
  const port = await storeOf(150);
  const asked: number[] = [];
  const reads = new KeyReads({
    read: (ranges) => {
      asked.push(ranges.length);
      return port.read(ranges);
    },
  });
  const first = Array.from({ length: 150 }, (_, n) => reads.read(`/${n}`));
  await port.txn([], [{ put: "/7", value: "new" }]);
  const [late, none] = [reads.read("/7"), reads.read("/none")];
  const found = await Promise.all(first);
  expect(found.map((kv) => kv?.value)).toEqual(
    Array.from({ length: 150 }, (_, n) => expect.stringMatching(n === 7 ? /^7$|^new$/ : `^${n}$`)),
  );
  expect((await late)?.value).toBe("new");
  expect(await none).toBeUndefined();
  expect(asked).toEqual([1, 100, 51]);
});

it("tells all that wait that etcd is away, and reads again afterwards", async () => {
  const port = await storeOf(1);
  let away = true;
  const reads = new KeyReads({
    read: (ranges) => (away ? Promise.reject(new EtcdUnavailable("away")) : port.read(ranges)),
  });
  const ends = await Promise.allSettled(Array.from({ length: 300 }, () => reads.read("/0")));
  expect(ends.every(({ status }) => status === "rejected")).toBe(true);
  away = false;
  expect((await reads.read("/0"))?.value).toBe("0");
});
