/** Nodes without a slot: recorded moments, changed. */
import { expect, test } from "vitest";
import { REBOOT_ANNOTATION, WITHHELD_ANNOTATION } from "../../api/labels.ts";
import {
  adviceIsSound,
  all,
  annotated,
  type Case,
  explained,
  groupSpec,
  held,
  says,
  update,
  withheld,
} from "./cases.ts";

const cases: Record<string, Case> = {
  "the release failed here before": {
    file: "window-closed",
    change: all(
      withheld(
        "NeverAgain",
        "Release harbor-1.1.0-calm failed here at 2026-01-05T10:00:00Z; to try it again, annotate the NodeUpdate with slipway.dev/retry=harbor-1.1.0-calm.",
      ),
      says("Failed", "NeverAgain", "x."),
    ),
    situation: "NeverAgain",
    sentence:
      "node-01 keeps 1.0.0: Release harbor-1.1.0-calm failed here at 2026-01-05T10:00:00Z; to try it again, annotate the NodeUpdate with slipway.dev/retry=harbor-1.1.0-calm.",
  },
  "no way leads to the target": {
    file: "window-closed",
    change: withheld(
      "UpdateNotReachable",
      "Release harbor-1.1.0-calm updates from 1.0.5 on; the way from 1.0.0 comes to it with 1.0.0.",
    ),
    situation: "UpdateNotReachable",
    sentence:
      "node-01 keeps 1.0.0: Release harbor-1.1.0-calm updates from 1.0.5 on; the way from 1.0.0 comes to it with 1.0.0.",
  },
  "no payload for its architecture": {
    file: "window-closed",
    change: withheld("NoPayload", "Release harbor-1.1.0-calm has no payload for arm64."),
    situation: "NoPayload",
    sentence: "node-01 keeps 1.0.0: Release harbor-1.1.0-calm has no payload for arm64.",
  },
  "a withheld annotation that can't be read": {
    file: "window-closed",
    change: annotated(WITHHELD_ANNOTATION, "{"),
    situation: "InvalidSpec",
    sentence: "node-01 is given nothing, because its annotation slipway.dev/withheld can't be read.",
  },
  "the image is refused": {
    file: "window-closed",
    change: says(
      "Failed",
      "ImageRefused",
      "1 of 2 signatures are needed and none is from a key that this machine trusts.",
    ),
    situation: "ImageRefused",
    sentence:
      "node-01 keeps 1.0.0: 1 of 2 signatures are needed and none is from a key that this machine trusts.",
  },
  "the channel is missing": {
    file: "window-closed",
    change: (moment) => {
      moment.snapshot.channels = [];
    },
    situation: "ChannelNotFound",
    sentence: "node-01 keeps 1.0.0, because UpdateGroup calm follows Channel calm, which does not exist.",
  },
  "the release is missing": {
    file: "window-closed",
    change: (moment) => {
      moment.snapshot.releases = [];
    },
    situation: "ReleaseNotFound",
    sentence:
      "node-01 keeps 1.0.0, because Release harbor-1.1.0-calm, which UpdateGroup calm should run, does not exist.",
  },
  "the channel was pointed elsewhere just now": {
    file: "window-closed",
    change: (moment) => {
      const [first] = moment.snapshot.releases;
      const [channel] = moment.snapshot.channels;
      if (first === undefined || channel === undefined) return;
      moment.snapshot.releases.push({
        ...first,
        metadata: { name: "harbor-1.2.0" },
        spec: { ...first.spec, version: "1.2.0" },
      });
      channel.spec.release = "harbor-1.2.0";
    },
    situation: "NotObservedYet",
    sentence:
      "node-01 runs 1.0.0 and will be given 1.2.0: the manager has not taken in what was asked of UpdateGroup calm yet.",
  },
  "it fetches": {
    file: "window-closed",
    change: says("Staging", "Fetching", "Fetching from mirror 1. 40 %.", { progress: 40 }),
    situation: "Fetching",
    sentence: "node-01 runs 1.0.0 and has been fetching 1.1.0-calm for 60s: 40 % are in its passive slot.",
  },
  "it verifies": {
    file: "window-closed",
    change: says("Staging", "VerifyingImage", "Reading back. 90 %.", { progress: 90 }),
    situation: "VerifyingImage",
    sentence: "node-01 runs 1.0.0 and reads 1.1.0-calm back to verify it: 90 % are done.",
  },
  "it may fetch in windows only": {
    file: "window-closed",
    change: all(
      says(
        "Staging",
        "WaitingForTurn",
        "The group's window, pause or transfer limit lets no image be fetched here now.",
      ),
      groupSpec({ stageInWindow: true }),
    ),
    situation: "WaitingForTurn",
    sentence:
      "node-01 runs 1.0.0 and waits to fetch 1.1.0-calm: its group fetches images in reboot windows only (spec.stageInWindow), and none is open.",
  },
  "others fetch first": {
    file: "window-closed",
    change: all(
      says(
        "Staging",
        "WaitingForTurn",
        "The group's window, pause or transfer limit lets no image be fetched here now.",
      ),
      groupSpec({ transfer: { rateLimit: 0, concurrency: 2 } }),
    ),
    situation: "WaitingForTurn",
    sentence:
      "node-01 runs 1.0.0 and waits to fetch 1.1.0-calm: 2 other nodes of its group may fetch at once (spec.transfer.concurrency).",
  },
  "the running slot is not good": {
    file: "window-closed",
    change: says(
      "Staging",
      "BootNotGood",
      "The running slot is not marked good: unit harbor.service is not active.",
    ),
    situation: "BootNotGood",
    sentence:
      "node-01 runs 1.0.0 and does not fetch 1.1.0-calm yet: the running slot is not marked good: unit harbor.service is not active.",
  },
  "no gateway has told it anything yet": {
    file: "window-closed",
    change: says("Staging", "WaitingForGateway", "No gateway has told yet what this machine should run."),
    situation: "WaitingForGateway",
    sentence:
      "node-01 runs 1.0.0 and does not fetch 1.1.0-calm yet: no gateway has told yet what this machine should run.",
  },
  "its memory can't be written": {
    file: "window-closed",
    change: says("Staging", "StateNotWritten", "SLIPWAY-STATE is full."),
    situation: "StateNotWritten",
    sentence: "node-01 runs 1.0.0 and does not fetch 1.1.0-calm yet: SLIPWAY-STATE is full.",
  },
  "its agent is away": {
    file: "window-closed",
    change: says("Staged", "AgentLost", "The agent's session ended and it has not come back.", {
      connected: false,
    }),
    situation: "AgentLost",
    sentence:
      "node-01 can't be updated, because its agent has been away since 2026-01-05T11:59:00Z (60s ago); it ran 1.0.0 when last seen.",
  },
  "a holder whose time was over": {
    file: "stolen",
    change: (moment) => {
      const [first] = update(moment).status?.transitions ?? [];
      if (first !== undefined) first.reason = "HolderExpired";
    },
    situation: "AgentLost",
    sentence:
      "node-09 can't be updated, because its agent has been away since 2026-01-05T11:59:58Z (2s ago); it ran 1.0.0 when last seen; its slot was freed by the group's holderTTL at 2026-01-05T11:59:58Z (2s ago).",
  },
  "held although it is current": {
    file: "current",
    change: held("keeps the backup"),
    situation: "Current",
    sentence: "node-04 runs 1.1.0-stages, as it should, and a person holds it: keeps the backup.",
  },
  "no manager ever led": {
    file: "window-closed",
    change: (moment) => {
      moment.snapshot.lease = "missing";
    },
    situation: "ManagerAway",
    sentence:
      "No manager has ever led, so nothing new begins; as far as is known, node-01 has 1.1.0-calm staged and waits for a reboot window: no window is open; the next one opens at 2026-01-05T17:59:23Z (in 5h59m).",
  },
  "the Lease can't be read": {
    file: "window-closed",
    change: (moment) => {
      moment.snapshot.lease = "unreadable";
    },
    situation: "WaitingForWindow",
    sentence:
      "node-01 has 1.1.0-calm staged and waits for a reboot window: no window is open; the next one opens at 2026-01-05T17:59:23Z (in 5h59m).",
  },
  "the leader released its Lease": {
    file: "window-closed",
    change: (moment) => {
      const { lease } = moment.snapshot;
      if (typeof lease !== "string" && lease.spec !== undefined) lease.spec.holderIdentity = "";
    },
    situation: "ManagerAway",
    sentence:
      "No manager has led since 2026-01-05T11:59:58Z (2s ago), so nothing new begins; as far as is known, node-01 has 1.1.0-calm staged and waits for a reboot window: no window is open; the next one opens at 2026-01-05T17:59:23Z (in 5h59m).",
  },
  "a person asked for a reboot": {
    file: "no-reboot-required",
    change: annotated(REBOOT_ANNOTATION, "new firmware"),
    situation: "RebootAsked",
    sentence:
      "debian-1 is about to be rebooted as soon as its budgets allow, because a person asked for it: new firmware.",
  },
  "a person asked for a reboot, and the node waits its turn": {
    file: "current",
    change: all(
      annotated(REBOOT_ANNOTATION, "new firmware"),
      says("Staged", "WaitingForBudget", "Budget group/stages allows 1 down: node-05 is not Ready."),
    ),
    situation: "WaitingForBudget",
    sentence:
      "node-04 was asked to reboot (new firmware) and waits for room: budget group/stages allows 1 down: node-05 is not Ready.",
  },
  "a reboot that a person asked for is done": {
    file: "current",
    change: all(
      annotated(REBOOT_ANNOTATION, "new firmware"),
      says("Idle", "Current", "Runs 1.1.0, as it should.", { rebooted: "new firmware" }),
    ),
    situation: "Current",
    sentence: "node-04 runs 1.1.0-stages, as it should.",
  },
  "a machine that asks for a reboot and waits": {
    file: "no-reboot-required",
    change: says("Staged", "WaitingForBudget", "Budget group/debian allows 1 down: debian-2 is not Ready.", {
      rebootRequired: true,
    }),
    situation: "WaitingForBudget",
    sentence:
      "debian-1 asks for a reboot and waits for room: budget group/debian allows 1 down: debian-2 is not Ready.",
  },
  "a sentinel that can't be read": {
    file: "no-reboot-required",
    change: says("Idle", "MachineUnreadable", "The command of the driver sentinel ended with 127."),
    situation: "MachineUnreadable",
    sentence: "debian-1 can't be read by its agent: the command of the driver sentinel ended with 127.",
  },
};

test.each(Object.entries(cases))("%s", (_name, one) => {
  const found = explained(one);
  expect(found?.sentence).toBe(one.sentence);
  expect(found?.situation).toBe(one.situation);
  adviceIsSound(found);
});
