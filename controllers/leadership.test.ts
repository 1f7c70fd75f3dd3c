import { describe, expect, test } from "vitest";
import { timestamp } from "../api/meta.ts";
import type { GrantStatus, NodeUpdate } from "../api/node-update.ts";
import { silentLogger } from "../ports/log.ts";
import type { KubeClient } from "../runtime/client.ts";
import type { Tenure } from "../runtime/leader-election.ts";
import { LedRoom } from "../test/slots/led-room.ts";
import { NOW, nodeUpdate } from "./fixtures.ts";
import { FleetLeadership, knownMachines, lostBecause, rebuiltGrants } from "./leadership.ts";

const known = { incarnation: "first", revision: 50, pulse: 40 };
const unknown = { incarnation: undefined, revision: 0, pulse: 0 };

function holding(grant: Partial<GrantStatus>): NodeUpdate {
  const complete: GrantStatus = {
    nonce: "n",
    budgets: ["group/pool"],
    phase: "Granted",
    since: "2026-11-23T03:00:00Z",
    ...grant,
  };
  return nodeUpdate("a", "pool", "os-1.1.0", { grant: complete });
}

test("a first start is none of the losses", () => {
  expect(
    lostBecause({ epoch: 0, incarnation: undefined, revision: 1, pulse: 0 }, unknown, []),
  ).toBeUndefined();
  expect(
    lostBecause({ epoch: 3, incarnation: "first", revision: 90, pulse: 45 }, unknown, []),
  ).toBeUndefined();
});

test("the same data, further on, is no loss", () => {
  expect(lostBecause({ epoch: 3, incarnation: "first", revision: 50, pulse: 45 }, known, [])).toBeUndefined();
});

test.each([
  ["empty", { epoch: 0, incarnation: undefined, revision: 1, pulse: 0 }, known, []],
  [
    "empty, and the Lease too",
    { epoch: 0, incarnation: undefined, revision: 1, pulse: 0 },
    unknown,
    [holding({})],
  ],
  ["another", { epoch: 1, incarnation: "second", revision: 90, pulse: 45 }, known, []],
  [
    "another, and the Lease is gone",
    { epoch: 1, incarnation: "second", revision: 90, pulse: 45 },
    unknown,
    [holding({ incarnation: "first", revision: 4 })],
  ],
  ["older than the Lease says", { epoch: 2, incarnation: "first", revision: 49, pulse: 45 }, known, []],
  [
    "older than a grant",
    { epoch: 2, incarnation: "first", revision: 60, pulse: 45 },
    known,
    [holding({ incarnation: "first", revision: 61 })],
  ],
  ["older, and written to since", { epoch: 2, incarnation: "first", revision: 90, pulse: 39 }, known, []],
  ["half rebuilt", { epoch: 2, incarnation: "rebuilding:x", revision: 90, pulse: 45 }, known, []],
])("holders are rebuilt where etcd's data is %s", (_what, found, memory, nodeUpdates) => {
  expect(lostBecause(found, memory, nodeUpdates)).toMatch(/\.$/);
});

test("what may have committed is rebuilt as committed, what can't have is not", () => {
  const phases = (["Granting", "Granted", "Drained", "Committed", "Returned"] as const).map(
    (phase) => rebuiltGrants([holding({ phase })])[0]?.phase,
  );
  expect(phases).toEqual(["Granted", "Granted", "Committed", "Committed", "Returned"]);
});

test("a rebuilt grant knows the token that its agent still has", () => {
  expect(rebuiltGrants([holding({ incarnation: "first", revision: 4 })])[0]?.supersedes).toEqual({
    incarnation: "first",
    revision: 4,
  });
  expect(rebuiltGrants([holding({})])[0]?.supersedes).toBeNull();
});

describe("plain machines", () => {
  const machine = nodeUpdate("machine-m1", "edge", undefined);
  machine.spec = {
    group: "edge",
    machineRef: { machineId: "m1", labels: { zone: "a" }, joinedAt: timestamp(NOW) },
  };

  /** A manager is elected over the Lease that `lease` stands for. */
  async function elect(led: LedRoom, lease: Record<string, string>): Promise<void> {
    const client = { list: async () => ({ items: [machine] }) } as unknown as KubeClient;
    const leadership = new FleetLeadership({ client, coordination: led.room, log: silentLogger });
    const tenure: Tenure = {
      signal: new AbortController().signal,
      annotations: { ...lease },
      annotate: async (annotations) => void Object.assign(lease, annotations),
      release: async () => {},
    };
    await leadership.beforeAcquire();
    await leadership.onElected(tenure);
  }

  test("are known again after etcd was lost, so that their certificates are renewed", async () => {
    const led = new LedRoom();
    const lease: Record<string, string> = {};
    await elect(led, lease);
    led.etcd.wipe();
    await elect(led, lease);
    expect(await led.room.readMachines()).toEqual(
      new Map([["m1", { group: "edge", labels: { zone: "a" }, expiresAt: 0, joinedAt: NOW }]]),
    );
  });

  test("that a person forgot stay forgotten when another manager is elected", async () => {
    const led = new LedRoom();
    const lease: Record<string, string> = {};
    await elect(led, lease);
    expect(await led.room.forgetMachine("m1", "installed anew")).toBe(true);
    await elect(led, lease);
    expect(await led.room.readMachines()).toEqual(new Map());
  });

  test("that are being deleted are not restored, and Nodes are none", () => {
    const leaving = {
      ...machine,
      metadata: { ...machine.metadata, deletionTimestamp: "2026-11-23T03:00:00Z" },
    };
    expect(knownMachines([leaving, nodeUpdate("a", "pool", undefined)]).size).toBe(0);
  });
});
