/** Reaches a gateway by gRPC over TLS. Credentials are read anew for each connection: they rotate. */
import { readFile } from "node:fs/promises";
import { isIP } from "node:net";
import {
  type ChannelCredentials,
  Client,
  type ClientDuplexStream,
  credentials,
  Metadata,
} from "@grpc/grpc-js";
import type { Clock } from "../ports/clock.ts";
import type { SessionRequest, SessionResponse } from "../proto/gen/agent_pb.ts";
import { agentGatewayService } from "../proto/service.ts";
import type { Connection, Transport, TransportHandlers } from "./transport.ts";

/** TLS handshake within this time, ms. */
const HANDSHAKE_WITHIN = 15_000;
/** Longest message taken, bytes; a policy with 16 checks takes 40 KiB. */
const MAX_MESSAGE = 1024 * 1024;

export interface Authentication {
  /** PEM: who may sign the gateway's certificate. */
  ca: Buffer;
  /** Sent as `authorization: Bearer`. */
  token?: string;
  /** PEM: a plain machine's client certificate (with issuers) and key. */
  identity?: { certificate: Buffer; key: Buffer };
}

export interface GrpcTransportOptions {
  /** `host:port`; each connection takes the next one. */
  servers: readonly string[];
  authenticate: () => Promise<Authentication>;
  clock: Clock;
}

/** Parses `host:port,host:port`; throws on anything else. */
export function parseServers(list: string): string[] {
  const servers = list
    .split(",")
    .map((server) => server.trim())
    .filter((server) => server !== "");
  for (const server of servers) {
    const port = Number(/^(?:\[[0-9a-fA-F:]+\]|[^:\s]+):(\d{1,5})$/.exec(server)?.[1] ?? 0);
    if (port < 1 || port > 65_535) throw new Error(`${server}: host:port expected`);
  }
  if (servers.length === 0) throw new Error("at least one gateway, host:port, expected");
  return servers;
}

/** For a bearer token (in a file that the kubelet renews) and a CA file. */
export function tokenFile(caFile: string, file: string): () => Promise<Authentication> {
  return async () => ({ ca: await readFile(caFile), token: (await readFile(file, "utf8")).trim() });
}

export function channelCredentials({ ca, identity }: Authentication): ChannelCredentials {
  return credentials.createSsl(ca, identity?.key ?? null, identity?.certificate ?? null);
}

/** The host of `host:port`; an IPv6 address without its brackets. */
function hostOf(server: string): string {
  return server.slice(0, server.lastIndexOf(":")).replace(/^\[|\]$/g, "");
}

/** Every gateway's certificate carries it: TLS (RFC 6066, 3) knows no server name that is an address. */
const GATEWAY_NAME = "slipway-gateway";

/** A channel of its own, which ends with its client; the transport's own back-off is the only one. */
export function openClient(server: string, authentication: Authentication): Client {
  return new Client(server, channelCredentials(authentication), {
    "grpc.use_local_subchannel_pool": 1,
    "grpc.enable_retries": 0,
    "grpc.keepalive_time_ms": 30_000,
    "grpc.keepalive_timeout_ms": 10_000,
    "grpc.keepalive_permit_without_calls": 1,
    "grpc.max_receive_message_length": MAX_MESSAGE,
    "grpc.service_config_disable_resolution": 1,
    ...(isIP(hostOf(server)) === 0 ? {} : { "grpc.ssl_target_name_override": GATEWAY_NAME }),
  });
}

export function grpcTransport({ servers, authenticate, clock }: GrpcTransportOptions): Transport {
  let turn = 0;
  return {
    connect(handlers) {
      const server = servers[turn++ % servers.length] ?? "";
      return new GrpcConnection(server, authenticate, clock, handlers);
    },
  };
}

type Stream = ClientDuplexStream<SessionRequest, SessionResponse>;

class GrpcConnection implements Connection {
  readonly #server: string;
  readonly #clock: Clock;
  readonly #handlers: TransportHandlers;
  /** What was sent before the stream was there. */
  readonly #early: SessionRequest[] = [];
  #client: Client | undefined;
  #stream: Stream | undefined;
  #ended = false;

  constructor(
    server: string,
    authenticate: () => Promise<Authentication>,
    clock: Clock,
    handlers: TransportHandlers,
  ) {
    this.#server = server;
    this.#clock = clock;
    this.#handlers = handlers;
    authenticate().then(
      (authentication) => this.#open(authentication),
      (error: unknown) => this.#end(`credentials: ${error instanceof Error ? error.message : String(error)}`),
    );
  }

  send(request: SessionRequest): void {
    if (this.#ended) return;
    if (this.#stream === undefined) this.#early.push(request);
    else this.#stream.write(request);
  }

  close(): void {
    this.#end("closed by the agent");
  }

  #open(authentication: Authentication): void {
    if (this.#ended) return;
    const client = openClient(this.#server, authentication);
    this.#client = client;
    client.waitForReady(this.#clock.now() + HANDSHAKE_WITHIN, (error) => {
      if (this.#ended) return;
      if (error) this.#end(`no TLS handshake with ${this.#server}: ${error.message}`);
      else this.#call(client, authentication.token);
    });
  }

  #call(client: Client, token: string | undefined): void {
    this.#handlers.handshake();
    const metadata = new Metadata();
    if (token !== undefined) metadata.set("authorization", `Bearer ${token}`);
    const { path, requestSerialize, responseDeserialize } = agentGatewayService.session;
    const stream: Stream = client.makeBidiStreamRequest(
      path,
      requestSerialize,
      responseDeserialize,
      metadata,
    );
    this.#stream = stream;
    stream.on("data", (response: SessionResponse) => {
      if (!this.#ended) this.#handlers.message(response);
    });
    stream.on("error", (error) => this.#end(`${this.#server}: ${error.message}`));
    stream.on("end", () => this.#end(`${this.#server} ended the stream`));
    for (const request of this.#early.splice(0)) stream.write(request);
  }

  #end(cause: string): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#stream?.cancel();
    this.#client?.close();
    this.#handlers.closed(cause);
  }
}
