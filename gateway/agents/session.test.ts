import { create } from "@bufbuild/protobuf";
import * as fc from "fast-check";
import { beforeEach, describe, expect, test } from "vitest";
import { silentLogger } from "../../ports/log.ts";
import {
  DesiredSchema,
  type Observed,
  ObservedSchema,
  type SessionRequest,
  SessionRequestSchema,
  type SessionResponse,
} from "../../proto/gen/agent_pb.ts";
import { FakeClock, fakeRandom, settle } from "../fake-clock.ts";
import { FakeCoordination, fakeGrant } from "../fake-coordination.ts";
import { FleetView } from "../fleet-view.ts";
import type { Identity } from "./authenticate.ts";
import { type AgentSession, defaultSessionLimits, type SessionMeter } from "./session.ts";
import { SessionTable } from "./session-table.ts";

const UID = "0f3c9e6e-3a4b-4b57-9a39-a0a5b2f5f6d1";
const MACHINE = "0123456789abcdef0123456789abcdef";
const boot = { bootId: "b1", softReboots: 0 };
const TOKEN = { incarnation: "one", revision: 7n };
const quiet: SessionMeter = {
  received() {},
  sent() {},
  commit() {},
  unavailable() {},
  ended() {},
};

/** What `create` takes for the body of a request. */
type Body = Parameters<typeof create<typeof SessionRequestSchema>>[1] extends infer I
  ? NonNullable<I> extends { body?: infer B }
    ? B
    : never
  : never;

function request(body: Body): SessionRequest {
  return create(SessionRequestSchema, { body });
}

function hello(observed?: Observed): SessionRequest {
  return request({
    case: "hello",
    value: {
      agentVersion: "1",
      machineId: MACHINE,
      architecture: "amd64",
      boot,
      ...(observed === undefined ? {} : { observed }),
    },
  });
}

function observed(step: string): Observed {
  return create(ObservedSchema, { boot, step, machineId: MACHINE });
}

/** One gateway over a coordination that others may share. */
class World {
  readonly clock: FakeClock;
  readonly coordination: FakeCoordination;
  readonly view: FleetView;
  readonly table: SessionTable;
  lease: string | undefined = "1";

  constructor(name = "gateway-1", coordination = new FakeCoordination(), clock = new FakeClock()) {
    this.clock = clock;
    this.coordination = coordination;
    const log = silentLogger;
    this.view = new FleetView({
      coordination,
      clock,
      log,
      unavailable() {},
      onRead: (read) => this.table.apply(read),
    });
    this.table = new SessionTable({
      gateway: name,
      coordination,
      lease: () => this.lease,
      refresh: () => this.view.refresh(),
      clock,
      random: fakeRandom(),
      log,
      meter: quiet,
      limits: defaultSessionLimits,
    });
    this.view.start();
  }

  connect(identity: Identity = { uid: UID, node: "node-1" }): Peer {
    return new Peer(this, identity);
  }
}

type BodyOf<K> = Extract<SessionResponse["body"], { case: K }>["value"];

/** The agent's end of a session. */
class Peer {
  readonly got: SessionResponse["body"][] = [];
  readonly session: AgentSession;
  ended: string | undefined;

  constructor(world: World, identity: Identity) {
    this.session = world.table.connect(identity, {
      send: (response) => void this.got.push(response.body),
      end: (reason) => {
        this.ended = reason;
      },
    });
  }

  get kinds(): (string | undefined)[] {
    return this.got.map((body) => body.case);
  }

  last<K extends NonNullable<SessionResponse["body"]["case"]>>(kind: K): BodyOf<K> {
    const body = this.got.findLast((each) => each.case === kind);
    expect(body, `no ${kind} among ${this.kinds.join(", ")}`).toBeDefined();
    return body?.value as BodyOf<K>;
  }

  count(kind: string): number {
    return this.kinds.filter((each) => each === kind).length;
  }

  async say(...requests: SessionRequest[]): Promise<void> {
    for (const each of requests) this.session.receive(each);
    await settle();
  }
}

let world: World;
beforeEach(() => {
  world = new World();
});

async function opened(): Promise<Peer> {
  const peer = world.connect();
  await peer.say(hello());
  await world.clock.advance(50);
  return peer;
}

describe("opening", () => {
  test("hello gets welcome, then the desired state and the grant", async () => {
    world.coordination.desired.set(UID, create(DesiredSchema, { group: "workers", mayStage: true }));
    world.coordination.grants.set(UID, fakeGrant(UID, 7, "Granted"));
    const peer = await opened();
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
    const peer = await opened();
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
    const peer = await opened();
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
      fleet: { desired: new Map(), grants: new Map(), sessions: new Map(), present: new Set() },
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
    const peer = await opened();
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
    const peer = await opened();
    world.coordination.grants.set(UID, fakeGrant(UID, 7, "Granted"));
    await world.clock.advance(15_100);
    expect(peer.last("grant").phase).toBe("Granted");
  });

  test("a revoked grant is none", async () => {
    world.coordination.grants.set(UID, fakeGrant(UID, 7, "Withdrawn"));
    const peer = await opened();
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
    const peer = await opened();
    for (let step = 0; step < 40; step++) {
      await peer.say(request({ case: "observed", value: observed(`s${step}`) }));
      await world.clock.advance(100);
    }
    await world.clock.advance(1000);
    expect(world.coordination.observed.get(UID)?.step).toBe("s39");
    expect(world.coordination.count("putObserved")).toBeLessThanOrEqual(10);
  });

  test("at most one write is in flight", async () => {
    const peer = await opened();
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
    const peer = await opened();
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
    const peer = await opened();
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
    const peer = await opened();
    const other = observed("Idle");
    other.machineId = "f".repeat(32);
    await peer.say(request({ case: "observed", value: other }));
    expect(peer.ended).toBe("InvalidMessage");
    expect(world.coordination.observed.size).toBe(0);
  });
});

describe("questions", () => {
  test("a commit is answered with its token and its seconds", async () => {
    world.coordination.grants.set(UID, fakeGrant(UID, 7, "Drained"));
    const peer = await opened();
    await peer.say(request({ case: "commit", value: { token: TOKEN, boot } }));
    expect(peer.last("commit")).toMatchObject({ token: TOKEN, goodForSeconds: 20, reason: "Committed" });
  });

  test("a refusal has no seconds, and says why", async () => {
    const peer = await opened();
    await peer.say(request({ case: "commit", value: { token: TOKEN, boot } }));
    expect(peer.last("commit")).toMatchObject({
      token: TOKEN,
      goodForSeconds: 0,
      reason: "CommitRefused",
      message: "the grant is gone",
    });
  });

  test.each([
    ["commit", "commit", { token: TOKEN, boot }],
    ["withdraw", "withdraw", { token: TOKEN }],
    ["return", "reportReturn", { token: TOKEN, boot, verdict: "Updated" }],
  ] as const)("no answer of etcd, no answer to a %s; asked again it gets one", async (kind, call, value) => {
    world.coordination.grants.set(UID, fakeGrant(UID, 7, kind === "commit" ? "Drained" : "Committed"));
    const peer = await opened();
    world.coordination.failing.add(call);
    await peer.say(request({ case: kind, value }));
    expect(peer.count(kind)).toBe(0);
    expect(peer.ended).toBeUndefined();
    world.coordination.failing.clear();
    await peer.say(request({ case: kind, value }));
    expect(peer.last(kind).token).toMatchObject(TOKEN);
  });

  test("a withdrawal whose grant is gone is confirmed", async () => {
    const peer = await opened();
    await peer.say(request({ case: "withdraw", value: { token: TOKEN } }));
    expect(peer.last("withdraw").token).toMatchObject(TOKEN);
  });

  test("a return that etcd does not take while the grant lives gets no answer", async () => {
    world.coordination.grants.set(UID, fakeGrant(UID, 7, "Drained"));
    const peer = await opened();
    await peer.say(request({ case: "return", value: { token: TOKEN, boot, verdict: "Updated" } }));
    expect(world.coordination.count("reportReturn")).toBe(1);
    expect(peer.count("return")).toBe(0);
  });

  test("a stale answer is not given where etcd can't say whether it is final", async () => {
    const peer = await opened();
    world.coordination.failing.add("readNode");
    await peer.say(request({ case: "withdraw", value: { token: TOKEN } }));
    expect(peer.count("withdraw")).toBe(0);
  });

  test("are asked one at a time; of one kind only the newest waits", async () => {
    world.coordination.grants.set(UID, fakeGrant(UID, 7, "Drained"));
    const peer = await opened();
    world.coordination.hold("commit");
    for (let i = 0; i < 10; i++) await peer.say(request({ case: "commit", value: { token: TOKEN, boot } }));
    await peer.say(request({ case: "withdraw", value: { token: TOKEN } }));
    expect(world.coordination.count("commit")).toBe(1);
    expect(world.coordination.count("withdraw")).toBe(0);
    world.coordination.letGo("commit");
    await settle();
    expect(world.coordination.count("commit")).toBe(2);
    expect(peer.kinds.slice(-3)).toEqual(["commit", "commit", "withdraw"]);
  });
});

describe("the end", () => {
  test("a newer session on another gateway ends this one", async () => {
    const peer = await opened();
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

  test("a refused report ends it, even where the view is blind", async () => {
    const peer = await opened();
    world.coordination.failing.add("readFleet");
    world.coordination.sessions.set(UID, { session: 5, gateway: "gateway-2", at: 0 });
    await peer.say(request({ case: "observed", value: observed("Idle") }));
    expect(peer.ended).toBe("NewerSession");
  });

  test("a second stream of the same node ends the first", async () => {
    const first = await opened();
    const second = await opened();
    expect(first.ended).toBe("NewerSession");
    expect(second.last("welcome").session).toBe(2n);
    expect(world.coordination.present.has(UID)).toBe(true);
    expect(world.table.size).toBe(1);
  });

  test("too many messages end it", async () => {
    const peer = await opened();
    const message = request({ case: "observed", value: observed("Idle") });
    await peer.say(...Array.from({ length: 100 }, () => message));
    expect(peer.ended).toBe("TooManyMessages");
  });

  test("it moves on when it is old", async () => {
    const peer = await opened();
    await world.clock.advance(60 * 60_000);
    expect(peer.ended).toBe("MaxAge");
  });

  test("all are told, and leave nothing behind but the view's period", async () => {
    const peer = await opened();
    world.table.endAll("PresenceLost");
    await settle();
    expect(peer.last("goAway")).toMatchObject({ reason: "PresenceLost" });
    expect(world.table.size).toBe(0);
    world.view.stop();
    await world.clock.advance(1000);
    expect(world.clock.pending).toBe(0);
  });

  test("presence that a failed close left behind is swept", async () => {
    const peer = await opened();
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
