import { create, toJsonString } from "@bufbuild/protobuf";
import * as fc from "fast-check";
import { beforeEach, expect, test } from "vitest";
import { ObservedSchema } from "../../proto/gen/agent_pb.ts";
import { settle } from "../fake-clock.ts";
import { fakeGrant } from "../fake-coordination.ts";
import { boot, hello, MACHINE, observed, opened, request, TOKEN, UID, World } from "./fake-world.ts";

let world: World;
beforeEach(() => {
  world = new World();
});

test("a newer session on another gateway ends this one", async () => {
  const peer = await opened(world);
  const other = new World("gateway-2", world.coordination, world.clock);
  other.lease = "2";
  const newer = other.connect();
  await newer.say(hello());
  await world.clock.advance(200);
  expect(peer.ended).toBe("NewerSession");
  expect(newer.ended).toBeUndefined();
  expect(newer.last("welcome").session).toBe(2n);
  expect(world.coordination.present.get(UID)).toBe("2");
});

test.each([
  ["lost its data", []],
  ["went back in time", [[UID, { session: 0, gateway: "gateway-1", at: 0 }]]],
] as const)("etcd that %s ends it: the agent opens another", async (_, sessions) => {
  const peer = await opened(world);
  world.coordination.sessions.clear();
  world.coordination.present.clear();
  for (const [uid, session] of sessions) world.coordination.sessions.set(uid, session);
  world.coordination.hint();
  await world.clock.advance(200);
  expect(peer.ended).toBe("PresenceLost");
});

test("etcd of another incarnation ends all: what was reported before may be lost", async () => {
  const peer = await opened(world);
  world.coordination.incarnation = "two";
  world.coordination.hint();
  await world.clock.advance(200);
  expect(peer.ended).toBe("PresenceLost");
  const next = await opened(world);
  await world.clock.advance(60_000);
  expect(next.ended).toBeUndefined();
});

test.each([undefined, "rebuilding:two"])(
  "while holders are missing (incarnation %s) nobody is told that there is no grant",
  async (incarnation) => {
    world.coordination.grants.set(UID, fakeGrant(UID, 7, "Committed"));
    const peer = await opened(world);
    world.coordination.incarnation = incarnation;
    world.coordination.grants.clear();
    world.coordination.hint();
    await world.clock.advance(200);
    expect(peer.ended).toBe("EtcdUnavailable");
    expect(peer.count("grant")).toBe(1);
    expect(world.table.lease).toBeUndefined();
    const early = await opened(world);
    expect(early.kinds).toEqual(["goAway"]);
    expect(early.ended).toBe("EtcdUnavailable");
    world.coordination.incarnation = "two";
    const rebuilt = fakeGrant(UID, 9, "Committed");
    rebuilt.grant.supersedes = { incarnation: "one", revision: 7 };
    world.coordination.grants.set(UID, rebuilt);
    world.coordination.hint();
    await world.clock.advance(1000);
    const acting = world.connect();
    await acting.say(hello(create(ObservedSchema, { boot, token: TOKEN })));
    await world.clock.advance(1000);
    expect(acting.last("grant")).toMatchObject({ token: TOKEN, phase: "Committed" });
    expect(acting.ended).toBeUndefined();
  },
);

test("a session that opens while nobody has read yet that holders are missing is told nothing", async () => {
  await world.clock.advance(14_000);
  world.coordination.incarnation = undefined;
  const peer = await opened(world);
  expect(peer.kinds).toEqual(["welcome", "goAway"]);
});

test("a refused report ends it, even where the view is blind", async () => {
  const peer = await opened(world);
  world.coordination.failing.add("readFleet");
  world.coordination.sessions.set(UID, { session: 5, gateway: "gateway-2", at: 0 });
  await peer.say(request({ case: "observed", value: observed("Idle") }));
  expect(peer.ended).toBe("NewerSession");
});

test("a second stream of the same node ends the first", async () => {
  const first = await opened(world);
  const second = await opened(world);
  expect(first.ended).toBe("NewerSession");
  expect(second.last("welcome").session).toBe(2n);
  expect(world.coordination.present.has(UID)).toBe(true);
  expect(world.table.size).toBe(1);
});

test("too many messages end it", async () => {
  const peer = await opened(world);
  const message = request({ case: "observed", value: observed("Idle") });
  await peer.say(...Array.from({ length: 100 }, () => message));
  expect(peer.ended).toBe("TooManyMessages");
});

test("an identity writes so many bytes, in however many sessions and whatever it says at last", async () => {
  const failed = Array.from({ length: 20 }, () => ({
    rootHash: "f".repeat(64),
    message: "\u20ac".repeat(1024),
  }));
  let bytes = 0;
  const { coordination } = world;
  const put = coordination.putObserved.bind(coordination);
  coordination.putObserved = (uid, session, report) => {
    bytes += Buffer.byteLength(toJsonString(ObservedSchema, report));
    return put(uid, session, report);
  };
  const report = () => create(ObservedSchema, { boot, failed, message: "\u20ac".repeat(1024) });
  for (let second = 0; second < 60; second++) {
    const peer = world.connect();
    await peer.say(hello(report()), request({ case: "observed", value: report() }));
    await world.clock.advance(500);
    await peer.say(request({ case: "observed", value: report() }));
    world.table.disconnected(peer.session);
    await world.clock.advance(500);
  }
  expect(bytes).toBeGreaterThan(100_000);
  expect(bytes).toBeLessThan(300_000);
  const other = world.connect({ uid: "other", node: "node-2" });
  await other.say(hello(report()));
  expect(coordination.observed.has("other")).toBe(true);
});

test("a report that has to wait is written when its time comes, the newest of them", async () => {
  const peer = await opened(world);
  const large = (step: string) =>
    request({
      case: "observed",
      value: create(ObservedSchema, {
        boot,
        step,
        failed: Array.from({ length: 20 }, () => ({ message: "\u20ac".repeat(200) })),
      }),
    });
  for (let n = 0; n < 30; n++) {
    await peer.say(large(`step-${n}`));
    await world.clock.advance(1000);
  }
  expect(world.coordination.observed.get(UID)?.step).not.toBe("step-29");
  await world.clock.advance(30_000);
  expect(world.coordination.observed.get(UID)?.step).toBe("step-29");
  expect(peer.ended).toBeUndefined();
});

test("it moves on when it is old", async () => {
  const peer = await opened(world);
  await world.clock.advance(60 * 60_000);
  expect(peer.ended).toBe("MaxAge");
});

test("all are told, and leave nothing behind but the view's period", async () => {
  const peer = await opened(world);
  world.table.endAll("PresenceLost");
  await settle();
  expect(peer.last("goAway")).toMatchObject({ reason: "PresenceLost" });
  expect(world.table.size).toBe(0);
  world.view.stop();
  await world.clock.advance(1000);
  expect(world.clock.pending).toBe(0);
});

test("presence that a failed close left behind is swept", async () => {
  const peer = await opened(world);
  world.coordination.failing.add("closeSession");
  world.table.disconnected(peer.session);
  await world.clock.advance(1000);
  expect(world.coordination.present.size).toBe(1);
  world.coordination.failing.clear();
  await world.clock.advance(15_100);
  expect(world.coordination.present.size).toBe(0);
});

test("the sweep leaves other gateways' agents alone", async () => {
  world.coordination.sessions.set("other", { session: 3, gateway: "gateway-2", at: 0 });
  world.coordination.present.set("other", "2");
  await world.clock.advance(31_000);
  expect(world.coordination.present.has("other")).toBe(true);
});

test("whatever an agent says, it touches its own records only, and gets a decent end", async () => {
  const word = fc.oneof(fc.string({ maxLength: 200 }), fc.constantFrom("", "b1", MACHINE, "Updated"));
  const token = fc.option(
    fc.record({ incarnation: word, revision: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }) }),
    { nil: undefined },
  );
  const anyBoot = fc.option(fc.record({ bootId: word, softReboots: fc.nat() }), { nil: undefined });
  const anyObserved = fc.record({
    boot: anyBoot,
    slots: fc.array(fc.record({ name: word, version: word }), { maxLength: 4 }),
    failed: fc.array(fc.record({ rootHash: word, message: fc.string({ maxLength: 3000 }) }), {
      maxLength: 30,
    }),
    step: word,
    message: fc.string({ maxLength: 3000 }),
    machineId: word,
    token,
  });
  const body = fc.oneof(
    fc.record({ case: fc.constant("hello"), value: fc.record({ machineId: word, boot: anyBoot }) }),
    fc.record({ case: fc.constant("observed"), value: anyObserved }),
    fc.record({ case: fc.constant("commit"), value: fc.record({ token, boot: anyBoot }) }),
    fc.record({ case: fc.constant("withdraw"), value: fc.record({ token, reason: word, message: word }) }),
    fc.record({ case: fc.constant("return"), value: fc.record({ token, boot: anyBoot, verdict: word }) }),
    fc.constant({ case: undefined }),
  );
  await fc.assert(
    fc.asyncProperty(fc.boolean(), fc.array(body, { maxLength: 20 }), async (polite, bodies) => {
      world = new World();
      const peer = world.connect();
      if (polite) await peer.say(hello());
      for (const each of bodies) await peer.say(request(each));
      await world.clock.advance(2000);
      expect([...world.coordination.sessions.keys(), ...world.coordination.observed.keys()]).toSatisfy(
        (uids: string[]) => uids.every((uid) => uid === UID),
      );
      const stored = world.coordination.observed.get(UID);
      if (stored !== undefined) {
        expect(stored.slots.length).toBeLessThanOrEqual(2);
        expect(stored.failed.length).toBeLessThanOrEqual(20);
        expect(stored.message.length).toBeLessThanOrEqual(1024);
      }
      expect([undefined, "HelloTimeout", "InvalidMessage", "TooManyMessages"]).toContain(peer.ended);
      if (peer.ended !== undefined) expect(peer.kinds.at(-1)).toBe("goAway");
    }),
    { numRuns: 200 },
  );
});
