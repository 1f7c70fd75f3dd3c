import "./reflect.ts";
import { X509Certificate } from "node:crypto";
import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create } from "@bufbuild/protobuf";
import {
  type sendUnaryData,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServerUnaryCall,
} from "@grpc/grpc-js";
import {
  BasicConstraintsExtension,
  PemConverter,
  Pkcs10CertificateRequest,
  SubjectAlternativeNameExtension,
  type X509Certificate as PeculiarCertificate,
  X509CertificateGenerator,
} from "@peculiar/x509";
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { systemClock } from "../ports/clock.ts";
import { silentLogger } from "../ports/log.ts";
import {
  HelloSchema,
  type JoinRequest,
  type JoinResponse,
  type RenewRequest,
  type RenewResponse,
  type SessionRequest,
  SessionRequestSchema,
  type SessionResponse,
  SessionResponseSchema,
  WelcomeSchema,
} from "../proto/gen/agent_pb.ts";
import { agentGatewayService } from "../proto/service.ts";
import { grpcTransport, parseServers, tokenFile } from "./grpc-transport.ts";
import { dueForRenewal, machineIdentity, parseIdentity } from "./join.ts";
import type { Connection, TransportHandlers } from "./transport.ts";

const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
const hour = 3_600_000;
type Stream = ServerDuplexStream<SessionRequest, SessionResponse>;

interface Seen {
  token: string | undefined;
  peer: string | undefined;
}

let directory: string;
let ca: PeculiarCertificate;
let caKeys: { privateKey: CryptoKey; publicKey: CryptoKey };
let server: Server;
let port: number;
let streams: Stream[] = [];
let seen: Seen[] = [];
let joins: JoinRequest[] = [];
let connections: Connection[] = [];
/** Lifetime of the certificates that the gateway signs: from, to, relative to now. */
let life: [number, number] = [-hour, hour];

const pem = (data: ArrayBuffer, name: string): string => PemConverter.encode(data, name);

async function sign(
  keys: CryptoKey,
  subject: string,
  from: number,
  to: number,
): Promise<PeculiarCertificate> {
  return X509CertificateGenerator.create({
    subject,
    issuer: ca.subject,
    notBefore: new Date(Date.now() + from),
    notAfter: new Date(Date.now() + to),
    publicKey: keys,
    signingKey: caKeys.privateKey,
    signingAlgorithm: algorithm,
    extensions: [new SubjectAlternativeNameExtension([{ type: "dns", value: "localhost" }])],
  });
}

async function signRequest(der: Uint8Array): Promise<string> {
  const request = new Pkcs10CertificateRequest(Buffer.from(der));
  if (!(await request.verify())) throw new Error("the request is not signed by its key");
  const certificate = await sign(await request.publicKey.export(), "CN=machine", ...life);
  return certificate.toString("pem");
}

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "slipway-agent-"));
  caKeys = await crypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  ca = await X509CertificateGenerator.createSelfSigned({
    name: "CN=test",
    keys: caKeys,
    notBefore: new Date(Date.now() - hour),
    notAfter: new Date(Date.now() + hour),
    signingAlgorithm: algorithm,
    extensions: [new BasicConstraintsExtension(true, 1, true)],
  });
  await writeFile(join(directory, "ca.pem"), ca.toString("pem"));
  await writeFile(join(directory, "token"), "first\n");
  await writeFile(join(directory, "join-token"), "once\n");
  const keys = await crypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const certificate = await sign(keys.publicKey, "CN=localhost", -hour, hour);
  server = new Server();
  server.addService(agentGatewayService, {
    session: (stream: Stream) => {
      streams.push(stream);
      seen.push({
        token: stream.metadata.get("authorization")[0]?.toString(),
        peer: stream.getAuthContext().sslPeerCertificate?.subject.CN as string | undefined,
      });
      stream.on("data", (request: SessionRequest) => {
        if (request.body.case !== "hello") return;
        const value = create(WelcomeSchema, { session: 1n });
        stream.write(create(SessionResponseSchema, { body: { case: "welcome", value } }));
      });
      stream.on("error", () => {});
      stream.on("end", () => stream.end());
    },
    join: (call: ServerUnaryCall<JoinRequest, JoinResponse>, answer: sendUnaryData<JoinResponse>) => {
      joins.push(call.request);
      signRequest(call.request.certificateRequest).then(
        (text) => answer(null, { $typeName: "slipway.agent.v1.JoinResponse", certificate: text }),
        (error: Error) => answer(error),
      );
    },
    renew: (call: ServerUnaryCall<RenewRequest, RenewResponse>, answer: sendUnaryData<RenewResponse>) => {
      signRequest(call.request.certificateRequest).then(
        (text) => answer(null, { $typeName: "slipway.agent.v1.RenewResponse", certificate: text }),
        (error: Error) => answer(error),
      );
    },
  });
  const pair = {
    private_key: Buffer.from(pem(await crypto.subtle.exportKey("pkcs8", keys.privateKey), "PRIVATE KEY")),
    cert_chain: Buffer.from(certificate.toString("pem")),
  };
  const credentials = ServerCredentials.createSsl(Buffer.from(ca.toString("pem")), [pair], false);
  port = await new Promise((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", credentials, (error, bound) => (error ? reject(error) : resolve(bound)));
  });
});

afterEach(() => {
  for (const connection of connections) connection.close();
  connections = [];
  streams = [];
  seen = [];
  joins = [];
  life = [-hour, hour];
});

afterAll(async () => {
  server.forceShutdown();
  await rm(directory, { recursive: true, force: true });
});

interface Heard extends TransportHandlers {
  events: string[];
}

function listen(): Heard {
  const events: string[] = [];
  return {
    events,
    handshake: () => events.push("handshake"),
    message: (response) => events.push(response.body.case ?? "nothing"),
    closed: (cause) => events.push(`closed: ${cause}`),
  };
}

const hello = create(SessionRequestSchema, {
  body: { case: "hello", value: create(HelloSchema, { machineId: "m" }) },
});

function viaToken(servers: string[] = [`localhost:${port}`]): ReturnType<typeof grpcTransport> {
  const authenticate = tokenFile(join(directory, "ca.pem"), join(directory, "token"));
  return grpcTransport({ servers, authenticate, clock: systemClock });
}

describe("the gRPC transport", () => {
  it("shakes hands, sends what was queued, and reads the token anew for each connection", async () => {
    const transport = viaToken();
    for (const token of ["first", "second"]) {
      await writeFile(join(directory, "token"), `${token}\n`);
      const heard = listen();
      const connection = transport.connect(heard);
      connections.push(connection);
      connection.send(hello);
      await vi.waitFor(() => expect(heard.events).toEqual(["handshake", "welcome"]), 20_000);
      expect(seen.at(-1)?.token).toBe(`Bearer ${token}`);
      connection.close();
      expect(heard.events.at(-1)).toBe("closed: closed by the agent");
    }
  });

  it("says so when the server ends the stream", async () => {
    const heard = listen();
    const connection = viaToken().connect(heard);
    connections.push(connection);
    connection.send(hello);
    await vi.waitFor(() => expect(heard.events).toContain("welcome"), 20_000);
    streams[0]?.end();
    await vi.waitFor(() => expect(heard.events.at(-1)).toMatch(/^closed: localhost/), 20_000);
    expect(heard.events.filter((event) => event.startsWith("closed"))).toHaveLength(1);
  });

  it("takes the next server each time, and shakes no hand with one that another CA signed", async () => {
    const heard = [listen(), listen()];
    const transport = viaToken([`127.0.0.1:${port}`, `localhost:${port}`]);
    for (const each of heard) {
      const connection = transport.connect(each);
      connections.push(connection);
      connection.send(hello);
    }
    await vi.waitFor(() => expect(heard[1]?.events).toContain("welcome"), 20_000);
    expect(heard[0]?.events).not.toContain("handshake");
  });

  it("ends at once where there are no credentials", async () => {
    const heard = listen();
    const authenticate = tokenFile(join(directory, "nothing"), join(directory, "token"));
    grpcTransport({ servers: [`localhost:${port}`], authenticate, clock: systemClock }).connect(heard);
    await vi.waitFor(() => expect(heard.events[0]).toMatch(/^closed: credentials: ENOENT/));
  });

  it("reads lists of servers", () => {
    expect(parseServers("a:1, [::1]:2,")).toEqual(["a:1", "[::1]:2"]);
    for (const bad of ["", "a", "a:0", "a:99999", "a:b"]) expect(() => parseServers(bad)).toThrow("expected");
  });
});

describe("a machine outside the cluster", () => {
  it("joins once, keeps its identity private, and renews it after two thirds of its life", async () => {
    const identityDirectory = join(directory, "identity");
    const options = {
      servers: [`localhost:${port}`],
      caFile: join(directory, "ca.pem"),
      joinTokenFile: join(directory, "join-token"),
      directory: identityDirectory,
      machineId: "0123456789abcdef0123456789abcdef",
      clock: systemClock,
      log: silentLogger,
    };
    life = [-3 * hour, hour / 2];
    const first = await machineIdentity(options)();
    expect(joins).toMatchObject([{ joinToken: "once", machineId: options.machineId }]);
    expect((await stat(join(identityDirectory, "identity.pem"))).mode & 0o777).toBe(0o600);
    const certificate = first.identity?.certificate ?? Buffer.alloc(0);
    expect(dueForRenewal(certificate, Date.now())).toBe(true);

    life = [-hour, 3 * hour];
    const second = await machineIdentity(options)();
    expect(joins).toHaveLength(1);
    const renewed = second.identity?.certificate ?? Buffer.alloc(0);
    expect(new X509Certificate(renewed).serialNumber).not.toBe(new X509Certificate(certificate).serialNumber);
    expect(second.identity?.key).not.toEqual(first.identity?.key);

    const third = await machineIdentity(options)();
    expect(third.identity).toEqual(second.identity);
    const heard = listen();
    const authenticate = machineIdentity(options);
    const transport = grpcTransport({ servers: [`localhost:${port}`], authenticate, clock: systemClock });
    const connection = transport.connect(heard);
    connections.push(connection);
    connection.send(hello);
    await vi.waitFor(() => expect(heard.events).toContain("welcome"), 20_000);
    expect(parseIdentity(await readFile(join(identityDirectory, "identity.pem"), "utf8"))).toEqual(
      third.identity,
    );
  });
});
