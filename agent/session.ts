/** Keeps one session with some gateway: connects, says Hello, waits longer after each failure. */
import { create } from "@bufbuild/protobuf";
import type { Cancel, Clock } from "../ports/clock.ts";
import type { Logger } from "../ports/log.ts";
import type { Random } from "../ports/random.ts";
import {
  type Hello,
  type SessionRequest,
  SessionRequestSchema,
  type SessionResponse,
} from "../proto/gen/agent_pb.ts";
import type { Connection, Transport } from "./transport.ts";

/** Decorrelated jitter between these, ms: a fleet that lost its gateway must not return in one moment. */
const MIN_WAIT = 500;
const MAX_WAIT = 30_000;
/** Longest wait that a gateway may ask for, ms. */
const MAX_GO_AWAY = 300_000;
/** From connecting to Welcome, ms. */
const WELCOME_WITHIN = 30_000;
/** A session that lived this long resets the wait, ms. */
const PROVEN_AFTER = 10_000;

export interface SessionHandlers {
  hello(): Hello;
  handshake(): void;
  opened(): void;
  /** Anything but Welcome and GoAway, of an open session. */
  message(body: SessionResponse["body"]): void;
  closed(cause: string): void;
}

export interface SessionOptions {
  transport: Transport;
  clock: Clock;
  random: Random;
  log: Logger;
  handlers: SessionHandlers;
}

export class GatewaySession {
  readonly #options: SessionOptions;
  #connection: Connection | undefined;
  #open = false;
  #openedAt = 0;
  #stopped = false;
  #wait = MIN_WAIT;
  #retryAfter: number | undefined;
  #timer: Cancel | undefined;

  constructor(options: SessionOptions) {
    this.#options = options;
  }

  start(): void {
    this.#connect();
  }

  /** Ends the session, and makes no new one. */
  stop(): void {
    this.#stopped = true;
    this.#timer?.();
    this.#connection?.close();
  }

  /** Ends the session; the next one follows after the usual wait. */
  reconnect(): void {
    this.#connection?.close();
  }

  /** False where there is no session: nothing is queued for a later one. */
  send(body: SessionRequest["body"]): boolean {
    if (!this.#open || this.#connection === undefined) return false;
    this.#connection.send(create(SessionRequestSchema, { body }));
    return true;
  }

  #connect(): void {
    if (this.#stopped) return;
    const { transport, clock, handlers } = this.#options;
    let ended = false;
    const connection = transport.connect({
      handshake: () => handlers.handshake(),
      message: (response) => {
        if (!ended) this.#receive(response);
      },
      closed: (cause) => {
        if (ended) return;
        ended = true;
        this.#closed(cause);
      },
    });
    if (ended) return;
    this.#connection = connection;
    this.#timer = clock.after(WELCOME_WITHIN, () => connection.close());
    connection.send(create(SessionRequestSchema, { body: { case: "hello", value: handlers.hello() } }));
  }

  #receive(response: SessionResponse): void {
    const { body } = response;
    if (body.case === "goAway") {
      this.#retryAfter = Math.min(body.value.retryAfterMs, MAX_GO_AWAY);
      this.#options.log.info("the gateway ends the session", {
        reason: body.value.reason,
        retryAfterMs: body.value.retryAfterMs,
      });
      this.#connection?.close();
    } else if (body.case === "welcome") {
      if (this.#open) return;
      this.#timer?.();
      this.#open = true;
      this.#openedAt = this.#options.clock.monotonic();
      this.#options.log.info("session opened", { session: body.value.session.toString() });
      this.#options.handlers.opened();
    } else if (this.#open) {
      this.#options.handlers.message(body);
    }
  }

  #closed(cause: string): void {
    const { clock, random, handlers, log } = this.#options;
    this.#timer?.();
    this.#connection = undefined;
    if (this.#open && clock.monotonic() - this.#openedAt >= PROVEN_AFTER) this.#wait = MIN_WAIT;
    this.#open = false;
    handlers.closed(cause);
    if (this.#stopped) return;
    this.#wait = Math.min(MAX_WAIT, MIN_WAIT + random.next() * (this.#wait * 3 - MIN_WAIT));
    const wait = this.#retryAfter ?? this.#wait;
    this.#retryAfter = undefined;
    log.info("session closed", { cause, retryAfterMs: Math.round(wait) });
    this.#timer = clock.after(wait, () => this.#connect());
  }
}
