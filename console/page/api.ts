/** Calls of the JSON API. Paths are relative, so that the page may be served below a folder. */
import type { Done, Me, Problem, SignInWays, Story, Versions } from "../contract.ts";

/** `refusal.error` says which kind; one without an answer is `Unavailable`. */
export class Refused extends Error {
  readonly problem: Problem;

  constructor(problem: Problem) {
    super(problem.message);
    this.name = "Refused";
    this.problem = problem;
  }
}

/** An answer later than this is none, ms. */
const DEADLINE = 20_000;

/** Shows that a request is the page's own: another site can't send it (cross-site request forgery). */
const OWN = { "x-slipway-request": "1" };

async function call<T>(method: string, path: string, body?: object): Promise<T> {
  let response: Response;
  try {
    response = await fetch(path, {
      method,
      credentials: "same-origin",
      cache: "no-store",
      signal: AbortSignal.timeout(DEADLINE),
      headers: { ...OWN, ...(body === undefined ? {} : { "content-type": "application/json" }) },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
  } catch {
    throw new Refused({ error: "Unavailable", message: "The gateway gives no answer." });
  }
  const text = await response.text();
  if (response.ok) return (text === "" ? undefined : JSON.parse(text)) as T;
  throw new Refused(problemOf(response.status, text));
}

/** Why a stream is refused, which EventSource does not tell; undefined where it is not. */
export async function whyNot(path: string): Promise<Problem | undefined> {
  const stop = new AbortController();
  try {
    const response = await fetch(path, {
      credentials: "same-origin",
      cache: "no-store",
      signal: stop.signal,
    });
    return response.ok ? undefined : problemOf(response.status, await response.text());
  } catch {
    return undefined;
  } finally {
    stop.abort();
  }
}

/** What lies in between (a proxy) may answer with something else than the contract's. */
function problemOf(status: number, text: string): Problem {
  try {
    const parsed = JSON.parse(text) as Partial<Problem>;
    if (typeof parsed.error === "string" && typeof parsed.message === "string") return parsed as Problem;
  } catch {
    // Not ours.
  }
  const error = status === 401 ? "SignInNeeded" : status === 403 ? "Forbidden" : "Unavailable";
  return { error, message: `The gateway answered with status ${status}.` };
}

const part = encodeURIComponent;

export const api = {
  me: () => call<Me>("GET", "api/v1/me"),
  ways: () => call<SignInWays>("GET", "api/v1/sign-in"),
  signIn: (token: string) => call<Me>("POST", "api/v1/session", { token }),
  signOut: () => call<undefined>("DELETE", "api/v1/session"),
  story: (uid: string) => call<Story>("GET", `api/v1/machines/${part(uid)}`),
  versions: (group: string | undefined) =>
    call<Versions>("GET", `api/v1/versions${group === undefined ? "" : `?group=${part(group)}`}`),
  write: (path: string, body: object) => call<Done>("POST", `api/v1/${path}`, body),
};

/** Where each write goes. */
export const writes = {
  pause: (group: string) => `groups/${part(group)}/pause`,
  resume: (group: string) => `groups/${part(group)}/resume`,
  retry: (group: string) => `groups/${part(group)}/retry`,
  rollback: (group: string) => `groups/${part(group)}/rollback`,
  promote: (channel: string) => `channels/${part(channel)}/promote`,
  quarantine: (release: string) => `releases/${part(release)}/quarantine`,
  lift: (release: string) => `releases/${part(release)}/lift`,
  assign: () => "assign",
  steal: (uid: string) => `machines/${part(uid)}/steal`,
};
