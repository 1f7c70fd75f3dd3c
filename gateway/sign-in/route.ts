/** `/auth`: a browser's way to the identity provider and back, by redirects alone. */
import type { Logger } from "../../ports/log.ts";
import { type EdgeAnswer, type EdgeRequest, plain, type Route } from "../edge/server.ts";
import type { Door } from "./door.ts";
import { FLOW_LIFE, type Oidc, SignInFailed } from "./oidc.ts";
import { cookieName, cookieOf, cookieText, type Sessions } from "./session.ts";

export const SIGN_IN_PATH = "/auth/sign-in";
const CALLBACK_PATH = "/auth/callback";
const FLOW_COOKIE = "slipway-sign-in";

export interface SignInOptions {
  oidc: Oidc;
  sessions: Sessions;
  door: Door;
  /** As browsers and the provider know us; no slash at the end. */
  origin: string;
  log: Logger;
}

export function signInRoute(options: SignInOptions): Route {
  return {
    prefix: "/auth",
    maxBody: 0,
    answer: async (request) => {
      if (request.method !== "GET") return { ...plain(405, "Only GET.\n"), headers: { allow: "GET" } };
      try {
        if (request.path === SIGN_IN_PATH) return await begin(options, request);
        if (request.path === CALLBACK_PATH) return await end(options, request);
        return plain(404, `Only ${SIGN_IN_PATH} and ${CALLBACK_PATH} are here.\n`);
      } catch (error) {
        if (!(error instanceof SignInFailed)) throw error;
        const { status, message } = error;
        const cause = error.cause instanceof Error ? error.cause.message : "";
        options.log.info("a sign-in failed", { peer: request.peer, why: message, cause });
        return plain(status, `${message}\n`);
      }
    },
  };
}

async function begin({ oidc, origin }: SignInOptions, request: EdgeRequest): Promise<EdgeAnswer> {
  const back = request.query.get("back") ?? "/";
  const { url, flow } = await oidc.begin(`${origin}${CALLBACK_PATH}`, back);
  // Lax: the way back comes from another site.
  const kept = cookieText(FLOW_COOKIE, flow, isSecure(origin), "Lax", FLOW_LIFE / 1000);
  return { status: 303, headers: { location: url, "set-cookie": kept }, body: "" };
}

async function end(
  { oidc, sessions, door, origin }: SignInOptions,
  request: EdgeRequest,
): Promise<EdgeAnswer> {
  const kept = cookieOf(request.header("cookie"), cookieName(FLOW_COOKIE, isSecure(origin)));
  const failed = (error: unknown): never => {
    if (error instanceof SignInFailed && error.status !== 503 && !door.mayFail(request.peer)) {
      throw new SignInFailed(403, "Too many sign-ins failed: wait a minute.");
    }
    throw error;
  };
  const { person, back } = await oidc.end(`${origin}${CALLBACK_PATH}`, request.query, kept).catch(failed);
  const session = sessions.cookie(person);
  if (session === undefined) {
    throw new SignInFailed(
      403,
      `${person.username} is in ${person.groups.length} groups, too many for a cookie: let the provider name fewer.`,
    );
  }
  const done = cookieText(FLOW_COOKIE, "", isSecure(origin), "Lax", 0);
  return { status: 303, headers: { location: back, "set-cookie": [session, done] }, body: "" };
}

function isSecure(origin: string): boolean {
  return origin.startsWith("https:");
}
