/** Nodes that wait for a hook: a recorded moment, changed. */
import { expect, test } from "vitest";
import { Hook, type HookPhase, type HookRun } from "../../api/hook.ts";
import type { GrantStatus } from "../../api/node-update.ts";
import { adviceIsSound, type Case, explained, grant, says } from "./cases.ts";

const hooks = {
  before: [
    Hook.parse({
      name: "replicas",
      label: { key: "example.org/before", answers: ["example.org/moved"] },
      timeout: "10m",
      onFailure: "Stop",
    }),
  ],
  after: [
    Hook.parse({ name: "noout", job: { namespace: "ops", cronJob: "noout" }, onFailure: "Stop" }),
    Hook.parse({ name: "desk", http: { url: "https://desk.test/x" }, onFailure: "Continue" }),
  ],
};

function hooked(
  phase: GrantStatus["phase"],
  of: HookPhase,
  name: string,
  state: HookRun["state"] = "Running",
): ReturnType<typeof grant> {
  const run: HookRun = { phase: of, name, state, since: "2026-01-05T11:58:00Z" };
  const held = grant(phase);
  const { policy } = held.grant ?? {};
  if (policy === undefined) throw new Error("a grant has a policy");
  return grant(phase, { policy: { ...policy, hooks }, hooks: [run] });
}

const cases: Record<string, Case> = {
  "a label waits for its answer": {
    file: "window-closed",
    change: says(
      "Draining",
      "HookRunning",
      "Hook replicas of UpdateGroup calm runs before the reboot: it waits for annotation example.org/moved.",
      hooked("Granted", "Before", "replicas"),
    ),
    situation: "HookRunning",
    sentence:
      "node-01 is drained and waits for a hook: hook replicas of UpdateGroup calm runs before the reboot: it waits for annotation example.org/moved; the slot is given back at 2026-01-05T12:08:00Z (in 8m).",
  },
  "it failed, and the slot goes": {
    file: "window-closed",
    change: says(
      "Draining",
      "HookFailed",
      "Hook replicas of UpdateGroup calm failed before the reboot: it was not done within 10m.",
      hooked("Granted", "Before", "replicas", "Failed"),
    ),
    situation: "HookFailed",
    sentence:
      "node-01 gives its slot back: hook replicas of UpdateGroup calm failed before the reboot: it was not done within 10m.",
  },
  "a Job after the reboot": {
    file: "window-closed",
    change: says(
      "Verifying",
      "HookRunning",
      "Hook noout of UpdateGroup calm runs after the reboot: Job ops/slipway-noout-0123456789abcdef is not over yet.",
      hooked("Returned", "After", "noout"),
    ),
    situation: "HookRunning",
    sentence:
      "node-01 is back from its reboot and waits for a hook: hook noout of UpdateGroup calm runs after the reboot: Job ops/slipway-noout-0123456789abcdef is not over yet; after 5m in which it could be asked the node counts as failed.",
  },
  "the Job failed": {
    file: "window-closed",
    change: says(
      "Verifying",
      "HookFailed",
      "Hook noout of UpdateGroup calm failed after the reboot: Job ops/x failed.",
      { ...hooked("Returned", "After", "noout", "Failed"), running: "1.1.0-calm" },
    ),
    situation: "HookFailed",
    sentence:
      "node-01 came back from its reboot on 1.1.0-calm, which did not go well: hook noout of UpdateGroup calm failed after the reboot: Job ops/x failed.",
  },
  "one failed that does not matter": {
    file: "window-closed",
    change: says(
      "Verifying",
      "HookFailed",
      "Hook desk of UpdateGroup calm failed after the reboot; it goes on without, as onFailure is Continue: it answered 404.",
      hooked("Returned", "After", "desk", "Failed"),
    ),
    situation: "HookFailed",
    sentence:
      "node-01 is being freed although a hook failed: hook desk of UpdateGroup calm failed after the reboot; it goes on without, as onFailure is Continue: it answered 404.",
  },
};

test("each run of a hook is one of the facts", () => {
  const { file, change } = cases["the Job failed"] as Case;
  const facts = explained({ file, ...(change === undefined ? {} : { change }) })?.facts ?? [];
  expect(facts).toContainEqual({ text: "hook noout after the reboot failed", since: "2026-01-05T11:58:00Z" });
});

test.each(Object.entries(cases))("%s", (_name, one) => {
  const found = explained(one);
  expect(found?.sentence).toBe(one.sentence);
  expect(found?.situation).toBe(one.situation);
  adviceIsSound(found);
});
