/**
 * What a group does next: which node is given which release, and what the group's status
 * says (design, rules 7 and 8). Pure: the controller, the simulation and the property
 * tests call `decideRollout`.
 */
import type { Channel } from "../../api/channel.ts";
import { cohortsOf } from "../../api/cohort.ts";
import { limitOf } from "../../api/int-or-percent.ts";
import { GROUP_LABEL, RESUME_ANNOTATION, RETRIED_ANNOTATION, WITHHELD_ANNOTATION } from "../../api/labels.ts";
import { setCondition, timestamp } from "../../api/meta.ts";
import type { NodeUpdate, NodeUpdateSpec } from "../../api/node-update.ts";
import type { Why } from "../../api/reasons.ts";
import type { RebootWindow } from "../../api/reboot-window.ts";
import type { Release } from "../../api/release.ts";
import type { UpdateGroup, UpdateGroupStatus } from "../../api/update-group.ts";
import type { Tally } from "../../coordination/records.ts";
import { resolveTarget } from "../channel/policy.ts";
import { hooksFailing } from "../hooks/failing.ts";
import { haltedOn, quarantinedBecause } from "../release/policy.ts";
import { type Rivals, rivalCondition } from "../rivals/policy.ts";
import { groupOpening } from "../window/policy.ts";
import {
  type Assignment,
  assign,
  isRelease,
  keptBy,
  retryOf,
  standingOf,
  stonesOf,
  stuckBecause,
  type Target,
  wayOf,
} from "./assignment.ts";
import { conditionsOf } from "./conditions.ts";
import { eventsOf, type RolloutEvent } from "./events.ts";
import { type Failures, failuresOf, failuresOfMachines, resumeOf } from "./failure.ts";
import { inFlight, type Member, type Membership, membershipOf, type Population } from "./member.ts";
import { type Progress, progressOf, type Standing, thresholdOf } from "./stage.ts";

export interface RolloutSnapshot extends Population {
  group: UpdateGroup;
  channels: ReadonlyMap<string, Channel>;
  releases: ReadonlyMap<string, Release>;
  windows: readonly RebootWindow[];
  /** How releases go on the group's machines without our agent; nothing where it has none. */
  tallies?: ReadonlyMap<string, Tally> | undefined;
  /** Who else reboots nodes; undefined where nobody has looked yet. */
  rivals?: Rivals | undefined;
}

/** A NodeUpdate as it should be; `uid` is that of the one that exists. */
export interface NodeSpec {
  name: string;
  uid: string | undefined;
  labels: Record<string, string>;
  annotations: Record<string, string>;
  /** Annotations that are the rollout's alone: those that `annotations` lacks must go. */
  owned: readonly string[];
  spec: NodeUpdateSpec;
}

/** A NodeUpdate to delete; its own finalizer holds it until the slot is free. */
export interface Removal {
  name: string;
  uid: string | undefined;
}

export interface RolloutDecision {
  groupStatus: UpdateGroupStatus;
  nodeSpecs: NodeSpec[];
  removals: Removal[];
  /** Whether the group may go now. */
  finished: boolean;
  events: RolloutEvent[];
  /** Wall clock, ms: when the decision changes by itself; undefined where it doesn't. */
  nextLook: number | undefined;
}

/** What is decided for the group of `snapshot` at `now` (wall clock, ms). */
export function decideRollout(snapshot: RolloutSnapshot, now: number): RolloutDecision {
  const { group } = snapshot;
  const { spec, metadata } = group;
  const deleting = metadata.deletionTimestamp !== undefined;
  const membership = membershipOf(metadata.name, snapshot);
  const { members } = membership;
  const invalid = fallingStages(group);
  const target = resolveTarget(group, snapshot.channels, snapshot.releases, undefined);
  const same = isRelease(target) && group.status?.target === target.metadata.name;
  const remembered = same ? group.status : undefined;
  const opening = groupOpening(group, snapshot.windows, now);

  const others = snapshot.groups.filter((other) => other.metadata.name !== metadata.name);
  const quarantineOf = (release: Release): string | undefined => {
    const said = quarantinedBecause(release);
    if (said !== undefined) return `because a person said so: ${said}`;
    const halted = haltedOn(release.metadata.name, others);
    return halted.length === 0 ? undefined : `because it failed in ${halted.join(", ")}`;
  };
  const quarantined = (release: Release): boolean => quarantineOf(release) !== undefined;
  const quarantine = isRelease(target) ? quarantineOf(target) : undefined;
  const plans = new Map(members.map((member) => [member.uid, planOf(member, snapshot, quarantined)]));

  const resume = resumeOf(group, metadata.annotations?.[RESUME_ANNOTATION], now);
  const targets = new Set([target, ...[...plans.values()].map((plan) => plan.target)].filter(isRelease));
  const stones = stonesOf(target, snapshot.releases).filter((stone) => !targets.has(stone));
  const began = Date.parse(remembered?.stages?.[0]?.openedAt ?? timestamp(now));
  const failures: Failures = failuresOf(
    members,
    [...targets],
    stones,
    began,
    [...(remembered?.failures ?? []), ...failuresOfMachines(snapshot.tallies)],
    resume,
  );

  const acting = members.filter((member) => member.claimants.length === 0);
  const cohorts = isRelease(target)
    ? cohortsOf(
        spec.stages,
        acting.map((member) => ({
          uid: member.uid,
          labels: member.labels,
          given: wasGiven(member, plans.get(member.uid)),
        })),
        target.spec.version,
      )
    : [];
  const declared = spec.stages.length > 0;
  const rules = { failureThreshold: spec.failureThreshold, declared };
  const threshold = thresholdOf({ spec, status: remembered });
  const halted = isRelease(target) && failures.count >= threshold;
  const stopped = halted || quarantine !== undefined || invalid !== undefined || deleting;
  const standings = new Map<string, Standing>();
  for (const member of members) {
    const plan = plans.get(member.uid);
    if (plan !== undefined) standings.set(member.uid, standingOf(member, plan.target, plan.way, resume.at));
  }
  const progress = progressOf(
    cohorts,
    standings,
    remembered?.stages ?? [],
    { ...rules, moving: !stopped && !spec.paused },
    now,
    isRelease(target) ? snapshot.tallies?.get(target.metadata.name) : undefined,
  );

  const assignments = new Map<string, Assignment>();
  for (const member of members) {
    const plan = plans.get(member.uid);
    const held = stopped || plan === undefined || !isRelease(plan.target) || !isRelease(target);
    assignments.set(member.uid, assignmentOf(member, plan, held, spec.paused, progress, snapshot.releases));
  }

  const count = (state: Standing["state"]): number =>
    [...standings.values()].filter((standing) => standing.state === state).length;
  const sentinel = spec.driver === "sentinel";
  const asking = members.filter((member) => member.update?.status?.rebootRequired === true).length;
  const updated = sentinel ? members.length - asking : count("Good");
  const flying = members.filter((member) => inFlight(member.update)).map((member) => member.name);
  const stuck = new Map<string, { node: string; why: Why }>();
  for (const member of members) {
    const standing = standings.get(member.uid);
    if (standing === undefined || !progress.opened.has(member.uid)) continue;
    const why = stuckBecause(member, standing, assignments.get(member.uid));
    if (why !== undefined) stuck.set(member.uid, { node: member.name, why });
  }
  const conditions = conditionsOf({
    deleting,
    sentinel,
    paused: spec.paused,
    invalid,
    target,
    quarantine,
    halted,
    threshold,
    failures,
    membership,
    nodes: members.length,
    updated,
    inFlight: flying,
    asking,
    progress,
    moving: [...standings.values()].filter(
      ({ state, uid }) => state === "Pending" && progress.opened.has(uid) && !stuck.has(uid),
    ).length,
    stuck: [...stuck.values()],
    opening,
    machines: spec.machines === undefined || sentinel ? undefined : { letIn: letsMachinesIn(spec, progress) },
  });

  const { rivals } = snapshot;
  const nodes = members.flatMap(({ nodeName }) => nodeName ?? []);
  if (rivals !== undefined) conditions.push(rivalCondition(rivals, nodes));
  const hooked = group.status?.conditions?.some(({ type }) => type === "HooksFailing") === true;
  if (hooked || spec.hooks !== undefined) {
    const updates = members.flatMap(({ update }) => update ?? []);
    const name = isRelease(target) ? target.metadata.name : undefined;
    conditions.push(hooksFailing(updates, name, resume.at, now));
  }

  const status: UpdateGroupStatus = {
    nodes: members.length,
    updated,
    inFlight: flying.length,
    failed: failures.count,
    unavailable: members.filter(isUnavailable).length,
    limit: limitOf(spec.maxUnavailable, members.length),
    failures: failures.list,
  };
  if (metadata.generation !== undefined) status.observedGeneration = metadata.generation;
  if (isRelease(target)) {
    status.target = target.metadata.name;
    status.version = target.spec.version;
    status.stages = progress.stages;
    const stage = progress.stages[progress.open];
    if (stage !== undefined) status.stage = stage.name;
  }
  if (resume.resumed !== undefined) status.resumed = resume.resumed;
  if (resume.at !== undefined) status.resumedAt = timestamp(resume.at);
  if (opening.nextOpening !== null) status.nextOpening = timestamp(opening.nextOpening);
  let merged = group.status?.conditions;
  for (const update of conditions) merged = setCondition(merged, update, metadata.generation, now);
  if (merged !== undefined) status.conditions = merged;

  return {
    groupStatus: status,
    nodeSpecs: members.flatMap((member) => nodeSpec(member, metadata.name, assignments.get(member.uid))),
    removals: removalsOf(membership),
    finished:
      deleting &&
      snapshot.nodeUpdates.every((update) => update.spec.group !== metadata.name || outlives(update)),
    events: eventsOf(group, status, progress, resume.fresh),
    nextLook: earliest(progress.soakingUntil, opening.nextEdge),
  };
}

/** A stage that counts Nodes, or selects them, lets in no machine whose number and labels nobody knows. */
function letsMachinesIn({ stages }: UpdateGroup["spec"], { open }: Progress): boolean {
  return open >= stages.length || stages.slice(0, open + 1).some(({ count }) => typeof count === "string");
}

/** What is left to do for a group that is gone without its finalizer: its orphans go. */
export function decideOrphans(name: string, world: Population): Removal[] {
  return removalsOf(membershipOf(name, world));
}

/**
 * Whether a deleted group need not wait for the NodeUpdate: its machine had its time to come back
 * and did not. It stands by itself, with its slot, until the machine returns or a person frees it;
 * then it goes as an orphan.
 */
function outlives({ status }: NodeUpdate): boolean {
  return status?.suspectSince !== undefined;
}

interface Plan {
  target: Target;
  way: Target;
}

function planOf(
  member: Member,
  { group, channels, releases }: RolloutSnapshot,
  quarantined: (release: Release) => boolean,
): Plan {
  const target = resolveTarget(group, channels, releases, member.architecture);
  return { target, way: wayOf(member, target, releases, quarantined) };
}

/** Whether the target (or a hop to it) was given to the node, or it runs it: its place in the order is then taken. */
function wasGiven(member: Member, plan: Plan | undefined): boolean {
  if (plan === undefined || !isRelease(plan.target)) return false;
  const { spec, status } = member.update ?? {};
  return (
    status?.verifiedRelease === plan.target.metadata.name ||
    hopsOf(plan).some((hop) => hop.metadata.name === spec?.release)
  );
}

function hopsOf({ target, way }: Plan): Release[] {
  return [target, way].filter(isRelease);
}

function assignmentOf(
  member: Member,
  plan: Plan | undefined,
  held: boolean,
  paused: boolean,
  progress: Progress,
  releases: ReadonlyMap<string, Release>,
): Assignment {
  const present = member.update?.spec.release;
  const target = plan !== undefined && isRelease(plan.target) ? plan.target : undefined;
  const retried = target === undefined ? undefined : retryOf(member, target).retried;
  const kept: Assignment = { release: keptBy(member, releases.values()), withheld: undefined, retried };
  if (member.claimants.length > 0) {
    return {
      ...kept,
      release: inFlight(member.update) ? present : undefined,
      withheld: {
        reason: "SelectedTwice",
        message: `The groups ${member.claimants.join(", ")} all select this node; none of them acts on it.`,
      },
    };
  }
  if (inFlight(member.update)) return { ...kept, release: present };
  if (
    plan !== undefined &&
    target === undefined &&
    !isRelease(plan.target) &&
    plan.target.reason === "NoPayload"
  ) {
    return { ...kept, withheld: plan.target };
  }
  if (held || plan === undefined || target === undefined) return kept;
  if (progress.opened.has(member.uid) && !paused) return assign(member, target, plan.way);
  const given = hopsOf(plan).find((hop) => hop.metadata.name === present);
  if (given === undefined) return kept;
  const retry = retryOf(member, given);
  return retry.allowed ? { ...kept, release: present, retried: retry.retried } : kept;
}

function nodeSpec(member: Member, group: string, assignment: Assignment | undefined): NodeSpec[] {
  const own = member.update?.spec.group === group;
  // A conflict makes no NodeUpdate and takes none over; what another group has in flight stays its.
  if (!member.writable || assignment === undefined || (!own && member.claimants.length > 0)) return [];
  const spec: NodeUpdateSpec = { group };
  if (member.nodeName === undefined) {
    spec.machineRef = { machineId: member.uid, labels: { ...member.labels } };
    if (member.joinedAt !== undefined) spec.machineRef.joinedAt = member.joinedAt;
  } else {
    spec.nodeName = member.nodeName;
    spec.nodeUID = member.uid;
  }
  if (assignment.release !== undefined) spec.release = assignment.release;
  const annotations: Record<string, string> = {};
  if (assignment.withheld !== undefined)
    annotations[WITHHELD_ANNOTATION] = JSON.stringify(assignment.withheld);
  if (assignment.retried !== undefined) annotations[RETRIED_ANNOTATION] = assignment.retried;
  return [
    {
      name: member.name,
      uid: member.update?.metadata.uid,
      labels: { [GROUP_LABEL]: group },
      annotations,
      owned: [WITHHELD_ANNOTATION, RETRIED_ANNOTATION],
      spec,
    },
  ];
}

/** What leaves goes at once: its own finalizer holds it until the slot is free. */
function removalsOf({ leaving }: Membership): Removal[] {
  return leaving
    .filter((update) => update.metadata.deletionTimestamp === undefined)
    .map(({ metadata }) => ({ name: metadata.name, uid: metadata.uid }));
}

function isUnavailable(member: Member): boolean {
  return !member.available || inFlight(member.update) || member.update?.status?.step === "Suspect";
}

/** The API server can't compare percentages: stages that shrink are refused here. */
function fallingStages({ spec }: UpdateGroup): Why | undefined {
  let before = 0;
  for (const { name, count } of spec.stages) {
    if (typeof count !== "string") continue;
    const percent = Number.parseInt(count, 10);
    if (percent <= before) {
      const message = `spec.stages: ${name} has ${count}, but counts are cumulative: each must be larger than the one before.`;
      return { reason: "InvalidSpec", message };
    }
    before = percent;
  }
  return undefined;
}

function earliest(a: number | undefined, b: number | null): number | undefined {
  if (a === undefined) return b ?? undefined;
  return b === null ? a : Math.min(a, b);
}
