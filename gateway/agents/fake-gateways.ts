/** Test support: real gateways on loopback, with etcd and the API server in memory; each test starts with none. */
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create } from "@bufbuild/protobuf";
import { type ChannelCredentials, Client, credentials } from "@grpc/grpc-js";
import { afterEach, beforeEach } from "vitest";
import type { Coordination } from "../../coordination/coordination.ts";
import { systemClock } from "../../ports/clock.ts";
import { silentLogger } from "../../ports/log.ts";
import { systemRandom } from "../../ports/random.ts";
import { JoinRequestSchema } from "../../proto/gen/agent_pb.ts";
import { agentGatewayService } from "../../proto/service.ts";
import { FakeLeases, fakeReviews } from "../fake-cluster.ts";
import { FakeCoordination } from "../fake-coordination.ts";
import { type Gateway, type GatewayOptions, startGateway } from "../gateway.ts";
import { ask, MACHINE, newCertificateRequest, openChannel } from "./fake-agent.ts";
import { hashJoinToken } from "./join.ts";

export const WAIT = { timeout: 20_000, interval: 20 };

export let directory: string;
export let coordination: FakeCoordination;
export let ca: Buffer;
const clients: Client[] = [];
const gateways: Gateway[] = [];
export const sockets: Socket[] = [];

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

export async function start(
  options: Partial<GatewayOptions> = {},
  leases = new FakeLeases(),
): Promise<Gateway> {
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

export function dial(gateway: Gateway, channel: ChannelCredentials = credentials.createSsl(ca)): Client {
  const client = openChannel(gateway.port, channel);
  clients.push(client);
  return client;
}

export async function joinMachine(
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

export function allowJoin(token = "secret"): void {
  coordination.joins.set(hashJoinToken(token), { group: "edge", labels: {}, expiresAt: Infinity });
}
