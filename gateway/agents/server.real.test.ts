import { create } from "@bufbuild/protobuf";
import { credentials, status } from "@grpc/grpc-js";
import { describe, expect, test } from "vitest";
import { systemClock } from "../../ports/clock.ts";
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
import { FakeLeases } from "../fake-cluster.ts";
import { ask, FakeAgent, MACHINE, newCertificateRequest } from "./fake-agent.ts";
import { allowJoin, ca, coordination, dial, joinMachine, start, WAIT } from "./fake-gateways.ts";
import { hashJoinToken } from "./join.ts";

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

  test("while etcd's holders are missing agents get the TLS handshake, and no session", async () => {
    coordination.incarnation = "rebuilding:two";
    const gateway = await start();
    const client = dial(gateway);
    await new Promise<void>((resolve, reject) => {
      client.waitForReady(Date.now() + 10_000, (error) => (error ? reject(error) : resolve()));
    });
    await expect
      .poll(async () => {
        const agent = new FakeAgent(client, "agent@n1").hello();
        await expect.poll(() => agent.goAway(), WAIT).toBeDefined();
        return agent.kinds();
      }, WAIT)
      .toEqual(["goAway"]);
    coordination.incarnation = "two";
    coordination.hint();
    await expect
      .poll(async () => {
        const agent = new FakeAgent(client, "agent@n2").hello();
        await expect.poll(() => agent.kinds().length, WAIT).toBeGreaterThan(0);
        return agent.kinds()[0];
      }, WAIT)
      .toBe("welcome");
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

  test("a machine that renews again and again holds up no other one", async () => {
    allowJoin();
    allowJoin("other");
    const gateway = await start({ serverLimits: { renewalsPerSecond: 0.001, renewalBurst: 6 } });
    const [loud, quiet] = [await joinMachine(gateway), await joinMachine(gateway, "other", "f".repeat(32))];
    const { request } = await newCertificateRequest();
    const renew = create(RenewRequestSchema, { certificateRequest: request });
    const outcomes = [];
    for (let n = 0; n < 8; n++) {
      const answer = ask(dial(gateway, loud), agentGatewayService.renew, renew);
      outcomes.push(
        await answer.then(
          () => "issued",
          ({ code }: { code: status }) => code,
        ),
      );
    }
    expect(outcomes).toEqual([...Array(5).fill("issued"), ...Array(3).fill(status.UNAVAILABLE)]);
    const { certificate } = await ask(dial(gateway, quiet), agentGatewayService.renew, renew);
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
    await expect(ask(dial(gateway, renewed), agentGatewayService.renew, renew)).rejects.toMatchObject({
      code: status.UNAUTHENTICATED,
    });
  });

  test("that were forgotten get no session, and their old certificate none after they joined anew", async () => {
    allowJoin();
    const gateway = await start();
    const before = await joinMachine(gateway);
    const agent = new FakeAgent(dial(gateway, before), undefined).hello();
    await expect.poll(() => agent.kinds(), WAIT).toContain("welcome");
    coordination.machines.clear();
    const forgotten = new FakeAgent(dial(gateway, before), undefined).hello();
    await expect.poll(() => forgotten.status?.code, WAIT).toBe(status.UNAUTHENTICATED);
    await new Promise((resolve) => setTimeout(resolve, 1100));
    allowJoin("another");
    const after = await joinMachine(gateway, "another");
    const old = new FakeAgent(dial(gateway, before), undefined).hello();
    await expect.poll(() => old.status?.code, WAIT).toBe(status.UNAUTHENTICATED);
    const anew = new FakeAgent(dial(gateway, after), undefined).hello();
    await expect.poll(() => anew.kinds(), WAIT).toContain("welcome");
  });

  test("where etcd does not answer, a machine is sent away, not refused", async () => {
    allowJoin();
    const gateway = await start();
    const channel = await joinMachine(gateway);
    coordination.failing.add("readMachine");
    const agent = new FakeAgent(dial(gateway, channel), undefined).hello();
    await expect.poll(() => agent.goAway(), WAIT).toBe("EtcdUnavailable");
  });
});
