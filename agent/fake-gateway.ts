/** Test support: a gateway in memory, with one node and the phases of its grant, and a watch on the rules. */
import { create } from "@bufbuild/protobuf";
import {
  DesiredSchema,
  GrantSchema,
  type Observed,
  PolicySchema,
  type SessionRequest,
  type SessionResponse,
  SessionResponseSchema,
  type Target,
  TargetSchema,
  type Token,
  TokenSchema,
} from "../proto/gen/agent_pb.ts";
import type { FakeClock } from "./fake-clock.ts";
import type { Transport, TransportHandlers } from "./transport.ts";

type Body = SessionResponse["body"];

export function target(version: string, rootHash: string): Target {
  return create(TargetSchema, { release: `r-${version}`, version, rootHash, architecture: "amd64" });
}

export class FakeGateway {
  readonly clock: FakeClock;
  policy = create(PolicySchema, {
    driver: "fastpatch",
    rebootMethod: "Reboot",
    bootDeadlineSeconds: 60,
    bootChecks: [{ name: "harbor", check: { case: "unit", value: "harbor.service" }, timeoutSeconds: 5 }],
  });
  desired = create(DesiredSchema, { policy: this.policy, mayStage: true });
  grant: { token: Token; phase: string; target: Target | undefined; boot?: string } | undefined;
  reachable = true;
  /** What a commit is answered with; 0 refuses, undefined does not answer. */
  goodForSeconds: number | undefined = 30;
  observed: Observed[] = [];
  received: SessionRequest["body"][] = [];
  verdicts: string[] = [];
  /** Breaches of a rule that this gateway saw. */
  breaches: string[] = [];
  sessions = 0;
  #revision = 1n;
  /** Monotonic ms until which a reboot is allowed. */
  #licence = -1;
  #handlers: TransportHandlers | undefined;

  constructor(clock: FakeClock) {
    this.clock = clock;
  }

  give(phase = "Drained"): void {
    const token = create(TokenSchema, { incarnation: "i", revision: this.#revision++ });
    this.grant = { token, phase, target: this.desired.target };
    this.#pushGrant();
  }

  push(): void {
    this.#send({ case: "desired", value: this.desired });
  }

  /** The connection breaks. */
  drop(): void {
    const handlers = this.#handlers;
    this.#handlers = undefined;
    handlers?.closed("broken");
  }

  flipped(armed: boolean): void {
    if (!armed) this.breaches.push("flipped without an armed switch");
    if (this.clock.monotonic() > this.#licence) this.breaches.push("flipped without a good commit");
  }

  rebooted(runningGood: boolean, armed: boolean): void {
    if (!runningGood) return;
    if (this.clock.monotonic() > this.#licence) this.breaches.push("rebooted without a good commit");
    const stays = this.grant?.target === undefined;
    if (!stays && !armed) this.breaches.push("rebooted into another slot without an armed switch");
  }

  transport(alive: () => boolean): Transport {
    return {
      connect: (handlers) => {
        if (!this.reachable) {
          queueMicrotask(() => handlers.closed("refused"));
          return { send: () => {}, close: () => {} };
        }
        this.#handlers = handlers;
        this.sessions += 1;
        handlers.handshake();
        return {
          send: (request) => {
            if (alive() && this.#handlers === handlers)
              queueMicrotask(() => this.#receive(handlers, request));
          },
          close: () => {
            if (this.#handlers === handlers) this.drop();
          },
        };
      },
    };
  }

  #receive(handlers: TransportHandlers, { body }: SessionRequest): void {
    if (this.#handlers !== handlers) return;
    this.received.push(body);
    switch (body.case) {
      case "hello":
        if (body.value.observed) this.observed.push(body.value.observed);
        this.#send({
          case: "welcome",
          value: { $typeName: "slipway.agent.v1.Welcome", session: BigInt(this.sessions), nowMs: 0n },
        });
        this.push();
        this.#pushGrant();
        return;
      case "observed":
        this.observed.push(body.value);
        return;
      case "commit":
        this.#commit(body.value.token, `${body.value.boot?.bootId}/${body.value.boot?.softReboots}`);
        return;
      case "withdraw": {
        const { token } = body.value;
        if (this.#living(token) && this.grant?.phase !== "Returned") {
          this.verdicts.push(`Withdrawn ${body.value.reason}`);
          this.grant = undefined;
          this.#licence = -1;
        }
        this.#send({
          case: "withdraw",
          value: { $typeName: "slipway.agent.v1.WithdrawResponse", ...(token && { token }) },
        });
        this.#pushGrant();
        return;
      }
      case "return": {
        const { token, verdict, reason, boot } = body.value;
        const grant = this.#living(token) ? this.grant : undefined;
        if (grant?.phase === "Committed") {
          if (grant.boot === `${boot?.bootId}/${boot?.softReboots}`) return;
          this.verdicts.push(`${verdict} ${reason}`);
          grant.phase = "Returned";
        }
        this.#send({
          case: "return",
          value: { $typeName: "slipway.agent.v1.ReturnResponse", ...(token && { token }) },
        });
        this.#pushGrant();
      }
    }
  }

  #commit(token: Token | undefined, boot: string): void {
    const { grant, goodForSeconds: seconds } = this;
    if (seconds === undefined || token === undefined) return;
    const again = grant?.phase === "Committed" && grant.boot === boot;
    const may =
      grant !== undefined && this.#living(token) && (grant.phase === "Drained" || again) && seconds > 0;
    if (may) {
      grant.phase = "Committed";
      grant.boot = boot;
      this.#licence = this.clock.monotonic() + seconds * 1000;
    }
    this.#send({
      case: "commit",
      value: {
        $typeName: "slipway.agent.v1.CommitResponse",
        token,
        goodForSeconds: may ? seconds : 0,
        reason: may ? "Committed" : "WaitingForWindow",
        message: may ? "" : "No reboot window is open.",
      },
    });
    this.#pushGrant();
  }

  #living(token: Token | undefined): boolean {
    return this.grant !== undefined && token?.revision === this.grant.token.revision;
  }

  #pushGrant(): void {
    const { grant, policy } = this;
    const value =
      grant === undefined
        ? create(GrantSchema)
        : create(GrantSchema, {
            token: grant.token,
            phase: grant.phase,
            policy,
            ...(grant.target && { target: grant.target }),
          });
    this.#send({ case: "grant", value });
  }

  #send(body: Body): void {
    const handlers = this.#handlers;
    if (handlers === undefined) return;
    queueMicrotask(() => {
      if (this.#handlers === handlers) handlers.message(create(SessionResponseSchema, { body }));
    });
  }
}
