/**
 * Leading the fleet is more than holding the Lease (design, rules 2 and 9): the epoch in
 * etcd is raised from what it was *before* the Lease was ours, and if etcd's data is not
 * what the Lease remembers, holders are rebuilt from the API before anything is granted.
 */
import { GROUP } from "../api/meta.ts";
import { nodeUpdate as kind, type NodeUpdate } from "../api/node-update.ts";
import type { Coordination, FleetSnapshot, Leadership, RebuiltGrant } from "../coordination/coordination.ts";
import { REBUILDING } from "../coordination/records.ts";
import type { Logger } from "../ports/log.ts";
import type { KubeClient } from "../runtime/client.ts";
import { LeadershipLost, type Tenure } from "../runtime/leader-election.ts";
import { uidOf } from "./node-update/identity.ts";

/** On the leader Lease: what this etcd was, and how far it had come. */
const INCARNATION = `${GROUP}/etcd-incarnation`;
const REVISION = `${GROUP}/etcd-revision`;
const PULSE = `${GROUP}/etcd-pulse`;

/** Reads `readEpoch` gives. */
type Epoch = Awaited<ReturnType<Coordination["readEpoch"]>>;

/** What is remembered of etcd outside it. */
export interface Memory extends Floor {
  incarnation: string | undefined;
}

/** How far etcd had come at least. Everybody's writes raise the revision, a leader's only the pulse. */
export interface Floor {
  revision: number;
  pulse: number;
}

export interface FleetLeadershipDeps {
  client: Pick<KubeClient, "list">;
  coordination: Pick<Coordination, "readEpoch" | "raiseEpoch" | "rebuild" | "restoreMachines">;
  log: Logger;
}

export class FleetLeadership {
  readonly #deps: FleetLeadershipDeps;
  #before: Epoch | undefined;
  #leader: Leadership | undefined;
  #tenure: Tenure | undefined;
  #highest: Floor = { revision: 0, pulse: 0 };

  constructor(deps: FleetLeadershipDeps) {
    this.#deps = deps;
  }

  /** For leader election's `beforeAcquire`. Throws `EtcdUnavailable`: without etcd nobody leads. */
  async beforeAcquire(): Promise<void> {
    this.#before = await this.#deps.coordination.readEpoch();
  }

  /** For `onElected`: raises the epoch, or rebuilds the holders first. Throws `LeadershipLost` where another was faster. */
  async onElected(tenure: Tenure): Promise<void> {
    const { client, coordination, log } = this.#deps;
    const before = this.#before;
    if (before === undefined) throw new LeadershipLost("the epoch was not read before the Lease");
    const { items } = await client.list<NodeUpdate>(kind);
    const known = memoryOf(tenure.annotations);
    const lost = lostBecause(before, known, items);
    let leader: Leadership | undefined;
    if (lost === undefined) {
      leader = await coordination.raiseEpoch(before, before.incarnation === undefined);
    } else {
      log.error("rebuilding the holders from the API", new Error(lost), { nodes: items.length });
      leader = await coordination.rebuild(before, rebuiltGrants(items));
    }
    if (leader === undefined) throw new LeadershipLost("another manager raised the epoch first");
    // Only for data that the Lease does not know yet: later, a machine that is missing was forgotten by a person.
    if (known.incarnation !== leader.incarnation) {
      const restored = await coordination.restoreMachines(leader, knownMachines(items));
      if (!restored) throw new LeadershipLost("another manager raised the epoch meanwhile");
    }
    this.#tenure = tenure;
    this.#highest = lost === undefined ? higher(before, known) : { revision: 0, pulse: 0 };
    await tenure.annotate({ [INCARNATION]: leader.incarnation, ...this.#remembered() });
    this.#leader = leader;
    log.info("leads the fleet", { epoch: leader.epoch, incarnation: leader.incarnation });
  }

  /** Proof of leadership for every write. Throws `LeadershipLost`. */
  current(): Leadership {
    if (this.#leader === undefined || this.#tenure?.signal.aborted === true) {
      throw new LeadershipLost("this manager does not lead");
    }
    return this.#leader;
  }

  /** What a linearizable read sees at least, if it begins now. */
  get floor(): Floor {
    return this.#highest;
  }

  /**
   * Checks a read against what is remembered; `floor` is that of when the read began, because
   * answers may overtake each other. Throws `LeadershipLost` where etcd's data is another, or
   * older, or another leads.
   */
  check(found: Pick<FleetSnapshot, "incarnation" | "revision" | "pulse" | "epoch">, floor: Floor): void {
    const leader = this.current();
    const { incarnation, revision, pulse, epoch } = found;
    const older = revision < floor.revision || pulse < floor.pulse;
    if (incarnation !== leader.incarnation || older || epoch !== leader.epoch) {
      this.#leader = undefined;
      throw new LeadershipLost(
        `etcd is at revision ${revision}, pulse ${pulse}, epoch ${epoch}, of ${incarnation ?? "no data"}; expected ${leader.incarnation} at ${floor.revision}, ${floor.pulse} or later, epoch ${leader.epoch}`,
      );
    }
    this.#highest = higher(this.#highest, found);
  }

  /** Writes how far etcd has come into the Lease. */
  async remember(): Promise<void> {
    await this.#tenure?.annotate(this.#remembered());
  }

  #remembered(): Record<string, string> {
    const { revision, pulse } = this.#highest;
    return { [REVISION]: String(revision), [PULSE]: String(pulse) };
  }
}

function memoryOf(annotations: Readonly<Record<string, string>>): Memory {
  const number = (name: string): number => {
    const found = Number.parseInt(annotations[name] ?? "0", 10);
    return Number.isSafeInteger(found) ? found : 0;
  };
  return { incarnation: annotations[INCARNATION], revision: number(REVISION), pulse: number(PULSE) };
}

function higher(a: Floor, b: Floor): Floor {
  return { revision: Math.max(a.revision, b.revision), pulse: Math.max(a.pulse, b.pulse) };
}

/** Why etcd's data is not the one that the API remembers; undefined if it is, or if there never was any. */
export function lostBecause(
  found: Epoch,
  known: Memory,
  nodeUpdates: readonly NodeUpdate[],
): string | undefined {
  const grants = nodeUpdates.flatMap(({ status }) => (status?.grant === undefined ? [] : [status.grant]));
  if (found.incarnation?.startsWith(REBUILDING) === true) return "A rebuild of the holders did not end.";
  if (found.incarnation === undefined) {
    if (known.incarnation === undefined && grants.length === 0) return undefined;
    return "etcd has lost its data.";
  }
  if (known.incarnation !== undefined && known.incarnation !== found.incarnation) {
    return `etcd has other data than before: ${found.incarnation}, not ${known.incarnation}.`;
  }
  const foreign = grants.some(
    ({ incarnation }) => incarnation !== undefined && incarnation !== found.incarnation,
  );
  if (known.incarnation === undefined && foreign) return "etcd has other data than the grants in the API.";
  const newest = Math.max(
    known.revision,
    ...grants.map(({ incarnation, revision = 0 }) => (incarnation === found.incarnation ? revision : 0)),
  );
  if (found.revision < newest) {
    return `etcd is at revision ${found.revision} but was at ${newest}: an old snapshot was restored.`;
  }
  if (found.pulse >= known.pulse) return undefined;
  return `etcd's pulse is at revision ${found.pulse} but was at ${known.pulse}: an old snapshot was restored, and written to since.`;
}

/** The plain machines that the NodeUpdates tell of, by machine id: what their join tokens fixed. */
export function knownMachines(
  nodeUpdates: readonly NodeUpdate[],
): Map<string, { group: string; labels: Record<string, string>; joinedAt: number }> {
  return new Map(
    nodeUpdates.flatMap(({ metadata, spec: { machineRef, group } }) => {
      if (machineRef === undefined || metadata.deletionTimestamp !== undefined) return [];
      const { machineId, labels = {}, joinedAt } = machineRef;
      return [[machineId, { group, labels, joinedAt: joinedAt === undefined ? 0 : Date.parse(joinedAt) }]];
    }),
  );
}

/**
 * The grants that the statuses tell of. A drained node may have committed since, so it
 * counts as committed: then only its return, or its end, frees the slot.
 */
export function rebuiltGrants(nodeUpdates: readonly NodeUpdate[]): RebuiltGrant[] {
  return nodeUpdates.flatMap((nodeUpdate) => {
    const uid = uidOf(nodeUpdate);
    const grant = nodeUpdate.status?.grant;
    if (uid === undefined || grant === undefined) return [];
    const { incarnation, revision, phase } = grant;
    return [
      {
        uid,
        node: nodeUpdate.metadata.name,
        group: nodeUpdate.spec.group,
        release: grant.release ?? "",
        budgets: grant.budgets,
        nonce: grant.nonce,
        phase:
          phase === "Returned"
            ? phase
            : phase === "Granting" || phase === "Granted"
              ? "Granted"
              : "Committed",
        supersedes: incarnation === undefined || revision === undefined ? null : { incarnation, revision },
        at: Date.parse(grant.since),
      } satisfies RebuiltGrant,
    ];
  });
}
