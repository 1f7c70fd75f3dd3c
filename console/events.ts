/**
 * Server-sent events of `GET /api/v1/events`. First a `snapshot` for each topic (in parts, the last with `end`), then
 * `change` at most four times a second; `freshness` (contract.ts) at the start, whenever it turns stale or fresh, and
 * every 15 s; `end` with a `message` where the session or the right is over. The id of an event is a position: a client that comes back with it gets what
 * changed since, or snapshots again where that is too long ago. Silence of 45 s is a loss.
 */
import * as z from "zod";
import {
  Activity,
  Budget,
  Channel,
  Fleet,
  Group,
  GroupOpenings,
  Machine,
  Release,
  Window,
} from "./contract.ts";

/** Parameter `topics`, comma-separated. `machines` takes the filters of the list; without it `fleet` tells the numbers. */
export const Topic = z.enum([
  "groups",
  "channels",
  "releases",
  "windows",
  "openings",
  "budgets",
  "fleet",
  "activity",
  "machines",
]);
export type Topic = z.output<typeof Topic>;

/** By topic: what one item is, and which field is its key. */
export const topics = {
  groups: { item: Group, key: "name" },
  channels: { item: Channel, key: "name" },
  releases: { item: Release, key: "name" },
  windows: { item: Window, key: "name" },
  openings: { item: GroupOpenings, key: "group" },
  budgets: { item: Budget, key: "name" },
  /** One item. */
  fleet: { item: Fleet, key: undefined },
  activity: { item: Activity, key: "id" },
  machines: { item: Machine, key: "uid" },
} as const satisfies Record<Topic, { item: z.ZodType; key: string | undefined }>;

/** Event `snapshot`. Of what the page knew of the topic only what comes in parts from `begin` up to `end` is left. */
export const SnapshotPart = z.object({
  topic: Topic,
  items: z.array(z.unknown()),
  begin: z.boolean(),
  end: z.boolean(),
  omitted: z
    .int()
    .optional()
    .meta({ description: "More machines match than are streamed: choose a group or zone." }),
});
export type SnapshotPart = z.output<typeof SnapshotPart>;

/** Event `change`: by topic, items that are new or other than before, and keys that are gone. */
export const ChangeEvent = z.object({
  changes: z.partialRecord(Topic, z.object({ put: z.array(z.unknown()), gone: z.array(z.string()) })),
});
export type ChangeEvent = z.output<typeof ChangeEvent>;
