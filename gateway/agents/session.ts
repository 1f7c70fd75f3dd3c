/**
 * One agent's session, whatever carries it. The agent speaks first (Hello); then it is
 * told its desired state and its grant, and again whenever they change. What it observes
 * is written to etcd, its requests become transactions. Where etcd gives no answer there
 * is none for the agent either: it asks again.
 */
import { create, equals, toJsonString } from "@bufbuild/protobuf";
import type { Coordination, LiveGrant } from "../../coordination/coordination.ts";
import { EtcdUnavailable } from "../../coordination/etcd.ts";
import { sameToken, type Token } from "../../coordination/records.ts";
import type { Cancel, Clock } from "../../ports/clock.ts";
import type { Logger } from "../../ports/log.ts";
import type { Random } from "../../ports/random.ts";
import {
  type Desired,
  DesiredSchema,
  type Grant,
  GrantSchema,
  type Hello,
  type Observed,
  ObservedSchema,
  type SessionRequest,
  type SessionResponse,
  SessionResponseSchema,
} from "../../proto/gen/agent_pb.ts";
import type { Identity } from "./authenticate.ts";
import { checkBoot, checkHello, checkObserved, checkToken, MalformedMessage } from "./form.ts";
import { type EndReason, goAway } from "./go-away.ts";
import { grantMessage } from "./grant-message.ts";
import { Newest } from "./newest.ts";
import { Questions } from "./questions.ts";
import { type KeyedBuckets, TokenBucket } from "./token-bucket.ts";

export interface SessionLimits {
  /** From the stream's start to Hello, ms. */
  helloWithin: number;
  /** At least this long between two writes of what is observed, ms. */
  observedSpacing: number;
  /** Of what one identity observes, in all its sessions; written later where it is more. */
  observedBytesPerSecond: number;
  observedByteBurst: number;
  messagesPerSecond: number;
  messageBurst: number;
  /** The session moves on after a time drawn between these, ms. */
  maxAge: readonly [number, number];
}

export const defaultSessionLimits: SessionLimits = {
  helloWithin: 10_000,
  observedSpacing: 500,
  // A report has 1 to 2 KiB, and an agent that fetches makes one a second.
  observedBytesPerSecond: 2048,
  observedByteBurst: 128 * 1024,
  messagesPerSecond: 20,
  messageBurst: 60,
  maxAge: [30 * 60_000, 60 * 60_000],
};

/** What a write costs etcd beside its value, bytes: keys, revisions, and a read of the fleet by everybody. */
const WRITE_BYTES = 512;

/** What a session counts; `gateway/metrics.ts` makes metrics of it. */
export interface SessionMeter {
  received(kind: string): void;
  sent(kind: string): void;
  commit(answer: "committed" | "refused", reason: string): void;
  unavailable(call: string): void;
  ended(reason: EndReason | "Closed"): void;
}

/** What a node's session is told when etcd changed. */
export interface NodeRecords {
  desired: Desired | undefined;
  grant: LiveGrant | undefined;
  /** The newest session of the node. */
  newest: number | undefined;
}

export interface SessionOptions {
  identity: Identity;
  /** Name of this gateway, unique to its process. */
  gateway: string;
  coordination: Pick<
    Coordination,
    "openSession" | "closeSession" | "putObserved" | "commit" | "withdraw" | "reportReturn" | "readNode"
  >;
  /** The gateway's lease, for presence; undefined while there is none. */
  lease: () => string | undefined;
  clock: Clock;
  random: Random;
  log: Logger;
  meter: SessionMeter;
  limits: SessionLimits;
  /** Bytes of what is observed, by uid: they outlive the session. */
  reports: KeyedBuckets;
  send: (response: SessionResponse) => void;
  /** Ends the stream; GoAway has been sent. */
  end: (reason: EndReason) => void;
  /** The session is open: it wants its records, from a read that starts after this call. */
  opened: () => void;
}

export class AgentSession {
  readonly identity: Identity;
  readonly #options: SessionOptions;
  readonly #log: Logger;
  readonly #bucket: TokenBucket;
  readonly #observed: Newest<Observed>;
  readonly #timers: Cancel[] = [];
  readonly #questions: Questions;
  #state: "silent" | "opening" | "open" | "ended" = "silent";
  #session = 0;
  #machineId = "";
  #agentVersion = "";
  /** The newest report from before the session was open. */
  #early: Observed | undefined;
  /** Token that the agent says it acts under. */
  #acting: Token | undefined;
  #desired: Desired | undefined;
  #live: LiveGrant | undefined;
  #grant: Grant | undefined;

  constructor(options: SessionOptions) {
    this.#options = options;
    this.identity = options.identity;
    this.#log = options.log.with({ node: options.identity.node, uid: options.identity.uid });
    const { clock, limits, random } = options;
    this.#bucket = new TokenBucket(clock, {
      perSecond: limits.messagesPerSecond,
      burst: limits.messageBurst,
    });
    this.#observed = new Newest(
      clock,
      limits.observedSpacing,
      (observed) => options.reports.wait(this.identity.uid, bytesOf(observed)),
      (observed) => this.#putObserved(observed),
    );
    this.#questions = new Questions({
      uid: options.identity.uid,
      coordination: options.coordination,
      log: this.#log,
      attempt: (call, run) => this.#try(call, run),
      send: (body) => this.#send(body),
      committed: (answer, reason) => options.meter.commit(answer, reason),
      outdated: () => this.end("NewerSession"),
    });
    const [youngest, oldest] = limits.maxAge;
    this.#timers.push(
      clock.after(limits.helloWithin, () => {
        if (this.#state === "silent") this.end("HelloTimeout");
      }),
      clock.after(youngest + random.next() * (oldest - youngest), () => this.end("MaxAge")),
    );
  }

  /** The session number in etcd; 0 before it is open. */
  get session(): number {
    return this.#session;
  }

  /** As the agent said in its Hello. */
  get agentVersion(): string {
    return this.#agentVersion;
  }

  get open(): boolean {
    return this.#state === "open";
  }

  receive(request: SessionRequest): void {
    if (this.#state === "ended") return;
    this.#options.meter.received(request.body.case ?? "unknown");
    if (!this.#bucket.take()) {
      this.end("TooManyMessages");
      return;
    }
    try {
      this.#accept(request.body);
    } catch (error) {
      if (!(error instanceof MalformedMessage)) throw error;
      this.#log.error("refused a malformed message", error, { kind: request.body.case });
      this.end("InvalidMessage");
    }
  }

  /** `records` come from a read that started after `opened` was called. */
  update(records: NodeRecords): void {
    if (this.#state !== "open") return;
    if (records.newest !== this.#session) {
      // None, or an older one: etcd lost its data, or went back in time, and our presence with it.
      this.end((records.newest ?? 0) > this.#session ? "NewerSession" : "PresenceLost");
      return;
    }
    this.#pushDesired(records.desired);
    if (this.#grant !== undefined && this.#live === records.grant) return;
    this.#live = records.grant;
    this.#pushGrant();
  }

  /** Says goodbye and ends the stream. */
  end(reason: EndReason): void {
    if (this.#state === "ended") return;
    this.#send(goAway(reason, this.#options.random).body);
    this.#finish(reason);
    this.#options.end(reason);
  }

  /** The stream is gone. */
  closed(): void {
    if (this.#state !== "ended") this.#finish("Closed");
  }

  #finish(reason: EndReason | "Closed"): void {
    const wasOpen = this.#state === "open";
    this.#state = "ended";
    for (const cancel of this.#timers) cancel();
    const last = this.#observed.stop();
    this.#questions.stop();
    this.#options.meter.ended(reason);
    this.#log.info("session ended", { session: this.#session, reason });
    if (wasOpen) void this.#close(last);
  }

  /** Writes the last report, if that is allowed now, and ends the presence; where that fails, `SessionTable` sweeps. */
  async #close(last?: Observed): Promise<void> {
    if (last !== undefined) await this.#putObserved(last);
    await this.#try("closeSession", () =>
      this.#options.coordination.closeSession(this.identity.uid, this.#session),
    );
  }

  #accept(body: SessionRequest["body"]): void {
    if (body.case === "hello") {
      if (this.#state !== "silent") throw new MalformedMessage("hello: expected once, first");
      this.#hello(body.value);
      return;
    }
    if (this.#state === "silent") throw new MalformedMessage("hello: expected first");
    switch (body.case) {
      case "observed":
        this.#observe(body.value);
        break;
      case "commit":
      case "withdraw":
      case "return":
        this.#questions.put(body);
        break;
      default:
        throw new MalformedMessage("a body of this protocol's version expected");
    }
  }

  #hello(hello: Hello): void {
    checkHello(hello, this.identity.machineId);
    this.#machineId = hello.machineId;
    this.#agentVersion = hello.agentVersion;
    this.#state = "opening";
    if (hello.observed !== undefined) this.#observe(hello.observed);
    void this.#open(hello);
  }

  async #open(hello: Hello): Promise<void> {
    const { coordination, gateway, clock } = this.#options;
    const lease = this.#options.lease();
    if (lease === undefined) {
      this.end("EtcdUnavailable");
      return;
    }
    const session = await this.#try("openSession", () =>
      coordination.openSession(this.identity.uid, gateway, lease),
    );
    if (session === undefined) {
      this.end("EtcdUnavailable");
      return;
    }
    this.#session = session;
    if (this.#ended()) {
      await this.#close();
      return;
    }
    this.#state = "open";
    this.#log.info("session opened", {
      session,
      agent: hello.agentVersion,
      boot: checkBoot("hello.boot", hello.boot),
    });
    this.#send({
      case: "welcome",
      value: { $typeName: "slipway.agent.v1.Welcome", session: BigInt(session), nowMs: BigInt(clock.now()) },
    });
    if (this.#early !== undefined) this.#observed.offer(this.#early);
    this.#early = undefined;
    this.#options.opened();
    this.#questions.open(session);
  }

  /** The state as another task may have left it. */
  #ended(): boolean {
    return this.#state === "ended";
  }

  #observe(observed: Observed): void {
    checkObserved(observed);
    if (observed.machineId !== "" && observed.machineId !== this.#machineId) {
      throw new MalformedMessage("observed.machine_id: not the machine of this session's Hello");
    }
    const acting = observed.token === undefined ? undefined : checkToken("observed.token", observed.token);
    if (!sameToken(acting, this.#acting)) {
      this.#acting = acting;
      if (this.#grant !== undefined) this.#pushGrant();
    }
    if (this.#state === "open") this.#observed.offer(observed);
    else this.#early = observed;
  }

  async #putObserved(observed: Observed): Promise<"done" | "again"> {
    if (!this.#options.reports.take(this.identity.uid, bytesOf(observed))) return "again";
    const newest = await this.#try("putObserved", () =>
      this.#options.coordination.putObserved(this.identity.uid, this.#session, observed),
    );
    if (newest === false) this.end("NewerSession");
    return newest === undefined ? "again" : "done";
  }

  #pushDesired(desired: Desired | undefined): void {
    if (desired === this.#desired) return;
    const next = desired ?? create(DesiredSchema);
    if (this.#desired !== undefined && equals(DesiredSchema, this.#desired, next)) return;
    this.#desired = next;
    this.#send({ case: "desired", value: next });
  }

  #pushGrant(): void {
    let next: Grant;
    try {
      next = grantMessage(this.#live, this.#acting);
    } catch (error) {
      this.#log.error("can't read the grant's record", error);
      return;
    }
    if (this.#grant !== undefined && equals(GrantSchema, this.#grant, next)) return;
    this.#grant = next;
    this.#send({ case: "grant", value: next });
  }

  #send(body: SessionResponse["body"]): void {
    if (this.#state === "ended") return;
    this.#options.meter.sent(body.case ?? "unknown");
    this.#options.send(create(SessionResponseSchema, { body }));
  }

  /** Undefined where the call gave no answer, which is counted and logged. */
  async #try<R>(call: string, run: () => Promise<R>): Promise<R | undefined> {
    try {
      return await run();
    } catch (error) {
      if (error instanceof EtcdUnavailable) this.#options.meter.unavailable(call);
      this.#log.error("a call to etcd failed", error, { call });
      return undefined;
    }
  }
}

/** As it is stored. */
function bytesOf(observed: Observed): number {
  return Buffer.byteLength(toJsonString(ObservedSchema, observed)) + WRITE_BYTES;
}
