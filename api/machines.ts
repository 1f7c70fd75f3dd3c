/** Machines that no agent of ours runs on, as an UpdateGroup serves them. */
import * as z from "zod";

export const Machines = z.object({
  authentication: z.enum(["Secret", "None"]).default("Secret").meta({
    description:
      "What a machine must show: the group's secret, as a segment of its URL or as a bearer token; or nothing, which has no effect while a budget of theirs binds Nodes too.",
  }),
  labels: z
    .record(z.string().min(1).max(316), z.string().max(63))
    .default({})
    .meta({ maxProperties: 64, description: "Labels by which RebootBudgets select these machines." }),
});

/** More than a fleet has. */
const Held = z.int().min(0).max(1_000_000);

/** How many machines there are: told by the gateways, some minutes late at most. */
const counted = {
  known: Held.optional().meta({
    description: "Machines that asked within the last 180 days, as the gateways told last.",
  }),
  updating: Held.optional().meta({ description: "Of those, the machines that have an update." }),
  failed: Held.optional().meta({
    description:
      "Of those, the machines that have none, and are not offered a release again that failed on them.",
  }),
  versions: z
    .array(z.object({ version: z.string().max(64), machines: Held }))
    .max(20)
    .optional()
    .meta({
      description: "What they run: the most common versions, most common first.",
      "x-kubernetes-list-type": "atomic",
    }),
};

export const MachinesStatus = z.object({
  incarnation: z.string().max(64).meta({
    description:
      "The identity of etcd's data under which it is known which of the machines hold a slot; their slots count as taken while it is another.",
  }),
  unconfirmed: z.string().max(64).optional().meta({
    description:
      "The identity of etcd's data now, where a person is to say first that none of the machines is down: `kubectl slipway machines confirm`.",
  }),
  held: Held.meta({ description: "Machines that hold a slot." }),
  holders: z
    .array(
      z.object({
        machine: z.string().max(300),
        protocol: z.string().max(32),
        since: z.iso.datetime(),
      }),
    )
    .max(50)
    .meta({
      description: "The machines that hold a slot, longest first.",
      "x-kubernetes-list-type": "atomic",
    }),
  ...counted,
});

export type Machines = z.output<typeof Machines>;
export type MachinesStatus = z.output<typeof MachinesStatus>;
