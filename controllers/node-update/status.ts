/** The status of a NodeUpdate: what the agent saw, in the words of the departures board. */
import { setCondition, timestamp } from "../../api/meta.ts";
import type { NodeUpdate, NodeUpdateStatus, SlotStatus, Step, Transition } from "../../api/node-update.ts";
import type { Why } from "../../api/reasons.ts";
import type { Observed, Slot } from "../../proto/gen/agent_pb.ts";
import type { Node } from "../../runtime/core.ts";
import { countGivenBack, withoutRepeats } from "../grants/history.ts";

const ZONE_LABEL = "topology.kubernetes.io/zone";
/** As many as the schema allows. */
const TRANSITIONS = 20;
export const FAILURES = 20;
/** Characters that the schema allows in a word of the agent: one that is longer must not keep the status from being written. */
export const WORD = 64;
const ARCHITECTURE = 16;
const ZONE = 63;
/** Highest priority and most tries of a slot. */
const BITS = 15;

/** What of the status follows from what was observed; the rest is kept. */
export function describe(
  nodeUpdate: NodeUpdate,
  node: Node | undefined,
  observed: Observed | undefined,
  present: boolean,
): NodeUpdateStatus {
  const { spec, metadata, status: before = {} } = nodeUpdate;
  const status: NodeUpdateStatus = { ...before, connected: present };
  if (metadata.generation !== undefined) status.observedGeneration = metadata.generation;
  const zone = (node?.metadata.labels ?? spec.machineRef?.labels)?.[ZONE_LABEL];
  if (zone !== undefined) status.zone = zone.slice(0, ZONE);
  if (observed === undefined) return status;
  status.machineId = observed.machineId.slice(0, WORD);
  status.architecture = observed.architecture.slice(0, ARCHITECTURE);
  status.running = observed.runningVersion.slice(0, WORD);
  status.runningRootHash = observed.runningRootHash.slice(0, WORD);
  status.rebootRequired = observed.rebootRequired;
  status.bootId = observed.boot?.bootId.slice(0, WORD) ?? "";
  status.softReboots = observed.boot?.softReboots ?? 0;
  if (observed.stagedVersion === "") delete status.staged;
  else status.staged = observed.stagedVersion.slice(0, WORD);
  const slots = slotsOf(observed);
  status.slots = slots.map(slotStatus);
  delete status.slotA;
  delete status.slotB;
  for (const slot of slots) {
    if (slot.name === "A") status.slotA = slotWords(slot);
    if (slot.name === "B") status.slotB = slotWords(slot);
  }
  return status;
}

type NamedSlot = Slot & { name: "A" | "B" };

/** A and B, each once, as the schema's list wants them, and within its limits. */
function slotsOf({ slots }: Observed): NamedSlot[] {
  return (["A", "B"] as const).flatMap((name) => {
    const slot = slots.find((each) => each.name === name);
    if (slot === undefined) return [];
    const { version, rootHash, priority, tries } = slot;
    return [
      {
        ...slot,
        name,
        version: version.slice(0, WORD),
        rootHash: rootHash.slice(0, WORD),
        priority: Math.min(priority, BITS),
        tries: Math.min(tries, BITS),
      },
    ];
  });
}

function slotStatus({ name, version, rootHash, priority, tries, successful }: NamedSlot): SlotStatus {
  const known = { ...(version === "" ? {} : { version }), ...(rootHash === "" ? {} : { rootHash }) };
  return { name, ...known, priority, tries, successful };
}

/** `1.1.0* P2 good`: version, `*` if it runs, priority, and what its boot bits say. */
function slotWords(slot: Slot): string {
  const { version, running, priority } = slot;
  return `${version === "" ? "empty" : version}${running ? "*" : ""} P${priority} ${bitsInWords(slot)}`;
}

function bitsInWords({ running, priority, tries, successful }: Slot): string {
  if (successful) return "good";
  if (running) return "on trial";
  if (tries > 0) return tries === 1 ? "1 try" : `${tries} tries`;
  return priority > 0 ? "bad" : "off";
}

/**
 * `status` with its step, since when, its history and its conditions. The history gains an
 * entry when the step changes, and under a grant also when the reason does, but for hooks that only run.
 */
export function withStep(
  nodeUpdate: NodeUpdate,
  status: NodeUpdateStatus,
  step: Step,
  why: Why,
  now: number,
): NodeUpdateStatus {
  const { generation } = nodeUpdate.metadata;
  const before = nodeUpdate.status;
  const message = why.message.slice(0, 4096);
  const sameStep = before?.step === step;
  const next: NodeUpdateStatus = { ...status, step, reason: why.reason, message };
  next.since = sameStep && before?.reason === why.reason ? (before.since ?? timestamp(now)) : timestamp(now);
  const givenBack = countGivenBack(before, step, now);
  if (givenBack === undefined) delete next.givenBack;
  else next.givenBack = givenBack;
  const isTold = status.grant !== undefined && before?.reason !== why.reason && why.reason !== "HookRunning";
  if (!sameStep || isTold) {
    const transition = { step, time: timestamp(now), reason: why.reason, message };
    const known = withoutReason(status.transitions ?? [], step, why.reason);
    next.transitions = withoutRepeats([transition, ...known]).slice(0, TRANSITIONS);
  }
  if (step !== "Staging") delete next.progress;
  const wellNow =
    step === "Idle" &&
    next.connected === true &&
    (why.reason === "Current" || why.reason === "NoRebootRequired");
  const conditions: [string, boolean][] = [
    ["Ready", wellNow],
    ["Staged", step === "Staged" || status.grant !== undefined],
    ["Progressing", status.grant !== undefined || step === "Staging"],
    ["Suspect", step === "Suspect"],
  ];
  for (const [type, holds] of conditions) {
    const update = {
      type,
      status: holds ? ("True" as const) : ("False" as const),
      reason: why.reason,
      message,
    };
    next.conditions = setCondition(next.conditions, update, generation, now);
  }
  return next;
}

/**
 * `transitions` without what was said for `reason` since `step` began: reasons that come and go must not
 * push out what decisions read. The entry with which the step began stays: it tells since when.
 */
function withoutReason(transitions: readonly Transition[], step: Step, reason: string): Transition[] {
  const left = transitions.findIndex((entry) => entry.step !== step);
  const begun = (left < 0 ? transitions.length : left) - 1;
  return transitions.filter((entry, index) => index >= begun || entry.reason !== reason);
}

type FailedEntry = NonNullable<NodeUpdateStatus["failed"]>[number];

/**
 * `status` with the failure of `grant` (its nonce); one grant fails once, and the last word about it
 * stays. The nonce tells which entry is its own: clocks are set back, so times can't.
 */
export function withFailure(
  status: NodeUpdateStatus,
  grant: string,
  target: { release: string; version: string; rootHash: string },
  why: Why,
  now: number,
): NodeUpdateStatus {
  const { release, version, rootHash } = target;
  const known = failureOf(status, grant);
  if (known !== undefined && known.reason === why.reason) return status;
  const entry: FailedEntry = { version, rootHash, ...why, time: known?.time ?? timestamp(now), grant };
  if (release !== "") entry.release = release;
  const others = (status.failed ?? []).filter((other) => other !== known);
  return { ...status, failed: [entry, ...others].slice(0, FAILURES) };
}

/** What is recorded as the failure of `grant` (its nonce). */
export function failureOf({ failed }: NodeUpdateStatus, grant: string): FailedEntry | undefined {
  return failed?.find((entry) => entry.grant === grant);
}
