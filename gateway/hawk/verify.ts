/**
 * Who sent a request, by Hawk. The key never goes over the wire; what is signed are method, path, query, host, port, a
 * time and a nonce, and the body where the client hashed it. The Go library of updateservicectl hashes no body, so that
 * one is asked for only of users who say so.
 */
import { HawkFormError, type HawkHeader, parseHeader } from "./header.ts";
import { macOf, payloadHash, type Signed, sameText, timeMac } from "./mac.ts";
import type { Freshness } from "./nonces.ts";

/** Clocks may differ by so much, seconds (the reference server's default). */
export const MAX_SKEW = 60;

export interface HawkKey {
  id: string;
  key: string;
  /** Whether a body without a hash is refused. */
  hashRequired: boolean;
}

/** What of a request is signed. */
export interface HawkRequest {
  method: string;
  /** As it was sent, with its query. */
  target: string;
  /** Of the header Host. */
  host: string;
  contentType: string;
  body: Buffer;
  authorization: string | undefined;
}

export interface Verified {
  outcome: "verified";
  id: string;
  /** What may be used once only, until `until` (wall clock, ms). */
  nonce: string;
  until: number;
  /** The header Server-Authorization for an answer. */
  sign(contentType: string, body: string | Buffer): string;
}

export interface Refused {
  outcome: "refused";
  message: string;
  /** The header WWW-Authenticate. */
  challenge: string;
}

/** For ids that nobody has: what is computed takes as long as for one that somebody has. */
const NOBODY = "0".repeat(64);

/** `now`: wall clock, ms. Whether the nonce is fresh is the caller's to ask. */
export function verify(
  request: HawkRequest,
  keyOf: (id: string) => HawkKey | undefined,
  now: number,
): Verified | Refused {
  if (request.authorization === undefined) {
    return { outcome: "refused", message: "Sign in by Hawk: --user and --key.", challenge: "Hawk" };
  }
  let header: HawkHeader;
  try {
    header = parseHeader(request.authorization);
  } catch (error) {
    if (!(error instanceof HawkFormError)) throw error;
    return refuse(`The Hawk header can't be read: ${error.message}.`);
  }
  const known = keyOf(header.id);
  const key = known?.key ?? NOBODY;
  const { ts, nonce, ext, app, dlg } = header;
  const common = {
    ...{ ts, nonce, method: request.method, hash: header.hash ?? "", ext },
    ...(app === undefined ? {} : { app }),
    ...(dlg === undefined ? {} : { dlg }),
  };
  let signed: Signed | undefined;
  for (const place of placesOf(request)) {
    const one: Signed = { ...common, ...place };
    if (sameText(macOf("header", key, one), header.mac)) signed = one;
  }
  if (known === undefined || signed === undefined) {
    return refuse("The user is not known, or the key is another one.", "Bad mac");
  }
  const seconds = Math.floor(now / 1000);
  if (Math.abs(seconds - ts) > MAX_SKEW) {
    const challenge = `Hawk ts="${seconds}", tsm="${timeMac(key, seconds)}", error="Stale timestamp"`;
    const message = `The client's clock and the gateway's differ by ${Math.abs(seconds - ts)} s; ${MAX_SKEW} s are allowed.`;
    return { outcome: "refused", message, challenge };
  }
  const hash = payloadHash(request.contentType, request.body);
  if (
    header.hash === undefined ? known.hashRequired && request.body.length > 0 : !sameText(hash, header.hash)
  ) {
    return refuse("The body is not the one that was signed.", "Bad payload hash");
  }
  const place = signed;
  return {
    outcome: "verified",
    id: header.id,
    nonce: JSON.stringify([header.id, ts, nonce]),
    until: (ts + MAX_SKEW) * 1000,
    sign: (contentType, body) => {
      const answered = payloadHash(contentType, body);
      return `Hawk mac="${macOf("response", key, { ...place, hash: answered, ext: "" })}", hash="${answered}"`;
    },
  };
}

/** What a verified request is, by what is known of its nonce; undefined where it may go on. */
export function refuseNonce(freshness: Freshness): Refused | "later" | undefined {
  if (freshness === "fresh") return undefined;
  return freshness === "full"
    ? "later"
    : refuse("The request was made before: its nonce is used.", "Invalid nonce");
}

function refuse(message: string, error = "Bad header"): Refused {
  return { outcome: "refused", message, challenge: `Hawk error="${error}"` };
}

/**
 * Host, port and path as the client may have signed them: it knows whether it came by TLS, and the gateway behind an
 * ingress does not; clients of before 2016 sign the whole URL, some the path without its escapes. A signature fits one
 * of them and can't be made for another.
 */
function placesOf({ host, target }: HawkRequest): Pick<Signed, "host" | "port" | "resource">[] {
  const [, name = host, port] = /^(.*?)(?::(\d{1,5}))?$/.exec(host) ?? [];
  const ports = port === undefined ? [443, 80] : [Number(port)];
  return ports.flatMap((one) => {
    const scheme = port === undefined ? (one === 443 ? ["https"] : ["http"]) : ["http", "https"];
    const resources = [
      ...new Set([target, decoded(target)]),
      ...scheme.map((prefix) => `${prefix}://${host}${target}`),
    ];
    return resources.map((resource) => ({ host: name.replaceAll(/[[\]]/g, ""), port: one, resource }));
  });
}

function decoded(target: string): string {
  const [path = "", ...query] = target.split("?");
  try {
    return [decodeURIComponent(path), ...query].join("?");
  } catch {
    return target;
  }
}
