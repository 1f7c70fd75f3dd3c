/** The agents' protocol over real TLS and HTTP/2 on loopback: certificates, crowds, and the end. */
import { readFile, unlink, writeFile } from "node:fs/promises";
import { connect as connectHttp2 } from "node:http2";
import { connect } from "node:net";
import { join } from "node:path";
import { create } from "@bufbuild/protobuf";
import { credentials, status } from "@grpc/grpc-js";
import { describe, expect, test } from "vitest";
import { systemClock } from "../../ports/clock.ts";
import { systemRandom } from "../../ports/random.ts";
import { DesiredSchema, HelloSchema, SessionRequestSchema } from "../../proto/gen/agent_pb.ts";
import { agentGatewayService } from "../../proto/service.ts";
import { CertificateAuthority } from "../certificate-authority.ts";
import { fakeReviews } from "../fake-cluster.ts";
import { FakeAgent, MACHINE } from "./fake-agent.ts";
import { ca, coordination, dial, directory, sockets, start, WAIT } from "./fake-gateways.ts";

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
    const gateway = await start({ serverLimits: { sessionsPerSecond: 20, sessionBurst: 20 } });
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
            // As an agent that backs off: whoever tries more often than its share has to wait longer.
            { timeout: 50_000, interval: 2000 },
          )
          .toBe("welcome"),
      ),
    );
    expect(gateway.sessions()).toBe(200);
    const text = await gateway.metrics.registry.metrics();
    expect(text).toMatch(/slipway_gateway_turned_away_total\{reason="Busy"\} [1-9]/);
    expect(text).toMatch(/slipway_gateway_sessions\{version="\w+"\} 200/);
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

  test("an identity that opens session after session, from anywhere, keeps out no other", async () => {
    const gateway = await start({ serverLimits: { sessionsPerSecond: 0.001, sessionBurst: 12 } });
    for (let session = 0; session < 30; session++) {
      const agent = new FakeAgent(dial(gateway), "agent@n1").hello();
      await expect.poll(() => agent.kinds()[0], WAIT).toBe(session < 10 ? "welcome" : "goAway");
      if (session >= 10) expect(agent.goAway()).toBe("TooManySessions");
    }
    for (const name of ["n2", "n3"]) {
      const other = new FakeAgent(dial(gateway), `agent@${name}`).hello();
      await expect.poll(() => other.kinds()[0], WAIT).toBe("welcome");
    }
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
    const gateway = await start({ serverLimits: { sessionWithin: 200 } });
    const socket = connect(gateway.port, "127.0.0.1");
    sockets.push(socket);
    socket.on("error", () => {});
    await expect.poll(() => socket.closed, WAIT).toBe(true);
  });
});

describe("peers without credentials", () => {
  test("one whose calls are refused is closed as one that says nothing", async () => {
    const gateway = await start({ serverLimits: { sessionWithin: 1500 } });
    const client = dial(gateway);
    const stranger = new FakeAgent(client, "garbage").hello();
    await expect.poll(() => stranger.status?.code, WAIT).toBe(status.UNAUTHENTICATED);
    const agent = new FakeAgent(dial(gateway), "agent@n1").hello();
    await expect.poll(() => agent.kinds(), WAIT).toContain("welcome");
    await expect.poll(() => gateway.metrics.registry.metrics(), WAIT).toMatch(/reason="Silent"\} 1/);
    expect(agent.status).toBeUndefined();
    expect(gateway.sessions()).toBe(1);
  });

  test("their connections are as many as their network may have, and agents' are not among them", async () => {
    const gateway = await start({ serverLimits: { strangersPerNetwork: 3 } });
    const agents = [];
    for (const name of ["n1", "n2", "n3", "n4", "n5"]) {
      const agent = new FakeAgent(dial(gateway), `agent@${name}`).hello();
      await expect.poll(() => agent.kinds(), WAIT).toContain("welcome");
      agents.push(agent);
    }
    const strangers = Array.from({ length: 10 }, () => connect(gateway.port, "127.0.0.1"));
    sockets.push(...strangers);
    for (const socket of strangers) socket.on("error", () => {});
    await expect.poll(() => strangers.filter((socket) => socket.closed).length, WAIT).toBe(7);
    expect(gateway.sessions()).toBe(5);
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
