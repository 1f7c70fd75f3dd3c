/** Nodes that hold a slot: a recorded moment, changed. */
import { expect, test } from "vitest";
import type { Step } from "../../api/node-update.ts";
import { adviceIsSound, all, type Case, explained, grant, groupSpec, held, says } from "./cases.ts";
import type { Situation } from "./finding.ts";

const cases: Record<string, Case> = {
  "a slot is asked for": {
    file: "window-closed",
    change: says(
      "Granting",
      "Granting",
      "It has waited longest, since 2026-01-05T11:00:00Z.",
      grant("Granting"),
    ),
    situation: "Granting",
    sentence: "node-01 asks for a slot: it has waited longest, since 2026-01-05T11:00:00Z.",
  },
  "a slow drain": {
    file: "window-closed",
    change: says(
      "Draining",
      "Draining",
      "3 Pods to leave: default/a, default/b, default/c.",
      grant("Granted"),
    ),
    situation: "Draining",
    sentence:
      "node-01 has been draining for 60s: 3 Pods to leave: default/a, default/b, default/c; the slot is given back at 2026-01-05T12:05:00Z (in 5m).",
  },
  "a webhook refuses an eviction": {
    file: "window-closed",
    change: says(
      "Draining",
      "EvictionRefused",
      '1 Pod had not left, and default/a may not be evicted: admission webhook "guard.example.com" denied the request: not now',
      grant("Granted"),
    ),
    situation: "EvictionRefused",
    sentence:
      'node-01 can\'t be drained: 1 Pod had not left, and default/a may not be evicted: admission webhook "guard.example.com" denied the request: not now; the slot is given back at 2026-01-05T12:05:00Z (in 5m).',
  },
  "a finalizer keeps a Pod": {
    file: "window-closed",
    change: says(
      "Draining",
      "PodsNotEnding",
      "1 Pod had not left: old/a; old/a should have ended at 2026-01-05T11:58:00Z, but its finalizer example.com/keep keeps it.",
      grant("Granted"),
    ),
    situation: "PodsNotEnding",
    sentence:
      "node-01 can't be drained: 1 Pod had not left: old/a; old/a should have ended at 2026-01-05T11:58:00Z, but its finalizer example.com/keep keeps it; the slot is given back at 2026-01-05T12:05:00Z (in 5m).",
  },
  "a drain that will be forced": {
    file: "window-closed",
    change: says(
      "Draining",
      "Draining",
      "1 Pod to leave: default/a.",
      grant("Granted", {
        policy: {
          drain: { enabled: true, timeout: "6m", onTimeout: "Force", onWindowClose: "Abort" },
          bootDeadline: "5m",
          rebootTime: "1m",
          releaseDeadline: "10m",
        },
      }),
    ),
    situation: "Draining",
    sentence:
      "node-01 has been draining for 60s: 1 Pod to leave: default/a; it reboots all the same at 2026-01-05T12:01:00Z (in 60s).",
  },
  "a step that this plugin does not know": {
    file: "window-closed",
    change: says("Draining", "SomethingNew", "Something takes 30s.", grant("Granted")),
    situation: "Granting",
    sentence: "node-01 holds a slot: something takes 30s.",
  },
  "a drain that yields": {
    file: "window-closed",
    change: says(
      "Draining",
      "DrainYielded",
      "Neither this drain nor that of node-05 gets on; this one is younger and gives way.",
      grant("Granted"),
    ),
    situation: "DrainYielded",
    sentence:
      "node-01 gives its slot back: neither this drain nor that of node-05 gets on; this one is younger and gives way.",
  },
  "a drain while the window closes": {
    file: "window-closed",
    change: says(
      "Draining",
      "WindowClosing",
      "The window closes at 2026-01-05T12:05:00Z, and 1 Pod had not left: default/a.",
      grant("Granted"),
    ),
    situation: "WindowClosing",
    sentence:
      "node-01 gives its slot back: the window closes at 2026-01-05T12:05:00Z, and 1 Pod had not left: default/a.",
  },
  "load balancers are given time": {
    file: "window-closed",
    change: says(
      "Draining",
      "LeavingLoadBalancers",
      "Load balancers have until 2026-01-05T12:00:20Z to let go of the node.",
      grant("Granted"),
    ),
    situation: "LeavingLoadBalancers",
    sentence:
      "node-01 is cordoned, and Pods leave once load balancers had time to let go of it: load balancers have until 2026-01-05T12:00:20Z (in 20s) to let go of the node.",
  },
  "held while it drains": {
    file: "window-closed",
    change: all(
      says("Draining", "Draining", "1 Pod to leave: default/a.", grant("Granted")),
      held("its disk clicks"),
    ),
    situation: "Held",
    sentence: "node-01 gives its slot back, because a person holds it: its disk clicks.",
  },
  "paused while it drains": {
    file: "window-closed",
    change: all(
      says("Draining", "Draining", "1 Pod to leave: default/a.", grant("Granted")),
      groupSpec({ paused: true }),
    ),
    situation: "Paused",
    sentence: "node-01 gives its slot back, because UpdateGroup calm is paused.",
  },
  "its agent goes away while it drains": {
    file: "window-closed",
    change: says("Draining", "Draining", "1 Pod to leave: default/a.", {
      ...grant("Granted"),
      connected: false,
    }),
    situation: "AgentLost",
    sentence:
      "node-01 holds a slot and its agent is away: unless that comes back within a minute, the slot is taken back.",
  },
  "etcd was rebuilt before the commit": {
    file: "window-closed",
    change: says(
      "Draining",
      "Revoked",
      "etcd's data was rebuilt after this slot was given; it is asked for anew.",
      grant("Granted"),
    ),
    situation: "Revoked",
    sentence:
      "node-01 gives its slot back: etcd's data was rebuilt after this slot was given; it is asked for anew.",
  },
  drained: {
    file: "window-closed",
    change: says(
      "Rebooting",
      "Drained",
      "The node is drained; its agent may ask to reboot.",
      grant("Drained"),
    ),
    situation: "Drained",
    sentence: "node-01 is drained, and its agent asks to reboot next.",
  },
  "committed and not gone yet": {
    file: "window-closed",
    change: says("Rebooting", "Committed", "The machine may reboot now.", grant("Committed")),
    situation: "Committed",
    sentence:
      "node-01 has leave to reboot into harbor-1.1.0-calm and does so any moment; it is Suspect if it is not back at 2026-01-05T12:11:00Z (in 11m).",
  },
  "paused after the commit": {
    file: "window-closed",
    change: all(
      says("Rebooting", "Rebooting", "The machine reboots.", { ...grant("Committed"), connected: false }),
      groupSpec({ paused: true }),
    ),
    situation: "Rebooting",
    sentence:
      "node-01 has been rebooting into harbor-1.1.0-calm for 60s; it is Suspect if it is not back at 2026-01-05T12:11:00Z (in 11m); a hold or pause reaches it no more, for it has committed.",
  },
  "back, and its boot checks run": {
    file: "window-closed",
    change: says("Verifying", "VerifyingBoot", "The machine is back; its boot checks run.", {
      ...grant("Committed"),
      running: "1.1.0-calm",
    }),
    situation: "VerifyingBoot",
    sentence:
      "node-01 is back from its reboot for 60s and is being verified: the machine is back; its boot checks run.",
  },
  "back, and its release checks run": {
    file: "window-closed",
    change: says("Verifying", "VerifyingRelease", "The boot is good, but the node is not Ready.", {
      ...grant("Returned"),
      running: "1.1.0-calm",
    }),
    situation: "VerifyingRelease",
    sentence:
      "node-01 is back from its reboot for 60s and is being verified: the boot is good, but the node is not Ready; it counts as failed after 10m in which the API server could be asked.",
  },
  "etcd was rebuilt after the commit": {
    file: "window-closed",
    change: says(
      "Verifying",
      "VerifyingRelease",
      "etcd was rebuilt; what came of the reboot shows when the agent reports.",
      grant("Returned"),
    ),
    situation: "VerifyingRelease",
    sentence:
      "node-01 is back from its reboot for 60s and is being verified: etcd was rebuilt; what came of the reboot shows when the agent reports; it counts as failed after 10m in which the API server could be asked.",
  },
  "it fell back": {
    file: "window-closed",
    change: says(
      "Verifying",
      "BootChecksFailed",
      "harbor: http://localhost/healthz answered 503.",
      grant("Returned"),
    ),
    situation: "BootChecksFailed",
    sentence:
      "node-01 came back from its reboot on 1.0.0, which did not go well: harbor: http://localhost/healthz answered 503.",
  },
  "its boot lost power": {
    file: "window-closed",
    change: says("Verifying", "PowerLost", "The boot ended without a verdict.", grant("Returned")),
    situation: "PowerLost",
    sentence:
      "node-01 came back from its reboot on 1.0.0, which did not go well: the boot ended without a verdict.",
  },
};

/** How a slot is given back before the reboot: the manager's words, or the agent's. */
const ends: readonly [Situation, string][] = [
  ["DrainTimedOut", "after 10m 1 Pod had not left: default/a"],
  ["CommitRefused", "the grant is gone"],
  ["CommitExpired", "the agent did not ask to reboot within five minutes after the drain"],
  ["Withdrawn", "the slot was given back before the reboot"],
  ["DeadManUnavailable", "slipway-deadman.service does not run"],
  ["FlipFailed", "the disk is read-only"],
  ["RebootRefused", "a backup inhibits it"],
  ["NothingStaged", "1.1.0-calm is not in the passive slot"],
  ["RebootNotRequired", "nothing asks for a reboot"],
  ["StaleToken", "the token names no living grant"],
];

test.each(ends)("a slot that is given back: %s", (situation, message) => {
  // A grant that was committed and then withdrawn keeps its phase until its slot is free.
  for (const phase of ["Granted", "Committed"] as const) {
    const change = says(
      "Draining",
      situation,
      `${message.charAt(0).toUpperCase()}${message.slice(1)}.`,
      grant(phase),
    );
    const found = explained({ file: "window-closed", change });
    expect(found).toMatchObject({ situation, sentence: `node-01 gives its slot back: ${message}.` });
    adviceIsSound(found);
  }
});

test.each<[Situation, Step]>([
  ["Stolen", "Draining"],
  ["HolderExpired", "Suspect"],
])("a slot that is taken away: %s", (situation, step) => {
  const change = says(step, situation, "A person frees the slot: its disk is gone.", grant("Committed"));
  const found = explained({ file: "window-closed", change });
  expect(found).toMatchObject({
    situation,
    sentence: "node-01 loses its slot: a person frees the slot: its disk is gone.",
  });
});

test.each<Situation>(["FellBack", "ReleaseChecksFailed", "StillRequired"])(
  "a reboot that did not go well: %s",
  (situation) => {
    const change = says("Verifying", situation, "The node is not Ready.", grant("Returned"));
    expect(explained({ file: "window-closed", change })).toMatchObject({
      situation,
      sentence: "node-01 came back from its reboot on 1.0.0, which did not go well: the node is not Ready.",
    });
  },
);

test.each(Object.entries(cases))("%s", (_name, one) => {
  const found = explained(one);
  expect(found?.sentence).toBe(one.sentence);
  expect(found?.situation).toBe(one.situation);
  adviceIsSound(found);
});
