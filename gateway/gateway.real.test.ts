/** Gateways over a real etcd: what two of them and a manager's transactions do together. */
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create } from "@bufbuild/protobuf";
import { type Client, credentials } from "@grpc/grpc-js";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Coordination, Leadership } from "../coordination/coordination.ts";
import { createCoordination } from "../coordination/create.ts";
import type { EtcdPort } from "../coordination/etcd.ts";
import { connectEtcd } from "../coordination/etcd3-port.ts";
import { openGate } from "../coordination/fixtures.ts";
import type { Token } from "../coordination/records.ts";
import { type EtcdCluster, startEtcd } from "../hack/plane/etcd.ts";
import { systemClock } from "../ports/clock.ts";
import { silentLogger } from "../ports/log.ts";
import { systemRandom } from "../ports/random.ts";
import {
  CommitRequestSchema,
  DesiredSchema,
  JoinRequestSchema,
  ReturnRequestSchema,
  WithdrawRequestSchema,
} from "../proto/gen/agent_pb.ts";
import { agentGatewayService } from "../proto/service.ts";
import { ask, FakeAgent, MACHINE, newCertificateRequest, openChannel } from "./agents/fake-agent.ts";
import { tokenMessage } from "./agents/grant-message.ts";
import { hashJoinToken } from "./agents/join.ts";
import { type Gateway, startGateway } from "./gateway.ts";

const UID = "uid-n1";
const WAIT = { timeout: 30_000, interval: 20 };
const ports = { clock: systemClock, random: systemRandom, log: silentLogger };

let cluster: EtcdCluster;
let directory: string;
let manager: Coordination;
let leader: Leadership;
const clients: Client[] = [];
const gateways: Gateway[] = [];
const etcds: EtcdPort[] = [];

beforeEach(async () => {
  cluster = await startEtcd();
  directory = await mkdtemp(join(tmpdir(), "slipway-gateway-"));
  manager = createCoordination({ etcd: connect(), ...ports });
  const from = await manager.readEpoch();
  const raised = await manager.raiseEpoch(from, true);
  if (raised === undefined) throw new Error("nobody else leads here");
  leader = raised;
  await writeGates(true);
});

afterEach(async () => {
  for (const client of clients.splice(0)) client.close();
  await Promise.all(gateways.splice(0).map((gateway) => gateway.stop()));
  await Promise.all(etcds.splice(0).map((etcd) => etcd.close()));
  await cluster.stop();
  await rm(directory, { recursive: true });
});

function connect(): EtcdPort {
  const etcd = connectEtcd({ endpoints: cluster.endpoints, ...ports, callTimeout: 2000 });
  etcds.push(etcd);
  return etcd;
}

async function start(): Promise<Gateway> {
  const etcd = connect();
  const gateway = await startGateway({
    client: {
      tokenReview: async (token) => ({
        authenticated: true,
        username: "system:serviceaccount:slipway-system:slipway-agent",
        extra: {
          "authentication.kubernetes.io/node-name": [token],
          "authentication.kubernetes.io/node-uid": [`uid-${token}`],
        },
        audiences: ["slipway"],
        error: "",
      }),
    },
    etcd,
    coordination: createCoordination({ etcd, ...ports }),
    listen: { host: "127.0.0.1", port: 0 },
    certificateDirectory: directory,
    hosts: ["localhost"],
    serviceAccounts: ["slipway-system:slipway-agent"],
    audience: "slipway",
    name: "test",
    drainWithin: 1000,
    ...ports,
  });
  gateways.push(gateway);
  return gateway;
}

async function dial(gateway: Gateway, channel = credentials.createSsl): Promise<Client> {
  const client = openChannel(gateway.port, channel(await readFile(join(directory, "ca.crt"))));
  clients.push(client);
  return client;
}

/** An agent of `node` whose session is open; tries until the gateway has its lease. */
async function connected(gateway: Gateway, node = "n1", boot = "b1"): Promise<FakeAgent> {
  const client = await dial(gateway);
  for (;;) {
    const agent = new FakeAgent(client, node).hello(MACHINE, boot);
    await expect.poll(() => agent.kinds().length > 0 || agent.status !== undefined, WAIT).toBe(true);
    if (agent.kinds()[0] === "welcome") return agent;
    agent.stream.cancel();
  }
}

async function writeGates(open: boolean): Promise<void> {
  const validUntil = systemClock.now() + 29_000;
  await manager.writeGates(leader, {
    groups: [openGate("workers", validUntil, { open })],
    budgets: [{ budget: "group/workers", max: 1, unavailable: [], validUntil }],
  });
}

async function grant(): Promise<Token> {
  const desired = create(DesiredSchema, {
    group: "workers",
    target: { release: "r2", version: "2.0.0", rootHash: "ab" },
    policy: { driver: "fastpatch", rebootMethod: "Reboot", bootDeadlineSeconds: 60 },
  });
  await manager.putDesired(leader, UID, desired);
  const result = await manager.takeGrant(leader, {
    uid: UID,
    node: "n1",
    group: "workers",
    release: "r2",
    budgets: ["group/workers"],
    desired,
    nonce: systemRandom.uuid(),
    needs: 1000,
    bootNeeds: 1000,
    reason: "WaitingForTurn",
  });
  if (result.outcome !== "granted") throw new Error(result.why.message);
  return result.token;
}

const boot = (bootId: string) => ({ bootId, softReboots: 0 });

describe("the way of an update", () => {
  test("granted, drained, committed, rebooted to another gateway, returned", async () => {
    const [first, second] = [await start(), await start()];
    const before = await connected(first);
    const token = await grant();
    const message = tokenMessage(token);
    await expect.poll(() => before.last("grant")?.phase, WAIT).toBe("Granted");
    expect(before.last("desired")?.target?.version).toBe("2.0.0");
    const commit = create(CommitRequestSchema, { token: message, boot: boot("b1") });
    before.say({ case: "commit", value: commit });
    await expect.poll(() => before.last("commit")?.reason, WAIT).toBe("Draining");
    expect(before.last("commit")?.goodForSeconds).toBe(0);
    await manager.markDrained(leader, UID, token);
    await expect.poll(() => before.last("grant")?.phase, WAIT).toBe("Drained");
    before.say({ case: "commit", value: commit });
    await expect.poll(() => before.last("commit")?.goodForSeconds, WAIT).toBeGreaterThan(0);
    before.stream.cancel();
    await expect.poll(async () => (await manager.readFleet()).present.has(UID), WAIT).toBe(false);
    const after = await connected(second, "n1", "b2");
    await expect.poll(() => after.last("grant")?.phase, WAIT).toBe("Committed");
    const back = { token: message, boot: boot("b2"), verdict: "Updated", reason: "Updated", message: "good" };
    after.say({ case: "return", value: create(ReturnRequestSchema, back) });
    await expect.poll(() => after.last("return")?.token, WAIT).toMatchObject(message);
    expect((await manager.readFleet()).grants.get(UID)?.phase).toMatchObject({
      phase: "Returned",
      verdict: "Updated",
    });
    await manager.release(leader, UID, token);
    await expect.poll(() => after.last("grant")?.token, WAIT).toBeUndefined();
  });

  test("a closed window refuses the commit; the agent withdraws", async () => {
    const agent = await connected(await start());
    const token = await grant();
    await manager.markDrained(leader, UID, token);
    await writeGates(false);
    const message = tokenMessage(token);
    agent.say({
      case: "commit",
      value: create(CommitRequestSchema, { token: message, boot: boot("b1") }),
    });
    await expect.poll(() => agent.last("commit")?.goodForSeconds, WAIT).toBe(0);
    agent.say({ case: "withdraw", value: create(WithdrawRequestSchema, { token: message }) });
    await expect.poll(() => agent.last("withdraw")?.token, WAIT).toMatchObject(message);
    expect((await manager.readFleet()).grants.get(UID)?.phase.phase).toBe("Withdrawn");
  });
});

test("a session of another gateway ends this one's, and presence moves with it", async () => {
  const [first, second] = [await start(), await start()];
  const older = await connected(first);
  const newer = await connected(second);
  await expect.poll(() => older.goAway(), WAIT).toBe("NewerSession");
  await expect.poll(() => first.sessions(), WAIT).toBe(0);
  expect(newer.goAway()).toBeUndefined();
  expect((await manager.readFleet()).present.has(UID)).toBe(true);
});

test("while etcd is away agents are sent away, and come back when it is back", async () => {
  const gateway = await start();
  const agent = await connected(gateway);
  cluster.members[0]?.pause();
  await expect.poll(() => agent.goAway(), { ...WAIT, timeout: 40_000 }).toBe("PresenceLost");
  const turnedAway = new FakeAgent(await dial(gateway), "n2").hello();
  await expect.poll(() => turnedAway.goAway(), WAIT).toBe("EtcdUnavailable");
  cluster.members[0]?.resume();
  const again = await connected(gateway);
  await expect.poll(async () => (await manager.readFleet()).present.has(UID), WAIT).toBe(true);
  expect(again.goAway()).toBeUndefined();
}, 120_000);

test("a gateway that stops takes its agents' presence with it", async () => {
  const gateway = await start();
  await connected(gateway, "n1");
  await connected(gateway, "n2");
  await expect.poll(async () => (await manager.readFleet()).present.size, WAIT).toBe(2);
  await gateway.stop();
  expect((await manager.readFleet()).present.size).toBe(0);
});

test("a machine joins by a token that is spent, and its records are its own", async () => {
  await manager.putJoinToken(hashJoinToken("secret"), {
    group: "edge",
    labels: { zone: "a" },
    expiresAt: systemClock.now() + 60_000,
  });
  const gateway = await start();
  const { request, key } = await newCertificateRequest();
  const join_ = create(JoinRequestSchema, {
    joinToken: "secret",
    machineId: MACHINE,
    certificateRequest: request,
  });
  const { certificate } = await ask(await dial(gateway), agentGatewayService.join, join_);
  await expect(ask(await dial(gateway), agentGatewayService.join, join_)).rejects.toThrow("spent");
  expect((await manager.readMachines()).get(MACHINE)).toMatchObject({ group: "edge", labels: { zone: "a" } });
  const channel = (ca?: Buffer | null) => credentials.createSsl(ca ?? null, key, Buffer.from(certificate));
  const client = await dial(gateway, channel);
  await expect
    .poll(async () => {
      const agent = new FakeAgent(client, undefined).hello();
      await expect.poll(() => agent.kinds().length, WAIT).toBeGreaterThan(0);
      return agent.kinds()[0];
    }, WAIT)
    .toBe("welcome");
  await expect.poll(async () => [...(await manager.readFleet()).present], WAIT).toEqual([MACHINE]);
});
