import { expect, test } from "vitest";
import { Hook, type HookRun, Hooks } from "../../api/hook.ts";
import { timestamp } from "../../api/meta.ts";
import { NOW } from "../fixtures.ts";
import { type Answer, decideHooks, type HooksView, hookNeeds, runningOf } from "./policy.ts";
import { jobName, runKey } from "./run-name.ts";

const hook = (name: string, more: object = {}): Hook =>
  Hook.parse({ name, http: { url: "http://hook.test/x" }, timeout: "60s", onFailure: "Stop", ...more });

const run = (name: string, state: HookRun["state"], more: Partial<HookRun> = {}): HookRun => ({
  phase: "Before",
  name,
  state,
  since: timestamp(NOW - 10_000),
  ...more,
});

function view(changes: Partial<HooksView> = {}): HooksView {
  return {
    group: "pool",
    phase: "Before",
    hooks: [hook("first"), hook("second")],
    runs: [],
    answer: undefined,
    elapsed: 0,
    now: NOW,
    ...changes,
  };
}

const running = (answer: Answer | undefined, changes: Partial<HooksView> = {}) =>
  decideHooks(view({ runs: [run("first", "Running")], answer, ...changes }));

test("without hooks nothing is waited for", () => {
  expect(decideHooks(view({ hooks: [] }))).toEqual({ is: "over" });
});

test("a run stands in the status before anybody is asked, one at a time", () => {
  expect(decideHooks(view())).toMatchObject({
    is: "running",
    act: "begin",
    hook: { name: "first" },
    runs: [{ phase: "Before", name: "first", state: "Running", since: timestamp(NOW) }],
    why: { reason: "HookRunning", message: "Hook first of UpdateGroup pool runs before the reboot." },
  });
  const next = decideHooks(view({ runs: [run("first", "Done")] }));
  expect(next).toMatchObject({ act: "begin", hook: { name: "second" } });
  expect(decideHooks(view({ runs: [run("first", "Done"), run("second", "Done")] }))).toEqual({ is: "over" });
});

test("runs of the other phase are not this one's", () => {
  const before = [run("first", "Done"), run("second", "Done")];
  const after = decideHooks(view({ phase: "After", runs: before }));
  expect(after).toMatchObject({ act: "begin", hook: { name: "first" } });
  expect(after.is === "running" && after.runs).toHaveLength(3);
});

test("what nobody was asked yet is asked, also after a crash; what says not yet is waited for", () => {
  expect(running({ kind: "unasked" })).toMatchObject({ act: "begin" });
  expect(running({ kind: "pending", message: "it answered 202: 40 %" })).toMatchObject({
    act: "wait",
    why: { message: "Hook first of UpdateGroup pool runs before the reboot: it answered 202: 40 %." },
  });
  expect(running({ kind: "silent", cause: "connect ECONNREFUSED" })).toMatchObject({
    act: "wait",
    why: {
      message:
        "Hook first of UpdateGroup pool runs before the reboot: it gives no answer (connect ECONNREFUSED).",
    },
  });
  expect(running(undefined, { elapsed: 1e9 })).toMatchObject({ act: "wait" });
});

test("done is done however late, and is taken back", () => {
  const decision = running({ kind: "done" }, { elapsed: 1e9 });
  expect(decision).toMatchObject({ act: "end", runs: [{ state: "Done", until: timestamp(NOW) }] });
  expect(decision.is === "running" && runningOf(decision.runs)).toBeUndefined();
});

test.each<[string, Answer, number, string]>([
  ["a refusal", { kind: "failed", cause: "it answered 409: no quorum." }, 0, "it answered 409: no quorum"],
  ["silence", { kind: "silent", cause: "refused" }, 60_000, "it was not done within 60s: it gives no answer"],
  ["never done", { kind: "pending", message: "it waits" }, 60_000, "it was not done within 60s: it waits"],
  ["can't be asked", { kind: "unasked" }, 60_000, "it was not done within 60s"],
])("%s fails the hook, and the status says why", (_what, answer, elapsed, cause) => {
  const decision = running(answer, { elapsed });
  expect(decision).toMatchObject({
    act: "end",
    runs: [{ state: "Failed", message: expect.stringContaining(cause) }],
    why: { reason: "HookFailed", message: expect.stringContaining(cause) },
  });
  if (decision.is !== "running") throw new Error("it must be ended first");
  expect(decideHooks(view({ runs: decision.runs }))).toMatchObject({
    is: "stopped",
    why: {
      reason: "HookFailed",
      message: expect.stringMatching(/^Hook first of UpdateGroup pool failed before the reboot: /),
    },
  });
});

test("a failure that may be gone over is told, and the next hook runs", () => {
  const hooks = [hook("first", { onFailure: "Continue" }), hook("second")];
  const decision = running({ kind: "failed", cause: "no" }, { hooks });
  expect(decision).toMatchObject({
    act: "end",
    why: { reason: "HookFailed", message: expect.stringContaining("it goes on without") },
  });
  if (decision.is !== "running") throw new Error("it must be ended first");
  expect(decideHooks(view({ hooks, runs: decision.runs }))).toMatchObject({
    act: "begin",
    hook: { name: "second" },
  });
});

test("a message that is too long for the status is cut", () => {
  const decision = running({ kind: "failed", cause: "x".repeat(5000) });
  expect(decision.is === "running" && decision.runs[0]?.message).toHaveLength(1024);
});

test("what hooks may take at most is the sum of their timeouts", () => {
  const hooks = Hooks.parse({ before: [hook("a"), hook("b", { timeout: "2m" })], after: [] });
  expect(hookNeeds(hooks, "Before")).toBe(180_000);
  expect(hookNeeds(hooks, "After")).toBe(0);
  expect(hookNeeds(undefined, "Before")).toBe(0);
});

test("a Job's name is the same to every manager, another one in each grant, phase and hook, and short enough", () => {
  const name = jobName(runKey("nonce", "Before", "ceph"), "ceph");
  expect(name).toMatch(/^slipway-ceph-[0-9a-f]{16}$/);
  expect(jobName(runKey("nonce", "Before", "ceph"), "ceph")).toBe(name);
  const others = [
    ["other", "Before", "ceph"],
    ["nonce", "After", "ceph"],
    ["nonce", "Before", "etcd"],
  ] as const;
  for (const [grant, phase, other] of others)
    expect(jobName(runKey(grant, phase, other), "ceph")).not.toBe(name);
  const long = jobName(runKey("nonce", "Before", "x"), `${"a".repeat(31)}-bcdefgh`);
  expect(long.length).toBeLessThanOrEqual(63);
  expect(long).toMatch(/^slipway-a{31}-[0-9a-f]{16}$/);
});
