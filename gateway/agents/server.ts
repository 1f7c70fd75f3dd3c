/**
 * The agents' protocol on grpc-js over TLS. Client certificates are asked for, not
 * required: a node's agent shows a bearer token instead. grpc-js can only do that with
 * certificate provider credentials, which also take new certificates without a restart.
 * Connections are accepted by a listener of our own, which can count them, give one that
 * says nothing a deadline, and cut one whose peer doesn't read.
 */
import { type AddressInfo, createServer, type Server as NetServer, type Socket } from "node:net";
import {
  experimental,
  Server,
  type ServerDuplexStream,
  type ServerUnaryCall,
  type ServiceError,
  type sendUnaryData,
  status,
} from "@grpc/grpc-js";
import { EtcdUnavailable } from "../../coordination/etcd.ts";
import type { Address } from "../../ports/address.ts";
import type { Clock } from "../../ports/clock.ts";
import { sleep } from "../../ports/clock.ts";
import type { Logger } from "../../ports/log.ts";
import type { Random } from "../../ports/random.ts";
import type {
  JoinRequest,
  JoinResponse,
  RenewRequest,
  RenewResponse,
  SessionRequest,
  SessionResponse,
} from "../../proto/gen/agent_pb.ts";
import { agentGatewayService } from "../../proto/service.ts";
import { RefusedRequest } from "../certificate-authority.ts";
import type { CertificateFiles } from "../certificate-files.ts";
import type { GatewayMetrics } from "../metrics.ts";
import { AddressBuckets } from "./address-buckets.ts";
import { type Authenticator, CannotAsk, type Identity, Refused } from "./authenticate.ts";
import { providerOf } from "./certificate-provider.ts";
import { Connections } from "./connections.ts";
import { type EndReason, goAway } from "./go-away.ts";
import type { Enrolment } from "./join.ts";
import { Outbox } from "./outbox.ts";
import { MAX_IDENTITIES, type SessionTable } from "./session-table.ts";
import { KeyedBuckets, type Rate, TokenBucket } from "./token-bucket.ts";

export interface ServerLimits {
  maxConnections: number;
  /** Connections of one network that carry no session: whoever opens more can only keep out its neighbours. */
  strangersPerNetwork: number;
  maxSessions: number;
  /** New sessions of peers that are known. */
  sessionsPerSecond: number;
  sessionBurst: number;
  joinsPerSecond: number;
  joinBurst: number;
  renewalsPerSecond: number;
  renewalBurst: number;
  /** Of one identity, whatever it calls from: it can only keep out itself. */
  sessionsPerIdentity: number;
  sessionBurstPerIdentity: number;
  renewalsPerIdentity: number;
  renewalBurstPerIdentity: number;
  /** Sessions and renewals asked for from one address, before anybody knows by whom: many agents may share one. */
  callsPerAddress: number;
  callBurstPerAddress: number;
  /** Less than `joinsPerSecond`: a join is known by its token only once etcd was asked. */
  joinsPerAddress: number;
  joinBurstPerAddress: number;
  /** From accept, or from the end of a session, to a session of a peer that is known, ms. */
  sessionWithin: number;
  /** A peer that reads nothing for this long is cut off, ms. */
  stallAfter: number;
  /** From GoAway to the end of the stream, ms. */
  goodbyeWithin: number;
}

/** Sized for 5,000 agents on one core: about 110 KiB of memory and 3 ms of handshake each. */
export const defaultServerLimits: ServerLimits = {
  maxConnections: 12_000,
  strangersPerNetwork: 500,
  maxSessions: 10_000,
  sessionsPerSecond: 100,
  sessionBurst: 300,
  joinsPerSecond: 10,
  joinBurst: 50,
  renewalsPerSecond: 10,
  renewalBurst: 50,
  sessionsPerIdentity: 0.2,
  sessionBurstPerIdentity: 10,
  renewalsPerIdentity: 1 / 60,
  renewalBurstPerIdentity: 5,
  callsPerAddress: 50,
  callBurstPerAddress: 150,
  joinsPerAddress: 4,
  joinBurstPerAddress: 20,
  // As long as an agent waits for its Welcome.
  sessionWithin: 30_000,
  stallAfter: 20_000,
  goodbyeWithin: 10_000,
};

export interface AgentServerOptions {
  listen: Address;
  certificates: CertificateFiles;
  authenticator: Authenticator;
  enrolment: Enrolment;
  table: SessionTable;
  clock: Clock;
  random: Random;
  log: Logger;
  metrics: GatewayMetrics;
  limits: ServerLimits;
}

class TooMany extends Error {
  constructor() {
    super("too many requests: come again");
  }
}

type Stream = ServerDuplexStream<SessionRequest, SessionResponse>;
type Call = Pick<Stream, "metadata" | "getAuthContext" | "getPeer">;

/** Longest life of a connection, ms, should a session not have moved on before (grpc-js adds 10 % of jitter). */
const MAX_CONNECTION_AGE = 70 * 60_000;

/** grpc-js's channel options: keepalive finds peers that went without a word. */
const channelOptions = {
  "grpc.keepalive_time_ms": 30_000,
  "grpc.keepalive_timeout_ms": 10_000,
  "grpc.max_connection_age_ms": MAX_CONNECTION_AGE,
  "grpc.max_connection_age_grace_ms": 30_000,
  "grpc.max_connection_idle_ms": 60_000,
  "grpc.max_receive_message_length": 256 * 1024,
  "grpc.max_concurrent_streams": 4,
  "grpc.enable_channelz": 0,
};

export class AgentServer {
  readonly #options: AgentServerOptions;
  readonly #grpc = new Server(channelOptions);
  readonly #listener: NetServer;
  readonly #injector: ReturnType<Server["createConnectionInjector"]>;
  readonly #provider: ReturnType<typeof providerOf>;
  readonly #connections: Connections;
  readonly #buckets: Readonly<Record<"session" | "join" | "renew", TokenBucket>>;
  /** By uid. */
  readonly #identities: Readonly<Record<"session" | "renew", KeyedBuckets>>;
  readonly #addresses: Readonly<Record<"call" | "join", AddressBuckets>>;
  #stopping = false;

  private constructor(options: AgentServerOptions) {
    this.#options = options;
    const { clock, limits } = options;
    this.#connections = new Connections(clock, limits, (reason) => options.metrics.turnedAway(reason));
    const rate = (perSecond: number, burst: number): Rate => ({ perSecond, burst });
    this.#buckets = {
      session: new TokenBucket(clock, rate(limits.sessionsPerSecond, limits.sessionBurst)),
      join: new TokenBucket(clock, rate(limits.joinsPerSecond, limits.joinBurst)),
      renew: new TokenBucket(clock, rate(limits.renewalsPerSecond, limits.renewalBurst)),
    };
    const sessions = rate(limits.sessionsPerIdentity, limits.sessionBurstPerIdentity);
    const renewals = rate(limits.renewalsPerIdentity, limits.renewalBurstPerIdentity);
    this.#identities = {
      session: new KeyedBuckets(clock, sessions, MAX_IDENTITIES),
      renew: new KeyedBuckets(clock, renewals, MAX_IDENTITIES),
    };
    this.#addresses = {
      call: new AddressBuckets(clock, rate(limits.callsPerAddress, limits.callBurstPerAddress)),
      join: new AddressBuckets(clock, rate(limits.joinsPerAddress, limits.joinBurstPerAddress)),
    };
    this.#grpc.addService(agentGatewayService, {
      session: (call: Stream) => void this.#session(call),
      join: (call: ServerUnaryCall<JoinRequest, JoinResponse>, done: sendUnaryData<JoinResponse>) =>
        void this.#enrol("join", call, done, (admit) => {
          admit();
          return options.enrolment.join(call.request);
        }),
      renew: (call: ServerUnaryCall<RenewRequest, RenewResponse>, done: sendUnaryData<RenewResponse>) =>
        void this.#enrol("renew", call, done, (admit) => {
          const identity = this.#byCertificate(call);
          admit(identity);
          return options.enrolment.renew(identity, call.request);
        }),
    });
    this.#provider = providerOf(options.certificates);
    this.#injector = this.#grpc.createConnectionInjector(
      experimental.createCertificateProviderServerCredentials(this.#provider, this.#provider, false),
    );
    this.#listener = createServer({ noDelay: true }, (socket) => this.#accept(socket));
  }

  static async listen(options: AgentServerOptions): Promise<AgentServer> {
    const server = new AgentServer(options);
    await new Promise<void>((resolve, reject) => {
      server.#listener.once("error", reject);
      server.#listener.listen(options.listen, () => {
        server.#listener.off("error", reject);
        resolve();
      });
    });
    return server;
  }

  get port(): number {
    return (this.#listener.address() as AddressInfo).port;
  }

  get connections(): number {
    return this.#connections.size;
  }

  /** Takes no more, ends every session, and waits for the connections for at most `within` ms. */
  async stop(within: number): Promise<void> {
    const { clock, table } = this.#options;
    this.#stopping = true;
    this.#listener.close();
    table.endAll("Stopping");
    this.#injector.drain(within);
    const deadline = clock.monotonic() + within;
    while (this.#connections.size > 0 && clock.monotonic() < deadline) await sleep(clock, 20);
    this.#connections.cutAll();
    this.#grpc.forceShutdown();
    this.#provider.stop();
  }

  #accept(socket: Socket): void {
    if (this.#stopping) socket.destroy();
    else if (this.#connections.accept(socket)) this.#injector.injectConnection(socket);
  }

  #cut(call: Call): void {
    this.#connections.cut(call.getPeer());
  }

  async #session(call: Stream): Promise<void> {
    const { clock, limits, table, log } = this.#options;
    const reason = this.#addresses.call.take(call.getPeer()) ? this.#refusal() : "Busy";
    if (reason !== undefined) {
      this.#sayGoAway(call, reason);
      return;
    }
    let identity: Identity;
    let late: EndReason | undefined;
    try {
      identity = await this.#authenticate(call);
      if (call.cancelled) return;
      late = this.#refusal() ?? this.#crowded(identity);
      if (late === undefined) await this.#options.enrolment.check(identity);
    } catch (error) {
      if (error instanceof CannotAsk) this.#sayGoAway(call, error.reason);
      else if (error instanceof EtcdUnavailable) this.#sayGoAway(call, "EtcdUnavailable");
      else this.#fail(call, error);
      return;
    }
    if (call.cancelled) return;
    late ??= this.#refusal();
    if (late !== undefined) {
      this.#sayGoAway(call, late);
      return;
    }
    let finished = false;
    const letGo = this.#connections.hold(call.getPeer());
    const outbox = new Outbox({
      clock,
      stallAfter: limits.stallAfter,
      write: (message, flushed) => void call.write(message, flushed),
      stalled: () => {
        log.info("cut off an agent that does not read", { node: identity.node });
        this.#options.metrics.turnedAway("Stalled");
        table.disconnected(session);
        this.#cut(call);
      },
    });
    const session = table.connect(identity, {
      send: (response) => outbox.push(response),
      end: () => {
        outbox.close();
        call.end();
        const cancel = clock.after(limits.goodbyeWithin, () => {
          if (!finished) this.#cut(call);
        });
        call.once("cancelled", cancel);
      },
    });
    const over = (): void => {
      finished = true;
      letGo();
      outbox.close();
      table.disconnected(session);
    };
    call.on("data", (request: SessionRequest) => session.receive(request));
    call.on("end", () => {
      over();
      call.end();
    });
    call.on("cancelled", over);
    call.on("error", over);
  }

  /** Why no stream is taken now: asked before anything dear is done, and again after. */
  #refusal(): EndReason | undefined {
    const { limits, table } = this.#options;
    if (this.#stopping) return "Stopping";
    if (table.lease === undefined) return "EtcdUnavailable";
    if (table.size >= limits.maxSessions) return "Busy";
    return undefined;
  }

  /** An identity that comes too often takes nothing of what is for all. */
  #crowded({ uid }: Identity): EndReason | undefined {
    if (!this.#identities.session.take(uid)) return "TooManySessions";
    return this.#buckets.session.take() ? undefined : "Busy";
  }

  async #authenticate(call: Call): Promise<Identity> {
    const [header] = call.metadata.get("authorization");
    if (header === undefined) return this.#byCertificate(call);
    const token = /^bearer (.+)$/i.exec(header.toString())?.[1];
    if (token === undefined) throw new Refused("authorization: a bearer token expected");
    return this.#options.authenticator.byToken(token);
  }

  #byCertificate(call: Call): Identity {
    const raw = call.getAuthContext().sslPeerCertificate?.raw;
    if (raw === undefined) throw new Refused("no bearer token and no valid client certificate");
    return this.#options.authenticator.byCertificate(raw);
  }

  #sayGoAway(call: Stream, reason: EndReason): void {
    this.#options.metrics.turnedAway(reason);
    call.write(goAway(reason, this.#options.random));
    call.end();
  }

  #fail(call: Stream, error: unknown): void {
    const { code, details } = this.#statusOf(error);
    this.#options.metrics.turnedAway(status[code]);
    call.emit("error", { code, details });
  }

  async #enrol<Response>(
    name: "join" | "renew",
    call: Call,
    done: sendUnaryData<Response>,
    /** Calls `admit` once it knows as much of the peer as it can for nothing. */
    work: (admit: (identity?: Identity) => void) => Promise<Response>,
  ): Promise<void> {
    const { metrics } = this.#options;
    const addresses = this.#addresses[name === "join" ? "join" : "call"];
    const admitOne = (may: boolean): void => {
      if (!may || this.#stopping) throw new TooMany();
    };
    try {
      admitOne(addresses.take(call.getPeer()));
      const response = await work((identity) => {
        admitOne(identity === undefined || this.#identities.renew.take(identity.uid));
        admitOne(this.#buckets[name].take());
      });
      metrics.enrolled(name, "issued");
      done(null, response);
    } catch (error) {
      if (error instanceof TooMany) metrics.turnedAway("Busy");
      const { code, details } = this.#statusOf(error);
      metrics.enrolled(name, code === status.UNAVAILABLE ? "unavailable" : "refused");
      done({ code, details });
    }
  }

  #statusOf(error: unknown): Pick<ServiceError, "code" | "details"> {
    const { log } = this.#options;
    if (error instanceof RefusedRequest) return { code: status.INVALID_ARGUMENT, details: error.message };
    if (error instanceof Refused) {
      log.info("refused a peer", { why: error.message });
      return { code: status.UNAUTHENTICATED, details: error.message };
    }
    if (error instanceof TooMany) return { code: status.UNAVAILABLE, details: error.message };
    if (error instanceof EtcdUnavailable || error instanceof CannotAsk) {
      return { code: status.UNAVAILABLE, details: "no answer from behind the gateway: come again" };
    }
    log.error("a call failed", error);
    return { code: status.INTERNAL, details: "internal error" };
  }
}
