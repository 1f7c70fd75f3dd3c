/** What keeps a node out of every rollout: no group, two groups, a group that is going, a Node that is gone. */
import { STEAL_ANNOTATION } from "../../api/labels.ts";
import { meansGrant } from "../../api/steal.ts";
import type { Snapshot } from "../snapshot.ts";
import { advise, commands, type Finding, finding } from "./finding.ts";
import { conditionOf, type Subject } from "./subject.ts";
import { clause, names } from "./words.ts";

/** Undefined where the node belongs to one living group and is looked after. */
export function outside(subject: Subject, snapshot: Snapshot): Finding | undefined {
  return withoutUpdate(subject, snapshot) ?? stealAsked(subject) ?? leaving(subject) ?? contested(subject);
}

function withoutUpdate(subject: Subject, { groups }: Snapshot): Finding | undefined {
  const { name, update, claimants, node } = subject;
  if (update !== undefined) return undefined;
  const [only] = claimants;
  if (only === undefined) {
    const [first] = groups;
    const label = Object.entries(first?.spec.nodeSelector.matchLabels ?? {})[0];
    const many = groups.length === 0 ? "there is no UpdateGroup" : "no UpdateGroup selects it";
    return finding(
      "NoGroup",
      `is left alone by Slipway, because ${many}`,
      label === undefined || first === undefined
        ? advise("kubectl get updategroups", "lists the groups; their spec.nodeSelector decides")
        : advise(
            `kubectl label node ${name} ${label.join("=")}`,
            `puts it into UpdateGroup ${first.metadata.name}`,
          ),
    );
  }
  if (claimants.length > 1) return contestedBy(subject);
  const group = only.metadata.name;
  const accepted = conditionOf(only, "Accepted");
  if (accepted?.status === "False") {
    return finding(
      "InvalidSpec",
      `waits until UpdateGroup ${group} can be acted on: ${clause(accepted.message)}`,
      commands.editGroup(group, "corrects the spec"),
    );
  }
  const since = node?.metadata.deletionTimestamp === undefined ? "" : "; the Node is being deleted";
  return finding(
    "NotMadeYet",
    `was selected by UpdateGroup ${group}, and its NodeUpdate has not been made yet${since}`,
    commands.doctor,
  );
}

function stealAsked({ name, update }: Subject): Finding | undefined {
  const reason = update?.metadata.annotations?.[STEAL_ANNOTATION];
  const grant = update?.status?.grant;
  if (grant === undefined || reason === undefined || reason === update?.status?.stolen) return undefined;
  if (!meansGrant(reason, grant.nonce)) return undefined;
  return finding(
    "StealAsked",
    `is about to lose its slot, because a person asked to free it: ${clause(reason || "no reason given")}`,
    advise(
      `kubectl annotate nodeupdate ${name} ${STEAL_ANNOTATION}-`,
      "takes that back, if it is not done yet",
    ),
  );
}

function leaving(subject: Subject): Finding | undefined {
  const { update, node, group } = subject;
  if (update === undefined) return undefined;
  const slot = update.status?.grant === undefined ? "it holds no slot" : "its slot is freed first";
  const { nodeName, group: groupName } = update.spec;
  if (nodeName !== undefined && node === undefined) {
    return finding(
      "NodeGone",
      `stands for a Node that does not exist any more, so its NodeUpdate goes too: ${slot}`,
      commands.locks,
    );
  }
  if (update.metadata.deletionTimestamp !== undefined) {
    return finding("Deleting", `has a NodeUpdate that is being deleted: ${slot}`, commands.locks);
  }
  if (update.status?.grant !== undefined) return undefined;
  const moved = moving(subject);
  if (moved !== undefined) return moved;
  if (group === undefined) {
    return finding(
      "Deleting",
      `keeps what it runs, because UpdateGroup ${groupName} does not exist any more`,
      advise("kubectl get updategroups", "lists those that exist"),
    );
  }
  if (group.metadata.deletionTimestamp !== undefined) {
    return finding(
      "Deleting",
      `keeps what it runs, because UpdateGroup ${groupName} is being deleted`,
      advise(`kubectl describe updategroup ${groupName}`, "says what the deletion waits for"),
    );
  }
  const accepted = conditionOf(group, "Accepted");
  if (accepted?.status !== "False" || accepted.reason !== "InvalidSpec") return undefined;
  return finding(
    "InvalidSpec",
    `keeps what it runs, because UpdateGroup ${groupName} can't be acted on: ${clause(accepted.message)}`,
    commands.editGroup(groupName, "corrects the spec"),
  );
}

/** A Node whose labels, or whose group's selector, were changed. */
function moving({ node, update, claimants }: Subject): Finding | undefined {
  const from = update?.spec.group;
  if (node === undefined || from === undefined || claimants.some(({ metadata }) => metadata.name === from))
    return undefined;
  const [to, another] = claimants;
  if (another !== undefined) return undefined;
  if (to === undefined) {
    return finding(
      "NoGroup",
      `leaves UpdateGroup ${from}, which selects it no longer, and no other does`,
      advise(`kubectl get node ${node.metadata.name} --show-labels`, "shows what selectors see"),
    );
  }
  return finding(
    "NotObservedYet",
    `moves from UpdateGroup ${from} to ${to.metadata.name}, which is the only one that selects it`,
    commands.doctor,
  );
}

function contested(subject: Subject): Finding | undefined {
  const { claimants, update } = subject;
  return claimants.length > 1 && update?.status?.grant === undefined ? contestedBy(subject) : undefined;
}

function contestedBy({ claimants }: Subject): Finding {
  const [first, ...others] = claimants.map(({ metadata }) => metadata.name);
  return finding(
    "SelectedTwice",
    `is selected by ${claimants.length} UpdateGroups, ${names([first ?? "", ...others])}, so none of them acts on it`,
    commands.editGroup(others.at(-1) ?? "", "narrow its nodeSelector, so that one group is left"),
  );
}
