/** A machine without our agent, of which a console tells: why it is as it is, and what a person can do. */
import { type Reason, reasons } from "../../api/reasons.ts";
import type { UpdateGroup } from "../../api/update-group.ts";
import { word } from "../../console/commands.ts";
import type { Story } from "../../console/contract.ts";
import type { Snapshot } from "../snapshot.ts";
import { type Explanation, inSentence } from "./explain.ts";
import { type Fact, factsOf } from "./facts.ts";
import { type Advice, advise, commands, type Finding, finding } from "./finding.ts";
import { targetOf } from "./subject.ts";
import { clause, dated, names, when } from "./words.ts";

/** What happened to it that is told. */
const HISTORY = 5;

/** `id`: that it calls itself by. `now`: wall clock, ms. */
export function explainMachine(short: Story, id: string, snapshot: Snapshot, now: number): Explanation {
  const { machine } = short;
  // A list shows the first words of a message, its story all.
  const message = machine.message === "" ? "" : short.now;
  const story = { ...short, machine: { ...machine, message } };
  const { name, group: groupName } = story.machine;
  const group = snapshot.groups.find(({ metadata }) => metadata.name === groupName);
  const subject = {
    ...{ name, node: undefined, update: undefined, group, claimants: [], held: undefined },
    target: group && targetOf(snapshot, group, story.architecture),
  };
  // Which RebootBudgets bind it is the manager's to say, and stands in the message.
  const facts = [...factsOf(subject, { ...snapshot, budgets: [] }, now), ...machineFacts(story, id, now)];
  return inSentence(name, find(story, id, group, now), facts, snapshot, now);
}

function find(story: Story, id: string, group: UpdateGroup | undefined, now: number): Finding {
  const { machine } = story;
  const runs = machine.version === "" ? "runs what is not known" : `runs ${machine.version}`;
  const since = machine.since === undefined ? "" : ` since ${when(machine.since, now)}`;
  const steal = advise(
    onMachine("machines steal", machine.group, id),
    "frees its slot, if it never comes back; if it is up after all, a budget may be overrun",
  );
  if (machine.state === "Staging" || machine.state === "Staged") {
    const has = machine.state === "Staged" ? "has staged" : "updates to";
    const isBarred = machine.reason === "ReleaseQuarantined" && !machine.slot;
    return finding(
      isBarred ? "ReleaseQuarantined" : "Offered",
      `${runs} and ${has} ${machine.target}, offered${since}: ${clause(machine.message)}`,
      ...(isBarred
        ? [...adviceOn("ReleaseQuarantined", machine.group, group), letGo(machine.group, id)]
        : [commands.group(machine.group)]),
      ...(machine.slot ? [steal] : []),
    );
  }
  if (machine.slot) {
    const by = machine.protocol === undefined ? "" : `, by ${machine.protocol}`;
    return finding(
      "HoldsSlot",
      `${machine.version === "" ? "" : `${runs} and `}holds a reboot slot${since}${by}, and has not given it back`,
      commands.locks,
      steal,
    );
  }
  return refused(story, id, { runs, since }, group, now);
}

/** What it waits for, before the message that says more. */
const WAITS: Partial<Record<Reason, string>> = {
  WaitingForStage: "waits for its stage",
  WaitingForWindow: "waits for a reboot window",
  WindowClosing: "waits for the next reboot window",
  ChangeFreeze: "waits out a change freeze",
  WaitingForBudget: "waits for room",
  WaitingForTurn: "waits for its turn",
  WaitingForRate: "waits for the rate",
  WaitingForEvidence: "waits for evidence",
  MachinesUnconfirmed: "waits for a person",
  WaitingForGates: "can't be offered anything now",
  EtcdUnavailable: "can't be offered anything now",
  UpToDate: "needs nothing",
};

function refused(
  { machine, failed }: Story,
  id: string,
  { runs, since }: { runs: string; since: string },
  group: UpdateGroup | undefined,
  now: number,
): Finding {
  const { reason, message } = machine;
  // It asked for a slot and gave it back, or has not asked yet whether there is something for it.
  if (!isReason(reason))
    return finding(
      "NothingKnown",
      `${runs}; why it was offered nothing is not known${message === "" ? "" : `: ${dated(clause(message), now)}`}`,
      commands.group(machine.group),
    );
  const waits = WAITS[reason] ?? "is offered nothing";
  const [last] = failed;
  const again = last === undefined || reason === "UpToDate" ? [] : [retry(machine.group, id, last.release)];
  return finding(
    reason,
    `${runs} and ${waits}${reason === "UpToDate" ? "" : since}: ${dated(clause(message), now)}`,
    ...adviceOn(reason, machine.group, group),
    ...again,
  );
}

/** A machine may call itself `--all`. */
function onMachine(
  verb: "machines steal" | "machines retry" | "locks lock",
  group: string,
  id: string,
): string {
  const names = `${word(group)} ${word(id)}`;
  const reason = '--reason "..."';
  return `kubectl slipway ${verb} ${id.startsWith("-") ? `${reason} -- ${names}` : `${names} ${reason}`}`;
}

function isReason(text: string): text is Reason {
  return Object.hasOwn(reasons, text);
}

function letGo(group: string, id: string): Advice {
  return advise(
    onMachine("locks lock", group, id),
    "lets it reboot nevertheless, once the channel points at another release: it hears of that after its reboot only",
  );
}

function retry(group: string, id: string, release: string): Advice {
  return advise(
    onMachine("machines retry", group, id),
    `lets it be offered again what failed on it (${release})`,
  );
}

/** On the machine. */
const asking = advise(
  "update_engine_client -check_for_update",
  "run on the machine, asks once past stages and the rate",
);

function adviceOn(reason: Reason, name: string, group: UpdateGroup | undefined): Advice[] {
  const channel = group?.spec.channel;
  const another =
    channel === undefined ? commands.editGroup(name, "names another release") : commands.promote(channel);
  switch (reason) {
    case "Paused":
      return [commands.resume(name)];
    case "FailureThresholdReached":
      return [another, commands.retryGroup(name)];
    case "ReleaseQuarantined":
      return [another];
    case "Deleting":
      return [advise(`kubectl describe updategroup ${name}`, "says what the deletion waits for")];
    case "WaitingForWindow":
    case "WindowClosing":
      return [commands.windows(name)];
    case "ChangeFreeze":
      return [advise("kubectl get rebootwindows", "lists the windows of mode Deny"), commands.windows(name)];
    case "WaitingForGates":
    case "EtcdUnavailable":
      return [commands.doctor];
    case "WaitingForBudget":
    case "WaitingForTurn":
    case "AlreadyGranted":
      return [commands.locks];
    case "MachinesUnconfirmed":
      return [
        advise(
          `kubectl slipway machines confirm ${name}`,
          "says that none of those machines is down, once you have seen that",
        ),
      ];
    case "WaitingForRate":
      return [commands.editGroup(name, "changes spec.rate"), asking];
    case "WaitingForStage":
      return [commands.group(name), asking];
    case "DuplicateMachineId":
      return [
        advise(
          "rm /etc/machine-id && systemd-machine-id-setup",
          "run on each of them, gives it an id of its own with its next reboot",
        ),
      ];
    case "OEMExcluded":
      return [commands.editGroup(name, "changes spec.machines.excludedOEMs")];
    case "NoPayload":
    case "UpdateNotReachable":
      return [advise("kubectl get releases", "lists the releases; what is missing is declared as a new one")];
    default:
      return [commands.group(name)];
  }
}

function machineFacts(story: Story, id: string, now: number): Fact[] {
  const { machine, lastSeen, grant, failed, transitions, stale } = story;
  const { name, version, protocol, target, reason, message } = machine;
  const facts: Fact[] = [];
  if (stale !== undefined) facts.push({ text: `what the console knows is old: ${clause(stale)}` });
  if (name !== id) facts.push({ text: `its machine id is ${id}` });
  facts.push({ text: version === "" ? "which version it runs is not known" : `runs ${version}` });
  if (lastSeen !== undefined)
    facts.push({ text: `asked last, by ${protocol ?? "Omaha"}, at ${when(lastSeen, now)}` });
  if (target !== "") facts.push({ text: `was offered ${target}: ${clause(message)}`, since: machine.since });
  else if (message !== "") {
    const kind = reason === "" ? "" : ` (${reason})`;
    if (machine.slot) facts.push({ text: clause(message) });
    else facts.push({ text: `was told nothing new${kind}: ${clause(message)}`, since: machine.since });
  }
  if (grant !== undefined)
    facts.push({ text: `holds a slot in ${names(grant.budgets, 5)}, by ${grant.phase}`, since: grant.since });
  for (const one of failed)
    facts.push({ text: `failed on ${one.release}: ${clause(one.message)}`, since: one.time });
  for (const one of transitions.slice(0, HISTORY)) {
    const because = one.reason === "" ? "" : ` (${one.reason})`;
    facts.push({ text: `${one.step}${because}: ${clause(one.message)}`, since: one.time });
  }
  return facts;
}
