/** What the JSON API can be asked: the gateway serves this table, and `/openapi.json` is made of it. */
import * as z from "zod";
import * as c from "./contract.ts";
import { Topic } from "./events.ts";

export interface Operation {
  method: "GET" | "POST" | "DELETE";
  /** With `{name}` for a part. */
  path: string;
  summary: string;
  /** Of the query; others are refused. */
  query?: z.ZodObject;
  body?: z.ZodType;
  /** Absent where there is nothing to say (204), or no JSON is answered. */
  answer?: z.ZodType;
  /** Whether anybody may ask. */
  open?: true;
}

/** Most items of a page. */
export const MAX_LIMIT = 1000;

const Page = z.strictObject({
  limit: z.coerce.number().int().min(1).max(MAX_LIMIT).default(100),
  continue: z.string().max(1024).optional(),
});
const text = z.string().max(253).optional();

/** Filters of machines: each narrows. */
export const MachineFilter = z.strictObject({
  group: text,
  state: z.string().max(253).optional().meta({ description: "One, or several with commas." }),
  version: text.meta({ description: "That it runs; empty for those of which it is not known." }),
  zone: text,
  kind: c.MachineKind.optional(),
  search: text.meta({ description: "A part of its name." }),
});
export type MachineFilter = z.output<typeof MachineFilter>;

export const EventsQuery = z.strictObject({
  topics: z
    .string()
    .max(253)
    .transform((list) => list.split(","))
    .pipe(z.array(Topic).min(1))
    .default(["groups", "channels", "releases", "windows", "openings", "budgets", "fleet", "activity"]),
  ...MachineFilter.shape,
});

export const operations = {
  signInWays: {
    ...{ method: "GET", path: "/api/v1/sign-in", summary: "How one may sign in here.", open: true },
    answer: c.SignInWays,
  },
  signIn: {
    ...{ method: "POST", path: "/api/v1/session", open: true },
    summary: "Sign in by a Kubernetes token: it becomes a cookie, and is kept nowhere.",
    ...{ body: c.SignIn, answer: c.Me },
  },
  signOut: { method: "DELETE", path: "/api/v1/session", summary: "Sign out.", open: true },
  me: { method: "GET", path: "/api/v1/me", summary: "Who I am, and what I may do.", answer: c.Me },
  listGroups: {
    ...{ method: "GET", path: "/api/v1/groups", summary: "UpdateGroups.", query: Page },
    answer: c.listOf(c.Group),
  },
  listChannels: {
    ...{ method: "GET", path: "/api/v1/channels", summary: "Channels.", query: Page },
    answer: c.listOf(c.Channel),
  },
  listReleases: {
    ...{ method: "GET", path: "/api/v1/releases", summary: "Releases.", query: Page },
    answer: c.listOf(c.Release),
  },
  listWindows: {
    ...{ method: "GET", path: "/api/v1/windows", summary: "RebootWindows.", query: Page },
    answer: c.listOf(c.Window),
  },
  listOpenings: {
    ...{ method: "GET", path: "/api/v1/openings", query: Page },
    summary: "The present and next openings of each group.",
    answer: c.listOf(c.GroupOpenings),
  },
  listBudgets: {
    ...{ method: "GET", path: "/api/v1/budgets", query: Page },
    summary: "Reboot slots: who holds them, since when, and who waits.",
    answer: c.listOf(c.Budget),
  },
  fleet: {
    ...{ method: "GET", path: "/api/v1/fleet", summary: "The fleet in numbers, by zone and version." },
    answer: z.object({ ...c.Fleet.shape, ...c.Freshness.shape }),
  },
  listMachines: {
    ...{ method: "GET", path: "/api/v1/machines", summary: "Nodes and machines." },
    query: z.strictObject({ ...Page.shape, ...MachineFilter.shape }),
    answer: c.listOf(c.Machine),
  },
  readMachine: {
    ...{ method: "GET", path: "/api/v1/machines/{uid}", summary: "The story of one machine." },
    answer: c.Story,
  },
  versions: {
    ...{ method: "GET", path: "/api/v1/versions", summary: "Machines by version, over time." },
    query: z.strictObject({
      group: text,
      hours: z.coerce.number().int().min(1).max(720).default(24),
    }),
    answer: c.Versions,
  },
  listActivity: {
    ...{ method: "GET", path: "/api/v1/activity", summary: "What happened, newest first." },
    query: z.strictObject({ ...Page.shape, group: text, uid: text }),
    answer: c.listOf(c.Activity),
  },
  events: {
    ...{ method: "GET", path: "/api/v1/events", query: EventsQuery },
    summary: "Changes as server-sent events: see console/events.ts.",
  },
  promote: {
    ...{ method: "POST", path: "/api/v1/channels/{name}/promote", body: c.Promote, answer: c.Done },
    summary: "Point a channel at a release: every group that follows it moves there.",
  },
  pause: {
    ...{ method: "POST", path: "/api/v1/groups/{name}/pause", body: c.Pause, answer: c.Done },
    summary: "Let nothing new begin in a group; what has committed ends.",
  },
  resume: {
    ...{ method: "POST", path: "/api/v1/groups/{name}/resume", body: c.Pause, answer: c.Done },
    summary: "Let a paused group go on.",
  },
  retry: {
    ...{ method: "POST", path: "/api/v1/groups/{name}/retry", body: c.Retry, answer: c.Done },
    summary: "Go on after a halt: the failures are forgotten, and with them a quarantine that they made.",
  },
  rollBack: {
    ...{ method: "POST", path: "/api/v1/groups/{name}/rollback", body: c.RollBack, answer: c.Done },
    summary: "Go back to the release before, or to another.",
  },
  quarantine: {
    ...{ method: "POST", path: "/api/v1/releases/{name}/quarantine", body: c.Quarantine, answer: c.Done },
    summary: "Let nothing more move to a release.",
  },
  lift: {
    ...{ method: "POST", path: "/api/v1/releases/{name}/lift", body: c.Quarantine, answer: c.Done },
    summary: "Lift a person's quarantine.",
  },
  assign: {
    ...{ method: "POST", path: "/api/v1/assign", body: c.Assign, answer: c.Done },
    summary: "Assign machines to a group.",
  },
  steal: {
    ...{ method: "POST", path: "/api/v1/machines/{uid}/steal", body: c.Steal, answer: c.Done },
    summary:
      "Free the slot of a machine that is not coming back. If it is up after all, a budget may be overrun.",
  },
} as const satisfies Record<string, Operation>;

export type OperationName = keyof typeof operations;
