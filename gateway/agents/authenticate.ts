/**
 * Who speaks. A node's agent shows the service account token of its Pod: the API server
 * says which node that Pod runs on. A plain machine shows a client certificate that our
 * authority signed. All that follows touches the records of this identity only.
 */
import type { Clock } from "../../ports/clock.ts";
import type { Logger } from "../../ports/log.ts";
import type { KubeClient, TokenReviewResult } from "../../runtime/client.ts";
import { Answers } from "../answers.ts";
import type { CertificateAuthority } from "../certificate-authority.ts";
import { Busy, Turnstile } from "./turnstile.ts";

export interface Identity {
  /** Key of its records in etcd: the Node's UID, or the machine id of a plain machine. */
  uid: string;
  /** Name of the Node, or the machine id: for people. */
  node: string;
  /** Only of a plain machine. */
  machineId?: string;
  /** Of the certificate that it showed, wall clock, ms. */
  issuedAt?: number;
}

/** The peer is not who it must be. `message` is for its operator. */
export class Refused extends Error {
  constructor(message: string) {
    super(message);
    this.name = "Refused";
  }
}

/** Nobody could be asked: the peer comes again. */
export class CannotAsk extends Error {
  readonly reason: "ApiUnavailable" | "Busy";
  constructor(reason: "ApiUnavailable" | "Busy", cause: unknown) {
    super(reason === "Busy" ? "too many token reviews wait" : "the Kubernetes API gave no answer", { cause });
    this.name = "CannotAsk";
    this.reason = reason;
  }
}

/** Longest use of one answer, ms: a deleted Pod's token may live on for as long. */
const CACHE_LIFE = 60_000;
/** A refusal is remembered for less, ms: the Pod may have been newer than the API server's caches. */
const REFUSAL_LIFE = 5_000;
const MAX_CACHED = 10_000;
/** Kubernetes' own tokens have 1 to 2 KiB. */
const MAX_TOKEN = 16 * 1024;
const MAX_REVIEWS = 16;
const MAX_WAITING_REVIEWS = 500;

/** Extra keys of a token that is bound to a Pod (Kubernetes, KEP-4193). */
const NODE_NAME = "authentication.kubernetes.io/node-name";
const NODE_UID = "authentication.kubernetes.io/node-uid";

export interface AuthenticatorOptions {
  client: Pick<KubeClient, "tokenReview">;
  audience: string;
  /** `namespace:name` of each service account that agents run as. */
  serviceAccounts: readonly string[];
  authority: () => CertificateAuthority;
  clock: Clock;
  log: Logger;
  /** Seconds that a review took. */
  reviewed: (seconds: number, outcome: "accepted" | "refused" | "unavailable") => void;
}

type Answer = Identity | Refused;

export class Authenticator {
  readonly #options: AuthenticatorOptions;
  readonly #usernames: ReadonlySet<string>;
  readonly #turnstile = new Turnstile(MAX_REVIEWS, MAX_WAITING_REVIEWS);
  readonly #answers: Answers<Answer>;

  constructor(options: AuthenticatorOptions) {
    this.#options = options;
    const life = (answer: Answer): number => (answer instanceof Refused ? REFUSAL_LIFE : CACHE_LIFE);
    this.#answers = new Answers({ life, most: MAX_CACHED, clock: options.clock });
    this.#usernames = new Set(options.serviceAccounts.map((account) => `system:serviceaccount:${account}`));
  }

  /** Throws `Refused` or `CannotAsk`. */
  async byToken(token: string): Promise<Identity> {
    if (token === "" || token.length > MAX_TOKEN) throw new Refused("no usable bearer token");
    const answer = await this.#answers.get(token, () => this.#review(token));
    if (answer instanceof Refused) throw answer;
    return answer;
  }

  /**
   * `der` is a certificate whose key the peer holds: TLS proved it. Whether its machine is
   * still one of ours is another question (`Enrolment.check`). Throws `Refused`.
   */
  byCertificate(der: Uint8Array): Identity {
    const certificate = this.#options.authority().machineOf(der);
    if (certificate === undefined) throw new Refused("no valid client certificate of a machine");
    const { machineId } = certificate;
    return { uid: machineId, node: machineId, ...certificate };
  }

  async #review(token: string): Promise<Answer> {
    const { client, audience, clock, reviewed } = this.#options;
    let began = clock.monotonic();
    const seconds = (): number => (clock.monotonic() - began) / 1000;
    let result: TokenReviewResult;
    try {
      result = await this.#turnstile.run(() => {
        began = clock.monotonic();
        return client.tokenReview(token, audience);
      });
    } catch (error) {
      if (error instanceof Busy) throw new CannotAsk("Busy", error);
      reviewed(seconds(), "unavailable");
      this.#options.log.error("a token review failed", error);
      throw new CannotAsk("ApiUnavailable", error);
    }
    const answer = this.#judge(result);
    reviewed(seconds(), answer instanceof Refused ? "refused" : "accepted");
    return answer;
  }

  #judge(result: TokenReviewResult): Answer {
    const { audience } = this.#options;
    if (!result.authenticated || !result.audiences.includes(audience)) {
      return new Refused(`the bearer token is not valid for audience "${audience}"`);
    }
    if (!this.#usernames.has(result.username)) {
      return new Refused(`${result.username} is no service account of agents`);
    }
    const node = result.extra[NODE_NAME]?.[0] ?? "";
    const uid = result.extra[NODE_UID]?.[0] ?? "";
    if (node === "" || uid === "") {
      return new Refused("the token is bound to no Pod on a node: mount a projected service account token");
    }
    return { uid, node };
  }
}
