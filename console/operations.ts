/** What the JSON API can be asked: the gateway serves this table, and `/openapi.json` is made of it. */
import * as z from "zod";
import * as c from "./contract.ts";
import { Topic, topics } from "./events.ts";

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
  /** Of what it tells: who may not list that is told nothing. */
  topic?: Topic;
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
    .default(Topic.options.filter((topic) => topic !== "machines"))
    .meta({ description: "With commas between; all but `machines` where it is absent." }),
  ...MachineFilter.shape,
});

const read = <T extends Omit<Operation, "method" | "path">>(path: string, more: T) => ({
  ...{ method: "GET" as const, path: `/api/v1/${path}` },
  ...more,
});
/** All of a topic, in pages. */
const list = (topic: Topic, summary: string) =>
  read(topic, { summary, topic, query: Page, answer: c.listOf(topics[topic].item) });
const write = (path: string, body: z.ZodType, summary: string) => ({
  ...{ method: "POST" as const, path: `/api/v1/${path}`, summary, body },
  answer: c.Done,
});

export const operations = {
  signInWays: read("sign-in", { summary: "How one may sign in here.", open: true, answer: c.SignInWays }),
  signIn: {
    ...write("session", c.SignIn, "Sign in by a Kubernetes token: it becomes a cookie, and is kept nowhere."),
    ...{ answer: c.Me, open: true },
  },
  signOut: { method: "DELETE", path: "/api/v1/session", summary: "Sign out.", open: true },
  me: read("me", { summary: "Who I am, and what I may do.", answer: c.Me }),
  listGroups: list("groups", "UpdateGroups."),
  listChannels: list("channels", "Channels."),
  listReleases: list("releases", "Releases."),
  listWindows: list("windows", "RebootWindows."),
  listOpenings: list("openings", "The present and next openings of each group."),
  listBudgets: list("budgets", "Reboot slots: who holds them, since when, and who waits."),
  listWaiting: {
    ...list("budgets", "Machines without our agent that wait for a reboot slot, longest first."),
    ...{ path: "/api/v1/waiting", query: z.strictObject({ ...Page.shape, group: text }) },
    answer: c.listOf(c.Waiting),
  },
  fleet: read("fleet", {
    ...{ topic: "fleet", summary: "The fleet in numbers, by zone and version." },
    answer: z.object({ ...c.Fleet.shape, ...c.Freshness.shape }),
  }),
  listMachines: {
    ...list("machines", "Nodes and machines."),
    query: z.strictObject({ ...Page.shape, ...MachineFilter.shape }),
    answer: c.listOf(c.ListedMachine),
  },
  readMachine: read("machines/{uid}", {
    ...{ topic: "machines", summary: "The story of one machine.", answer: c.Story },
  }),
  versions: read("versions", {
    ...{ topic: "machines", summary: "Machines by version, over time.", answer: c.Versions },
    query: z.strictObject({
      group: text,
      hours: z.coerce.number().int().min(1).max(720).default(24),
    }),
  }),
  listActivity: {
    ...list("activity", "What happened, newest first."),
    query: z.strictObject({ ...Page.shape, group: text, uid: text }),
  },
  events: read("events", {
    summary: "Changes as server-sent events: see console/events.ts.",
    query: EventsQuery,
  }),
  promote: write(
    "channels/{name}/promote",
    c.Promote,
    "Point a channel at a release: every group that follows it moves there.",
  ),
  pause: write("groups/{name}/pause", c.Pause, "Let nothing new begin in a group; what has committed ends."),
  resume: write("groups/{name}/resume", c.Pause, "Let a paused group go on."),
  retry: write(
    "groups/{name}/retry",
    c.Retry,
    "Go on after a halt: the failures are forgotten, and with them a quarantine that they made.",
  ),
  rollBack: write("groups/{name}/rollback", c.RollBack, "Go back to the release before, or to another."),
  quarantine: write("releases/{name}/quarantine", c.Quarantine, "Let nothing more move to a release."),
  lift: write("releases/{name}/lift", c.Quarantine, "Lift a person's quarantine."),
  assign: write("assign", c.Assign, "Assign machines to a group."),
  steal: write(
    "machines/{uid}/steal",
    c.Steal,
    "Free the slot of a machine that is not coming back. If it is up after all, a budget may be overrun.",
  ),
} as const satisfies Record<string, Operation>;

export type OperationName = keyof typeof operations;
