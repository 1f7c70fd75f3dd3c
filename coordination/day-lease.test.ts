import { expect, it } from "vitest";
import { SimClock } from "../test/sim/clock.ts";
import { DAY, DayLease } from "./day-lease.ts";
import { EtcdUnavailable } from "./etcd.ts";
import { AlwaysRefused } from "./transact.ts";

const setup = () => {
  const sim = new SimClock();
  const asked: number[] = [];
  const etcd = { leaseOnce: (seconds: number) => Promise.resolve(String(asked.push(seconds))) };
  return { sim, asked, lease: new DayLease({ etcd: etcd as never, clock: sim.process() }, 30) };
};
const use = (lease: DayLease, error?: Error) =>
  lease.use((id) => (error === undefined ? Promise.resolve(id) : Promise.reject(error))).catch(() => "");

it("is one a day", async () => {
  const { sim, asked, lease } = setup();
  expect([await use(lease), await use(lease)]).toEqual(["1", "1"]);
  sim.at(DAY, () => {});
  sim.step();
  expect(await use(lease)).toBe("2");
  expect(asked).toHaveLength(2);
});

it("is another one where it may be gone, and not for each time that etcd gives no answer", async () => {
  const { lease } = setup();
  for (let n = 0; n < 3; n++) await use(lease, new EtcdUnavailable("away"));
  expect(await use(lease)).toBe("1");
  await use(lease, new AlwaysRefused("refused"));
  expect(await use(lease)).toBe("2");
});
