/** What the JSON API reads: pages of the board, stories, and the stream of changes. */
import * as z from "zod";
import { timestamp } from "../../api/meta.ts";
import { machineCommands } from "../../console/commands.ts";
import type * as view from "../../console/contract.ts";
import type { Topic } from "../../console/events.ts";
import { filterOf } from "../../console/machine.ts";
import { EventsQuery, operations } from "../../console/operations.ts";
import type { Coordination } from "../../coordination/coordination.ts";
import { EtcdUnavailable } from "../../coordination/etcd.ts";
import type { ForeignMachine } from "../../coordination/records.ts";
import type { Clock } from "../../ports/clock.ts";
import type { EdgeAnswer } from "../edge/server.ts";
import type { AccessReviewer } from "../objects/review.ts";
import type { Objects } from "../objects/view.ts";
import type { Door } from "../sign-in/door.ts";
import { type Call, callerOf, type Handlers, mayRead, resourcesOf } from "./api.ts";
import type { Board } from "./board.ts";
import type { ForeignMachines } from "./foreign.ts";
import type { History } from "./history.ts";
import { type Asked, pageOf } from "./lists.ts";
import { foreignStoryOf, storyOf, toldOf } from "./machine-view.ts";
import { json, Refused } from "./problem.ts";
import { streamOf } from "./stream.ts";
import type { VersionSeries } from "./versions.ts";

/** The API server is asked every 5 s, etcd every 15 s at least: what is older than two of these is stale, ms. */
const STALE = 30_000;
/** Streams at once, and of one person: a page has one. */
const MAX_STREAMS = 500;
const MAX_OWN_STREAMS = 20;

export interface ReadsOptions {
  board: Board;
  foreign: ForeignMachines;
  history: History;
  coordination: Pick<Coordination, "readForeignMachine">;
  versions: VersionSeries;
  objects: Objects;
  /** Wall clock, ms: of what is shown of etcd. */
  etcdAsOf: () => number;
  door: Door;
  reviewer: Pick<AccessReviewer, "allowsReading">;
  /** Of this process, for positions in its stream. */
  epoch: string;
  clock: Clock;
}

type Reads = Pick<
  Handlers,
  | "listGroups"
  | "listChannels"
  | "listReleases"
  | "listWindows"
  | "listOpenings"
  | "listBudgets"
  | "listWaiting"
  | "fleet"
  | "listMachines"
  | "readMachine"
  | "versions"
  | "listActivity"
  | "events"
>;

const LISTS = {
  groups: "kubectl get updategroups",
  channels: "kubectl get channels",
  releases: "kubectl get releases",
  windows: "kubectl get rebootwindows",
  openings: "kubectl slipway windows next",
  budgets: "kubectl slipway locks list",
} as const satisfies Partial<Record<Topic, string>>;

export class ReadHandlers {
  readonly #options: ReadsOptions;
  /** By user name. */
  readonly #streams = new Map<string, number>();

  constructor(options: ReadsOptions) {
    this.#options = options;
  }

  get handlers(): Reads {
    return {
      listGroups: async (call) => this.#list(call, "groups"),
      listChannels: async (call) => this.#list(call, "channels"),
      listReleases: async (call) => this.#list(call, "releases"),
      listWindows: async (call) => this.#list(call, "windows"),
      listOpenings: async (call) => this.#list(call, "openings"),
      listBudgets: async (call) => this.#list(call, "budgets"),
      listWaiting: async (call) => this.#waiting(call),
      fleet: async () => {
        const freshness = this.freshness();
        return json({ ...(this.#options.board.changes.get("fleet", "fleet") as view.Fleet), ...freshness });
      },
      listMachines: async (call) => this.#machines(call),
      readMachine: async (call) => this.#story(call),
      versions: async (call) => this.#versions(call),
      listActivity: async (call) => this.#activity(call),
      events: async (call) => this.#events(call),
    };
  }

  /** How old everything here is. Throws `Refused` while nothing is known yet. */
  freshness(): view.Freshness {
    const { objects, board, clock, etcdAsOf } = this.#options;
    if (!objects.synced || board.changes.get("fleet", "fleet") === undefined) {
      throw new Refused("Unavailable", "The gateway has not read everything yet: try again in a moment.", {
        "retry-after": "1",
      });
    }
    const now = clock.now();
    const api = objects.asOf ?? 0;
    const etcd = etcdAsOf();
    const asOf = timestamp(Math.min(api, etcd));
    const away = [
      ...(now - api > STALE ? ["the Kubernetes API"] : []),
      ...(now - etcd > STALE ? ["etcd"] : []),
    ];
    if (away.length === 0) return { asOf };
    const verb = away.length === 1 ? "gives" : "give";
    return { asOf, stale: `No answer: ${away.join(" and ")} ${verb} none; this is the last known state.` };
  }

  #list({ query }: Call, topic: keyof typeof LISTS): EdgeAnswer {
    const freshness = this.freshness();
    const items = this.#options.board.changes.items(topic);
    const page = pageOf(items, ([key]) => key, query as unknown as Asked);
    return answerOf(page && { ...page, items: page.items.map(([, item]) => item) }, LISTS[topic], freshness);
  }

  #waiting({ query }: Call): EdgeAnswer {
    const freshness = this.freshness();
    const { board } = this.#options;
    const asked = query as z.output<typeof operations.listWaiting.query>;
    const found = board.waiting.filter(({ group }) => asked.group === undefined || asked.group === group);
    // Milliseconds since 1970 have as many digits until the year 2286.
    const page = pageOf(found, ({ since, uid, group }) => `${since} ${uid} ${group}`, asked);
    const items = page?.items.map((one) => board.inLine(one));
    return answerOf(page && { ...page, items }, LISTS.budgets, freshness);
  }

  #machines({ query }: Call): EdgeAnswer {
    const freshness = this.freshness();
    const asked = query as z.output<typeof operations.listMachines.query>;
    const passes = filterOf(asked);
    const found = this.#options.board.machines.values().filter(passes);
    const page = pageOf(found, ({ name, uid }) => `${name} ${uid}`, asked);
    const { group, kind } = asked;
    const command = kind === "foreign" ? machineCommands.foreign(group) : machineCommands.withAgent(group);
    const items = page?.items.map((machine) => this.#listed(machine));
    return answerOf(page && { ...page, items }, command, freshness);
  }

  #listed(machine: view.Machine): view.ListedMachine {
    if (machine.kind !== "foreign") return machine;
    const lastSeen = this.#options.foreign.get(machine.uid)?.lastSeen;
    return lastSeen === undefined ? machine : { ...machine, lastSeen: timestamp(lastSeen) };
  }

  async #story({ part }: Call): Promise<EdgeAnswer> {
    const { board, history } = this.#options;
    const freshness = this.freshness();
    const uid = part("uid");
    const machine = board.machines.get(uid);
    const foreign = this.#options.foreign.get(uid);
    if (machine === undefined) throw new Refused("NotFound", "There is no such machine.");
    const journal = history.activities((activity) => activity.uid === uid);
    if (machine.kind === "foreign" && foreign !== undefined) {
      const told = toldOf(await this.#eventsOf(uid));
      return json({ ...foreignStoryOf(foreign, journal, told), ...freshness } satisfies view.Story);
    }
    const update = board.updateOf(uid);
    if (update === undefined) throw new Refused("NotFound", "There is no such machine any more.");
    return json({ ...storyOf(update, journal), ...freshness } satisfies view.Story);
  }

  /** The view in memory has them not. Without etcd the rest of a story is told all the same. */
  async #eventsOf(uid: string): Promise<NonNullable<ForeignMachine["history"]>> {
    try {
      return (await this.#options.coordination.readForeignMachine(uid))?.history ?? [];
    } catch (error) {
      if (error instanceof EtcdUnavailable) return [];
      throw error;
    }
  }

  async #versions({ query }: Call): Promise<EdgeAnswer> {
    const freshness = this.freshness();
    const { group = "", hours } = query as z.output<typeof operations.versions.query>;
    const series = await this.#options.versions.read(group, hours);
    return json({ ...series, group, kubectl: "kubectl get releases", ...freshness } satisfies view.Versions);
  }

  #activity({ query }: Call): EdgeAnswer {
    const freshness = this.freshness();
    const asked = query as z.output<typeof operations.listActivity.query>;
    const entries = this.#options.history.activities(
      ({ group, uid }) =>
        (asked.group === undefined || asked.group === group) &&
        (asked.uid === undefined || asked.uid === uid),
    );
    const page = pageOf(entries, ({ time, id }) => `${time} ${id}`, asked, true);
    return answerOf(
      page,
      "kubectl get events --field-selector reportingComponent=slipway.dev/manager",
      freshness,
    );
  }

  async #events({ request, query, caller }: Call): Promise<EdgeAnswer> {
    const { board, reviewer, epoch, clock, door } = this.#options;
    this.freshness();
    const { topics, ...filter } = query as z.output<typeof EventsQuery>;
    if (caller === undefined) throw new Refused("SignInNeeded", "Sign in first.");
    const { person } = caller;
    const needed = resourcesOf(topics);
    await mayRead(reviewer, person, needed);
    const headers = { "x-accel-buffering": "no" };
    const type = "text/event-stream";
    if (request.method === "HEAD") return { status: 200, type, headers, body: "" };
    const own = this.#streams.get(person.username) ?? 0;
    const all = [...this.#streams.values()].reduce((sum, count) => sum + count, 0);
    if (own >= MAX_OWN_STREAMS || all >= MAX_STREAMS) {
      throw new Refused("TooMany", "Too many pages are open: close some.", { "retry-after": "30" });
    }
    const pieces = streamOf({
      ...{ changes: board.changes, epoch, topics, passes: filterOf(filter) },
      lastEventId: request.header("last-event-id"),
      freshness: () => this.freshness(),
      ends: async () => {
        try {
          callerOf(await door.enter(request));
          await mayRead(reviewer, person, needed);
          return undefined;
        } catch (error) {
          // What can't be asked now is asked again: the last answer still holds.
          return error instanceof Refused ? error.message : undefined;
        }
      },
      onChange: (listener) => board.onChange(listener),
      ...{ clock, signal: request.gone },
    });
    return {
      status: 200,
      type,
      headers,
      body: "retry: 2000\n\n",
      pieces: this.#counted(pieces, person.username),
    };
  }

  async *#counted(pieces: AsyncIterable<string>, user: string): AsyncGenerator<string, void, undefined> {
    this.#streams.set(user, (this.#streams.get(user) ?? 0) + 1);
    try {
      yield* pieces;
    } finally {
      const left = (this.#streams.get(user) ?? 1) - 1;
      if (left > 0) this.#streams.set(user, left);
      else this.#streams.delete(user);
    }
  }
}

function answerOf(page: object | undefined, kubectl: string, freshness: view.Freshness): EdgeAnswer {
  if (page === undefined) throw new Refused("Invalid", "continue: it is not one that a page gave.");
  return json({ ...page, kubectl, ...freshness });
}
