/**
 * The catalogue of reasons. A decision gives one of these and a message; the pair becomes
 * the condition, the event, the log line, the metric label and the answer to "why".
 * To add a reason, add a line here and return it from a policy; docs/reference/reasons.md
 * is generated from this table, and a test fails on a reason that nothing returns.
 */

/** `normal` reasons explain a wait or a step; `warning` reasons need a person's eye. */
type Severity = "normal" | "warning";

interface Entry {
  severity: Severity;
  /** What it means. */
  meaning: string;
  /** What a person can do; empty where nothing needs doing. */
  next: string;
}

function entry(severity: Severity, meaning: string, next = ""): Entry {
  return { severity, meaning, next };
}

export const reasons = {
  // Accepted
  Accepted: entry("normal", "The object is valid and has its effect."),
  UnknownTimeZone: entry(
    "warning",
    "The time zone is no IANA name.",
    "Write a name such as Europe/Berlin or UTC.",
  ),
  InvalidStart: entry(
    "warning",
    "The start of a window can't be read.",
    "Write `Mon-Fri 02:00`, `Thu 04:00`, `04:00` or five cron fields.",
  ),
  InvalidExclusion: entry(
    "warning",
    "An excluded date range ends before it begins, or names no real date.",
    "Correct `exclude`.",
  ),
  NeverOpens: entry(
    "warning",
    "The window has no opening in the next four years.",
    "Correct `start` or `exclude`.",
  ),
  OpeningNotFound: entry(
    "warning",
    "Windows with so many starts are searched for an opening up to a limit; before it there is none.",
    "Give the windows fewer and longer openings, or correct a freeze or `exclude` that covers them.",
  ),
  ReleaseNotFound: entry(
    "warning",
    "The release does not exist.",
    "Create the Release, or correct the name.",
  ),
  // A channel's upstream
  UpstreamAnswered: entry("normal", "The channel's upstream answered."),
  UpstreamUnreachable: entry(
    "warning",
    "The channel's upstream gave no answer, or one that is no success.",
    "Look at `spec.upstream.url` or `urlKey`, and at the way from the manager to it (`networkPolicy.managerEgress`).",
  ),
  UpstreamRefused: entry(
    "warning",
    "The channel's upstream answered that it serves no such product or track.",
    "Correct `spec.upstream`.",
  ),
  UpstreamInvalid: entry(
    "warning",
    "What the channel's upstream answered is not what a server of updates answers, or can't be declared.",
    "See whether `spec.upstream.url` leads to the server, and not to a proxy's page.",
  ),
  UpstreamFollowed: entry("normal", "What the channel's upstream offers is declared, or it offers nothing."),
  UpstreamCrowded: entry(
    "warning",
    "What the channel's upstream offers is declared; the channel has nearly as many Releases as it makes.",
    "Delete the oldest of them that nothing runs and nothing points at, but none that is quarantined: it would be made anew without it.",
  ),
  UpstreamOlder: entry(
    "warning",
    "The channel's upstream offers something older than the channel has: nothing is done with it.",
    "If the upstream took a release back on purpose, point the channel at an older Release yourself.",
  ),
  UpstreamDiffers: entry(
    "warning",
    "The channel's upstream offers other files under the version of a Release that is there, or leads over one that is no stepping stone.",
    "Ask who changed it. A Release never changes: delete it, and it is made anew; who is on the way to it waits until then.",
  ),
  UpstreamNotApplied: entry(
    "warning",
    "The API server refused a Release, or to point the channel at one.",
    "For a right that is missing set `manager.upstreams` of the chart; where somebody else owns `spec.release`, take it out there, or set `follow: Declare`.",
  ),
  ChannelNotFound: entry(
    "warning",
    "The channel does not exist.",
    "Create the Channel, or correct the name.",
  ),
  InvalidSpec: entry("warning", "The spec can't be acted on.", "The message names the field and the fix."),

  // UpdateGroup
  UpToDate: entry("normal", "Every node runs the target."),
  RollingOut: entry("normal", "Nodes move to the target."),
  StageSoaking: entry("normal", "The open stage is done and soaks before the next one opens."),
  Paused: entry("normal", "A person paused the group.", "Set `spec.paused: false`."),
  NoTarget: entry("normal", "The group has no release to move to."),
  NoNodes: entry("normal", "No node matches the selector."),
  FailureThresholdReached: entry(
    "warning",
    "As many nodes failed on the release as the group allows; nothing more moves to it.",
    "Publish a corrected release, or annotate the group with slipway.dev/resume.",
  ),
  NotHalted: entry("normal", "Nothing stopped the group."),
  SelectedTwice: entry(
    "warning",
    "Another group selects some of the same nodes; neither acts on them.",
    "Narrow one selector.",
  ),
  NotificationFailed: entry(
    "warning",
    "The group's webhook could not be told of something.",
    "The message says why: correct `spec.notifications`, or mend what it names.",
  ),
  StagePassed: entry("normal", "Every node of the stage is done, and it soaked."),
  NoConflict: entry("normal", "No other group selects the same nodes."),
  ReleaseQuarantined: entry(
    "warning",
    "The target failed elsewhere and is quarantined: each node keeps what it runs.",
    "Point the channel at a good release.",
  ),
  NotQuarantined: entry("normal", "No group halted on this release."),
  Deleting: entry("normal", "The object is being deleted; what is in flight ends first."),

  // A node that waits
  Current: entry("normal", "The node runs what it should."),
  WaitingForAgent: entry(
    "normal",
    "No agent of this node has reported yet.",
    "Check that the agent runs there.",
  ),
  AgentLost: entry(
    "warning",
    "The agent's session ended and it has not come back.",
    "Check the machine and its network.",
  ),
  Fetching: entry("normal", "The agent fetches and writes the image."),
  VerifyingImage: entry("normal", "The agent reads the image back and verifies it."),
  StagingFailed: entry(
    "warning",
    "The image could not be staged; the agent tries again.",
    "The message says why.",
  ),
  ImageRefused: entry(
    "warning",
    "The image is not what was signed, or is not allowed here.",
    "The message says why.",
  ),
  WaitingForStage: entry("normal", "The node's stage has not opened."),
  WaitingForWindow: entry("normal", "No reboot window is open."),
  WindowTooShort: entry(
    "warning",
    "No opening is long enough for drain, boot and a fallback.",
    "Lengthen the window or shorten the deadlines.",
  ),
  ChangeFreeze: entry("normal", "A window of mode Deny is open."),
  WaitingForBudget: entry("normal", "As many nodes are unavailable as a budget allows."),
  MachinesUnconfirmed: entry(
    "warning",
    "etcd lost which machines without our agent hold a slot; all their slots count as taken.",
    "See that none of them is down, then annotate the group: the message of its status says how.",
  ),
  MachinesNotServed: entry(
    "warning",
    "The group gives no slots to machines without our agent.",
    "Set `spec.machines` in the group, or correct the group that the machine names.",
  ),
  DuplicateMachineId: entry(
    "warning",
    "Several machines have one machine id; none of them is offered anything.",
    "Give each an id of its own (`rm /etc/machine-id && systemd-machine-id-setup`, then reboot). It is offered releases again twelve hours later.",
  ),
  OEMExcluded: entry(
    "normal",
    "The group offers nothing to machines of this OEM.",
    "Take it out of `spec.machines.excludedOEMs`, or let these machines name another group.",
  ),
  WaitingForTurn: entry("normal", "Other nodes stand before it in the queue."),
  WaitingForRate: entry("normal", "The group's rate of updates is used up for now."),
  WaitingForSettle: entry("normal", "The group settles after a node's return."),
  Blocked: entry(
    "normal",
    "A blocker of the group holds reboots back: alerts, Pods on the node, or a hook.",
    "The message says which, and since when.",
  ),
  BlockerFailed: entry(
    "warning",
    "A blocker of the group gives no answer, and the group says that this blocks.",
    "Mend what the message names, or set the blocker's `onFailure: Allow`.",
  ),
  WaitingForEvidence: entry("normal", "As many nodes are unverified on the release as may be."),
  WaitingForGates: entry("normal", "The manager has not renewed what a grant must be checked against."),
  BeingRemoved: entry(
    "normal",
    "cluster-autoscaler is about to delete the Node: it gets no slot, and counts as unavailable.",
  ),
  OtherCoordinator: entry(
    "warning",
    "Somebody else reboots nodes here too, with a budget of its own: together they can take down more than either allows.",
    "Let one of the two do it: `kubectl slipway migrate kured` prints its settings as ours.",
  ),
  NoOtherCoordinator: entry("normal", "Nobody else was seen that reboots these nodes."),
  Held: entry("normal", "A person holds the node.", "Remove the annotation slipway.dev/hold from the Node."),
  NeverAgain: entry(
    "warning",
    "The release failed on this node before.",
    "Publish a corrected release, or annotate the NodeUpdate with slipway.dev/retry.",
  ),
  StrategyOff: entry(
    "normal",
    "The group's strategy is Off: images are staged, and no node reboots.",
    "`kubectl slipway apply NODE` lets one node flip to what it staged; `spec.strategy: Coordinated` lets all of them.",
  ),
  UpdateNotReachable: entry(
    "warning",
    "The release may not be reached from what runs.",
    "Declare a stepping stone, or lower `updatesFrom`.",
  ),
  DowngradeRefused: entry(
    "warning",
    "The target is older than a version that ran well here.",
    "Annotate the NodeUpdate with slipway.dev/allow-downgrade.",
  ),
  NoPayload: entry(
    "warning",
    "The release has no payload for the node's architecture.",
    "Add one to a new Release.",
  ),

  BackingOff: entry("normal", "The node gave a slot back lately and waits before it asks again."),
  SlotNotAsked: entry(
    "warning",
    "Asking for a slot failed half-way: the others go first for a minute (5 s if only a copy was out of date), and then it asks again.",
    "The message says what failed.",
  ),
  TooManyBudgets: entry(
    "warning",
    "More budgets bind the node than one transaction can hold.",
    "Let fewer RebootBudgets and topology limits select it.",
  ),
  RebootAsked: entry("normal", "A person asked for one reboot; it waits for no window, stage or blocker."),
  RebootRequested: entry(
    "normal",
    "The Node's own client asks for a reboot, by FleetLock or locksmith; it is next in line.",
  ),
  NoRebootRequired: entry("normal", "The machine asks for no reboot."),

  // A node under a grant
  Granting: entry("normal", "A slot is being taken."),
  LeavingLoadBalancers: entry(
    "normal",
    "The node is excluded from load balancers, which get time to take it out before Pods leave.",
  ),
  Draining: entry("normal", "Pods leave the node."),
  BlockedByDisruptionBudget: entry(
    "warning",
    "A PodDisruptionBudget refuses an eviction.",
    "The message names it.",
  ),
  EvictionRefused: entry(
    "warning",
    "Something other than a PodDisruptionBudget refuses an eviction, or does not answer: an admission webhook or a missing permission, for example.",
    "The message names the Pod and what was answered.",
  ),
  PodsNotEnding: entry(
    "warning",
    "Pods that were told to go are still there after their time: a finalizer keeps them, or their kubelet has not ended them.",
    "The message names them; whoever set the finalizer must take it off.",
  ),
  DrainTimedOut: entry(
    "warning",
    "The drain took longer than allowed; the slot is given back.",
    "Look at the Pods that the message names.",
  ),
  DrainYielded: entry("normal", "Two drains blocked each other; the younger gave way."),
  WindowClosing: entry("normal", "The window closes before this can end; the slot is given back."),
  HookRunning: entry(
    "normal",
    "A hook of the group runs, before the reboot or after it.",
    "The message says which, and what it waits for.",
  ),
  HookFailed: entry(
    "warning",
    "A hook of the group failed, or was not done in time: with `onFailure: Stop` the slot is given back, or the node counts as failed.",
    "The message says which and why; docs/hooks.md says what to look at.",
  ),
  NoHookFailed: entry("normal", "No hook of the group keeps a node from its reboot, or failed after one."),
  Drained: entry("normal", "The node is drained; its agent may commit."),
  Committed: entry("normal", "The machine may reboot now."),
  Rebooting: entry("normal", "The machine reboots."),
  CommitRefused: entry("normal", "The commit was refused; the agent withdraws."),
  CommitExpired: entry("normal", "The commit's seconds were spent before the reboot; the agent withdraws."),
  Withdrawn: entry("normal", "The agent, or the Node's own client, gave the slot back before rebooting."),
  Revoked: entry("normal", "The slot was taken back before the reboot."),
  VerifyingBoot: entry("normal", "The machine is back; its boot checks run."),
  VerifyingRelease: entry("normal", "The boot is good; the node's release checks run."),
  Suspect: entry(
    "warning",
    "The machine has been away longer than its boot may take; its slot stays taken.",
    "Repair it, delete the Node, or annotate the NodeUpdate with slipway.dev/steal.",
  ),
  Stolen: entry("warning", "A person freed the slot; the budget may be overrun."),
  HolderExpired: entry(
    "warning",
    "The holder's opt-in time limit passed; the slot is free and a failure recorded.",
  ),
  NodeGone: entry("normal", "The Node was deleted; its slot is free."),

  // What only an agent sees
  WaitingForGateway: entry(
    "normal",
    "The agent has no session with a gateway.",
    "Check the gateway's address, certificate and the network.",
  ),
  BootNotGood: entry(
    "warning",
    "The running slot is not marked good: nothing is staged or flipped.",
    "The message names the checks that fail.",
  ),
  DeadManUnavailable: entry(
    "warning",
    "The dead man's switch could not be armed: nothing was flipped.",
    "The message says why; docs/host.md says what the host needs.",
  ),
  FlipFailed: entry(
    "warning",
    "The boot entry could not be written; the slot is given back.",
    "The message says why.",
  ),
  RebootRefused: entry(
    "warning",
    "The host refused to reboot, because of an inhibitor for example; the slot is given back.",
    "`systemd-inhibit --list` on the machine names it.",
  ),
  StateNotWritten: entry(
    "warning",
    "The agent can't write its memory, and does nothing before it has.",
    "Check the partition SLIPWAY-STATE.",
  ),
  MachineUnreadable: entry(
    "warning",
    "The agent can't tell how its machine stands; it keeps what it knew, and looks again.",
    "The message says why: correct the command of the driver `sentinel`, or the disk.",
  ),
  NothingStaged: entry(
    "normal",
    "What the grant names is not staged on the machine; the slot is given back.",
  ),
  RebootNotRequired: entry("normal", "The machine no longer asks for a reboot; the slot is given back."),
  RebootRequired: entry("normal", "The machine asks for a reboot."),

  // What etcd said
  LeaderChanged: entry("normal", "Another manager leads now, or etcd's data was rebuilt; this one stops."),
  AlreadyGranted: entry("normal", "The node holds a slot already."),
  DesiredChanged: entry("normal", "What the node should run changed while a slot was asked for."),
  StaleToken: entry("normal", "The slot is no longer the one that the token or session names."),
  EtcdUnavailable: entry(
    "warning",
    "etcd gave no clear answer; nothing was taken.",
    "Check etcd's health; Slipway asks again by itself.",
  ),

  // Verdicts
  Updated: entry("normal", "The machine runs the target and marked it good."),
  UpdateFailed: entry(
    "warning",
    "A machine that speaks Omaha reported, more than once, that it could not take the release.",
    "The message has update_engine's error code.",
  ),
  FellBack: entry("warning", "The machine came back on its former slot: the release failed here."),
  Rebooted: entry("normal", "The machine rebooted and needs no more reboot."),
  StillRequired: entry(
    "warning",
    "The machine still asks for a reboot after one; it is not repeated.",
    "Look at what sets the marker.",
  ),
  BootChecksFailed: entry("warning", "A boot check failed until the deadline; the machine falls back."),
  ReleaseChecksFailed: entry("warning", "The node did not become Ready in time on the release."),
  PowerLost: entry(
    "normal",
    "The boot ended without a verdict; one retry is allowed if others are good on the release.",
  ),
} as const satisfies Record<string, Entry>;

export type Reason = keyof typeof reasons;

/** Why something is as it is: a reason of the catalogue, and one sentence with the particulars. */
export interface Why {
  reason: Reason;
  message: string;
}
