import { expect, test } from "vitest";
import { FakeClock } from "../fake-clock.ts";
import { AddressBuckets, networkOf } from "./address-buckets.ts";

test.each([
  ["10.0.0.1:4000", "10.0.0.1"],
  ["::ffff:10.0.0.1:4000", "10.0.0.1"],
  ["2001:db8:1:2:3:4:5:6:4000", "2001:db8:1:2::/64"],
  ["2001:DB8:1:2::6:4000", "2001:db8:1:2::/64"],
  ["2001:db8::6:4000", "2001:db8:0:0::/64"],
  ["::1:4000", "0:0:0:0::/64"],
  ["fe80::1%eth0:4000", "fe80:0:0:0::/64"],
  ["undefined:undefined", "undefined"],
])("%s is of %s", (peer, network) => {
  expect(networkOf(peer)).toBe(network);
});

test("an address that asks too often keeps no other one out", async () => {
  const clock = new FakeClock();
  const buckets = new AddressBuckets(clock, { perSecond: 2, burst: 3 });
  const passed = (address: string): number =>
    Array.from({ length: 10 }, (_, port) => buckets.take(`${address}:${port}`)).filter(Boolean).length;
  expect(passed("10.0.0.1")).toBe(3);
  expect(passed("10.0.0.1")).toBe(0);
  expect(passed("10.0.0.2")).toBe(3);
  await clock.advance(1000);
  expect(passed("10.0.0.1")).toBe(2);
});

test("however many addresses ask, so many are remembered, and the busiest longest", () => {
  const buckets = new AddressBuckets(new FakeClock(), { perSecond: 1, burst: 1 });
  for (let i = 0; i < 5000; i++) {
    buckets.take(`10.0.${i >> 8}.${i & 255}:1`);
    if (i > 0) expect(buckets.take("192.0.2.1:1")).toBe(i === 1);
  }
  expect(buckets.size).toBe(1024);
});
