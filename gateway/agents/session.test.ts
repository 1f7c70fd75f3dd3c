import { create } from "@bufbuild/protobuf";
import { beforeEach, describe, expect, test } from "vitest";
import { DesiredSchema } from "../../proto/gen/agent_pb.ts";
import { settle } from "../fake-clock.ts";
import { fakeGrant } from "../fake-coordination.ts";
import { boot, hello, observed, opened, request, TOKEN, UID, World } from "./fake-world.ts";

let world: World;
beforeEach(() => {
  world = new World();
});

describe("opening", () => {
  test("hello gets welcome, then the desired state and the grant", async () => {
    world.coordination.desired.set(UID, create(DesiredSchema, { group: "workers", mayStage: true }));
    world.coordination.grants.set(UID, fakeGrant(UID, 7, "Granted"));
    const peer = await opened(world);
    expect(peer.kinds).toEqual(["welcome", "desired", "grant"]);
    expect(peer.last("welcome").session).toBe(1n);
    expect(peer.last("desired").group).toBe("workers");
    expect(peer.last("grant")).toMatchObject({
      phase: "Granted",
      token: TOKEN,
      target: { version: "2.0.0", rootHash: "ab" },
      policy: { driver: "fastpatch" },
    });
    expect(world.coordination.present.get(UID)).toBe("1");
  });

  test("a node that nobody knows yet gets no desired state, and is told that it has no grant", async () => {
    const peer = await opened(world);
    expect(peer.kinds).toEqual(["welcome", "grant"]);
    expect(peer.last("grant").token).toBeUndefined();
  });

  test("silence ends it, and so does anything before hello", async () => {
    const silent = world.connect();
    await world.clock.advance(10_000);
    expect(silent.ended).toBe("HelloTimeout");
    const rude = world.connect();
    await rude.say(request({ case: "observed", value: { boot } }));
    expect(rude.ended).toBe("InvalidMessage");
    expect(rude.last("goAway").retryAfterMs).toBeGreaterThanOrEqual(60_000);
  });

  test.each(["openSession"])("without an answer to %s it ends, to be tried again", async (call) => {
    world.coordination.failing.add(call);
    const peer = await opened(world);
    expect(peer.ended).toBe("EtcdUnavailable");
    expect(peer.kinds).toEqual(["goAway"]);
  });

  test("a report and a question that come before welcome are not lost", async () => {
    world.coordination.grants.set(UID, fakeGrant(UID, 7, "Drained"));
    world.coordination.hold("openSession");
    const peer = world.connect();
    await peer.say(
      hello(observed("Idle")),
      request({ case: "observed", value: observed("Staged") }),
      request({ case: "commit", value: { token: TOKEN, boot } }),
    );
    expect(peer.got).toEqual([]);
    world.coordination.letGo("openSession");
    await settle();
    expect(peer.kinds).toEqual(["welcome", "commit"]);
    expect(world.coordination.observed.get(UID)?.step).toBe("Staged");
    expect(world.coordination.count("putObserved")).toBe(1);
  });

  test("a stream that ends while its session opens leaves no presence", async () => {
    world.coordination.hold("openSession");
    const peer = world.connect();
    await peer.say(hello());
    world.table.disconnected(peer.session);
    world.coordination.letGo("openSession");
    await settle();
    expect(world.coordination.present.size).toBe(0);
    expect(world.table.size).toBe(0);
  });

  test("records come from a read that began after the session opened, not from an older one", async () => {
    world.coordination.hold("readFleet");
    await world.clock.advance(50); // a read is under way
    const peer = world.connect();
    world.coordination.grants.set(UID, fakeGrant(UID, 7, "Committed"));
    await peer.say(hello());
    world.coordination.grants.delete(UID);
    const stale = world.table;
    stale.apply({
      number: 1,
      fleet: {
        incarnation: "one",
        groupGates: new Map(),
        budgetGates: new Map(),
        budgets: new Map(),
        offers: new Map(),
        tallies: new Map(),
        desired: new Map(),
        grants: new Map(),
        sessions: new Map(),
        present: new Set(),
      },
    });
    expect(peer.kinds).toEqual(["welcome"]);
    world.coordination.grants.set(UID, fakeGrant(UID, 7, "Committed"));
    world.coordination.letGo("readFleet");
    await world.clock.advance(100);
    expect(peer.last("grant").phase).toBe("Committed");
    expect(peer.count("grant")).toBe(1);
  });
});

describe("records", () => {
  test("are pushed when they change, and not when they don't", async () => {
    world.coordination.desired.set(UID, create(DesiredSchema, { group: "workers" }));
    const peer = await opened(world);
    world.coordination.hint();
    await world.clock.advance(100);
    expect(peer.count("desired")).toBe(1);
    world.coordination.desired.set(UID, create(DesiredSchema, { group: "workers", mayStage: true }));
    world.coordination.grants.set(UID, fakeGrant(UID, 7, "Drained"));
    world.coordination.hint();
    await world.clock.advance(100);
    expect(peer.last("desired").mayStage).toBe(true);
    expect(peer.last("grant").phase).toBe("Drained");
    world.coordination.grants.delete(UID);
    world.coordination.hint();
    await world.clock.advance(100);
    expect(peer.last("grant").token).toBeUndefined();
    expect(peer.count("grant")).toBe(3);
  });

  test("arrive without a hint too: a watch may be dead", async () => {
    const peer = await opened(world);
    world.coordination.grants.set(UID, fakeGrant(UID, 7, "Granted"));
    await world.clock.advance(15_100);
    expect(peer.last("grant").phase).toBe("Granted");
  });

  test("a revoked grant is none", async () => {
    world.coordination.grants.set(UID, fakeGrant(UID, 7, "Withdrawn"));
    const peer = await opened(world);
    expect(peer.last("grant").token).toBeUndefined();
  });

  test("after a rebuild an agent sees its grant under the token that it knows", async () => {
    const live = fakeGrant(UID, 9, "Committed");
    live.grant.supersedes = { incarnation: "zero", revision: 7 };
    world.coordination.grants.set(UID, live);
    const peer = world.connect();
    const report = observed("Rebooting");
    report.token = { $typeName: "slipway.agent.v1.Token", incarnation: "zero", revision: 7n };
    await peer.say(hello(report));
    await world.clock.advance(100);
    expect(peer.last("grant").token).toMatchObject({ incarnation: "zero", revision: 7n });
  });
});

describe("reports", () => {
  test("are coalesced: at most two a second, and the newest always arrives", async () => {
    const peer = await opened(world);
    for (let step = 0; step < 40; step++) {
      await peer.say(request({ case: "observed", value: observed(`s${step}`) }));
      await world.clock.advance(100);
    }
    await world.clock.advance(1000);
    expect(world.coordination.observed.get(UID)?.step).toBe("s39");
    expect(world.coordination.count("putObserved")).toBeLessThanOrEqual(10);
  });

  test("at most one write is in flight", async () => {
    const peer = await opened(world);
    world.coordination.hold("putObserved");
    for (let step = 0; step < 10; step++) {
      await peer.say(request({ case: "observed", value: observed(`s${step}`) }));
      await world.clock.advance(600);
    }
    expect(world.coordination.count("putObserved")).toBe(1);
    world.coordination.letGo("putObserved");
    await world.clock.advance(600);
    expect(world.coordination.observed.get(UID)?.step).toBe("s9");
  });

  test("are tried again while etcd gives no answer", async () => {
    const peer = await opened(world);
    world.coordination.failing.add("putObserved");
    await peer.say(request({ case: "observed", value: observed("Staged") }));
    await world.clock.advance(5000);
    expect(world.coordination.observed.size).toBe(0);
    expect(peer.ended).toBeUndefined();
    world.coordination.failing.clear();
    await world.clock.advance(11_000);
    expect(world.coordination.observed.get(UID)?.step).toBe("Staged");
  });

  test("the last one is written though the stream is gone", async () => {
    const peer = await opened(world);
    await peer.say(
      request({ case: "observed", value: observed("Staged") }),
      request({ case: "observed", value: observed("Rebooting") }),
    );
    world.table.disconnected(peer.session);
    await settle();
    expect(world.coordination.observed.get(UID)?.step).toBe("Rebooting");
    expect(world.coordination.present.size).toBe(0);
  });

  test("come from the machine of the session's hello", async () => {
    const peer = await opened(world);
    const other = observed("Idle");
    other.machineId = "f".repeat(32);
    await peer.say(request({ case: "observed", value: other }));
    expect(peer.ended).toBe("InvalidMessage");
    expect(world.coordination.observed.size).toBe(0);
  });
});
