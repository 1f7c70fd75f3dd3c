/** The sentences of moments that explain.days.test.ts recorded in a living fleet. */
import { expect, test } from "vitest";
import { adviceIsSound, type Case, explained, recorded } from "./cases.ts";
import { explain } from "./explain.ts";

const live: Record<string, Pick<Case, "situation" | "sentence">> = {
  "budget-full": {
    situation: "WaitingForBudget",
    sentence:
      "node-03 has 1.1.0-calm staged and waits for room: budget group/calm allows 1 down: node-02 is cordoned.",
  },
  "change-freeze": {
    situation: "ChangeFreeze",
    sentence:
      "node-01 has 1.1.0-calm staged and waits out a change freeze: RebootWindow calm-freeze freezes changes until 2026-01-05T12:59:20Z (in 59m); the next one opens at 2026-01-05T17:59:20Z (in 5h59m).",
  },
  current: { situation: "Current", sentence: "node-04 runs 1.1.0-stages, as it should." },
  "downgrade-refused": {
    situation: "DowngradeRefused",
    sentence:
      "node-11 keeps 1.0.0: version 0.9.0-next is older than 1.0.0, which ran well here; annotate the NodeUpdate with slipway.dev/allow-downgrade.",
  },
  "drain-blocked": {
    situation: "BlockedByDisruptionBudget",
    sentence:
      "node-08 can't be drained, because PodDisruptionBudget kept-node-08 refuses an eviction: 2 Pods had not left, and default/kept-node-08-6c9b45c6c9-xz8qn may not be evicted: The disruption budget kept-node-08 needs 1 healthy pods and has 1 currently; the slot is given back at 2026-01-05T12:09:57Z (in 9m).",
  },
  halted: {
    situation: "FailureThresholdReached",
    sentence:
      "node-07 keeps 1.0.0, because UpdateGroup bad stopped itself after node-06 (BootChecksFailed) on harbor-1.1.0-bad.",
  },
  "halted-where-it-failed": {
    situation: "FailureThresholdReached",
    sentence:
      "node-06 keeps 1.0.0, because harbor-1.1.0-bad failed here (BootChecksFailed), and UpdateGroup bad stopped itself.",
  },
  held: {
    situation: "Held",
    sentence:
      "node-01 has 1.1.0-calm staged and goes no further, because a person holds it: looking at its disk.",
  },
  "manager-away": {
    situation: "ManagerAway",
    sentence:
      "No manager has led since 2026-01-05T11:59:29Z (31s ago), so nothing new begins; as far as is known, node-08 has 1.1.0-drain staged and goes no further, because a person holds it: its Pod must not go.",
  },
  "mirrors-fail": {
    situation: "StagingFailed",
    sentence:
      "node-10 runs 1.0.0 and could not fetch 1.1.0-mirror for 1s, and goes on trying: no mirror gave the image (http://mirror.example/1.1.0-mirror/not-there: it answered 404); check the mirrors of the Release and the way to them.",
  },
  "no-group": {
    situation: "NoGroup",
    sentence: "node-05 is left alone by Slipway, because no UpdateGroup selects it.",
  },
  "no-reboot-required": {
    situation: "NoRebootRequired",
    sentence: "debian-1 needs nothing: it asks for no reboot.",
  },
  paused: {
    situation: "Paused",
    sentence: "node-01 runs 1.0.0 and goes no further, because UpdateGroup calm is paused.",
  },
  "plain-machine-soaks": {
    situation: "StageSoaking",
    sentence:
      "machine-c889b63b37f8 runs 1.0.0 and waits for its stage: canary soaks for 30m, until 2026-01-05T12:29:58Z (in 29m).",
  },
  quarantined: {
    situation: "ReleaseQuarantined",
    sentence:
      "node-11 keeps 1.0.0, because Release harbor-1.1.0-bad is quarantined: nothing more moves to it, because too many nodes failed in bad.",
  },
  rebooting: {
    situation: "Rebooting",
    sentence:
      "node-06 has been rebooting into harbor-1.1.0-bad for 1s; it is Suspect if it is not back at 2026-01-05T12:00:45Z (in 45s).",
  },
  "stage-not-reached": {
    situation: "WaitingForStage",
    sentence:
      "node-05 runs 1.0.0 and waits for its stage: stage canary is open, and 0 of its 1 run harbor-1.1.0-stages verified.",
  },
  "stage-soaks": {
    situation: "StageSoaking",
    sentence:
      "node-05 runs 1.0.0 and waits for its stage: canary soaks for 30m, until 2026-01-05T12:29:58Z (in 29m).",
  },
  "still-required": {
    situation: "StillRequired",
    sentence:
      "debian-1 still asks for a reboot after one, and that is not repeated: /run/reboot-required of 2026-01-05T11:59:23Z was still set after a reboot; the machine is not rebooted for it again.",
  },
  stolen: {
    situation: "AgentLost",
    sentence:
      "node-09 can't be updated, because its agent has been away since 2026-01-05T11:59:58Z (2s ago); it ran 1.0.0 when last seen; its slot was freed by a person at 2026-01-05T11:59:58Z (2s ago).",
  },
  "strategy-off": {
    situation: "StrategyOff",
    sentence: "node-03 has 1.1.0-calm staged and does not reboot, because UpdateGroup calm has strategy Off.",
  },
  suspect: {
    situation: "Suspect",
    sentence:
      "node-09 is Suspect since 2026-01-05T11:59:59Z (1s ago): it has not come back from its reboot, and its slot stays taken until it returns or somebody frees it.",
  },
  "two-groups": {
    situation: "SelectedTwice",
    sentence: "node-11 is selected by 2 UpdateGroups, next and twice, so none of them acts on it.",
  },
  "window-closed": {
    situation: "WaitingForWindow",
    sentence:
      "node-01 has 1.1.0-calm staged and waits for a reboot window: no window is open; the next one opens at 2026-01-05T17:59:23Z (in 5h59m).",
  },
  "window-too-short": {
    situation: "WindowTooShort",
    sentence:
      "node-01 has 1.1.0-calm staged and fits into no reboot window: the next openings last 1 min at most; drain, boot and a fallback may take 2 min; it needs 60s for the drain and 2 x (15s + 8s) for the reboot and a fallback, 2 min in all.",
  },
};

test.each(Object.entries(live))("%s", (file, { situation, sentence }) => {
  const found = explained({ file });
  expect(found?.sentence).toBe(sentence);
  expect(found?.situation).toBe(situation);
  adviceIsSound(found);
});

test("a name that nobody has", () => {
  const { snapshot, now } = recorded("current");
  expect(explain(snapshot, "node-99", now)).toBeUndefined();
});

test("a machine id stands for its machine", () => {
  const { snapshot, now, node } = recorded("plain-machine-soaks");
  const id =
    snapshot.nodeUpdates.find(({ metadata }) => metadata.name === node)?.spec.machineRef?.machineId ?? "";
  expect(explain(snapshot, id, now)?.name).toBe(node);
});

test("the facts go from the manager to the machine", () => {
  expect(explained({ file: "drain-blocked" })?.facts.map(({ text }) => text)).toEqual([
    "manager manager-0 leads",
    "UpdateGroup drain follows Channel drain, which points at harbor-1.1.0-drain (1.1.0-drain)",
    expect.stringMatching(/^UpdateGroup drain is RollingOut: 0 of 1 node run harbor-1.1.0-drain/),
    "stage rest is open: 0 of 1 verified",
    expect.stringMatching(/^RebootWindow any-time is open, until /),
    "UpdateGroup drain allows 1 down: 1 is; node-08 holds a slot",
    "the Node is Ready",
    "the Node is cordoned by Slipway",
    expect.stringMatching(/^runs 1.0.0 [(]slot A: 1.0.0[*] P\d good; slot B: 1.1.0-drain P0 off[)]$/),
    "its agent is connected",
    "holds a slot for harbor-1.1.0-drain (Granted) in group/drain",
    expect.stringMatching(/^the manager says Draining [(]BlockedByDisruptionBudget[)]: /),
    expect.stringMatching(/^became Draining [(]BlockedByDisruptionBudget[)]: /),
    expect.stringMatching(/^became Draining [(]Draining[)]: /),
    expect.stringMatching(/^became Granting [(]Granting[)]: /),
  ]);
});
