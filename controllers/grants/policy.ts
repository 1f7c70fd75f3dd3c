/**
 * The queue: which nodes may take a slot now, in which order, and why the others may not
 * (design, rules 1, 4, 7 and 8). What is planned here is asked of etcd, whose transaction
 * has the last word.
 */
import { parseDuration } from "../../api/duration.ts";
import { timestamp } from "../../api/meta.ts";
import type { NodeUpdate } from "../../api/node-update.ts";
import type { Reason, Why } from "../../api/reasons.ts";
import type { Release } from "../../api/release.ts";
import type { UpdateGroup } from "../../api/update-group.ts";
import type { FleetSnapshot } from "../../coordination/coordination.ts";
import type { Protocol } from "../../coordination/records.ts";
import { blockedBy, type Readings } from "../blockers/policy.ts";
import { type BudgetTable, grantedBeside, tabulate } from "../budget/policy.ts";
import { needsOf } from "../node-update/deadlines.ts";
import { stoppedBecause } from "../node-update/decision.ts";
import { aliasesOfNodes, isPlain, uidOf } from "../node-update/identity.ts";
import { takenBecause } from "../node-update/others.ts";
import { releaseNameOf, type Wanted } from "../node-update/target.ts";
import { exposure } from "../rollout/exposure.ts";
import { thresholdOf } from "../rollout/stage.ts";
import { freezesWithin, openingsAt, whyNotNow } from "../window/policy.ts";
import type { World } from "../world.ts";
import { abortsForTime, backOffUntil, lastReturn, rebootsSince } from "./history.ts";
import { type Candidate, candidates, inOrder, pickedBecause } from "./queue.ts";

export interface PlanSnapshot extends World {
  fleet: Pick<FleetSnapshot, "budgets" | "grants" | "desired" | "observed" | "present" | "requests">;
  /** uids whose slot is being taken although neither `fleet` nor a status may show it yet. */
  claims: ReadonlySet<string>;
  /** Nodes whose evictions were tried dry and refused, with why: they wait. */
  blocked: ReadonlyMap<string, Why>;
  /** By group: what its blockers were last read to say. */
  readings: ReadonlyMap<string, Readings>;
}

export interface TakePlan {
  uid: string;
  node: string;
  group: string;
  /** "" where the machine only reboots. */
  release: string;
  budgets: readonly string[];
  /** Milliseconds, as in `TakeGrant`. */
  needs: number;
  bootNeeds: number;
  finishes: boolean;
  plain: boolean;
  /** Other uids of the machine. */
  aliases: readonly string[];
  /** The Node's own client asked, and no agent will. */
  requested?: { protocol: Protocol; boot: string };
  /** A person asked for this reboot. */
  asked?: { why: string; inFreeze: boolean };
  why: Why;
}

export interface Plan {
  take: TakePlan[];
  /** By uid: why a node that is ready waits. */
  waiting: ReadonlyMap<string, Why>;
  /** By uid: the budgets that it waits for. */
  short: ReadonlyMap<string, readonly string[]>;
}

/** As many as a transaction and a status can hold. */
const MAX_BUDGETS = 32;

/** `now`: wall clock, ms. */
export function planGrants(snapshot: PlanSnapshot, now: number): Plan {
  const table = tabulate(snapshot, snapshot.fleet.present);
  const waiting = new Map<string, Why>();
  const short = new Map<string, readonly string[]>();
  const take: TakePlan[] = [];
  const aliasesOf = aliasesOfNodes(snapshot.nodes);
  const ledger = new Ledger(snapshot, table, now);
  const queue = candidates(snapshot, table).toSorted(inOrder);
  for (const candidate of queue) {
    const { uid, nodeUpdate, group, wanted, budgets } = candidate;
    const own = ownRefusal(candidate, snapshot, now) ?? ledger.refusal(candidate);
    if (own !== undefined) {
      waiting.set(uid, own);
      continue;
    }
    const full = ledger.fullBudgets(uid, budgets);
    if (full.length > 0) {
      waiting.set(uid, ledger.budgetWhy(uid, full));
      short.set(uid, full);
      ledger.wait(full);
      continue;
    }
    const release = releaseNameOf(wanted);
    ledger.take(candidate, release);
    const { all, boot } = needsOf(group, nodeUpdate);
    take.push({
      uid,
      node: nodeUpdate.metadata.name,
      group: group.metadata.name,
      release,
      budgets,
      needs: all,
      bootNeeds: boot,
      finishes: group.spec.drain.onWindowClose === "Finish",
      plain: isPlain(nodeUpdate),
      aliases: aliasesOf(candidate.node),
      ...requestedOf(candidate),
      ...(candidate.asked === undefined ? {} : { asked: candidate.asked }),
      why: { reason: "Granting", message: pickedBecause(candidate) },
    });
  }
  return { take, waiting, short };
}

function requestedOf({ request, node }: Candidate): Pick<TakePlan, "requested"> {
  if (request === undefined) return {};
  return { requested: { protocol: request.protocol, boot: node?.status?.nodeInfo?.bootID ?? "" } };
}

/** What forbids the node itself, whatever the others do. */
function ownRefusal(
  { uid, nodeUpdate, node, group, wanted, budgets, asked, request }: Candidate,
  snapshot: PlanSnapshot,
  now: number,
): Why | undefined {
  const say = (reason: Reason, message: string): Why => ({ reason, message });
  const stopped = stoppedBecause({ nodeUpdate, node, nodeGone: false, group });
  if (stopped !== undefined) return stopped;
  const taken = takenBecause(node);
  if (taken !== undefined) return taken;
  if (request === undefined && !snapshot.fleet.present.has(uid))
    return say("AgentLost", "The agent is not connected, so it could not commit.");
  if (wanted.kind === "image") {
    const desired = snapshot.fleet.desired.get(uid)?.target;
    if (desired?.rootHash !== wanted.payload.rootHash)
      return say("WaitingForTurn", "What it should run changed just now.");
  }
  const until = backOffUntil(nodeUpdate.status, now);
  if (until !== undefined) {
    const { times = 1, reason = "" } = nodeUpdate.status?.givenBack ?? {};
    const often = times === 1 ? "" : ` ${times} times since its last reboot`;
    const last = reason === "" ? "" : `, ${times === 1 ? "" : "the last time "}for ${reason}`;
    return say("BackingOff", `It gave its slot back${often}${last}; it asks again at ${timestamp(until)}.`);
  }
  const barred = asked === undefined ? barredBy(group, nodeUpdate, snapshot) : undefined;
  const blocked = snapshot.blocked.get(uid) ?? barred;
  if (blocked !== undefined) return blocked;
  if (budgets.length > MAX_BUDGETS) {
    return say("TooManyBudgets", `${budgets.length} budgets bind the node; at most ${MAX_BUDGETS} may.`);
  }
  return undefined;
}

function barredBy(group: UpdateGroup, { spec }: NodeUpdate, { readings }: PlanSnapshot): Why | undefined {
  const { name } = group.metadata;
  const read = readings.get(name);
  return read === undefined ? undefined : blockedBy(name, group.spec.blockers ?? [], spec.nodeName, read);
}

/** What has been given out and used up while the plan is made. */
class Ledger {
  readonly #snapshot: PlanSnapshot;
  readonly #table: BudgetTable;
  readonly #now: number;
  readonly #openingOf: ReturnType<typeof openingsAt>;
  /** By budget: uids that have a slot, or soon will. */
  readonly #held = new Map<string, Set<string>>();
  /** By budget: uids that count against it: those, and who is unavailable. */
  readonly #down = new Map<string, Set<string>>();
  readonly #planned = new Map<string, Set<string>>();
  readonly #queued = new Map<string, number>();
  /** By group: grants in flight. */
  readonly #flying = new Map<string, number>();
  readonly #rooms = new Map<string, number>();
  readonly #members: Map<string, NodeUpdate[]>;
  /** By release: grants that no status shows. */
  readonly #unseen = new Map<string, number>();

  constructor(snapshot: PlanSnapshot, table: BudgetTable, now: number) {
    this.#snapshot = snapshot;
    this.#table = table;
    this.#now = now;
    this.#openingOf = openingsAt(snapshot.windows, now);
    this.#members = Map.groupBy(snapshot.nodeUpdates, ({ spec }) => spec.group);
    const aliasesOf = aliasesOfNodes(snapshot.nodes);
    const same = new Map(
      snapshot.nodes.flatMap((node) =>
        aliasesOf(node).map((alias) => [alias, node.metadata.uid ?? alias] as const),
      ),
    );
    for (const budget of table.budgets.values()) {
      const holders = snapshot.fleet.budgets.get(budget.name)?.holders.keys() ?? [];
      // What a Node holds by another of its names is no other's.
      const held = new Set([
        ...[...holders].map((uid) => same.get(uid) ?? uid),
        ...grantedBeside(budget, snapshot.fleet.grants),
      ]);
      const down = budget.members.filter((member) => member.down !== undefined).map(({ uid }) => uid);
      this.#held.set(budget.name, held);
      this.#down.set(budget.name, new Set([...held, ...down]));
    }
    for (const nodeUpdate of snapshot.nodeUpdates) this.#countFlying(nodeUpdate);
  }

  #countFlying(nodeUpdate: NodeUpdate): void {
    const uid = uidOf(nodeUpdate);
    if (uid === undefined) return;
    const { fleet, claims } = this.#snapshot;
    const grant = fleet.grants.get(uid)?.grant;
    const asked = nodeUpdate.status?.grant;
    const flies = grant !== undefined || claims.has(uid);
    if (!flies) return;
    add(this.#flying, nodeUpdate.spec.group, 1);
    const release = grant?.release ?? nodeUpdate.spec.release ?? "";
    if (asked === undefined || (asked.release ?? "") !== release) add(this.#unseen, release, 1);
    for (const budget of grant?.budgets ?? this.#table.of.get(uid) ?? []) this.#hold(budget, uid);
  }

  #hold(budget: string, uid: string): void {
    this.#held.get(budget)?.add(uid);
    this.#down.get(budget)?.add(uid);
  }

  /** What the group's window, pace and evidence forbid. */
  refusal({ nodeUpdate, group, wanted, asked }: Candidate): Why | undefined {
    if (asked !== undefined) {
      const freeze = asked.inFreeze ? undefined : this.#freeze(group, nodeUpdate);
      return freeze ?? this.#evidence(group, nodeUpdate, wanted);
    }
    return this.#window(group, nodeUpdate) ?? this.#pace(group) ?? this.#evidence(group, nodeUpdate, wanted);
  }

  #window(group: UpdateGroup, nodeUpdate: NodeUpdate): Why | undefined {
    const why = whyNotNow(this.#openingOf(group), needsOf(group, nodeUpdate).all, this.#now);
    if (why?.reason !== "WaitingForWindow" || abortsForTime(nodeUpdate.status) < 2) return why;
    return {
      reason: "WindowTooShort",
      message: `The window closed twice before this node was ready to reboot. ${why.message}`,
    };
  }

  #freeze(group: UpdateGroup, nodeUpdate: NodeUpdate): Why | undefined {
    const opening = this.#openingOf(group);
    if (!freezesWithin(opening, needsOf(group, nodeUpdate).all, this.#now)) return undefined;
    if (opening.frozen && opening.why !== undefined) return opening.why;
    const message = `A change freeze begins at ${timestamp(opening.freezesAt ?? 0)}, too soon for drain, boot and a fallback.`;
    return { reason: "ChangeFreeze", message };
  }

  #pace({ metadata, spec }: UpdateGroup): Why | undefined {
    const members = this.#members.get(metadata.name) ?? [];
    const flying = this.#flying.get(metadata.name) ?? 0;
    const settle = parseDuration(spec.settle);
    if (settle > 0) {
      const until = Math.max(...members.map(({ status }) => lastReturn(status, this.#now))) + settle;
      if (until > this.#now) {
        return {
          reason: "WaitingForSettle",
          message: `UpdateGroup ${metadata.name} settles until ${timestamp(until)}.`,
        };
      }
    }
    if (spec.rate === undefined) return undefined;
    const from = this.#now - parseDuration(spec.rate.period);
    const used = flying + members.reduce((sum, { status }) => sum + rebootsSince(status, from, this.#now), 0);
    if (used < spec.rate.updates) return undefined;
    const message = `UpdateGroup ${metadata.name} allows ${spec.rate.updates} updates in ${spec.rate.period}; ${used} are used.`;
    return { reason: "WaitingForRate", message };
  }

  /** Rule 8. A grant that only this plan knows is unverified too. */
  #evidence(group: UpdateGroup, nodeUpdate: NodeUpdate, wanted: Wanted): Why | undefined {
    if (wanted.kind !== "image") return undefined;
    const { name } = wanted.release.metadata;
    if (nodeUpdate.status?.grant?.release === name) return undefined;
    const { threshold, room } = this.#room(group, wanted.release);
    if (room - (this.#unseen.get(name) ?? 0) > 0) return undefined;
    return {
      reason: "WaitingForEvidence",
      message: `Until ${threshold} ${threshold === 1 ? "node is" : "nodes are"} verified on ${name}, no more than ${threshold} may try it at once.`,
    };
  }

  #room({ spec, status }: UpdateGroup, release: Release): { threshold: number; room: number } {
    const { name } = release.metadata;
    // The stages in the status are those of the target: a stepping stone starts like a new release.
    const threshold = thresholdOf({ spec, status: status?.target === name ? status : undefined });
    const resumedAt = status?.resumedAt === undefined ? undefined : Date.parse(status.resumedAt);
    const key = `${name}/${threshold}/${resumedAt}`;
    const room =
      this.#rooms.get(key) ?? exposure(this.#snapshot.nodeUpdates, release, threshold, resumedAt).room;
    this.#rooms.set(key, room);
    return { threshold, room };
  }

  /** Budgets that have no place for `uid`, as etcd will see it (`refuseGrant`). */
  fullBudgets(uid: string, budgets: readonly string[]): string[] {
    return budgets.filter((name) => {
      const max = this.#table.budgets.get(name)?.max ?? 0;
      const away = others(this.#down.get(name), uid);
      const repair = this.#table.members.get(uid)?.down !== undefined;
      const room = repair && others(this.#held.get(name), uid) < Math.max(1, max);
      return !this.#down.has(name) || (away >= max && !room);
    });
  }

  budgetWhy(uid: string, full: readonly string[]): Why {
    const [name = ""] = full;
    const max = this.#table.budgets.get(name)?.max ?? 0;
    const counted = [...(this.#down.get(name) ?? [])].filter((other) => other !== uid);
    const more = full.length - 1;
    const others = more === 0 ? "" : ` (${more} more ${more === 1 ? "budget is" : "budgets are"} full)`;
    if (max === 0 && counted.length === 0)
      return { reason: "WaitingForBudget", message: `Budget ${name} allows no node to be down${others}.` };
    const who = counted.map((other) => this.#whoIs(other, name));
    const shown = who.slice(0, 3).join(", ") + (who.length > 3 ? ` and ${who.length - 3} more` : "");
    const before = this.#queued.get(name) ?? 0;
    const turn = this.#planned.get(name)?.size ?? 0;
    const queue = before === 0 ? "" : ` ${before} ${before === 1 ? "node waits" : "nodes wait"} before it.`;
    return {
      reason: turn > 0 || before > 0 ? "WaitingForTurn" : "WaitingForBudget",
      message: `Budget ${name} allows ${max} down: ${shown}${others}.${queue}`,
    };
  }

  #whoIs(uid: string, budget: string): string {
    const member = this.#table.members.get(uid);
    const name = member?.name ?? this.#snapshot.fleet.grants.get(uid)?.grant.node ?? uid;
    if (this.#planned.get(budget)?.has(uid) === true) return `${name} goes first`;
    if (this.#snapshot.fleet.grants.has(uid) || this.#snapshot.claims.has(uid)) return `${name} holds a slot`;
    if (member?.down !== undefined) return `${name} ${member.down}`;
    return `${name} holds a slot`;
  }

  wait(full: readonly string[]): void {
    for (const name of full) add(this.#queued, name, 1);
  }

  take({ uid, group, budgets, nodeUpdate }: Candidate, release: string): void {
    for (const name of budgets) {
      this.#hold(name, uid);
      const planned = this.#planned.get(name);
      if (planned === undefined) this.#planned.set(name, new Set([uid]));
      else planned.add(uid);
    }
    add(this.#flying, group.metadata.name, 1);
    if (nodeUpdate.status?.grant?.release !== release) add(this.#unseen, release, 1);
  }
}

/** How many there are but `uid`. */
function others(uids: ReadonlySet<string> | undefined, uid: string): number {
  return uids === undefined ? 0 : uids.size - (uids.has(uid) ? 1 : 0);
}

function add(counts: Map<string, number>, key: string, by: number): void {
  counts.set(key, (counts.get(key) ?? 0) + by);
}
