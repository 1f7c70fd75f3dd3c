/** Test support: a real gRPC server on the loopback that speaks the agent protocol's first words, with a CA of its own. */
import "reflect-metadata";
import { create } from "@bufbuild/protobuf";
import {
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServerUnaryCall,
  type sendUnaryData,
} from "@grpc/grpc-js";
import {
  BasicConstraintsExtension,
  PemConverter,
  Pkcs10CertificateRequest,
  SubjectAlternativeNameExtension,
  type X509Certificate,
  X509CertificateGenerator,
} from "@peculiar/x509";
import { systemClock } from "../ports/clock.ts";
import {
  type JoinRequest,
  type JoinResponse,
  type RenewRequest,
  type RenewResponse,
  type SessionRequest,
  type SessionResponse,
  SessionResponseSchema,
  WelcomeSchema,
} from "../proto/gen/agent_pb.ts";
import { agentGatewayService } from "../proto/service.ts";

const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
export const hour = 3_600_000;
type Stream = ServerDuplexStream<SessionRequest, SessionResponse>;

export interface FakeServer {
  port: number;
  /** PEM of the CA that signed the server's certificate, for `localhost`. */
  ca: string;
  streams: Stream[];
  /** The `authorization` of each session. */
  tokens: (string | undefined)[];
  requests: SessionRequest["body"][];
  joins: JoinRequest[];
  /** Life of the certificates that it signs: from and to, in ms from now. */
  life: [number, number];
  close(): void;
}

export async function startFakeServer(): Promise<FakeServer> {
  const caKeys = await crypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const ca = await X509CertificateGenerator.createSelfSigned({
    name: "CN=test",
    keys: caKeys,
    notBefore: new Date(systemClock.now() - hour),
    notAfter: new Date(systemClock.now() + hour),
    signingAlgorithm: algorithm,
    extensions: [new BasicConstraintsExtension(true, 1, true)],
  });
  const sign = (
    publicKey: CryptoKey,
    subject: string,
    [from, to]: [number, number],
  ): Promise<X509Certificate> =>
    X509CertificateGenerator.create({
      subject,
      issuer: ca.subject,
      notBefore: new Date(systemClock.now() + from),
      notAfter: new Date(systemClock.now() + to),
      publicKey,
      signingKey: caKeys.privateKey,
      signingAlgorithm: algorithm,
      extensions: [new SubjectAlternativeNameExtension([{ type: "dns", value: "localhost" }])],
    });
  const keys = await crypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const certificate = await sign(keys.publicKey, "CN=localhost", [-hour, hour]);
  const server = new Server();
  const fake: FakeServer = {
    port: 0,
    ca: ca.toString("pem"),
    streams: [],
    tokens: [],
    requests: [],
    joins: [],
    life: [-hour, hour],
    close: () => server.forceShutdown(),
  };
  const signRequest = async (der: Uint8Array): Promise<string> => {
    const request = new Pkcs10CertificateRequest(Buffer.from(der));
    if (!(await request.verify())) throw new Error("the request is not signed by its key");
    return (await sign(await request.publicKey.export(), "CN=machine", fake.life)).toString("pem");
  };
  server.addService(agentGatewayService, {
    session: (stream: Stream) => {
      fake.streams.push(stream);
      fake.tokens.push(stream.metadata.get("authorization")[0]?.toString());
      stream.on("data", ({ body }: SessionRequest) => {
        fake.requests.push(body);
        if (body.case !== "hello") return;
        const value = create(WelcomeSchema, { session: 1n });
        stream.write(create(SessionResponseSchema, { body: { case: "welcome", value } }));
      });
      stream.on("error", () => {});
      stream.on("end", () => stream.end());
    },
    join: (call: ServerUnaryCall<JoinRequest, JoinResponse>, answer: sendUnaryData<JoinResponse>) => {
      fake.joins.push(call.request);
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
  const key = PemConverter.encode(await crypto.subtle.exportKey("pkcs8", keys.privateKey), "PRIVATE KEY");
  const pair = { private_key: Buffer.from(key), cert_chain: Buffer.from(certificate.toString("pem")) };
  const credentials = ServerCredentials.createSsl(Buffer.from(fake.ca), [pair], false);
  fake.port = await new Promise((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", credentials, (error, bound) => (error ? reject(error) : resolve(bound)));
  });
  return fake;
}
