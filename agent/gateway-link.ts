/** What gateways said, and what was asked of them: keeps `Link`, and the questions in `Run`. */
import { type Reason, reasons } from "../api/reasons.ts";
import type { Clock } from "../ports/clock.ts";
import type { Logger } from "../ports/log.ts";
import type { Random } from "../ports/random.ts";
import type { Hello, Observed, SessionResponse } from "../proto/gen/agent_pb.ts";
import type { Next } from "./decision.ts";
import type { Host } from "./host.ts";
import { type GrantToken, sameToken } from "./memory.ts";
import { commitRequest, returnRequest, withdrawRequest } from "./messages.ts";
import { GatewaySession } from "./session.ts";
import { type Link, type Run, why } from "./situation.ts";
import type { Transport } from "./transport.ts";

interface GatewayLinkOptions {
  transport: Transport;
  clock: Clock;
  random: Random;
  log: Logger;
  host: Host;
  /** Its `commit` and `asked` are kept here. */
  run: Run;
  hello: () => Hello;
  /** A session began: Hello carried the latest report. */
  opened: () => void;
  changed: () => void;
}

export class GatewayLink {
  readonly state: Link = {
    connected: false,
    session: 0,
    since: 0,
    handshake: false,
    desired: undefined,
    grant: undefined,
  };
  readonly #options: GatewayLinkOptions;
  readonly #session: GatewaySession;
  #started = false;

  constructor(options: GatewayLinkOptions) {
    this.#options = options;
    const { transport, clock, random, log, hello, changed } = options;
    this.#session = new GatewaySession({
      transport,
      clock,
      random,
      log,
      handlers: {
        hello,
        handshake: () => {
          this.state.handshake = true;
          changed();
        },
        opened: () => this.#opened(),
        message: (body) => this.#receive(body),
        closed: () => {
          this.state.connected = false;
          this.state.grant = undefined;
          changed();
        },
      },
    });
  }

  /** Does nothing but the first time. */
  start(): void {
    if (this.#started) return;
    this.#started = true;
    this.#session.start();
  }

  stop(): void {
    this.#session.stop();
  }

  reconnect(): void {
    this.#session.reconnect();
  }

  report(value: Observed): boolean {
    return this.#session.send({ case: "observed", value });
  }

  askCommit(token: GrantToken): void {
    const { clock, host, run } = this.#options;
    run.rebootAskedAt = undefined;
    run.commit = { token, session: this.state.session, sentAt: clock.monotonic(), answer: undefined };
    this.#session.send(commitRequest(token, host.boot));
  }

  tell(next: Extract<Next, { kind: "Withdraw" | "Return" }>): void {
    const { clock, host, run } = this.#options;
    const kind = next.kind === "Withdraw" ? "withdraw" : "return";
    const { session } = this.state;
    run.asked = { kind, token: next.token, session, at: clock.monotonic(), answered: false };
    this.#session.send(
      next.kind === "Withdraw"
        ? withdrawRequest(next.token, next.why)
        : returnRequest(next.token, host.boot, next.verdict, next.why),
    );
  }

  #opened(): void {
    const link = this.state;
    link.connected = true;
    link.handshake = true;
    link.session += 1;
    link.since = this.#options.clock.monotonic();
    link.grant = undefined;
    this.#options.opened();
    this.#options.changed();
  }

  #receive(body: SessionResponse["body"]): void {
    const { run } = this.#options;
    switch (body.case) {
      case "desired":
        this.state.desired = body.value;
        break;
      case "grant":
        this.state.grant = body.value.token === undefined ? null : body.value;
        break;
      case "commit": {
        const { token, goodForSeconds, reason, message } = body.value;
        const { commit } = run;
        if (commit === undefined || commit.answer !== undefined || !sameToken(commit.token, token)) return;
        const known = Object.hasOwn(reasons, reason) ? (reason as Reason) : "CommitRefused";
        commit.answer = { goodForMs: goodForSeconds * 1000, why: why(known, message) };
        break;
      }
      case "withdraw":
      case "return":
        if (run.asked?.kind !== body.case || !sameToken(run.asked.token, body.value.token)) return;
        run.asked.answered = true;
        break;
      default:
        return;
    }
    this.#options.changed();
  }
}
