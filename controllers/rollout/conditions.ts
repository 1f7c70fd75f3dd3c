/** The conditions of an UpdateGroup, in words. */
import { RESUME_ANNOTATION } from "../../api/labels.ts";
import type { ConditionUpdate } from "../../api/meta.ts";
import { timestamp } from "../../api/meta.ts";
import type { Reason, Why } from "../../api/reasons.ts";
import type { GroupOpening } from "../window/policy.ts";
import type { Target } from "./assignment.ts";
import { isRelease } from "./assignment.ts";
import type { Failures } from "./failure.ts";
import type { Membership } from "./member.ts";
import type { Progress } from "./stage.ts";

/** What the conditions speak of. */
export interface Situation {
  deleting: boolean;
  sentinel: boolean;
  paused: boolean;
  invalid: Why | undefined;
  target: Target;
  /** Groups that halted on the target, this one not counted. */
  /** Why nothing moves to the target. */
  quarantine: string | undefined;
  halted: boolean;
  threshold: number;
  failures: Failures;
  membership: Membership;
  nodes: number;
  updated: number;
  inFlight: readonly string[];
  /** Sentinel: nodes that ask for a reboot. */
  asking: number;
  progress: Progress;
  /** Nodes of open stages that still move. */
  moving: number;
  /** Nodes of open stages that don't get on, and why. */
  stuck: readonly { node: string; why: Why }[];
  opening: GroupOpening;
  /** Those without our agent, where the group offers them releases: whether open stages let one in that nobody asked on. */
  machines: { letIn: boolean } | undefined;
}

/** Names in a sentence: three, and how many more. */
export function named(names: readonly string[]): string {
  const shown = names.slice(0, 3).join(", ");
  return names.length > 3 ? `${shown} and ${names.length - 3} more` : shown;
}

export function nodesInWords(count: number): string {
  return count === 1 ? "1 node" : `${count} nodes`;
}

export function conditionsOf(situation: Situation): ConditionUpdate[] {
  const progressing = progressingOf(situation);
  const done = progressing.reason === "UpToDate" && situation.membership.contested.length === 0;
  return [
    acceptedOf(situation),
    conflictOf(situation),
    haltedOf(situation),
    { type: "Progressing", ...progressing },
    done
      ? { type: "Ready", status: "True", reason: "UpToDate", message: progressing.message }
      : {
          type: "Ready",
          status: "False",
          reason: progressing.reason === "UpToDate" ? "SelectedTwice" : progressing.reason,
          message: progressing.message,
        },
  ];
}

function acceptedOf({ invalid, target, sentinel }: Situation): ConditionUpdate {
  const type = "Accepted";
  if (invalid !== undefined) return { type, status: "False", ...invalid };
  if (sentinel || isRelease(target)) {
    return { type, status: "True", reason: "Accepted", message: "The group is in force." };
  }
  return { type, status: "False", ...target };
}

function conflictOf({ membership: { contested } }: Situation): ConditionUpdate {
  if (contested.length === 0) {
    return {
      type: "Conflict",
      status: "False",
      reason: "NoConflict",
      message: "No other group selects the same nodes.",
    };
  }
  const groups = [...new Set(contested.flatMap((entry) => entry.groups))].toSorted();
  const nodes = named(contested.map((entry) => entry.node).toSorted());
  return {
    type: "Conflict",
    status: "True",
    reason: "SelectedTwice",
    message: `The groups ${groups.join(", ")} all select ${nodes}; none of them acts there. Narrow one selector.`,
  };
}

function haltedOf({ halted, failures, threshold, target }: Situation): ConditionUpdate {
  if (!halted || !isRelease(target)) {
    return { type: "Halted", status: "False", reason: "NotHalted", message: "Nothing stopped the group." };
  }
  const causes = failures.list
    .slice(0, 3)
    .map(({ node, release, reason, message }) => `${node} (${release}: ${reason}, ${message.slice(0, 200)})`);
  const more = failures.count > causes.length ? ` and ${failures.count - causes.length} more` : "";
  return {
    type: "Halted",
    status: "True",
    reason: "FailureThresholdReached",
    message:
      `${nodesInWords(failures.count)} failed on the way to ${target.metadata.name}, and ${threshold} stop the group: ` +
      `${causes.join("; ")}${more}. Nothing more moves to it. Publish a corrected release, or annotate the group with ${RESUME_ANNOTATION}=<a new word>.`,
  };
}

const NO_NODE = "No node matches spec.nodeSelector";

type Progressing = Omit<ConditionUpdate, "type"> & { reason: Reason };

function progressingOf(situation: Situation): Progressing {
  const { target, progress, opening, nodes, updated, inFlight, sentinel, asking } = situation;
  const stopped = (reason: Reason, message: string): Progressing => ({ status: "False", reason, message });
  const moves = (reason: Reason, message: string): Progressing => ({ status: "True", reason, message });
  const underWay = inFlight.length === 0 ? "" : `; ${named(inFlight)} under way`;
  if (situation.deleting) {
    const waits =
      inFlight.length === 0 ? "its NodeUpdates go" : `${named(inFlight)} must come back first, or be Suspect`;
    return stopped("Deleting", `The group is being deleted: ${waits}.`);
  }
  if (nodes === 0 && situation.membership.contested.length > 0)
    return stopped("SelectedTwice", "Other groups select every node that this one does.");
  if (nodes === 0 && situation.machines === undefined) return stopped("NoNodes", `${NO_NODE}.`);
  if (situation.invalid !== undefined) return stopped(situation.invalid.reason, situation.invalid.message);
  if (!sentinel && !isRelease(target)) return stopped(target.reason, target.message);
  const left = sentinel ? asking : nodes - updated;
  const where =
    nodes === 0
      ? NO_NODE
      : isRelease(target)
        ? `${updated} of ${nodesInWords(nodes)} run ${target.metadata.name}`
        : `${asking} of ${nodesInWords(nodes)} ask for a reboot`;
  if (situation.halted) {
    return stopped(
      "FailureThresholdReached",
      `${where}; ${nodesInWords(situation.failures.count)} failed${underWay}.`,
    );
  }
  if (situation.quarantine !== undefined) {
    return stopped(
      "ReleaseQuarantined",
      `${where}; the release is quarantined, ${situation.quarantine}${underWay}.`,
    );
  }
  if (nodes > 0 && left === 0 && inFlight.length === 0) return stopped("UpToDate", `${where}.`);
  if (situation.paused) return stopped("Paused", `${where}; spec.paused is true${underWay}.`);
  const stage = progress.stages[progress.open];
  const inStage = stage === undefined ? "" : `; stage ${stage.name} is open`;
  if (progress.soakingUntil !== undefined && situation.moving === 0) {
    const until = timestamp(progress.soakingUntil);
    return moves("StageSoaking", `${where}; stage ${stage?.name ?? ""} soaks until ${until}${underWay}.`);
  }
  if (stage?.size === 0) {
    const { machines } = situation;
    if (machines === undefined || !isRelease(target)) {
      return stopped(
        "NoNodes",
        `${where}; stage ${stage.name} has no node, so it can't pass: label one, or remove it.`,
      );
    }
    const { name } = target.metadata;
    if (stage.passedAt !== undefined)
      return stopped("NoNodes", `${where}; all stages have passed, and every machine is offered ${name}.`);
    const waits = nodes === 0 ? "waits" : "has no node, and waits";
    const one = machines.letIn ? "a machine" : "a machine on which a person asked for it";
    return moves(
      "WaitingForEvidence",
      `${where}; stage ${stage.name} ${waits} until ${one} came back with ${name}.`,
    );
  }
  if (situation.moving === 0 && inFlight.length === 0 && !sentinel) {
    const [first] = situation.stuck;
    if (first === undefined) {
      return moves(
        "WaitingForEvidence",
        `${where}${inStage}; none of its nodes that run the release is healthy now.`,
      );
    }
    const same = situation.stuck.filter(({ why }) => why.reason === first.why.reason);
    const names = named(same.map(({ node }) => node));
    return stopped(first.why.reason, `${where}${inStage}; ${names} can't move: ${first.why.message}`);
  }
  if (opening.why !== undefined && inFlight.length === 0) {
    return moves(opening.why.reason, `${where}${inStage}. ${opening.why.message}`);
  }
  return moves("RollingOut", `${where}${inStage}${underWay}.`);
}
