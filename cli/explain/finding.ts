/** What is found of a node or machine: the situation, the rest of its sentence, and what a person can do. */
import type { Reason } from "../../api/reasons.ts";

/** Reasons of the catalogue, and what only somebody who looks from outside can tell. */
export type Situation =
  | Reason
  /** No manager leads. */
  | "ManagerAway"
  /** No group selects the node. */
  | "NoGroup"
  /** A group selects it, and its NodeUpdate does not exist yet. */
  | "NotMadeYet"
  /** What was asked is newer than what the manager looked at. */
  | "NotObservedYet"
  /** A person asked for its slot, and the manager has not done it yet. */
  | "StealAsked"
  /** A machine without our agent was offered a release, and has not said yet how that ended. */
  | "Offered"
  /** A machine without our agent holds a slot. */
  | "HoldsSlot"
  /** Nothing is known of why a machine without our agent was offered nothing. */
  | "NothingKnown";

/** A command that changes something, and what it does. */
export interface Advice {
  command: string;
  effect: string;
}

export interface Finding {
  situation: Situation;
  /** What follows the node's name in the sentence, without a full stop. */
  says: string;
  advice: readonly Advice[];
}

export function finding(situation: Situation, says: string, ...advice: Advice[]): Finding {
  return { situation, says, advice };
}

export function advise(command: string, effect: string): Advice {
  return { command, effect };
}

/** Advice that stands in several findings. */
export const commands = {
  why: (name: string) => advise(`kubectl slipway why ${name}`, "says it for another node"),
  doctor: advise("kubectl slipway doctor", "checks the installation and says what is wrong"),
  unhold: (name: string) => advise(`kubectl slipway node unhold ${name}`, "lets the node take part again"),
  resume: (group: string) => advise(`kubectl slipway rollout resume ${group}`, "sets spec.paused to false"),
  retryGroup: (group: string) =>
    advise(
      `kubectl slipway rollout retry ${group} --reason "..."`,
      "forgets the failures and goes on, if they were not the release's fault",
    ),
  retryNode: (name: string) =>
    advise(`kubectl slipway node retry ${name}`, "lets the node try that release once more"),
  promote: (channel: string) =>
    advise(`kubectl slipway rollout promote ${channel} RELEASE`, "points the channel at another release"),
  group: (group: string) => advise(`kubectl slipway rollout status ${group}`, "shows the whole group"),
  windows: (group: string) => advise(`kubectl slipway windows next ${group}`, "lists its next openings"),
  editGroup: (group: string, what: string) => advise(`kubectl edit updategroup ${group}`, what),
  webhooks: advise(
    "kubectl get validatingwebhookconfigurations,mutatingwebhookconfigurations",
    "lists what may refuse evictions; the message says who did",
  ),
  locks: advise("kubectl slipway locks list", "shows every holder and what waits for it"),
  steal: (name: string) =>
    advise(
      `kubectl slipway locks steal ${name} --reason "..."`,
      "frees the slot; if the machine is up after all, a budget may be overrun",
    ),
  deleteNode: (node: string) =>
    advise(`kubectl delete node ${node}`, "frees the slot once the machine is gone for good"),
  agentLogs: (node: string) =>
    advise(
      `kubectl get pods -A -o wide -l app.kubernetes.io/component=agent --field-selector spec.nodeName=${node}`,
      "finds its agent's Pod; `kubectl logs` says what that does",
    ),
} as const;
