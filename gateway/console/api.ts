/** `/api/v1`: who asks, whether they may, what they asked for, and the answer. */
import * as z from "zod";
import { channel } from "../../api/channel.ts";
import type { Resource } from "../../api/kind.ts";
import { nodeUpdate } from "../../api/node-update.ts";
import { rebootBudget } from "../../api/reboot-budget.ts";
import { rebootWindow } from "../../api/reboot-window.ts";
import { release } from "../../api/release.ts";
import { updateGroup } from "../../api/update-group.ts";
import type { Topic } from "../../console/events.ts";
import { type Operation, type OperationName, operations } from "../../console/operations.ts";
import type { Person } from "../../runtime/access.ts";
import type { EdgeAnswer, EdgeRequest, Route } from "../edge/server.ts";
import type { AccessReviewer } from "../objects/review.ts";
import type { Caller, Door, Entry } from "../sign-in/door.ts";
import { problemAnswer, Refused } from "./problem.ts";

/** An assignment of 500 machines has 33 KiB. */
const MAX_BODY = 64 * 1024;

/** One request to one operation, checked. */
export interface Call {
  request: EdgeRequest;
  /** Parts of the path. */
  part: (name: string) => string;
  query: Readonly<Record<string, unknown>>;
  body: unknown;
  /** Undefined for operations that are open to anybody. */
  caller: Caller | undefined;
}

export type Handlers = Readonly<Record<OperationName, (call: Call) => Promise<EdgeAnswer>>>;

/** What one must be allowed to list to be told of it, beside UpdateGroups, without which nobody is told anything. */
const TOPICS: Record<Topic, readonly Resource[]> = {
  groups: [],
  channels: [channel],
  releases: [release],
  windows: [rebootWindow],
  openings: [rebootWindow],
  budgets: [rebootBudget, nodeUpdate],
  fleet: [nodeUpdate],
  activity: [nodeUpdate],
  machines: [nodeUpdate],
};

export interface ApiOptions {
  door: Door;
  reviewer: Pick<AccessReviewer, "allowsReading">;
  handlers: Handlers;
}

interface Served {
  name: OperationName;
  operation: Operation;
  pattern: RegExp;
}

const SERVED: readonly Served[] = (Object.entries(operations) as [OperationName, Operation][]).map(
  ([name, operation]) => ({
    name,
    operation,
    pattern: new RegExp(`^${operation.path.replaceAll(/\{(\w+)\}/g, "(?<$1>[^/]{1,300})")}$`),
  }),
);

export function apiRoute(options: ApiOptions): Route {
  return {
    prefix: "/api",
    maxBody: MAX_BODY,
    answer: async (request) => {
      try {
        return await answer(options, request);
      } catch (error) {
        const refusal = problemAnswer(error);
        if (refusal === undefined) throw error;
        return refusal;
      }
    },
  };
}

async function answer({ door, reviewer, handlers }: ApiOptions, request: EdgeRequest): Promise<EdgeAnswer> {
  const here = SERVED.filter(({ pattern }) => pattern.test(request.path));
  if (here.length === 0) throw new Refused("NotFound", "There is no such path: /openapi.json lists them.");
  const method = request.method === "HEAD" ? "GET" : request.method;
  const found = here.find(({ operation }) => operation.method === method);
  if (found === undefined) {
    const allow = here.map(({ operation }) => operation.method).join(", ");
    return { ...{ status: 405, type: "text/plain", body: `Only ${allow}.\n` }, headers: { allow } };
  }
  const { name, operation, pattern } = found;
  const parts = partsOf(pattern, request.path);
  const query = queryOf(operation, request.query);
  let caller: Caller | undefined;
  if (operation.open !== true) caller = callerOf(await door.enter(request));
  const byBearer = caller !== undefined && caller.expiresAt === undefined;
  if (operation.method !== "GET" && !byBearer && !door.isOurs(request)) {
    throw new Refused(
      "Forbidden",
      "A write needs the header X-Slipway-Request, and must come from the page itself.",
    );
  }
  // Before a write, too: why it is refused tells what there is.
  if (caller !== undefined && name !== "me") {
    const { topic } = operation;
    await mayRead(reviewer, caller.person, topic === undefined ? [] : TOPICS[topic]);
  }
  const body = operation.body === undefined ? undefined : bodyOf(operation.body, request.body);
  return await handlers[name]({ request, part: (of) => parts[of] ?? "", query, body, caller });
}

/** Throws `Refused` where nobody came in. */
export function callerOf(entry: Entry): Caller {
  if (entry.is === "in") return entry.caller;
  if (entry.is === "slow") {
    throw new Refused("TooMany", `Too many sign-ins failed: wait ${entry.seconds} s.`, {
      "retry-after": String(entry.seconds),
    });
  }
  throw new Refused("SignInNeeded", "Sign in first, or show a valid bearer token.", {
    "www-authenticate": "Bearer",
  });
}

/** Throws `Refused` where the person may not list all of `resources`. */
export async function mayRead(
  reviewer: Pick<AccessReviewer, "allowsReading">,
  person: Person,
  resources: readonly Resource[],
): Promise<void> {
  for (const resource of [updateGroup, ...resources]) {
    if (await reviewer.allowsReading({ person, verb: "list", resource })) continue;
    throw new Refused(
      "Forbidden",
      `${person.username} may not list ${resource.plural}.${resource.group}: RBAC does not allow it.`,
    );
  }
}

/** What `topics` need to be read. */
export function resourcesOf(topics: readonly Topic[]): Resource[] {
  return [...new Set(topics.flatMap((topic) => TOPICS[topic]))];
}

function partsOf(pattern: RegExp, path: string): Record<string, string> {
  const groups = pattern.exec(path)?.groups ?? {};
  try {
    return Object.fromEntries(Object.entries(groups).map(([name, part]) => [name, decodeURIComponent(part)]));
  } catch {
    throw new Refused("Invalid", "The path is not well encoded.");
  }
}

function queryOf({ query }: Operation, given: URLSearchParams): Record<string, unknown> {
  const names = [...given.keys()];
  if (new Set(names).size < names.length) throw new Refused("Invalid", "A parameter is there twice.");
  return check(query ?? z.strictObject({}), Object.fromEntries(given)) as Record<string, unknown>;
}

function bodyOf(schema: z.ZodType, bytes: Buffer): unknown {
  let value: unknown;
  try {
    // An empty one is the same as one without fields.
    value = bytes.length === 0 ? {} : JSON.parse(bytes.toString("utf8"));
  } catch {
    throw new Refused("Invalid", "The body is no JSON.");
  }
  return check(schema, value);
}

function check(schema: z.ZodType, value: unknown): unknown {
  const read = schema.safeParse(value);
  if (read.success) return read.data;
  const said = read.error.issues
    .slice(0, 5)
    .map(({ path, message }) => (path.length === 0 ? message : `${path.join(".")}: ${message}`));
  throw new Refused("Invalid", `${said.join("; ")}.`.slice(0, 1000));
}
