/** The agents' protocol over real TLS and HTTP/2 on loopback; etcd and the API server are in memory here. */
import { mkdtemp, readFile, rm, unlink, writeFile } from "node:fs/promises";
import { connect as connectHttp2 } from "node:http2";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create } from "@bufbuild/protobuf";
import { type ChannelCredentials, Client, credentials, status } from "@grpc/grpc-js";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Coordination } from "../../coordination/coordination.ts";
import { systemClock } from "../../ports/clock.ts";
import { silentLogger } from "../../ports/log.ts";
import { systemRandom } from "../../ports/random.ts";
import {
  DesiredSchema,
  HelloSchema,
  JoinRequestSchema,
  RenewRequestSchema,
  SessionRequestSchema,
} from "../../proto/gen/agent_pb.ts";
import { agentGatewayService } from "../../proto/service.ts";
import { CertificateAuthority } from "../certificate-authority.ts";
import { FakeLeases, fakeReviews } from "../fake-cluster.ts";
import { FakeCoordination } from "../fake-coordination.ts";
import { type Gateway, type GatewayOptions, startGateway } from "../gateway.ts";
import { ask, FakeAgent, MACHINE, newCertificateRequest, openChannel } from "./fake-agent.ts";
import { hashJoinToken } from "./join.ts";

const WAIT = { timeout: 20_000, interval: 20 };

let directory: string;
let coordination: FakeCoordination;
let ca: Buffer;
const clients: Client[] = [];
const gateways: Gateway[] = [];
const sockets: Socket[] = [];

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "slipway-gateway-"));
  coordination = new FakeCoordination();
});

afterEach(async () => {
  for (const client of clients.splice(0)) client.close();
  for (const socket of sockets.splice(0)) socket.destroy();
  await Promise.all(gateways.splice(0).map((gateway) => gateway.stop()));
  await rm(directory, { recursive: true });
});

async function start(options: Partial<GatewayOptions> = {}, leases = new FakeLeases()): Promise<Gateway> {
  const gateway = await startGateway({
    client: fakeReviews,
    etcd: leases,
    coordination: coordination as unknown as Coordination,
    listen: { host: "127.0.0.1", port: 0 },
    certificateDirectory: directory,
    hosts: ["127.0.0.1", "localhost"],
    serviceAccounts: ["slipway-system:slipway-agent"],
    audience: "slipway",
    name: "test",
    clock: systemClock,
    random: systemRandom,
    log: silentLogger,
    drainWithin: 3000,
    ...options,
  });
  gateways.push(gateway);
  ca = await readFile(join(directory, "ca.crt"));
  return gateway;
}

function dial(gateway: Gateway, channel: ChannelCredentials = credentials.createSsl(ca)): Client {
  const client = openChannel(gateway.port, channel);
  clients.push(client);
  return client;
}

async function joinMachine(
  gateway: Gateway,
  token = "secret",
  machineId = MACHINE,
): Promise<ChannelCredentials> {
  const { request, key } = await newCertificateRequest();
  const answer = await ask(
    dial(gateway),
    agentGatewayService.join,
    create(JoinRequestSchema, { joinToken: token, machineId, certificateRequest: request }),
  );
  return credentials.createSsl(ca, key, Buffer.from(answer.certificate));
}

function allowJoin(token = "secret"): void {
  coordination.joins.set(hashJoinToken(token), { group: "edge", labels: {}, expiresAt: Infinity });
}

describe("sessions", () => {
  test("a node's agent is known by its token and gets its own records", async () => {
    coordination.desired.set("uid-n1", create(DesiredSchema, { group: "workers" }));
    coordination.desired.set("uid-n2", create(DesiredSchema, { group: "other" }));
    const gateway = await start();
    const agent = new FakeAgent(dial(gateway), "agent@n1").hello();
    await expect.poll(() => agent.kinds(), WAIT).toEqual(["welcome", "desired", "grant"]);
    expect(agent.got[1]?.value).toMatchObject({ group: "workers" });
    await expect.poll(() => coordination.observed.get("uid-n1")?.step, WAIT).toBe("Idle");
    expect(coordination.observed.size).toBe(1);
    agent.stream.end();
    await expect.poll(() => coordination.present.size, WAIT).toBe(0);
    expect(gateway.sessions()).toBe(0);
  });

  test.each([
    ["no credentials", undefined],
    ["a token of nobody", "garbage"],
  ])("%s: refused", async (_, token) => {
    const agent = new FakeAgent(dial(await start()), token).hello();
    await expect.poll(() => agent.status?.code, WAIT).toBe(status.UNAUTHENTICATED);
    expect(coordination.sessions.size).toBe(0);
  });

  test("an authority of somebody else's does not make a machine", async () => {
    const gateway = await start();
    const key = CertificateAuthority.makeKey();
    const stranger = new CertificateAuthority({
      bundle: await CertificateAuthority.makeCertificate(key, systemClock, systemRandom),
      key,
      clock: systemClock,
      random: systemRandom,
    });
    const { request, key: clientKey } = await newCertificateRequest();
    const certificate = await stranger.issueMachine(MACHINE, await stranger.readRequest(request));
    const channel = credentials.createSsl(ca, clientKey, Buffer.from(certificate));
    const agent = new FakeAgent(dial(gateway, channel), undefined).hello();
    await expect.poll(() => agent.status?.code, WAIT).toBe(status.UNAUTHENTICATED);
  });

  test("two gateways, one etcd: the newest session wins", async () => {
    const [first, second] = [await start(), await start()];
    const older = new FakeAgent(dial(first), "agent@n1").hello();
    await expect.poll(() => older.kinds(), WAIT).toContain("welcome");
    const newer = new FakeAgent(dial(second), "agent@n1").hello();
    await expect.poll(() => newer.kinds(), WAIT).toContain("welcome");
    await expect.poll(() => older.goAway(), WAIT).toBe("NewerSession");
    await expect.poll(() => older.status?.code, WAIT).toBe(status.OK);
    expect(newer.goAway()).toBeUndefined();
    expect(coordination.present.has("uid-n1")).toBe(true);
  });

  test("when the lease is lost all agents are sent away, and come back under a new one", async () => {
    const leases = new FakeLeases();
    const gateway = await start({}, leases);
    const agent = new FakeAgent(dial(gateway), "agent@n1").hello();
    await expect.poll(() => agent.kinds(), WAIT).toContain("welcome");
    leases.current?.abort();
    await expect.poll(() => agent.goAway(), WAIT).toBe("PresenceLost");
    await expect.poll(() => leases.count, WAIT).toBe(2);
    const again = new FakeAgent(dial(gateway), "agent@n1").hello();
    await expect.poll(() => again.kinds(), WAIT).toContain("welcome");
    expect(coordination.present.get("uid-n1")).toBe("2");
  });

  test("a message beyond the limit ends the stream, not the gateway", async () => {
    const gateway = await start();
    const agent = new FakeAgent(dial(gateway), "agent@n1");
    const value = create(HelloSchema, { agentVersion: "x".repeat(300 * 1024) });
    agent.stream.write(create(SessionRequestSchema, { body: { case: "hello", value } }));
    await expect.poll(() => agent.status?.code, WAIT).toBe(status.RESOURCE_EXHAUSTED);
    const other = new FakeAgent(dial(gateway), "agent@n2").hello();
    await expect.poll(() => other.kinds(), WAIT).toContain("welcome");
  });
});

describe("machines", () => {
  test("join by a token, once; then the certificate is the identity", async () => {
    allowJoin();
    const gateway = await start();
    const channel = await joinMachine(gateway);
    await expect(joinMachine(gateway)).rejects.toMatchObject({ code: status.UNAUTHENTICATED });
    const agent = new FakeAgent(dial(gateway, channel), undefined).hello();
    await expect.poll(() => agent.kinds(), WAIT).toContain("welcome");
    expect([...coordination.sessions.keys()]).toEqual([MACHINE]);
  });

  test("a token of one's own takes over no machine that is known", async () => {
    allowJoin();
    allowJoin("other");
    const gateway = await start();
    await joinMachine(gateway);
    await expect(joinMachine(gateway, "other")).rejects.toMatchObject({
      code: status.UNAUTHENTICATED,
      message: expect.stringContaining(`slipway join-token forget-machine ${MACHINE}`),
    });
    expect([...coordination.joins.keys()]).toEqual([hashJoinToken("other")]);
    await joinMachine(gateway, "other", "f".repeat(32));
  });

  test("a crowd of joins holds up no renewal", async () => {
    allowJoin();
    const gateway = await start({ serverLimits: { joinsPerSecond: 0.001, joinBurst: 1 } });
    const channel = await joinMachine(gateway);
    await expect(joinMachine(gateway, "guess")).rejects.toMatchObject({ code: status.UNAVAILABLE });
    const { request } = await newCertificateRequest();
    const renew = create(RenewRequestSchema, { certificateRequest: request });
    const { certificate } = await ask(dial(gateway, channel), agentGatewayService.renew, renew);
    expect(certificate).toContain("BEGIN CERTIFICATE");
  });

  test("a machine can't speak for another one", async () => {
    allowJoin();
    const gateway = await start();
    const agent = new FakeAgent(dial(gateway, await joinMachine(gateway)), undefined).hello("f".repeat(32));
    await expect.poll(() => agent.goAway(), WAIT).toBe("InvalidMessage");
    expect(coordination.sessions.size).toBe(0);
  });

  test("a bad request spends no token", async () => {
    allowJoin();
    const client = dial(await start());
    const { request } = await newCertificateRequest();
    const flipped = request.slice();
    flipped[flipped.length - 1] = (flipped.at(-1) ?? 0) ^ 1;
    for (const [machineId, certificateRequest] of [
      ["no machine id", request],
      ["0F3C9E6E-3A4B-4B57-9A39-A0A5B2F5F6D1", request],
      [MACHINE, new Uint8Array([1, 2, 3])],
      [MACHINE, new Uint8Array(9000)],
      [MACHINE, flipped],
    ] as const) {
      const join = create(JoinRequestSchema, { joinToken: "secret", machineId, certificateRequest });
      await expect(ask(client, agentGatewayService.join, join)).rejects.toMatchObject({
        code: status.INVALID_ARGUMENT,
      });
    }
    expect(coordination.joins.size).toBe(1);
  });

  test("renew by their certificate, until they are removed", async () => {
    allowJoin();
    const gateway = await start();
    const channel = await joinMachine(gateway);
    const { request, key } = await newCertificateRequest();
    const renew = create(RenewRequestSchema, { certificateRequest: request });
    await expect(ask(dial(gateway), agentGatewayService.renew, renew)).rejects.toMatchObject({
      code: status.UNAUTHENTICATED,
    });
    const { certificate } = await ask(dial(gateway, channel), agentGatewayService.renew, renew);
    const renewed = credentials.createSsl(ca, key, Buffer.from(certificate));
    const agent = new FakeAgent(dial(gateway, renewed), undefined).hello();
    await expect.poll(() => agent.kinds(), WAIT).toContain("welcome");
    coordination.machines.clear();
    const later = await start();
    await expect(ask(dial(later, renewed), agentGatewayService.renew, renew)).rejects.toMatchObject({
      code: status.UNAUTHENTICATED,
    });
  });
});

describe("certificates", () => {
  test("two gateways that start together in one directory have one authority", async () => {
    const started = await Promise.all([start(), start(), start()]);
    for (const [index, gateway] of started.entries()) {
      const agent = new FakeAgent(dial(gateway), `agent@n${index}`).hello();
      await expect.poll(() => agent.kinds(), WAIT).toContain("welcome");
    }
  });

  test("new files are used without a restart, and sessions go on", async () => {
    const clock = { ...systemClock, after: (ms: number, fn: () => void) => systemClock.after(ms / 50, fn) };
    const gateway = await start({ clock: { ...clock, monotonic: () => performance.now() } });
    const former = ca;
    const before = new FakeAgent(dial(gateway), "agent@n1").hello();
    await expect.poll(() => before.kinds(), WAIT).toContain("welcome");
    const key = CertificateAuthority.makeKey();
    const certificate = await CertificateAuthority.makeCertificate(key, systemClock, systemRandom);
    const authority = new CertificateAuthority({
      bundle: certificate,
      key,
      clock: systemClock,
      random: systemRandom,
    });
    const server = await authority.issueServer(["localhost"]);
    await writeFile(join(directory, "tls.key"), server.key);
    await writeFile(join(directory, "tls.crt"), server.certificate);
    const trusting = (root: Buffer) => credentials.createSsl(root);
    await expect
      .poll(async () => {
        const agent = new FakeAgent(dial(gateway, trusting(Buffer.from(certificate))), "agent@n2").hello();
        await expect.poll(() => agent.kinds().length > 0 || agent.status !== undefined, WAIT).toBe(true);
        return agent.kinds()[0];
      }, WAIT)
      .toBe("welcome");
    expect(before.status).toBeUndefined();
    await unlink(join(directory, "tls.crt")); // half of a pair: the former stays
    const still = new FakeAgent(dial(gateway, trusting(Buffer.from(certificate))), "agent@n3").hello();
    await expect.poll(() => still.kinds(), WAIT).toContain("welcome");
    expect(former).toEqual(await readFile(join(directory, "ca.crt")));
  });
});

describe("crowds", () => {
  test("200 agents connect at once: all get in at last, and reviews are shared", async () => {
    const gateway = await start({ serverLimits: { sessionsPerSecond: 40, sessionBurst: 40 } });
    const names = Array.from({ length: 200 }, (_, index) => `n${index}`);
    await Promise.all(
      names.map((name) =>
        expect
          .poll(
            async () => {
              const agent = new FakeAgent(dial(gateway), `agent@${name}`).hello();
              await expect
                .poll(() => agent.kinds().length > 0 || agent.status !== undefined, WAIT)
                .toBe(true);
              return agent.kinds()[0];
            },
            { timeout: 50_000, interval: 200 },
          )
          .toBe("welcome"),
      ),
    );
    expect(gateway.sessions()).toBe(200);
    const text = await gateway.metrics.registry.metrics();
    expect(text).toMatch(/slipway_gateway_turned_away_total\{reason="Busy"\} [1-9]/);
    expect(text).toMatch(/slipway_gateway_sessions 200/);
  });

  test("peers that nobody knows keep out no agent, and ask the API server so often only", async () => {
    const gateway = await start({
      serverLimits: {
        sessionsPerSecond: 0.001,
        sessionBurst: 1,
        callsPerAddress: 0.001,
        callBurstPerAddress: 11,
      },
    });
    const strangers = Array.from({ length: 10 }, (_, index) =>
      new FakeAgent(dial(gateway), `garbage-${index}`).hello(),
    );
    for (const stranger of strangers) {
      await expect.poll(() => stranger.status?.code, WAIT).toBe(status.UNAUTHENTICATED);
    }
    const agent = new FakeAgent(dial(gateway), "agent@n1").hello();
    await expect.poll(() => agent.kinds(), WAIT).toContain("welcome");
    const asked = fakeReviews.asked;
    const late = new FakeAgent(dial(gateway), "garbage-late").hello();
    await expect.poll(() => late.goAway(), WAIT).toBe("Busy");
    expect(fakeReviews.asked).toBe(asked);
  });

  test("over its limits it says when to come back", async () => {
    const gateway = await start({ serverLimits: { maxSessions: 1 } });
    const first = new FakeAgent(dial(gateway), "agent@n1").hello();
    await expect.poll(() => first.kinds(), WAIT).toContain("welcome");
    const asked = fakeReviews.asked;
    const second = new FakeAgent(dial(gateway), "agent@n2").hello();
    await expect.poll(() => second.goAway(), WAIT).toBe("Busy");
    expect(fakeReviews.asked).toBe(asked);
  });

  test("a peer that does not read is cut off", async () => {
    const gateway = await start({ serverLimits: { stallAfter: 300 } });
    coordination.desired.set("uid-slow", create(DesiredSchema, { group: "g".repeat(10_000) }));
    const peer = connectHttp2(`https://localhost:${gateway.port}`, {
      ca,
      settings: { initialWindowSize: 100 },
    });
    peer.on("error", () => {});
    const stream = peer.request({
      ":method": "POST",
      ":path": agentGatewayService.session.path,
      "content-type": "application/grpc",
      te: "trailers",
      authorization: "Bearer agent@slow",
    });
    stream.on("error", () => {});
    const boot = { bootId: "b1", softReboots: 0 };
    const value = create(HelloSchema, { machineId: MACHINE, boot });
    const hello = agentGatewayService.session.requestSerialize(
      create(SessionRequestSchema, { body: { case: "hello", value } }),
    );
    const prefix = Buffer.alloc(5); // uncompressed, then the length (gRPC over HTTP/2)
    prefix.writeUInt32BE(hello.length, 1);
    stream.write(Buffer.concat([prefix, hello]));
    await expect.poll(() => coordination.sessions.size, WAIT).toBe(1);
    await expect.poll(() => peer.destroyed, WAIT).toBe(true);
    await expect.poll(() => gateway.sessions() + coordination.present.size, WAIT).toBe(0);
  });

  test("a connection that says nothing is closed", async () => {
    const gateway = await start({ serverLimits: { firstCallWithin: 200 } });
    const socket = connect(gateway.port, "127.0.0.1");
    sockets.push(socket);
    socket.on("error", () => {});
    await expect.poll(() => socket.closed, WAIT).toBe(true);
  });
});

describe("stop", () => {
  test("all agents hear of it, presence ends, readiness too, and nothing listens any more", async () => {
    const gateway = await start({ health: { host: "127.0.0.1", port: 0 } });
    const ready = async () => (await fetch(`http://127.0.0.1:${gateway.healthPort}/readyz`)).status;
    expect(await ready()).toBe(200);
    const agents = ["n1", "n2", "n3"].map((name) => new FakeAgent(dial(gateway), `agent@${name}`).hello());
    await expect.poll(() => coordination.present.size, WAIT).toBe(3);
    const stopped = gateway.stop();
    expect(await ready()).toBe(503);
    await stopped;
    for (const agent of agents) expect(agent.goAway()).toBe("Stopping");
    expect(coordination.present.size).toBe(0);
    const late = new FakeAgent(dial(gateway), "agent@n4").hello();
    await expect.poll(() => late.status?.code, WAIT).toBe(status.UNAVAILABLE);
  });

  test("a peer that never leaves does not hold it up", async () => {
    const gateway = await start({ drainWithin: 200 });
    const socket = connect(gateway.port, "127.0.0.1");
    sockets.push(socket);
    socket.on("error", () => {});
    await expect.poll(() => socket.readyState, WAIT).toBe("open");
    await gateway.stop();
    await expect.poll(() => socket.closed, WAIT).toBe(true);
  });
});
