/**
 * OpenID Connect: authorization code flow with PKCE (RFC 7636), state and nonce. What belongs to a sign-in that is under
 * way lies sealed in the browser. Flags are named, and names are made, as kube-apiserver does (its `--oidc-*`), so that
 * RBAC knows the same people here.
 */
import * as oauth from "oauth4webapi";
import * as z from "zod";
import type { Clock } from "../../ports/clock.ts";
import type { Random } from "../../ports/random.ts";
import type { Person } from "../../runtime/access.ts";
import { startDeadline } from "../../runtime/deadline.ts";
import type { Fetcher } from "../../runtime/fetch.ts";
import { Busy, Turnstile } from "../agents/turnstile.ts";
import type { Seal } from "./seal.ts";

export interface OidcSettings {
  /** As the provider's tokens have it; https, or http on the loopback interface. */
  issuer: string;
  clientId: string;
  /** Absent for a public client. */
  clientSecret?: string | undefined;
  usernameClaim: string;
  /** Absent: `ISSUER#`, but nothing where the claim is `email`. `-`: nothing. */
  usernamePrefix?: string | undefined;
  groupsClaim?: string | undefined;
  groupsPrefix: string;
  /** Besides `openid`. */
  scopes: readonly string[];
}

export interface OidcOptions extends OidcSettings {
  fetcher: Pick<Fetcher, "fetch">;
  /** For what lies in the browser meanwhile. */
  seal: Seal;
  clock: Clock;
  random: Random;
}

/** The sign-in failed. `message` is a sentence for the person. */
export class SignInFailed extends Error {
  readonly status: 400 | 403 | 503;
  constructor(status: 400 | 403 | 503, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = "SignInFailed";
    this.status = status;
  }
}

/** A person has so long to sign in at the provider, ms. */
export const FLOW_LIFE = 10 * 60_000;
const CALL_DEADLINE = 10_000;
/** Codes that are shown to the provider at once, and that wait: anybody can bring one that is made up. */
const MAX_EXCHANGES = 8;
const MAX_WAITING = 50;
/** The provider's metadata are read anew after so long, ms. */
const METADATA_LIFE = 3_600_000;
/** Characters of a name, and groups: more than RBAC has use for. */
const MAX_NAME = 1024;
const MAX_GROUPS = 1000;

const Flow = z.object({
  state: z.string(),
  nonce: z.string(),
  verifier: z.string(),
  back: z.string(),
  until: z.number(),
});

export class Oidc {
  readonly #options: OidcOptions;
  readonly #turnstile = new Turnstile(MAX_EXCHANGES, MAX_WAITING);
  #metadata: { server: Promise<oauth.AuthorizationServer>; until: number } | undefined;

  constructor(options: OidcOptions) {
    checkIssuer(options.issuer);
    this.#options = options;
  }

  /** Where the browser goes, and what it keeps meanwhile. `back`: a path of ours. Throws `SignInFailed`. */
  async begin(redirectUri: string, back: string): Promise<{ url: string; flow: string }> {
    const { clientId, scopes, seal, clock, random } = this.#options;
    const server = await this.#server();
    if (server.authorization_endpoint === undefined) {
      throw new SignInFailed(503, "The identity provider names no authorization endpoint.");
    }
    const flow = {
      state: words(random),
      nonce: words(random),
      verifier: words(random),
      back: isPath(back) ? back : "/",
      until: clock.now() + FLOW_LIFE,
    };
    const url = new URL(server.authorization_endpoint);
    const query = {
      response_type: "code",
      client_id: clientId,
      redirect_uri: redirectUri,
      scope: [...new Set(["openid", ...scopes])].join(" "),
      state: flow.state,
      nonce: flow.nonce,
      code_challenge: await oauth.calculatePKCECodeChallenge(flow.verifier),
      code_challenge_method: "S256",
    };
    for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
    return { url: url.toString(), flow: seal.close(flow) };
  }

  /** Who came back with `answer`, and where to. Throws `SignInFailed`. */
  async end(
    redirectUri: string,
    answer: URLSearchParams,
    kept: string | undefined,
  ): Promise<{ person: Person; back: string }> {
    const { seal, clock } = this.#options;
    const flow = Flow.safeParse(kept === undefined ? undefined : seal.open(kept));
    if (!flow.success || flow.data.until <= clock.now()) {
      throw new SignInFailed(400, "This sign-in took too long, or began in another browser: begin again.");
    }
    const claims = await this.#claims(redirectUri, answer, flow.data);
    return { person: personOf(claims, this.#options), back: flow.data.back };
  }

  async #claims(
    redirectUri: string,
    answer: URLSearchParams,
    { state, nonce, verifier }: z.output<typeof Flow>,
  ): Promise<oauth.IDToken> {
    const { clientId, clientSecret } = this.#options;
    const client: oauth.Client = { client_id: clientId };
    const server = await this.#server();
    const authentication = clientSecret === undefined ? oauth.None() : secretOf(server, clientSecret);
    try {
      const params = oauth.validateAuthResponse(server, client, answer, state);
      const exchange = async (call: CallOptions): Promise<oauth.IDToken> => {
        const response = await oauth.authorizationCodeGrantRequest(
          ...([server, client, authentication, params, redirectUri, verifier, call] as const),
        );
        const checks = { expectedNonce: nonce, requireIdToken: true };
        const tokens = await oauth.processAuthorizationCodeResponse(server, client, response, checks);
        await oauth.validateApplicationLevelSignature(server, response, call);
        const claims = oauth.getValidatedIdTokenClaims(tokens);
        if (claims === undefined) throw new SignInFailed(403, "The identity provider gave no ID token.");
        return claims;
      };
      return await this.#turnstile.run(() => this.#call(exchange));
    } catch (error) {
      throw failure(error);
    }
  }

  async #server(): Promise<oauth.AuthorizationServer> {
    const { issuer, clock } = this.#options;
    const now = clock.monotonic();
    if (this.#metadata === undefined || this.#metadata.until <= now) {
      const url = new URL(issuer);
      const server = this.#call(async (call) => {
        const response = await oauth.discoveryRequest(url, { algorithm: "oidc", ...call });
        return await oauth.processDiscoveryResponse(url, response);
      });
      this.#metadata = { server, until: now + METADATA_LIFE };
    }
    const { server } = this.#metadata;
    try {
      return await server;
    } catch (error) {
      if (this.#metadata?.server === server) this.#metadata = undefined;
      throw new SignInFailed(503, "The identity provider can't be reached, or is not the issuer.", error);
    }
  }

  async #call<T>(work: (call: CallOptions) => Promise<T>): Promise<T> {
    const { clock, fetcher, issuer } = this.#options;
    const deadline = startDeadline(clock, CALL_DEADLINE, () => new Error("No answer in time"));
    try {
      return await work({
        [oauth.customFetch]: fetcher.fetch,
        [oauth.allowInsecureRequests]: issuer.startsWith("http:"),
        signal: deadline.signal,
      });
    } finally {
      deadline.cancel();
    }
  }
}

interface CallOptions {
  [oauth.customFetch]: typeof globalThis.fetch;
  [oauth.allowInsecureRequests]: boolean;
  signal: AbortSignal;
}

/** The names by which RBAC knows the owner of an ID token. Throws `SignInFailed`. */
export function personOf(
  claims: Readonly<Record<string, unknown>>,
  { issuer, usernameClaim, usernamePrefix, groupsClaim, groupsPrefix }: Omit<OidcSettings, "scopes">,
): Person {
  const name = claims[usernameClaim];
  if (typeof name !== "string" || name === "" || name.length > MAX_NAME) {
    throw new SignInFailed(403, `The identity provider gave no usable claim ${usernameClaim}.`);
  }
  const verified = claims["email_verified"];
  if (usernameClaim === "email" && verified !== undefined && verified !== true) {
    throw new SignInFailed(403, `The identity provider has not verified ${name}.`);
  }
  const own = usernameClaim === "email" ? "" : `${issuer}#`;
  const prefix = usernamePrefix === undefined ? own : usernamePrefix === "-" ? "" : usernamePrefix;
  const claimed = groupsClaim === undefined ? undefined : claims[groupsClaim];
  const listed: readonly unknown[] = Array.isArray(claimed)
    ? claimed
    : claimed === undefined
      ? []
      : [claimed];
  const groups = listed.filter((group): group is string => typeof group === "string" && group !== "");
  if (groups.length > MAX_GROUPS || groups.some(({ length }) => length > MAX_NAME)) {
    throw new SignInFailed(403, `The identity provider says that ${name} is in too many groups.`);
  }
  const person = { username: prefix + name, groups: groups.map((group) => groupsPrefix + group) };
  const reserved = [person.username, ...person.groups].find((one) => one.startsWith("system:"));
  if (reserved !== undefined) {
    throw new SignInFailed(403, `${reserved} is a name of Kubernetes' own: the prefixes must keep it apart.`);
  }
  // Whoever is authenticated is in it, for kube-apiserver too.
  return { ...person, groups: [...person.groups, "system:authenticated"] };
}

/** Whether a browser may be sent there: a path of ours, and no other host's (`//host`, `/\host`). */
export function isPath(text: string): boolean {
  return text.length <= 1024 && /^\/(?![/\\])[\x21-\x5b\x5d-\x7e]*$/.test(text);
}

function checkIssuer(issuer: string): void {
  const url = URL.parse(issuer);
  if (url === null || !isProtected(url)) throw new Error(`${issuer}: the issuer must be an https URL`);
}

/** Whether nobody on the way can read along: by TLS, or because there is no way. */
function isProtected({ protocol, hostname }: URL): boolean {
  const loopback = ["localhost", "127.0.0.1", "[::1]"].includes(hostname);
  return protocol === "https:" || (protocol === "http:" && loopback);
}

/** Whether `text` is an origin that a sign-in may come back to, without a slash at its end. */
export function isOrigin(text: string): boolean {
  const url = URL.parse(text);
  return url !== null && url.origin === text && isProtected(url);
}

function secretOf(server: oauth.AuthorizationServer, secret: string): oauth.ClientAuth {
  const ways = server.token_endpoint_auth_methods_supported ?? ["client_secret_basic"];
  return ways.includes("client_secret_basic")
    ? oauth.ClientSecretBasic(secret)
    : oauth.ClientSecretPost(secret);
}

function words(random: Random): string {
  return `${random.uuid()}${random.uuid()}`.replaceAll("-", "");
}

function failure(error: unknown): SignInFailed {
  if (error instanceof SignInFailed) return error;
  if (error instanceof Busy)
    return new SignInFailed(503, "Too many people sign in at once: try again in a moment.", error);
  if (error instanceof oauth.AuthorizationResponseError) {
    const said = error.error_description ?? error.error;
    return new SignInFailed(403, `The identity provider refused: ${said.slice(0, 200)}.`, error);
  }
  if (error instanceof oauth.OperationProcessingError || error instanceof oauth.ResponseBodyError) {
    return new SignInFailed(
      400,
      "What the identity provider answered does not belong to this sign-in.",
      error,
    );
  }
  return new SignInFailed(503, "The identity provider gives no answer.", error);
}
