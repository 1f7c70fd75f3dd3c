/** Machines that no agent of ours runs on, as an UpdateGroup serves them. */
import * as z from "zod";
import { form } from "./rules.ts";

/** Flatcar has 20 OEMs. */
export const MAX_EXCLUDED_OEMS = 64;

/** As machines say it: the ID of their oem-release file. */
export const OEM = z
  .string()
  .min(1)
  .max(63)
  .regex(/^[A-Za-z0-9._-]+$/)
  .meta(form("must be the ID of an OEM, such as `ami`: letters, digits, `.`, `_` and `-`"));

export const Machines = z.object({
  authentication: z.enum(["Secret", "None"]).default("Secret").meta({
    description:
      "What a machine must show: the group's secret, as a segment of its URL or as a bearer token; or nothing, which has no effect while a budget of theirs binds Nodes too.",
  }),
  labels: z
    .record(z.string().min(1).max(316), z.string().max(63))
    .default({})
    .meta({ maxProperties: 64, description: "Labels by which RebootBudgets select these machines." }),
  slotFor: z.enum(["Update", "Reboot"]).default("Update").meta({
    description:
      "What takes the slot of a machine that speaks Omaha. `Update`: from the offer on, because update_engine reboots without asking. `Reboot`: all of them ask by FleetLock or locksmith before they reboot; an update is offered outside of windows too, and holds no slot.",
  }),
  downgrade: z.boolean().default(false).meta({
    description:
      "Machines that speak Omaha and run something newer than the channel's release are offered that release: a controlled downgrade, under the same stages, rate and budgets.",
  }),
  excludedOEMs: z.array(OEM).max(MAX_EXCLUDED_OEMS).optional().meta({
    description:
      "OEMs, as machines name theirs to Omaha, that are offered nothing, also where a person asks on the machine.",
    "x-kubernetes-list-type": "atomic",
  }),
  setMax: z.boolean().default(false).meta({
    description:
      "Who has the secret of this group may change its maxUnavailable by `locksmithctl set-max`; 0 pauses the group.",
  }),
});

/** Of what a person says about one machine, characters. */
export const LONGEST_REASON = 253;

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
        reason: z.string().max(LONGEST_REASON).optional().meta({
          description: "Why a person took the slot for it, where one did.",
        }),
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
