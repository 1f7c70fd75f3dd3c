/** Nodes that have everything but their turn: a recorded moment, changed. */
import { expect, test } from "vitest";
import { REBOOT_ANNOTATION } from "../../api/labels.ts";
import { adviceIsSound, all, annotated, type Case, explained, says } from "./cases.ts";

/** No agent is there. */
const alone = { connected: false };

const cases: Record<string, Case> = {
  "a topology limit": {
    file: "window-closed",
    change: says(
      "Staged",
      "WaitingForBudget",
      "Budget group/calm/topology.kubernetes.io/zone=east allows 1 down: node-04 holds a slot.",
    ),
    situation: "WaitingForBudget",
    sentence:
      "node-01 has 1.1.0-calm staged and waits for room: budget group/calm/topology.kubernetes.io/zone=east allows 1 down: node-04 holds a slot.",
  },
  "a shared budget and the queue": {
    file: "window-closed",
    change: says(
      "Staged",
      "WaitingForTurn",
      "Budget budget/etcd allows 1 down: node-05 goes first. 2 nodes wait before it.",
    ),
    situation: "WaitingForTurn",
    sentence:
      "node-01 has 1.1.0-calm staged and waits for its turn: budget budget/etcd allows 1 down: node-05 goes first; 2 nodes wait before it.",
  },
  "the rate is used up": {
    file: "window-closed",
    change: says("Staged", "WaitingForRate", "UpdateGroup calm allows 4 updates in 1h; 4 are used."),
    situation: "WaitingForRate",
    sentence:
      "node-01 has 1.1.0-calm staged and waits for the rate: UpdateGroup calm allows 4 updates in 1h; 4 are used.",
  },
  "the group settles": {
    file: "window-closed",
    change: says("Staged", "WaitingForSettle", "UpdateGroup calm settles until 2026-01-05T12:04:00Z."),
    situation: "WaitingForSettle",
    sentence:
      "node-01 has 1.1.0-calm staged and waits until the group has settled: UpdateGroup calm settles until 2026-01-05T12:04:00Z (in 4m).",
  },
  "the group has settled, and the status is old": {
    file: "window-closed",
    change: says("Staged", "WaitingForSettle", "UpdateGroup calm settles until 2026-01-05T11:59:50Z."),
    situation: "WaitingForSettle",
    sentence:
      "node-01 has 1.1.0-calm staged and waits until the group has settled: UpdateGroup calm settles until 2026-01-05T11:59:50Z (10s ago); that is over, and its next look takes the node on.",
  },
  "evidence is missing": {
    file: "window-closed",
    change: says(
      "Staged",
      "WaitingForEvidence",
      "Until 2 nodes are verified on harbor-1.1.0-calm, no more than 2 may try it at once.",
    ),
    situation: "WaitingForEvidence",
    sentence:
      "node-01 has 1.1.0-calm staged and waits for evidence: until 2 nodes are verified on harbor-1.1.0-calm, no more than 2 may try it at once.",
  },
  "the gates are too old": {
    file: "window-closed",
    change: says(
      "Staged",
      "WaitingForGates",
      "The manager has not renewed what a grant must be checked against.",
    ),
    situation: "WaitingForGates",
    sentence:
      "node-01 has 1.1.0-calm staged and can't be given a slot now: the manager has not renewed what a grant must be checked against.",
  },
  "etcd does not answer": {
    file: "window-closed",
    change: says("Staged", "EtcdUnavailable", "etcd gave no clear answer to the grant."),
    situation: "EtcdUnavailable",
    sentence:
      "node-01 has 1.1.0-calm staged and can't be given a slot now: etcd gave no clear answer to the grant.",
  },
  "it backs off": {
    file: "window-closed",
    change: says("Staged", "BackingOff", "It gave its slot back; it asks again at 2026-01-05T12:01:00Z.", {
      transitions: [
        {
          step: "Staged",
          time: "2026-01-05T11:59:00Z",
          reason: "BackingOff",
          message: "It gave its slot back.",
        },
        {
          step: "Draining",
          time: "2026-01-05T11:58:00Z",
          reason: "DrainTimedOut",
          message: "After 10m 1 Pod had not left: default/web-0.",
        },
      ],
    }),
    situation: "BackingOff",
    sentence:
      "node-01 has 1.1.0-calm staged and backs off: it gave its slot back; it asks again at 2026-01-05T12:01:00Z (in 60s); the last time: after 10m 1 Pod had not left: default/web-0.",
  },
  "no Pod could leave": {
    file: "window-closed",
    change: says(
      "Staged",
      "BlockedByDisruptionBudget",
      "No Pod could leave now: default/db-0. The disruption budget db needs 3 healthy pods and has 3 currently",
    ),
    situation: "BlockedByDisruptionBudget",
    sentence:
      "node-01 has 1.1.0-calm staged and takes no slot, because PodDisruptionBudget db would refuse every eviction: no Pod could leave now: default/db-0; the disruption budget db needs 3 healthy pods and has 3 currently.",
  },
  "a webhook would refuse": {
    file: "window-closed",
    change: says(
      "Staged",
      "EvictionRefused",
      'No Pod could leave now: default/db-0. admission webhook "guard.example.com" denied the request: not now',
    ),
    situation: "EvictionRefused",
    sentence:
      'node-01 has 1.1.0-calm staged and takes no slot, because no Pod of it may be evicted: no Pod could leave now: default/db-0; admission webhook "guard.example.com" denied the request: not now.',
  },
  "cluster-autoscaler takes the Node": {
    file: "window-closed",
    change: says("Staged", "BeingRemoved", "cluster-autoscaler is about to delete the Node."),
    situation: "BeingRemoved",
    sentence:
      "node-01 has 1.1.0-calm staged and is given no slot: cluster-autoscaler is about to delete the Node.",
  },
  "kured reboots it": {
    file: "window-closed",
    change: says("Staged", "OtherCoordinator", "kured is rebooting the node."),
    situation: "OtherCoordinator",
    sentence: "node-01 has 1.1.0-calm staged and is given no slot: kured is rebooting the node.",
  },
  "too many budgets": {
    file: "window-closed",
    change: says("Staged", "TooManyBudgets", "40 budgets bind the node; at most 32 may."),
    situation: "TooManyBudgets",
    sentence:
      "node-01 has 1.1.0-calm staged and is bound by too much: 40 budgets bind the node; at most 32 may.",
  },
  "an alert fires": {
    file: "window-closed",
    change: says(
      "Staged",
      "Blocked",
      "Blocker alerts of UpdateGroup calm: alert DiskFull fires since 2026-01-05T11:50:00Z, and 2 more.",
    ),
    situation: "Blocked",
    sentence:
      "node-01 has 1.1.0-calm staged and is held back: blocker alerts of UpdateGroup calm: alert DiskFull fires since 2026-01-05T11:50:00Z (10m ago), and 2 more.",
  },
  "a blocker gives no answer": {
    file: "window-closed",
    change: says(
      "Staged",
      "BlockerFailed",
      "Blocker desk of UpdateGroup calm gives no answer since 2026-01-05T11:58:00Z, which blocks: https://desk.example.org answered 500.",
    ),
    situation: "BlockerFailed",
    sentence:
      "node-01 has 1.1.0-calm staged and is held back: blocker desk of UpdateGroup calm gives no answer since 2026-01-05T11:58:00Z (2m ago), which blocks: https://desk.example.org answered 500.",
  },
  "asking failed half-way": {
    file: "window-closed",
    change: says(
      "Staged",
      "SlotNotAsked",
      "Asking for a slot failed: the API server answered 409 (Conflict).",
    ),
    situation: "SlotNotAsked",
    sentence:
      "node-01 has 1.1.0-calm staged and asks for a slot again within a minute: asking for a slot failed: the API server answered 409 (Conflict).",
  },
  "what it should run changed while it asked": {
    file: "window-closed",
    change: says("Staged", "DesiredChanged", "what node-01 should run is no longer what the plan rests on"),
    situation: "DesiredChanged",
    sentence:
      "node-01 has 1.1.0-calm staged and asks for a slot again: what node-01 should run is no longer what the plan rests on.",
  },
  "it holds a slot already": {
    file: "window-closed",
    change: says("Staged", "AlreadyGranted", "node-01 holds a slot already"),
    situation: "AlreadyGranted",
    sentence: "node-01 has 1.1.0-calm staged and asks for a slot again: node-01 holds a slot already.",
  },
  "etcd lost which machines hold slots": {
    file: "window-closed",
    change: says(
      "Staged",
      "MachinesUnconfirmed",
      "etcd lost which machines of group edge hold a slot, so that budget budget/all counts as full until a person confirms that none is down",
    ),
    situation: "MachinesUnconfirmed",
    sentence:
      "node-01 has 1.1.0-calm staged and waits for a person: etcd lost which machines of group edge hold a slot, so that budget budget/all counts as full until a person confirms that none is down.",
  },
  "another manager leads": {
    file: "window-closed",
    change: says("Staged", "LeaderChanged", "epoch 8 leads, not 7"),
    situation: "LeaderChanged",
    sentence: "node-01 has 1.1.0-calm staged and can't be given a slot now: epoch 8 leads, not 7.",
  },
  "too many starts to find an opening": {
    file: "window-closed",
    change: says(
      "Staged",
      "OpeningNotFound",
      "Windows are searched until 2026-01-12T12:00:00Z; there is no opening.",
    ),
    situation: "OpeningNotFound",
    sentence:
      "node-01 has 1.1.0-calm staged and waits for a reboot window: windows are searched until 2026-01-12T12:00:00Z (in 7d); there is no opening.",
  },
  "a person asked for a reboot, and it is ready": {
    file: "window-closed",
    change: all(
      annotated(REBOOT_ANNOTATION, "new firmware"),
      says("Staged", "RebootAsked", "A person asked for a reboot: new firmware."),
    ),
    situation: "RebootAsked",
    sentence: "node-01 was asked to reboot (new firmware) and asks for a slot next.",
  },
  "a Node's own client asks for a reboot": {
    file: "window-closed",
    change: says("Staged", "RebootRequested", "Its own client asks for a reboot, by FleetLock.", alone),
    situation: "RebootRequested",
    sentence: "node-01 was asked to reboot by its own client and asks for a slot next.",
  },
  "a Node's own client asks for a reboot while another node is down": {
    file: "window-closed",
    change: says(
      "Staged",
      "WaitingForBudget",
      "Budget group/stages allows 1 down: node-04 is not Ready.",
      alone,
    ),
    situation: "WaitingForBudget",
    sentence:
      "node-01 was asked to reboot by its own client and waits for room: budget group/stages allows 1 down: node-04 is not Ready.",
  },
  "a person asked for a reboot before its stage": {
    file: "stage-not-reached",
    change: all(
      annotated(REBOOT_ANNOTATION, "new firmware"),
      says("Staged", "WaitingForBudget", "Budget group/stages allows 1 down: node-04 is not Ready."),
    ),
    situation: "WaitingForBudget",
    sentence:
      "node-05 was asked to reboot (new firmware) and waits for room: budget group/stages allows 1 down: node-04 is not Ready.",
  },
  "the window closed twice": {
    file: "window-closed",
    change: says(
      "Staged",
      "WindowTooShort",
      "The window closed twice before this node was ready to reboot. No window is open; the next one opens at 2026-01-06T02:00:00Z.",
    ),
    situation: "WindowTooShort",
    sentence:
      "node-01 has 1.1.0-calm staged and fits into no reboot window: the window closed twice before this node was ready to reboot; no window is open; the next one opens at 2026-01-06T02:00:00Z (in 14h); it needs 60s for the drain and 2 x (15s + 8s) for the reboot and a fallback, 2 min in all.",
  },
};

test.each(Object.entries(cases))("%s", (_name, one) => {
  const found = explained(one);
  expect(found?.sentence).toBe(one.sentence);
  expect(found?.situation).toBe(one.situation);
  adviceIsSound(found);
});

test("who waits for a window may be rebooted now", () => {
  const commands = explained({ file: "window-closed" })?.advice.map(({ command }) => command);
  expect(commands).toEqual([
    "kubectl slipway windows next calm",
    'kubectl slipway node reboot node-01 --now --reason "..."',
  ]);
});
