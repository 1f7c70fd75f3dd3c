/** Who asks: a bearer token, which the API server reviews, or the cookie of a session that one of us sealed. */
import type { Clock } from "../../ports/clock.ts";
import type { Person } from "../../runtime/access.ts";
import { networkOf } from "../agents/address-buckets.ts";
import { KeyedBuckets, type Rate } from "../agents/token-bucket.ts";
import { Busy, Turnstile } from "../agents/turnstile.ts";
import type { EdgeRequest } from "../edge/server.ts";
import type { Sessions } from "./session.ts";
import type { Tokens } from "./tokens.ts";

/**
 * Sign-ins and tokens of one network that may fail: a person mistypes. All that an ingress is in front of are one
 * network, so that the failures of some must keep out nobody: beyond it, tokens of all such networks are reviewed one
 * at a time. What is wrong costs the API server little then, and what is right gets in.
 */
const FAILURES: Rate = { perSecond: 0.2, burst: 10 };
const MAX_WAITING = 10;
const MAX_NETWORKS = 10_000;

/** Header that a write of the page carries, which no form of another site can (CSRF). */
export const REQUEST_HEADER = "x-slipway-request";

export interface Caller {
  person: Person;
  /** Of the session, wall clock, ms; undefined for a bearer token. */
  expiresAt: number | undefined;
}

export interface DoorOptions {
  sessions: Sessions;
  tokens: Tokens;
  /** As browsers see us, such as `https://slipway.example.org`; undefined: what they say in `Host`. */
  origin: string | undefined;
  clock: Clock;
}

export type Entry = { is: "in"; caller: Caller } | { is: "out" } | { is: "slow"; seconds: number };

export class Door {
  readonly #options: DoorOptions;
  readonly #failures: KeyedBuckets;
  readonly #doubted = new Turnstile(1, MAX_WAITING);

  constructor(options: DoorOptions) {
    this.#options = options;
    this.#failures = new KeyedBuckets(options.clock, FAILURES, MAX_NETWORKS);
  }

  /** Throws `ApiError` where a token can't be reviewed. */
  async enter(request: EdgeRequest): Promise<Entry> {
    const [, token] = /^Bearer ([\x21-\x7e]+)$/i.exec(request.header("authorization") ?? "") ?? [];
    if (token !== undefined) return await this.byToken(token, request.peer);
    const session = this.#options.sessions.read(request.header("cookie"));
    return session === undefined ? { is: "out" } : { is: "in", caller: session };
  }

  /** The same, for a token that a person types. */
  async byToken(token: string, peer: string): Promise<Entry> {
    const { tokens } = this.#options;
    const network = networkOf(`${peer}:0`);
    const slow = (): Entry => ({ is: "slow", seconds: Math.ceil(this.#failures.wait(network) / 1000) });
    const doubted = this.#failures.wait(network) > 0 && !tokens.remembers(token);
    const review = (): Promise<Person | undefined> => tokens.person(token);
    let person: Person | undefined;
    try {
      person = doubted ? await this.#doubted.run(review) : await review();
    } catch (error) {
      if (error instanceof Busy) return slow();
      throw error;
    }
    if (person !== undefined) return { is: "in", caller: { person, expiresAt: undefined } };
    return this.#failures.take(network) ? { is: "out" } : slow();
  }

  /** Counts a sign-in of `peer` that failed elsewhere; false where there were too many. */
  mayFail(peer: string): boolean {
    return this.#failures.take(networkOf(`${peer}:0`));
  }

  /** Whether a write comes from our own page, and not from another one by way of the person's browser. */
  isOurs(request: EdgeRequest): boolean {
    if (request.header(REQUEST_HEADER) === undefined) return false;
    const site = request.header("sec-fetch-site");
    if (site !== undefined && site !== "same-origin") return false;
    const origin = request.header("origin");
    // Browsers name it with each write; other clients need no protection from themselves.
    if (origin === undefined) return true;
    const own = this.#options.origin;
    if (own !== undefined) return origin === own;
    const host = request.header("host");
    return host !== undefined && URL.parse(origin)?.host === host.toLowerCase();
  }
}
