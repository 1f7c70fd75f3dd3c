/** Machines as the console shows them, and the story of one. */
import { HOLD_ANNOTATION } from "../../api/labels.ts";
import { timestamp } from "../../api/meta.ts";
import type { NodeUpdate } from "../../api/node-update.ts";
import { machineCommands } from "../../console/commands.ts";
import type * as view from "../../console/contract.ts";
import { clip, viewMachine } from "../../console/machine.ts";
import { idOf } from "../../coordination/identity.ts";
import type { ForeignMachine } from "../../coordination/records.ts";
import { type Meaning, meaningOf } from "../omaha/event.ts";
import type { ForeignShown } from "./foreign.ts";

/** Transitions of a story, those of the journal included. */
const SHOWN_TRANSITIONS = 50;

export function viewForeign(machine: ForeignShown): view.Machine {
  const { uid, name, group, version, target, state, reason, message, since, slot, protocol } = machine;
  return {
    ...{ uid, name, kind: "foreign", group, zone: "", version, target, state, reason },
    message: clip(message),
    since: since === undefined ? undefined : timestamp(since),
    slot,
    protocol,
  };
}

/** `journal`: entries about the machine, oldest first. */
export function storyOf(
  update: NodeUpdate,
  journal: readonly view.Activity[],
): Omit<view.Story, keyof view.Freshness> {
  const { metadata, spec, status } = update;
  const machine = viewMachine(update);
  const grant = status?.grant;
  const held = metadata.annotations?.[HOLD_ANNOTATION];
  return {
    machine,
    now: status?.message ?? "Nothing is known of it yet.",
    next: nextOf(machine, held),
    slots: (status?.slots ?? []).map(({ name, version, priority, tries, successful }) => ({
      ...{ name, version, priority, tries, successful },
      // The word for the slot that runs has a star.
      running: (name === "A" ? status?.slotA : status?.slotB)?.includes("*") ?? false,
    })),
    architecture: status?.architecture,
    bootId: status?.bootId,
    machineId: spec.machineRef?.machineId ?? status?.machineId,
    labels: spec.machineRef?.labels ?? {},
    grant:
      grant === undefined
        ? undefined
        : {
            phase: grant.phase,
            since: grant.since,
            budgets: grant.budgets,
            release: grant.release,
            nonce: grant.nonce,
          },
    held,
    transitions: transitionsOf(status?.transitions ?? [], journal),
    failed: (status?.failed ?? []).map(({ release, version, reason, message, time }) => ({
      ...{ release: release ?? "", version, reason, message, time },
    })),
    kubectl: `kubectl slipway why ${machine.name}`,
  };
}

/** `told`: of `toldOf`. */
export function foreignStoryOf(
  shown: ForeignShown,
  journal: readonly view.Activity[],
  told: readonly Told[] = [],
): Omit<view.Story, keyof view.Freshness> {
  const machine = viewForeign(shown);
  return {
    machine,
    now: shown.message === "" ? "Nothing more is known of it." : shown.message,
    next: shown.slot
      ? "It gives its slot back itself, when it says that it has rebooted. A person frees it if it never comes back."
      : "It asks by itself, and is answered by what its group allows then.",
    slots: [],
    labels: {},
    lastSeen: shown.lastSeen === undefined ? undefined : timestamp(shown.lastSeen),
    grant:
      shown.slot && shown.since !== undefined
        ? { phase: shown.protocol, since: timestamp(shown.since), budgets: [...shown.budgets] }
        : undefined,
    transitions: [...told, ...transitionsOf([], journal)]
      .toSorted((a, b) => Date.parse(b.time) - Date.parse(a.time))
      .slice(0, SHOWN_TRANSITIONS),
    failed: shown.failed.map(({ release, reason, message, at }) => ({
      ...{ release, version: "", reason, message, time: timestamp(at) },
    })),
    kubectl: machineCommands.why(idOf(shown.uid)),
  };
}

type Told = view.Story["transitions"][number];

const STEPS: Readonly<Record<Meaning["is"], string>> = {
  ...{ downloading: "Downloading", downloaded: "Downloaded", staged: "Staged", held: "Held" },
  ...{ completed: "Completed", rolledBack: "RolledBack", failed: "Failed", deferred: "Deferred" },
  ...{ idle: "Idle", unknown: "Unknown" },
};

/** The events of a machine that speaks Omaha, as it told them. */
export function toldOf(history: NonNullable<ForeignMachine["history"]>): Told[] {
  return history.map(({ at, type, result, code, version, onDemand }) => {
    // A completion is kept, an ordinary check is not: what it ran before is not asked for.
    const { is } = meaningOf({ type, result, errorCode: code, previousVersion: "before" });
    const failed = code === 0 ? "" : ` with the code ${code} of Omaha`;
    const by = onDemand ? "; a person on the machine had it ask" : "";
    const message = `It told the event ${type}:${result}${failed} while it ran ${version || "an unknown version"}${by}.`;
    return { step: STEPS[is], time: timestamp(at), reason: "", message };
  });
}

/** The status' own, which end where its list is full, and from the journal what lies before. */
function transitionsOf(own: readonly Told[], journal: readonly view.Activity[]): Told[] {
  const oldest = own.at(-1)?.time;
  const before = oldest === undefined ? Infinity : Date.parse(oldest);
  const older = journal
    .filter(({ time }) => Date.parse(time) < before)
    .map(({ what, time, reason, message }) => ({ step: what, time, reason, message }))
    .toReversed();
  return [...own, ...older].slice(0, SHOWN_TRANSITIONS);
}

/** What comes after the state that a machine is in. */
function nextOf(machine: view.Machine, held: string | undefined): string {
  const to = machine.target === "" ? "its target" : machine.target;
  if (held !== undefined && machine.state !== "Rebooting") {
    return "A person holds it: no slot is given to it until the hold ends.";
  }
  switch (machine.state) {
    case "Idle":
      return machine.target === "" || machine.target === machine.version
        ? "Nothing is to be done until its group moves to another release."
        : `It stages ${to} as soon as its group lets it.`;
    case "Staging":
      return `Once ${to} is verified in its passive slot, it waits for its turn to reboot.`;
    case "Staged":
      return "It reboots when a slot of each of its budgets is free, its window is open, and it is its turn.";
    case "Granting":
      return "With its slot it is cordoned and drained.";
    case "Draining":
      return "Once its Pods have left, its agent asks to commit, and reboots.";
    case "Rebooting":
      return `It comes back with ${to}, or falls back by itself to what it ran.`;
    case "Verifying":
      return "When its release checks pass, it is uncordoned and gives its slot back.";
    case "Suspect":
      return "Its slot stays taken until it comes back. If it never does, a person frees the slot.";
    case "Failed":
      return "It keeps what it runs, and is not given this release again unless a person says so.";
    case "Unknown":
      return "The manager looks at it next.";
  }
}
