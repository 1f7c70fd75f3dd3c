/** Many agents' sessions from one process: each with a TLS connection and a client certificate of its own. */
import { generateKeyPairSync } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { create } from "@bufbuild/protobuf";
import { grpcTransport, parseServers } from "../../agent/grpc-transport.ts";
import { createCoordination } from "../../coordination/create.ts";
import { connectEtcd } from "../../coordination/etcd3-port.ts";
import { CertificateAuthority } from "../../gateway/certificate-authority.ts";
import { within } from "../../hack/plane/wait.ts";
import { systemClock } from "../../ports/clock.ts";
import { silentLogger } from "../../ports/log.ts";
import { systemRandom } from "../../ports/random.ts";
import { HelloSchema, SessionRequestSchema } from "../../proto/gen/agent_pb.ts";

/** Sessions that are opened at once; the gateway admits a bounded number a second. */
const AT_ONCE = 10;
const WELCOME_WITHIN = 60_000;

/**
 * Opens `count` sessions of machines that join, and waits for each one's Welcome; returns what
 * closes them. `certificates` holds ca.crt and ca.key.
 */
export async function connectMany(
  count: number,
  {
    gateway,
    certificates,
    endpoints,
  }: { gateway: string; certificates: string; endpoints: readonly string[] },
): Promise<() => Promise<void>> {
  const bundle = await readFile(join(certificates, "ca.crt"), "utf8");
  const key = await readFile(join(certificates, "ca.key"), "utf8");
  const authority = new CertificateAuthority({ bundle, key, clock: systemClock, random: systemRandom });
  const closers: (() => void)[] = [];
  const ports = { clock: systemClock, random: systemRandom, log: silentLogger };
  const etcd = connectEtcd({ endpoints, ...ports });
  const coordination = createCoordination({ etcd, ...ports });

  const open = async (index: number): Promise<void> => {
    const machineId = index.toString(16).padStart(32, "0");
    const token = systemRandom.uuid();
    const expiresAt = systemClock.now() + 600_000;
    await coordination.putJoinToken(token, { group: "bench", labels: {}, expiresAt });
    await coordination.spendJoinToken(token, machineId);
    const pair = generateKeyPairSync("ec", { namedCurve: "P-256" });
    const certificate = Buffer.from(await authority.issueMachine(machineId, pair.publicKey));
    const identity = {
      certificate,
      key: Buffer.from(pair.privateKey.export({ type: "pkcs8", format: "pem" })),
    };
    const transport = grpcTransport({
      servers: parseServers(gateway),
      authenticate: async () => ({ ca: Buffer.from(bundle), identity }),
      clock: systemClock,
    });
    for (;;) {
      const welcomed = await within(
        WELCOME_WITHIN,
        `session ${index} is welcomed`,
        new Promise<boolean>((resolve) => {
          const connection = transport.connect({
            handshake: () => undefined,
            message: ({ body }) => {
              if (body.case === "welcome") resolve(true);
              else if (body.case === "goAway") setTimeout(() => resolve(false), body.value.retryAfterMs);
            },
            closed: () => setTimeout(() => resolve(false), 250),
          });
          const hello = create(HelloSchema, {
            agentVersion: "bench",
            machineId,
            architecture: "amd64",
            boot: { bootId: `00000000-0000-4000-8000-${machineId.slice(20)}`, softReboots: 0 },
          });
          connection.send(create(SessionRequestSchema, { body: { case: "hello", value: hello } }));
          closers.push(() => connection.close());
        }),
      );
      if (welcomed) return;
    }
  };

  for (let first = 0; first < count; first += AT_ONCE) {
    await Promise.all(
      Array.from({ length: Math.min(AT_ONCE, count - first) }, (_, index) => open(first + index)),
    );
  }
  await etcd.close();
  return async () => {
    for (const close of closers) close();
  };
}
