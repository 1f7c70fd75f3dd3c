/**
 * What an agent asks for under a token: to commit, to withdraw, to have returned. One
 * question is asked of etcd at a time, and of each kind only the newest waits. Where etcd
 * gives no answer the agent gets none: it asks again.
 */
import type { Coordination } from "../../coordination/coordination.ts";
import { isWhole, type Phase, sameToken, type Token } from "../../coordination/records.ts";
import type { Logger } from "../../ports/log.ts";
import type { SessionRequest, SessionResponse } from "../../proto/gen/agent_pb.ts";
import { checkBoot, checkToken, checkVerdict, checkWhy } from "./form.ts";
import { tokenMessage } from "./grant-message.ts";

type Body = SessionRequest["body"];
export type Question = Extract<Body, { case: "commit" | "withdraw" | "return" }>;

export interface QuestionsOptions {
  uid: string;
  coordination: Pick<Coordination, "commit" | "withdraw" | "reportReturn" | "readNode">;
  log: Logger;
  /** Undefined where the call gave no answer. */
  attempt: <R>(call: string, run: () => Promise<R>) => Promise<R | undefined>;
  send: (body: SessionResponse["body"]) => void;
  committed: (answer: "committed" | "refused", reason: string) => void;
  /** A newer session of the node exists. */
  outdated: () => void;
}

export class Questions {
  readonly #options: QuestionsOptions;
  readonly #waiting = new Map<Question["case"], Question>();
  /** 0 while the session is not open. */
  #session = 0;
  #asking = false;

  constructor(options: QuestionsOptions) {
    this.#options = options;
  }

  /** Throws `MalformedMessage`. */
  put(question: Question): void {
    checkToken(`${question.case}.token`, question.value.token);
    if (question.case !== "withdraw") checkBoot(`${question.case}.boot`, question.value.boot);
    if (question.case === "return") checkVerdict(question.value.verdict);
    this.#waiting.set(question.case, question);
    void this.#ask();
  }

  /** From here on questions are asked; those that came before it too. */
  open(session: number): void {
    this.#session = session;
    void this.#ask();
  }

  stop(): void {
    this.#session = 0;
    this.#waiting.clear();
  }

  async #ask(): Promise<void> {
    if (this.#asking) return;
    this.#asking = true;
    while (this.#session !== 0) {
      const next = this.#waiting.values().next();
      if (next.done === true) break;
      this.#waiting.delete(next.value.case);
      await this.#options.attempt(next.value.case, () => this.#answer(next.value));
    }
    this.#asking = false;
  }

  async #answer(question: Question): Promise<void> {
    const { coordination, send, uid } = this.#options;
    const token = checkToken("token", question.value.token);
    switch (question.case) {
      case "commit":
        await this.#commit(token, checkBoot("commit.boot", question.value.boot));
        return;
      case "withdraw": {
        const { reason, message } = question.value;
        const why = checkWhy(reason, message, "Withdrawn");
        const fenced = await coordination.withdraw(uid, this.#session, token, why);
        if (fenced === "stale" && !(await this.#settled(token))) return;
        send({
          case: "withdraw",
          value: { $typeName: "slipway.agent.v1.WithdrawResponse", token: tokenMessage(token) },
        });
        return;
      }
      case "return": {
        const { reason, message } = question.value;
        const verdict = checkVerdict(question.value.verdict);
        const boot = checkBoot("return.boot", question.value.boot);
        const why = checkWhy(reason, message, verdict);
        const fenced = await coordination.reportReturn(uid, this.#session, token, boot, verdict, why);
        if (fenced === "stale" && !(await this.#settled(token))) return;
        send({
          case: "return",
          value: { $typeName: "slipway.agent.v1.ReturnResponse", token: tokenMessage(token) },
        });
      }
    }
  }

  async #commit(token: Token, boot: string): Promise<void> {
    const { coordination, send, committed, log, uid } = this.#options;
    const result = await coordination.commit(uid, this.#session, token, boot);
    const granted = result.outcome === "committed";
    const reason = granted ? "Committed" : result.why.reason;
    committed(result.outcome, reason);
    log.info("answered a commit", { outcome: result.outcome, reason, revision: token.revision });
    send({
      case: "commit",
      value: {
        $typeName: "slipway.agent.v1.CommitResponse",
        token: tokenMessage(token),
        goodForSeconds: granted ? result.goodForSeconds : 0,
        reason,
        message: granted ? "" : result.why.message,
      },
    });
  }

  /**
   * Whether a stale token needs nothing more of the agent: its grant is gone, or its phase
   * says that it returned or was withdrawn. In any other case an answer would be wrong. A
   * grant that etcd lost is not gone: it comes back with the rebuild, and wants its verdict.
   */
  async #settled(token: Token): Promise<boolean> {
    const { coordination, log, outdated, uid } = this.#options;
    const asked = this.#session;
    const { incarnation, grant, session } = await coordination.readNode(uid);
    if (session !== undefined && session.session > asked) {
      outdated();
      return false;
    }
    const living =
      grant !== undefined &&
      (sameToken(grant.token, token) || sameToken(grant.grant.supersedes ?? undefined, token));
    const over: Phase["phase"][] = ["Returned", "Withdrawn"];
    const settled = living ? over.includes(grant.phase.phase) : isWhole(incarnation);
    if (!settled) {
      log.info("left a request unanswered", { revision: token.revision, phase: grant?.phase.phase });
    }
    return settled;
  }
}
