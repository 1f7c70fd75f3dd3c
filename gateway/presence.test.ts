import { beforeEach, expect, test } from "vitest";
import { EtcdUnavailable, type LeaseSession } from "../coordination/etcd.ts";
import { silentLogger } from "../ports/log.ts";
import { FakeClock, fakeRandom, settle } from "./fake-clock.ts";
import { Presence } from "./presence.ts";

let clock: FakeClock;
let down: boolean;
let asked: number;
let closed: string[];
let lost: number;
let current: AbortController | undefined;
let presence: Presence;

beforeEach(() => {
  clock = new FakeClock();
  [down, asked, closed, lost, current] = [false, 0, [], 0, undefined];
  presence = new Presence({
    etcd: {
      async lease(ttl): Promise<LeaseSession> {
        expect(ttl).toBe(15);
        asked += 1;
        if (down) throw new EtcdUnavailable("down");
        const id = String(asked);
        current = new AbortController();
        return { id, lost: current.signal, close: async () => void closed.push(id) };
      },
    },
    clock,
    random: fakeRandom(),
    log: silentLogger,
    unavailable() {},
    lost: () => {
      expect(presence.lease).toBeUndefined();
      lost += 1;
    },
  });
  presence.start();
});

test("a lost lease is told once, and replaced", async () => {
  await settle();
  expect(presence.lease).toBe("1");
  current?.abort();
  await settle();
  expect(lost).toBe(1);
  expect(presence.lease).toBe("2");
  expect(closed).toEqual(["1"]);
});

test("while etcd is away it is asked with pauses, until it is back", async () => {
  await settle();
  down = true;
  current?.abort();
  await clock.advance(60_000);
  expect(presence.lease).toBeUndefined();
  expect(asked).toBeGreaterThan(8);
  expect(asked).toBeLessThan(30);
  down = false;
  await clock.advance(5000);
  expect(presence.lease).toBeDefined();
  expect(lost).toBe(1);
});

test("stopping revokes the lease and asks for none", async () => {
  await settle();
  await presence.stop();
  expect(closed).toEqual(["1"]);
  current?.abort();
  await clock.advance(60_000);
  expect(asked).toBe(1);
  expect(lost).toBe(0);
  expect(clock.pending).toBe(0);
});
