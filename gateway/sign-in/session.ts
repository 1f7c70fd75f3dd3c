/** A person's session: a sealed cookie that names the user, their groups and its end, and no token. */
import * as z from "zod";
import type { Clock } from "../../ports/clock.ts";
import type { Person } from "../../runtime/access.ts";
import type { Seal } from "./seal.ts";

/** Then a person signs in again, ms: groups are those of the sign-in. */
export const SESSION_LIFE = 8 * 3_600_000;
/** Browsers keep no longer cookie (RFC 6265 section 6.1), name and attributes included. */
const MAX_COOKIE = 4000;
const NAME = "slipway";
/** As far as the clocks of two gateways may differ, ms. */
const SKEW = 60_000;

const Sealed = z.object({ u: z.string().min(1), g: z.array(z.string()).readonly(), e: z.number() });

export interface Session {
  person: Person;
  /** Wall clock, ms. */
  expiresAt: number;
}

export interface SessionsOptions {
  seal: Seal;
  /** Whether browsers reach us by TLS; the cookie then goes over nothing else. */
  secure: boolean;
  clock: Clock;
}

export class Sessions {
  readonly #options: SessionsOptions;

  constructor(options: SessionsOptions) {
    this.#options = options;
  }

  /** The `Set-Cookie` of a new session; undefined where the user's groups are too many to fit. `until`: wall clock, ms. */
  cookie({ username, groups }: Person, until = Infinity): string | undefined {
    const { seal, clock } = this.#options;
    const now = clock.now();
    const end = Math.min(until, now + SESSION_LIFE);
    const value = seal.close({ u: username, g: groups, e: end } satisfies z.input<typeof Sealed>);
    const cookie = cookieText(NAME, value, this.#options.secure, "Strict", (end - now) / 1000);
    return cookie.length > MAX_COOKIE ? undefined : cookie;
  }

  /** The `Set-Cookie` that ends one. */
  get gone(): string {
    return cookieText(NAME, "", this.#options.secure, "Strict", 0);
  }

  /** The session of a `Cookie` header; undefined without a valid one. */
  read(header: string | undefined): Session | undefined {
    const { seal, secure, clock } = this.#options;
    const value = cookieOf(header, cookieName(NAME, secure));
    if (value === undefined) return undefined;
    const sealed = Sealed.safeParse(seal.open(value));
    if (!sealed.success) return undefined;
    const { u: username, g: groups, e: expiresAt } = sealed.data;
    const now = clock.now();
    if (expiresAt <= now || expiresAt > now + SESSION_LIFE + SKEW) return undefined;
    return { person: { username, groups }, expiresAt };
  }
}

/** `__Host-`: set by this host, over TLS, for all its paths, and by none beside it (RFC 6265bis section 4.1.3.2). */
export function cookieName(name: string, secure: boolean): string {
  return secure ? `__Host-${name}` : name;
}

/** The value of the cookie `name` of a `Cookie` header. */
export function cookieOf(header: string | undefined, name: string): string | undefined {
  for (const pair of (header ?? "").split(";")) {
    const cut = pair.indexOf("=");
    if (cut > 0 && pair.slice(0, cut).trim() === name) return pair.slice(cut + 1).trim();
  }
  return undefined;
}

/** A `Set-Cookie` for the whole host. `seconds`: how long it is kept; 0 ends it. */
export function cookieText(
  name: string,
  value: string,
  secure: boolean,
  sameSite: "Strict" | "Lax",
  seconds: number,
): string {
  const age = Math.max(0, Math.floor(seconds));
  return `${cookieName(name, secure)}=${value}; Path=/; Max-Age=${age}; HttpOnly; SameSite=${sameSite}${secure ? "; Secure" : ""}`;
}
