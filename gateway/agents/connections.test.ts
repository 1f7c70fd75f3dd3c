import { EventEmitter } from "node:events";
import { beforeEach, expect, test } from "vitest";
import { FakeClock } from "../fake-clock.ts";
import { Connections } from "./connections.ts";

class FakeSocket extends EventEmitter {
  readonly remoteAddress: string;
  readonly remotePort: number;
  destroyed = false;

  constructor(address: string, port: number) {
    super();
    this.remoteAddress = address;
    this.remotePort = port;
  }

  destroy(): void {
    if (this.destroyed) return;
    this.destroyed = true;
    this.emit("close");
  }
}

const limits = { maxConnections: 8, strangersPerNetwork: 3, sessionWithin: 1000 };
let clock: FakeClock;
let connections: Connections;
let turnedAway: string[];
let port = 0;
beforeEach(() => {
  clock = new FakeClock();
  turnedAway = [];
  connections = new Connections(clock, limits, (reason) => turnedAway.push(reason));
});

/** Connections of `address` that were taken, of `count` that were tried. */
function dial(address: string, count: number): FakeSocket[] {
  const sockets = Array.from({ length: count }, () => new FakeSocket(address, ++port));
  return sockets.filter((socket) => connections.accept(socket));
}

const peerOf = ({ remoteAddress, remotePort }: FakeSocket): string => `${remoteAddress}:${remotePort}`;

test("a network without credentials takes its own share, and keeps out no other", () => {
  expect(dial("10.0.0.1", 20)).toHaveLength(3);
  expect(dial("2001:db8::1", 1)).toHaveLength(1);
  expect(dial("2001:db8::2", 20)).toHaveLength(2);
  expect(dial("10.0.0.2", 1)).toHaveLength(1);
  expect(new Set(turnedAway)).toEqual(new Set(["Network"]));
});

test("a peer that calls and is refused has the same deadline as one that says nothing", async () => {
  const [socket] = dial("10.0.0.1", 3);
  await clock.advance(1000);
  expect(socket?.destroyed).toBe(true);
  expect(connections.size).toBe(0);
  expect(turnedAway).toEqual(["Silent", "Silent", "Silent"]);
  expect(dial("10.0.0.1", 3)).toHaveLength(3);
});

test("agents behind one address come in while their sessions live, and are strangers again after", async () => {
  const agents: FakeSocket[] = [];
  const ends: (() => void)[] = [];
  for (let n = 0; n < 6; n++) {
    for (const socket of dial("10.0.0.1", 1)) {
      agents.push(socket);
      ends.push(connections.hold(peerOf(socket)));
    }
  }
  expect(agents).toHaveLength(6);
  await clock.advance(60_000);
  expect(connections.size).toBe(6);
  expect(dial("10.0.0.1", 9)).toHaveLength(2);
  expect(turnedAway).toContain("Connections");
  for (const end of [...ends, ...ends]) end();
  await clock.advance(1000);
  expect(connections.size).toBe(0);
  expect(clock.pending).toBe(0);
});

test("of two sessions on one connection the last one counts, and none once it is closed", async () => {
  const [socket] = dial("10.0.0.1", 1);
  if (socket === undefined) throw new Error("refused");
  const ends = [connections.hold(peerOf(socket)), connections.hold(peerOf(socket))];
  ends[0]?.();
  await clock.advance(5000);
  expect(socket.destroyed).toBe(false);
  connections.cut(peerOf(socket));
  expect(connections.size).toBe(0);
  ends[1]?.();
  expect(clock.pending).toBe(0);
  expect(dial("10.0.0.1", 9)).toHaveLength(3);
  expect(connections.hold("10.9.9.9:1")).not.toThrow();
  connections.cutAll();
  expect(connections.size).toBe(0);
});
