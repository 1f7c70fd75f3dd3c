/** An agent's end of a real connection, for tests. */
import "reflect-metadata";
import { create } from "@bufbuild/protobuf";
import {
  type ChannelCredentials,
  Client,
  type ClientDuplexStream,
  Metadata,
  type ServiceError,
  type status,
} from "@grpc/grpc-js";
import { Pkcs10CertificateRequestGenerator } from "@peculiar/x509";
import {
  HelloSchema,
  ObservedSchema,
  type SessionRequest,
  SessionRequestSchema,
  type SessionResponse,
} from "../../proto/gen/agent_pb.ts";
import { agentGatewayService, type Method } from "../../proto/service.ts";

export const MACHINE = "0123456789abcdef0123456789abcdef";

/** A connection of its own to a gateway on loopback. */
export function openChannel(port: number, channel: ChannelCredentials): Client {
  return new Client(`127.0.0.1:${port}`, channel, {
    "grpc.use_local_subchannel_pool": 1,
    // Node refuses an IP address as TLS server name, which grpc-js would send.
    "grpc.ssl_target_name_override": "localhost",
  });
}

type BodyOf<K> = Extract<SessionResponse["body"], { case: K }>["value"];

/** One agent's stream. */
export class FakeAgent {
  readonly got: SessionResponse["body"][] = [];
  readonly stream: ClientDuplexStream<SessionRequest, SessionResponse>;
  status: { code: status; details: string } | undefined;

  constructor(client: Client, token: string | undefined) {
    const metadata = new Metadata();
    if (token !== undefined) metadata.set("authorization", `Bearer ${token}`);
    const { session } = agentGatewayService;
    this.stream = client.makeBidiStreamRequest(
      session.path,
      session.requestSerialize,
      session.responseDeserialize,
      metadata,
    );
    this.stream.on("data", (response: SessionResponse) => this.got.push(response.body));
    this.stream.on("status", ({ code, details }) => {
      this.status = { code, details };
    });
    this.stream.on("error", () => {});
  }

  hello(machineId = MACHINE, bootId = "b1"): this {
    const boot = { bootId, softReboots: 0 };
    const value = create(HelloSchema, {
      machineId,
      boot,
      observed: create(ObservedSchema, { boot, step: "Idle" }),
    });
    this.say({ case: "hello", value });
    return this;
  }

  say(body: SessionRequest["body"]): void {
    this.stream.write(create(SessionRequestSchema, { body }));
  }

  /** The newest message of a kind. */
  last<K extends NonNullable<SessionResponse["body"]["case"]>>(kind: K): BodyOf<K> | undefined {
    return this.got.findLast((body) => body.case === kind)?.value as BodyOf<K> | undefined;
  }

  kinds(): (string | undefined)[] {
    return this.got.map((body) => body.case);
  }

  goAway(): string | undefined {
    const last = this.got.at(-1);
    return last?.case === "goAway" ? last.value.reason : undefined;
  }
}

export function ask<I, O>(client: Client, method: Method<I, O>, request: I): Promise<O> {
  return new Promise((resolve, reject) => {
    client.makeUnaryRequest(
      method.path,
      method.requestSerialize,
      method.responseDeserialize,
      request,
      (error: ServiceError | null, answer?: O) => {
        if (error !== null || answer === undefined) reject(error);
        else resolve(answer);
      },
    );
  });
}

const P256 = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };

/** A new P-256 key, PEM, and a request for it, DER. */
export async function newCertificateRequest(): Promise<{ request: Uint8Array; key: Buffer }> {
  const keys = await crypto.subtle.generateKey(P256, true, ["sign", "verify"]);
  const request = await Pkcs10CertificateRequestGenerator.create({
    name: "CN=not-what-we-sign",
    keys,
    signingAlgorithm: P256,
  });
  const der = Buffer.from(await crypto.subtle.exportKey("pkcs8", keys.privateKey));
  return {
    request: new Uint8Array(request.rawData),
    key: Buffer.from(`-----BEGIN PRIVATE KEY-----\n${der.toString("base64")}\n-----END PRIVATE KEY-----\n`),
  };
}
