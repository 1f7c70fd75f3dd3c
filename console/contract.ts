/**
 * The JSON API of the gateway, as zod schemas: what the console shows and writes, and what anyone else may. The gateway
 * makes the views (small ones, never whole objects) and `/openapi.json`; who reads them takes the types only. Times are
 * RFC 3339 in UTC. `kubectl` is the command that shows the same.
 */
import * as z from "zod";
import { Step } from "../api/node-update.ts";

const Name = z.string().min(1).max(253);
const Time = z.iso.datetime();
const Count = z.int().min(0);
const Kubectl = z.string().meta({ description: "The command that shows the same." });

/** Every answer that is no success. `message` is a sentence for a person. */
export const Problem = z.object({
  error: z.enum([
    "SignInNeeded",
    "Forbidden",
    "NotFound",
    "Invalid",
    "Owned",
    "Conflict",
    "TooMany",
    "Unavailable",
  ]),
  message: z.string(),
  owner: z
    .string()
    .optional()
    .meta({ description: "With `Owned`: the field manager that the field belongs to (GitOps, a file)." }),
  field: z.string().optional().meta({ description: "With `Owned`: the field." }),
});
export type Problem = z.output<typeof Problem>;

/** How old the answer is. It is stale where `asOf` lies more than 30 s back: the API server or etcd gives no answer. */
export const Freshness = z.object({
  asOf: Time.meta({ description: "Until when the view is known to be whole." }),
  stale: z
    .string()
    .optional()
    .meta({ description: "Why this is the last known state and not the present one." }),
});
export type Freshness = z.output<typeof Freshness>;

/** Why something is as it is; `reason` is one of docs/reference/reasons.md. */
export const Reason = z.object({ reason: z.string(), message: z.string(), since: Time.optional() });
export type Reason = z.output<typeof Reason>;

export const Stage = z.object({
  name: Name,
  size: Count.meta({ description: "Nodes of this stage and of those before it." }),
  verified: Count,
  state: z.enum(["Waiting", "Open", "Passed"]),
  openedAt: Time.optional(),
  passedAt: Time.optional(),
});
export type Stage = z.output<typeof Stage>;

export const Group = z.object({
  name: Name,
  driver: z.enum(["fastpatch", "sentinel"]),
  channel: Name.optional().meta({ description: "That it follows." }),
  pinned: Name.optional().meta({ description: "Or: the release that it stays on." }),
  target: Name.optional(),
  version: z.string().optional(),
  state: z
    .enum(["Paused", "Halted", "Waiting", "Updating", "UpToDate", "Off"])
    .meta({ description: "In a word; `why` says more." }),
  why: Reason.optional(),
  paused: z.boolean(),
  stages: z.array(Stage),
  stage: Name.optional().meta({ description: "The one that is open." }),
  counts: z.object({
    nodes: Count,
    updated: Count,
    inFlight: Count,
    failed: Count,
    unavailable: Count,
    limit: Count.optional().meta({ description: "Most that may be down at once." }),
    foreign: Count.meta({ description: "Machines without our agent that were seen in it." }),
    foreignUpdated: Count,
  }),
  failures: z.array(
    z.object({ machine: z.string(), release: Name, reason: z.string(), message: z.string(), time: Time }),
  ),
  nextOpening: Time.optional(),
  previous: Name.optional().meta({ description: "What a roll back goes to, unless it says otherwise." }),
  kubectl: Kubectl,
});
export type Group = z.output<typeof Group>;

export const Channel = z.object({
  name: Name,
  release: Name.optional().meta({ description: "Absent while it waits for its upstream." }),
  version: z.string().optional(),
  architectures: z.array(z.object({ architecture: z.string(), release: Name })),
  previous: Name.optional(),
  promotions: z.array(z.object({ release: Name, time: Time })).meta({ description: "Newest first." }),
  groups: z.array(Name).meta({ description: "Those that follow it." }),
  refused: Reason.optional().meta({ description: "Why it has no effect." }),
  kubectl: Kubectl,
});
export type Channel = z.output<typeof Channel>;

export const Release = z.object({
  name: Name,
  version: z.string(),
  product: z.string(),
  architectures: z.array(z.string()),
  createdAt: Time.optional(),
  steppingStone: z.boolean(),
  running: Count,
  failed: Count,
  quarantined: Reason.optional(),
  /** Who lifts it: a person's own quarantine is lifted by `lift`, one by a halt with the group's `retry`. */
  quarantinedBy: z.enum(["Person", "Halt"]).optional(),
  refused: Reason.optional(),
  channels: z.array(Name).meta({ description: "That point at it." }),
  groups: z.array(Name).meta({ description: "Whose target it is." }),
  kubectl: Kubectl,
});
export type Release = z.output<typeof Release>;

export const Slot = z.object({
  name: z.enum(["A", "B"]),
  version: z.string().optional(),
  running: z.boolean(),
  priority: z.int(),
  tries: z.int(),
  successful: z.boolean(),
});
export type Slot = z.output<typeof Slot>;

/** Who is shown: a Node, a plain machine with our agent, or one without it (Omaha, FleetLock, locksmith). */
export const MachineKind = z.enum(["node", "machine", "foreign"]);
/** The steps of NodeUpdate.status.step; `Unknown` where nothing was said yet. */
export const MachineState = z.enum([...Step.options, "Unknown"]);

export const Machine = z.object({
  // `foreign/` and an id of FleetLock or locksmith, which has up to 256 characters.
  uid: z.string().max(264).meta({ description: "Names the machine in this API." }),
  name: z.string(),
  kind: MachineKind,
  group: z.string(),
  zone: z.string().meta({ description: "Empty where none is known." }),
  version: z.string().meta({ description: "That it runs; empty where it is not known." }),
  target: z.string().meta({ description: "Version that it should run; empty where there is none." }),
  state: MachineState,
  reason: z.string(),
  message: z.string(),
  since: Time.optional(),
  progress: z.int().min(0).max(100).optional(),
  slot: z.boolean().meta({ description: "Whether it holds a reboot slot." }),
  connected: z.boolean().optional().meta({ description: "Whether its agent is; absent without one." }),
  protocol: z.string().optional(),
});
export type Machine = z.output<typeof Machine>;

/** In the list alone: with each time that 100,000 machines are seen, a stream of them would do nothing else. */
export const ListedMachine = z.object({
  ...Machine.shape,
  lastSeen: Time.optional().meta({
    description: "Of a machine without our agent: when it asked last, as far as it was written.",
  }),
});
export type ListedMachine = z.output<typeof ListedMachine>;

export const Story = z.object({
  machine: Machine,
  now: z.string().meta({ description: "What it does or waits for, in a sentence." }),
  next: z.string().meta({ description: "What comes next, or what a person can do." }),
  slots: z.array(Slot),
  architecture: z.string().optional(),
  bootId: z.string().optional(),
  machineId: z.string().optional(),
  labels: z.record(z.string(), z.string()),
  lastSeen: Time.optional().meta({ description: "Of a machine without our agent: when it asked last." }),
  grant: z
    .object({
      phase: z.string(),
      since: Time,
      budgets: z.array(z.string()),
      release: z.string().optional(),
      nonce: z.string().optional().meta({ description: "Names this grant to whoever frees it." }),
    })
    .optional(),
  held: z.string().optional().meta({ description: "Why a person holds it." }),
  transitions: z
    .array(z.object({ step: z.string(), time: Time, reason: z.string(), message: z.string() }))
    .meta({ description: "Newest first; from its status, and from the journal what lies before." }),
  failed: z.array(
    z.object({
      release: z.string(),
      version: z.string(),
      reason: z.string(),
      message: z.string(),
      time: Time,
    }),
  ),
  kubectl: Kubectl,
  ...Freshness.shape,
});
export type Story = z.output<typeof Story>;

export const Opening = z.object({
  start: Time,
  end: Time.optional().meta({ description: "Absent where nothing closes it." }),
  windows: z.array(Name),
});
export type Opening = z.output<typeof Opening>;

export const Window = z.object({
  name: Name,
  mode: z.enum(["Allow", "Deny"]),
  start: z.string(),
  duration: z.string(),
  timeZone: z.string(),
  open: z.boolean(),
  closesAt: Time.optional(),
  openings: z.array(z.object({ start: Time, end: Time })).meta({ description: "The next five." }),
  groups: z.array(Name).meta({ description: "That it binds." }),
  refused: Reason.optional(),
  kubectl: Kubectl,
});
export type Window = z.output<typeof Window>;

/** Of one group: its windows less change freezes. */
export const GroupOpenings = z.object({
  group: Name,
  always: z.boolean().meta({ description: "It reboots outside of windows, too; freezes bind it." }),
  openings: z.array(Opening),
  note: z.string(),
  kubectl: Kubectl,
});
export type GroupOpenings = z.output<typeof GroupOpenings>;

/** A limit of who may be down: a group's own, or a RebootBudget's, whole or in one domain. */
export const Budget = z.object({
  name: z.string().meta({ description: "`group/NAME`, `budget/NAME/KEY=DOMAIN`, `infrastructure`." }),
  limit: Count.optional(),
  unavailable: Count.optional(),
  holders: z.array(
    z.object({
      machine: z.string(),
      uid: z.string().optional(),
      phase: z.string(),
      since: Time,
      suspect: z.boolean(),
    }),
  ),
  queue: z
    .array(
      z.object({
        machine: z.string(),
        uid: z.string().optional(),
        since: Time.optional(),
        protocol: z
          .string()
          .optional()
          .meta({ description: "By which a machine without our agent asks; absent for others." }),
      }),
    )
    .meta({ description: "Who waits for it, longest first; at most 8." }),
  waiting: Count.meta({ description: "How many wait." }),
  kubectl: Kubectl,
});
export type Budget = z.output<typeof Budget>;

/** A machine without our agent that waits in its group's line, for all budgets that bind the group's machines. */
export const Waiting = z.object({
  machine: z.string(),
  uid: z.string().optional().meta({ description: "Where more is known of it." }),
  group: z.string(),
  protocol: z.string(),
  since: Time.meta({ description: "Of its first asking." }),
});
export type Waiting = z.output<typeof Waiting>;

/** The fleet in numbers, and by zone: what a page shows of 100,000 machines. */
export const Fleet = z.object({
  total: Count,
  kinds: z.record(MachineKind, Count),
  states: z.partialRecord(MachineState, Count),
  zones: z.array(z.object({ zone: z.string(), total: Count, states: z.partialRecord(MachineState, Count) })),
  versions: z.array(z.object({ version: z.string(), count: Count })).meta({ description: "Most first." }),
  kubectl: Kubectl,
});
export type Fleet = z.output<typeof Fleet>;

/** How many machines ran what, over time: the counts of `series[i]` belong to `times`. */
export const Versions = z.object({
  group: z.string().meta({ description: "Empty for the whole fleet." }),
  times: z.array(Time),
  series: z.array(z.object({ version: z.string(), counts: z.array(Count) })),
  kubectl: Kubectl,
  ...Freshness.shape,
});
export type Versions = z.output<typeof Versions>;

export const Activity = z.object({
  id: z.string(),
  time: Time,
  uid: z.string().meta({ description: "Of the machine; empty where it is about none." }),
  machine: z.string(),
  group: z.string(),
  what: z.string(),
  reason: z.string(),
  message: z.string(),
  by: z.string().optional().meta({ description: "The person who asked for it." }),
});
export type Activity = z.output<typeof Activity>;

export const Action = z.enum(["promote", "pause", "retry", "rollback", "quarantine", "assign", "steal"]);
export type Action = z.output<typeof Action>;

export const Me = z.object({
  user: z.string(),
  groups: z.array(z.string()),
  expiresAt: Time.optional().meta({ description: "When to sign in again; absent for a bearer token." }),
  may: z.partialRecord(Action, z.boolean()).meta({
    description:
      "What RBAC allows on all objects; one by name may be allowed beyond it, and is asked when it is written.",
  }),
  kubectl: Kubectl,
});
export type Me = z.output<typeof Me>;

/** How one may sign in here, for the page before anybody did. */
export const SignInWays = z.object({
  token: z.literal(true),
  oidc: z
    .object({ name: z.string(), url: z.string() })
    .optional()
    .meta({ description: "Where a browser goes to sign in; it comes back by itself." }),
});
export type SignInWays = z.output<typeof SignInWays>;

/** A page of a list. `continue` goes back as the parameter of that name. */
export function listOf<T extends z.ZodType>(item: T) {
  return z.object({
    items: z.array(item),
    total: Count.meta({ description: "That match, on all pages." }),
    continue: z.string().optional(),
    kubectl: Kubectl,
    ...Freshness.shape,
  });
}

const Why = z.string().trim().min(1).max(200);
const Force = z
  .boolean()
  .default(false)
  .meta({ description: "Take the field although another manager owns it; GitOps may set it back." });

export const SignIn = z.strictObject({ token: z.string().min(1).max(16_384) });
export const Promote = z.strictObject({ release: Name, force: Force });
export const Pause = z.strictObject({ force: Force });
export const Retry = z.strictObject({ reason: Why });
export const RollBack = z.strictObject({
  to: Name.optional().meta({ description: "The channel's previous release where it is absent." }),
  force: Force,
});
export const Quarantine = z.strictObject({ reason: Why });
export const Assign = z.strictObject({
  machines: z.array(z.string().min(1).max(64)).min(1).max(500),
  group: Name,
});
export const Steal = z.strictObject({
  reason: Why,
  nonce: z
    .string()
    .max(64)
    .optional()
    .meta({ description: "The grant that is meant; whichever it holds where it is absent." }),
});

/** What became of a write. */
export const Done = z.object({
  message: z.string(),
  notes: z.array(z.string()).meta({ description: "What else a person should know." }),
  kubectl: z.string().meta({ description: "The command that does the same." }),
  machines: z
    .array(z.object({ uid: z.string(), done: z.boolean(), message: z.string() }))
    .optional()
    .meta({ description: "Of an assignment: how it went for each." }),
});
export type Done = z.output<typeof Done>;
