/** Signing in and out, and who one is. */
import type { z } from "zod";
import { channel } from "../../api/channel.ts";
import type { Resource } from "../../api/kind.ts";
import { timestamp } from "../../api/meta.ts";
import { nodeUpdate } from "../../api/node-update.ts";
import { release } from "../../api/release.ts";
import { updateGroup } from "../../api/update-group.ts";
import type * as view from "../../console/contract.ts";
import type { SignIn } from "../../console/contract.ts";
import type { Clock } from "../../ports/clock.ts";
import { NODES } from "../../runtime/core.ts";
import type { AccessReviewer } from "../objects/review.ts";
import type { Caller, Door } from "../sign-in/door.ts";
import { SIGN_IN_PATH } from "../sign-in/route.ts";
import { SESSION_LIFE, type Sessions } from "../sign-in/session.ts";
import { endOf } from "../sign-in/tokens.ts";
import { type Call, callerOf, type Handlers, mayRead } from "./api.ts";
import { json, Refused } from "./problem.ts";

/** What each action patches; the person needs all of it. */
const ACTIONS: Record<view.Action, readonly Resource[]> = {
  promote: [channel],
  pause: [updateGroup],
  retry: [updateGroup],
  rollback: [channel, nodeUpdate],
  quarantine: [release],
  assign: [NODES],
  steal: [nodeUpdate],
};

export interface AccountOptions {
  door: Door;
  sessions: Sessions;
  reviewer: Pick<AccessReviewer, "allowsReading">;
  /** Name of the identity provider; undefined without one. */
  oidc: string | undefined;
  clock: Clock;
}

export function accountHandlers(
  options: AccountOptions,
): Pick<Handlers, "signInWays" | "signIn" | "signOut" | "me"> {
  const { door, sessions, reviewer, oidc, clock } = options;
  return {
    signInWays: async () =>
      json({
        token: true,
        ...(oidc === undefined ? {} : { oidc: { name: oidc, url: SIGN_IN_PATH } }),
      } satisfies view.SignInWays),
    signIn: async ({ body, request }: Call) => {
      const { token } = body as z.output<typeof SignIn>;
      const { person } = callerOf(await door.byToken(token, request.peer));
      await mayRead(reviewer, person, []);
      const expiresAt = Math.min(clock.now() + SESSION_LIFE, endOf(token) ?? Infinity);
      const cookie = sessions.cookie(person, expiresAt);
      if (cookie === undefined)
        throw new Refused("Forbidden", `${person.username} is in too many groups for a session's cookie.`);
      return json(await describe(reviewer, { person, expiresAt }), 200, { "set-cookie": cookie });
    },
    signOut: async () => ({ status: 204, headers: { "set-cookie": sessions.gone }, body: "" }),
    me: async ({ caller }: Call) => {
      if (caller === undefined) throw new Refused("SignInNeeded", "Sign in first.");
      return json(await describe(reviewer, caller));
    },
  };
}

async function describe(
  reviewer: Pick<AccessReviewer, "allowsReading">,
  { person, expiresAt }: Caller,
): Promise<view.Me> {
  const may = await Promise.all(
    (Object.entries(ACTIONS) as [view.Action, readonly Resource[]][]).map(async ([action, resources]) => {
      const allowed = await Promise.all(
        resources.map((resource) => reviewer.allowsReading({ person, verb: "patch", resource })),
      );
      return [action, allowed.every(Boolean)] as const;
    }),
  );
  return {
    user: person.username,
    groups: [...person.groups],
    expiresAt: expiresAt === undefined ? undefined : timestamp(expiresAt),
    may: Object.fromEntries(may),
    kubectl: `kubectl auth whoami`,
  };
}
