/** The records in etcd: JSON, parsed at the edge. */
import * as z from "zod";

/** Fencing token: the incarnation of etcd and the create revision of `grants/<uid>` (design, rule 2). */
export const Token = z.object({ incarnation: z.string(), revision: z.number().int().min(0) });
export type Token = z.output<typeof Token>;

export function sameToken(a: Token | undefined, b: Token | undefined): boolean {
  return a !== undefined && b !== undefined && a.incarnation === b.incarnation && a.revision === b.revision;
}

/**
 * `epoch`: rises by one with each leader. Only the transaction that raises it writes it, and
 * every transaction of a leader compares it: an older epoch writes nothing (rule 2).
 */
export const Epoch = z.object({ epoch: z.number().int().min(0), nonce: z.string() });
export type Epoch = z.output<typeof Epoch>;

/**
 * `incarnation`: no grant is possible while the value starts with this, because holders are
 * still being rebuilt (rule 9). What follows is unique to the rebuild.
 */
export const REBUILDING = "rebuilding:";

/** Whether etcd has all its holders: without an incarnation, or while they are rebuilt, what is missing is not gone. */
export function isWhole(incarnation: string | undefined): incarnation is string {
  return incarnation !== undefined && !incarnation.startsWith(REBUILDING);
}

/**
 * `budgets/<b>/holders/<uid>`: a place in a budget. It has no lease.
 * Invariant: it exists exactly while `grants/<uid>` does and names the budget; whoever adds
 * or removes one bumps `budgets/<b>/seq` in the same transaction, and so does the commit of a
 * plain machine, which adds to who is down. One that can't be read counts.
 */
export const Holder = z.object({ at: z.number() });
export type Holder = z.output<typeof Holder>;

/**
 * What Kubernetes says of a group, for transactions that can't ask it. Valid while the
 * key's lease lives and until `validUntil`; an expired or missing gate refuses.
 */
export const GroupGate = z.object({
  group: z.string(),
  paused: z.boolean(),
  halted: z.boolean(),
  deleting: z.boolean(),
  /** Names of releases that may not be granted or committed. */
  quarantined: z.array(z.string()),
  /** Whether a reboot may begin now. */
  open: z.boolean(),
  /** What binds machines that no agent of ours runs on; absent where the group serves none, or nobody confirmed who of them holds a slot since etcd lost its data. */
  machines: z
    .object({
      budgets: z.array(z.string()).min(1),
      /** From the slot to the end of a reboot, ms: must fit before a window closes. */
      needs: z.number(),
      /** A machine need not prove anything. */
      open: z.boolean(),
      /** `Reboot`: each asks for a slot before it reboots, so that an update takes none. */
      slotFor: z.enum(["Update", "Reboot"]).optional(),
    })
    .optional(),
  /** Wall clock, ms: when the opening ends; null where nothing closes it. */
  openUntil: z.number().nullable(),
  /** Wall clock, ms: when the next change freeze begins, or the present one did; null where none is in sight. It ends a grant that `finishes` too. */
  freezesAt: z.number().nullable(),
  /** Wall clock, ms. Invariant: at most 30 s after the consistent read that it rests on. */
  validUntil: z.number(),
});
export type GroupGate = z.output<typeof GroupGate>;

/**
 * What Kubernetes says of a budget. The count is `unavailable` united with the holders and
 * `granted`; no grant makes it greater than `max`. One for a uid in `unavailable` adds
 * nothing, so it may be taken where the count is full, but not where holders and `granted`
 * alone are `max` or more, and at least one may (rule 1).
 */
export const BudgetGate = z.object({
  budget: z.string(),
  max: z.number().int().min(0),
  /** uids of members that are unavailable for any reason that Kubernetes shows. */
  unavailable: z.array(z.string()),
  /** uids of members whose living grant does not name this budget: it came, or they came to it, later. */
  granted: z.array(z.string()).optional(),
  /** The group for whose machines without our agent nobody confirmed, since etcd lost its data, that none is down: as many may be as the budget allows. */
  unconfirmed: z.string().optional(),
  validUntil: z.number(),
});
export type BudgetGate = z.output<typeof BudgetGate>;

/** The target and the policy that a grant froze (proto JSON of agent.v1 Target and Policy). */
const Frozen = z.record(z.string(), z.unknown());

/** What machines that no agent of ours runs on speak. */
export const Protocol = z.enum(["FleetLock", "Locksmith", "Omaha"]);
export type Protocol = z.output<typeof Protocol>;

/**
 * `tickets/<group>/<uid>`: a place in the line of machines that no agent of ours runs on. It hangs on a lease, which
 * each asking renews, and goes with the grant.
 */
export const Ticket = z.object({
  protocol: Protocol,
  /** Wall clock, ms: the first asking. Who asked earlier goes first. */
  since: z.number(),
  /** Wall clock, ms: the newest asking that was written. */
  seenAt: z.number(),
});
export type Ticket = z.output<typeof Ticket>;

/** `identities/<id>`: who calls itself so. Written by the manager, of what Kubernetes knows. */
export const Identity = z.object({
  /** The key of its records. */
  uid: z.string(),
  /** For people. */
  name: z.string(),
  /** Of a Node: its UpdateGroup, and whether an agent of ours is connected on it. */
  node: z.object({ group: z.string(), agent: z.boolean() }).optional(),
});
export type Identity = z.output<typeof Identity>;

/**
 * `requests/<uid>`: the client of a Node on which no agent of ours runs asks for its reboot. On a lease, which each
 * asking renews. The manager gives the Node a slot as it gives one to any other; the commit, or the client, ends it.
 */
export const RebootRequest = Ticket.extend({ group: z.string() });
export type RebootRequest = z.output<typeof RebootRequest>;

/** A release as machines that speak Omaha are told of it. */
const Package = z.object({ name: z.string(), size: z.number(), sha256: z.string() });
export const Offered = z.object({
  release: z.string(),
  version: z.string(),
  /** Oldest version that may update to it. */
  updatesFrom: z.string().optional(),
  codebases: z.array(z.string()).min(1),
  payload: Package,
  extras: z.array(Package),
});
export type Offered = z.output<typeof Offered>;

/**
 * `gates/offers/<group>`: what Kubernetes says that a group's machines may be offered. Like a gate it hangs on a lease,
 * and is worth nothing after `validUntil`.
 */
export const Offer = z.object({
  group: z.string(),
  /** What a machine calls its track: the group's name, or that of the channel that it follows. */
  tracks: z.array(z.string()),
  product: z.string(),
  /** By architecture: the stepping stones, oldest first, and then the target. */
  ways: z.record(z.string(), z.array(Offered)),
  /** Of the machines, 0 to 1, in the order that the target's version draws: those of the open stages. */
  share: z.number(),
  threshold: z.number().int().min(1),
  rate: z.object({ updates: z.number(), period: z.number() }).optional(),
  /** Failures up to then were forgiven by a person; wall clock, ms. */
  resumedAt: z.number().optional(),
  /** Up to then no failure keeps the release from the machine that it failed on; wall clock, ms. */
  retriedAt: z.number().optional(),
  /** What runs something newer than the target may go back to it. */
  downgrade: z.boolean().optional(),
  /** Machines that name one of these are offered nothing. */
  excludedOEMs: z.array(z.string()).optional(),
  validUntil: z.number(),
});
export type Offer = z.output<typeof Offer>;

/** `tallies/<group>/<release>`: changed in the transaction that makes or ends an update, and in no other. */
export const Tally = z.object({
  /** Updates that were offered, and not taken back. */
  granted: z.number().int(),
  /** Machines that came back with the release. */
  good: z.number().int(),
  lastGoodAt: z.number().optional(),
  failed: z.number().int(),
  /** Newest first. */
  failures: z.array(z.object({ machine: z.string(), code: z.number(), at: z.number() })),
  /** Offers by parts of the rate's period. */
  recent: z.array(z.object({ at: z.number(), n: z.number() })),
});
export type Tally = z.output<typeof Tally>;

/**
 * `known/<uid>` of the machines without our agent: what one said of itself last, and what became of its updates. Where it has
 * ended under a living grant by Omaha, what that says of the update stands for it: the slot ends by the machine's word.
 */
export const ForeignMachine = z.object({
  id: z.string(),
  group: z.string(),
  product: z.string(),
  version: z.string(),
  track: z.string(),
  board: z.string(),
  oem: z.string(),
  alias: z.string(),
  bootId: z.string(),
  /** Boots that it named, newest first. */
  boots: z.array(z.string()).optional(),
  /** Wall clock, ms: when it last named a boot again that another had replaced. No machine does: several have its id. */
  sharedAt: z.number().optional(),
  firstSeen: z.number(),
  /** Wall clock, ms; written some minutes apart. */
  lastSeen: z.number(),
  update: z
    .object({
      /** That gave the slot: the machine may have moved to another since. */
      group: z.string(),
      release: z.string(),
      /** That it runs once it has booted it. */
      version: z.string(),
      /** Of the boot in which it was offered: in another one it has rebooted. */
      bootId: z.string(),
      state: z.enum(["Granted", "Downloading", "Downloaded", "Staged", "Held"]),
      attempt: z.number().int(),
      /** As its grant's; with the release it tells two updates of a machine apart. */
      at: z.number(),
      /** Its machine needed to show no secret. */
      open: z.literal(true).optional(),
    })
    .optional(),
  /** Offers of a release that ended without a verdict. */
  tried: z.object({ release: z.string(), times: z.number().int() }).optional(),
  /** Releases that are not offered to it again. */
  failed: z.array(z.object({ release: z.string(), code: z.number(), at: z.number() })),
  /** Events that told something, newest first. */
  history: z
    .array(
      z.object({
        at: z.number(),
        type: z.number().int(),
        result: z.number().int(),
        /** Without the flags of update_engine. */
        code: z.number().int(),
        version: z.string(),
        /** A person asked on the machine. */
        onDemand: z.boolean(),
      }),
    )
    .optional(),
  /** Why nothing was offered at the last check; `since`: of the first with that reason, wall clock, ms. */
  why: z.object({ reason: z.string(), message: z.string(), since: z.number().optional() }).optional(),
});
export type ForeignMachine = z.output<typeof ForeignMachine>;

/** Whether its machine boots what it was offered at its next reboot: a boot of anything else is then a fall back. */
export function isStaged({ state }: Pick<NonNullable<ForeignMachine["update"]>, "state">): boolean {
  return state === "Staged" || state === "Held";
}

/** `totals/<group>`: how many machines without our agent a group has; a gateway writes it, on a lease of some minutes. */
export const MachineTotals = z.object({
  known: z.number().int(),
  updating: z.number().int(),
  failed: z.number().int(),
  /** The most common, most common first. */
  versions: z.array(z.object({ version: z.string(), machines: z.number().int() })),
  /** Wall clock, ms. */
  at: z.number(),
});
export type MachineTotals = z.output<typeof MachineTotals>;

/**
 * `grants/<uid>`: written once, never changed. Its create revision is the token's.
 * Invariants: at most one per uid; it is made only where each budget has room, under valid
 * gates, by the leader or, if `foreign`, by a gateway, with its holders and its phase in one transaction, and removed with them.
 * So is `aliases/<a>` of each of its `aliases`, and it is made only while neither a grant of one of them nor an alias
 * of its own uid exists. Whichever of two names of one machine comes first, the transaction of the other fails:
 * one machine has one grant. Only a rebuild leaves a Node's out: Kubernetes remembers who held, and two of those may
 * have come to share a name since. Until such a grant ends its machine may take another by a name that no `identities/`
 * tells yet: it then counts twice, which refuses more and never less.
 */
export const Grant = z.object({
  uid: z.string(),
  /** Name of the NodeUpdate: for people and for the gateway's log. */
  node: z.string(),
  group: z.string(),
  release: z.string(),
  /** Every budget that the node holds a place in while this grant lives. */
  budgets: z.array(z.string()),
  /** Other uids of the same machine: `aliases/<uid>` of each names this one while the grant lives. */
  aliases: z.array(z.string()).optional(),
  nonce: z.string(),
  epoch: z.number(),
  incarnation: z.string(),
  /** Wall clock, ms. */
  at: z.number(),
  target: Frozen.nullable(),
  policy: Frozen,
  /** Time that the reboot and a fallback boot may take at most, ms: must fit before a window closes. */
  bootNeeds: z.number(),
  /** The group lets a drain that began in a window finish after it: the commit then asks for no open window. */
  finishes: z.boolean().optional(),
  /** Why a person asked for this reboot: the commit then asks for no open window. */
  asked: z.string().optional(),
  /** That person said that it may be in a change freeze too. */
  inFreeze: z.boolean().optional(),
  /** A machine that is no Node: nothing cordons it, so that it serves until it commits. */
  plain: z.boolean().optional(),
  /** A full budget let it through because the node was unavailable: it ends where that ends before the commit. */
  repair: z.boolean().optional(),
  /** A machine that no agent of ours runs on, by whose protocol it asked: a gateway made the grant, committed from the start, and ends it when the same machine says that it is back. */
  foreign: z
    .object({
      protocol: Protocol,
      /** Why a person took the slot for the machine, where one did. */
      reason: z.string().optional(),
      /** Of the update that took it: what the machine's record says too, which ends before its slot where the machine is silent for half a year. */
      update: z.object({ version: z.string(), bootId: z.string(), attempt: z.number().int() }).optional(),
    })
    .optional(),
  /** A Node that asked by its own client, not by an agent: that protocol commits and returns it. `boot`: the boot id when the slot was given. */
  requested: z.object({ protocol: Protocol, boot: z.string() }).optional(),
  /** After a rebuild: the token by which the agent still knows this grant. */
  supersedes: Token.nullable(),
  /** Reason of the pick, for the journal. */
  reason: z.string(),
});
export type Grant = z.output<typeof Grant>;

/**
 * `phases/<uid>`: made and removed with the grant, in the same transactions.
 * Granted -> Drained -> Committed -> Returned, or Withdrawn from Granted, Drained, Committed.
 * Invariant: `token` is the token of the living grant; another token is refused.
 */
export const Phase = z.object({
  phase: z.enum(["Granted", "Drained", "Committed", "Returned", "Withdrawn"]),
  /** Wall clock, ms. */
  at: z.number(),
  /** Session of the agent that committed: a return must come in a newer one. */
  committedSession: z.number().optional(),
  /** Boot identity at commit, `bootId/softReboots`: a return must show another. */
  committedBoot: z.string().optional(),
  /** Also of a commit that a rebuild takes for granted; it stays when the grant is withdrawn. */
  committedAt: z.number().optional(),
  /** The Node's own client said so, not an agent of ours. */
  client: z.boolean().optional(),
  /** What that client called itself when it was told that it may reboot. */
  clientId: z.string().optional(),
  /** Of a grant that is `foreign`: by whose word it is held, where that is not its protocol's alone. The last to give it back ends it. */
  heldBy: z.array(Protocol).optional(),
  verdict: z.enum(["Updated", "FellBack", "Rebooted", "StillRequired"]).optional(),
  reason: z.string().optional(),
  message: z.string().optional(),
});
export type Phase = z.output<typeof Phase>;

/**
 * `sessions/<uid>`: the newest session of a node; a write of an older one is refused. The
 * number rises, and is at least the wall clock in ms when it was opened, so that a counter
 * that came back from a snapshot never repeats one.
 */
export const Session = z.object({ session: z.number().int(), gateway: z.string(), at: z.number() });
export type Session = z.output<typeof Session>;

/** `joins/<hash>` until it is spent, then `machines/<machine id>`: what a join token fixed. */
export const JoinRecord = z.object({
  group: z.string(),
  labels: z.record(z.string(), z.string()),
  /** Wall clock, ms. */
  expiresAt: z.number(),
});
export type JoinRecord = z.output<typeof JoinRecord>;

/** `machines/<machine id>`: a certificate that was issued before the machine joined is worth nothing. */
export const MachineRecord = JoinRecord.extend({
  /** Wall clock, ms; 0 where it is not known. */
  joinedAt: z.number().default(0),
});
export type MachineRecord = z.output<typeof MachineRecord>;

/** One line of the journal. */
export const JournalEntry = z.object({
  at: z.number(),
  uid: z.string(),
  node: z.string(),
  group: z.string(),
  what: z.string(),
  reason: z.string(),
  message: z.string(),
  /** The person who asked for it, where one did. */
  by: z.string().optional(),
});
export type JournalEntry = z.output<typeof JournalEntry>;

/** `samples/<day>/<quarter of an hour>`: how many machines of which group ran which version. */
export const Sample = z.object({
  /** Wall clock, ms. */
  at: z.number(),
  /** Most first; what is beyond the largest is left out. */
  counts: z.array(z.object({ group: z.string(), version: z.string(), count: z.number().int() })),
});
export type Sample = z.output<typeof Sample>;
