/** The hooks of a group in the way of a node: what they hold back, and what ends them (design, rules 3, 4 and 10). */
import * as fc from "fast-check";
import { expect, test } from "vitest";
import type { Hook, HookPhase, HookRun } from "../../api/hook.ts";
import { CORDON_ANNOTATION, HOLD_ANNOTATION } from "../../api/labels.ts";
import { timestamp } from "../../api/meta.ts";
import type { NodeUpdateStatus } from "../../api/node-update.ts";
import type { Phase } from "../../coordination/records.ts";
import { group, INCARNATION, live, NOW, node, nodeUpdate, nodeView, observed, pod } from "../fixtures.ts";
import type { Answer } from "../hooks/policy.ts";
import { jobName, runKey } from "../hooks/run-name.ts";
import { freeze, needsOf } from "./deadlines.ts";
import type { NodeView } from "./decision.ts";
import { drainOf } from "./drain-view.ts";
import { decideNode } from "./policy.ts";
import { failureOf } from "./status.ts";

const call = (name: string, onFailure = "Stop", timeout = "60s") => ({
  name,
  http: { url: "http://hook.test/x" },
  timeout,
  onFailure,
});
const pool = (before: object[], after: object[] = []) => group("pool", { hooks: { before, after } });
const both = pool([call("before")], [call("after")]);

const cordoned = (() => {
  const made = node("a", { cordoned: true, boot: "boot-2" });
  const cordon = { token: { incarnation: INCARNATION, revision: 7 }, unschedulable: false };
  made.metadata.annotations = { [CORDON_ANNOTATION]: JSON.stringify(cordon) };
  return made;
})();

const drained = { act: "done", why: { reason: "Drained", message: "Every Pod has left." } } as const;
const well = { askedFor: 0, heartbeat: true };

const run = (phase: HookPhase, name: string, state: HookRun["state"]): HookRun => ({
  phase,
  name,
  state,
  since: timestamp(NOW - 10_000),
});

/** Under a grant whose hooks ran so far as `runs` says. */
function under(
  phase: Partial<Phase> & Pick<Phase, "phase">,
  runs: HookRun[],
  changes: Partial<NodeView> = {},
): NodeView {
  const status: NodeUpdateStatus = {
    step: phase.phase === "Returned" ? "Verifying" : "Draining",
    grant: {
      nonce: "nonce-7",
      budgets: ["group/pool"],
      phase: phase.phase === "Returned" ? "Returned" : "Granted",
      since: timestamp(NOW - 60_000),
      policy: freeze(changes.group ?? both),
      hooks: runs,
    },
  };
  return nodeView({
    nodeUpdate: nodeUpdate("a", "pool", "os-1.1.0", status),
    group: both,
    node: cordoned,
    live: live("uid-a", phase),
    drain: drained,
    look: well,
    ...(phase.phase === "Returned" ? { observed: observed("1.1.0", undefined, "boot-2") } : {}),
    ...changes,
  });
}

const back = { phase: "Returned", verdict: "Updated", committedBoot: "boot-1/0", reason: "Updated" } as const;
const hook = (answer: Answer, watched = 0) => ({ hook: { answer, watched } });

test("a drained node is not marked so before its hooks are done", () => {
  const first = decideNode(under({ phase: "Granted" }, []), NOW);
  expect(first.act).toMatchObject({ do: "beginHook", phase: "Before", hook: { name: "before" } });
  expect(first.status.grant?.hooks).toMatchObject([{ name: "before", state: "Running" }]);
  expect(first.status.grant?.phase).toBe("Granted");
  const wait = under({ phase: "Granted" }, [run("Before", "before", "Running")], hook({ kind: "unasked" }));
  expect(decideNode(wait, NOW).act.do).toBe("beginHook");
  const done = under({ phase: "Granted" }, [run("Before", "before", "Running")], hook({ kind: "done" }));
  expect(decideNode(done, NOW).act.do).toBe("endHook");
  const over = decideNode(under({ phase: "Granted" }, [run("Before", "before", "Done")]), NOW);
  expect(over.act.do).toBe("markDrained");
  expect(over.status.grant?.phase).toBe("Drained");
});

test("while Pods leave no hook is asked; once one is, its own Pods are not drained", () => {
  const why = { reason: "Draining", message: "1 Pod to leave." } as const;
  const evict = { act: "evict", pods: [], left: 1, why } as const;
  expect(decideNode(under({ phase: "Granted" }, [], { drain: evict }), NOW).act.do).toBe("evict");
  const begun = [run("Before", "before", "Running")];
  expect(
    decideNode(
      under({ phase: "Granted" }, begun, { drain: evict, ...hook({ kind: "pending", message: "" }) }),
      NOW,
    ).act.do,
  ).toBe("none");
});

test("a failure before the reboot gives the slot back, with its reason", () => {
  const failed = { ...run("Before", "before", "Failed"), message: "no quorum" };
  const decision = decideNode(under({ phase: "Granted" }, [failed]), NOW);
  expect(decision.act).toMatchObject({ do: "revoke", why: { reason: "HookFailed" } });
  expect(decision.why.message).toContain("no quorum");
  expect(decision.status.failed).toBeUndefined();
});

test("a window that closes, a hold or a lost agent end a hook as they end a drain", () => {
  const runs = [run("Before", "before", "Running")];
  const waiting = hook({ kind: "pending", message: "it waits" });
  const closing = { reason: "WindowClosing", message: "The window closes." } as const;
  const act = (changes: Partial<NodeView>) =>
    decideNode(under({ phase: "Granted" }, runs, { ...waiting, ...changes }), NOW).act;
  expect(act({ closing })).toMatchObject({ do: "revoke", why: { reason: "WindowClosing" } });
  expect(act({ absentFor: 120_000 })).toMatchObject({ do: "revoke", why: { reason: "AgentLost" } });
  const held = {
    ...cordoned,
    metadata: {
      ...cordoned.metadata,
      annotations: { ...cordoned.metadata.annotations, [HOLD_ANNOTATION]: "x" },
    },
  };
  expect(act({ node: held })).toMatchObject({ do: "revoke", why: { reason: "Held" } });
});

test("a node that came back is checked first, then asked, and is free only then", () => {
  const ill = decideNode(under(back, [], { look: { askedFor: 0, heartbeat: false } }), NOW);
  expect(ill.act.do).toBe("none");
  const first = decideNode(under(back, []), NOW);
  expect(first.act).toMatchObject({ do: "beginHook", phase: "After" });
  expect(first.status.verifiedAt).toBeUndefined();
  const over = decideNode(under(back, [run("After", "after", "Done")]), NOW);
  expect(over.act.do).toBe("finish");
  expect(over.status).toMatchObject({ verifiedAt: timestamp(NOW), verifiedRelease: "os-1.1.0" });
});

test("a failure after the reboot is the node's, as that of a release check, and frees the slot", () => {
  const failed = { ...run("After", "after", "Failed"), message: "ceph is not well" };
  const decision = decideNode(under(back, [failed]), NOW);
  expect(decision.act.do).toBe("finish");
  expect(decision.status.verifiedAt).toBeUndefined();
  expect(failureOf(decision.status, "nonce-7")).toMatchObject({ reason: "HookFailed", release: "os-1.1.0" });
});

test("a node that fell back is asked as well, and what failed first is what is told", () => {
  const fell = { ...back, verdict: "FellBack", reason: "BootChecksFailed", message: "kubelet" } as const;
  const changes = { observed: observed("1.0.0", undefined, "boot-2") };
  expect(decideNode(under(fell, [], changes), NOW).act.do).toBe("beginHook");
  const failed = { ...run("After", "after", "Failed"), message: "no" };
  const decision = decideNode(under(fell, [failed], changes), NOW);
  expect(decision.act.do).toBe("finish");
  expect(failureOf(decision.status, "nonce-7")).toMatchObject({ reason: "BootChecksFailed" });
});

test("a node that is not well when its hooks are done has time again, and then fails by its checks", () => {
  const done = [run("After", "after", "Done")];
  const ill = (askedFor: number) =>
    decideNode(under(back, done, { look: { askedFor, heartbeat: false } }), NOW);
  expect(ill(600_000).act.do).toBe("none");
  expect(ill(660_000).act.do).toBe("finish");
  expect(failureOf(ill(660_000).status, "nonce-7")).toMatchObject({ reason: "ReleaseChecksFailed" });
});

test("time in which no manager looked counts before the reboot, not after it", () => {
  const waiting = hook({ kind: "pending", message: "it waits" }, 1000);
  const long: HookRun = { ...run("Before", "before", "Running"), since: timestamp(NOW - 3_600_000) };
  expect(decideNode(under({ phase: "Granted" }, [long], waiting), NOW).why.reason).toBe("HookFailed");
  const after: HookRun = { ...long, phase: "After", name: "after" };
  expect(decideNode(under(back, [after], waiting), NOW).why.reason).toBe("HookRunning");
});

test("the group's hooks are frozen in the grant, and their time counts into the window", () => {
  const changed = pool([call("another")]);
  const view = under({ phase: "Granted" }, [run("Before", "before", "Done")], {});
  expect(decideNode({ ...view, group: changed }, NOW).act.do).toBe("markDrained");
  const bare = needsOf(group("pool"), nodeUpdate("a", "pool", undefined));
  const needs = needsOf(pool([call("a"), call("b")]), nodeUpdate("a", "pool", undefined));
  expect(needs).toEqual({ all: bare.all + 120_000, boot: bare.boot });
});

test("another grant's runs are not this one's", () => {
  const view = under({ phase: "Granted" }, [run("Before", "before", "Done")]);
  const other = { ...view, live: live("uid-a", { phase: "Granted" }, { revision: 8 }) };
  other.node = {
    ...cordoned,
    metadata: {
      ...cordoned.metadata,
      annotations: {
        [CORDON_ANNOTATION]: JSON.stringify({ token: other.live.token, unschedulable: false }),
      },
    },
  };
  expect(decideNode(other, NOW).act.do).toBe("beginHook");
});

test("what came to the node while hooks ran leaves it before the reboot, and the hooks' own Pods stay", () => {
  const job = {
    name: "move",
    job: { namespace: "ops", cronJob: "move" },
    timeout: "60m",
    onFailure: "Continue",
  };
  const owner = pool([job]);
  const late = { act: "abort", why: { reason: "DrainTimedOut", message: "" } } as const;
  const pods = [pod("web", "a")];
  const evict = { act: "evict", pods, left: 1, why: { reason: "Draining", message: "" } } as const;
  const ended = { ...run("Before", "move", "Done"), until: timestamp(NOW - 5000) };
  const at = (runs: HookRun[], drain?: NodeView["drain"]) =>
    under({ phase: "Granted" }, runs, { group: owner, drain });
  expect(decideNode(at([ended], evict), NOW).act).toEqual({ do: "evict", pods });
  expect(decideNode(at([ended], late), NOW).act.do).toBe("revoke");
  expect(decideNode(at([ended], undefined), NOW).act.do).toBe("none");
  expect(decideNode(at([ended], drained), NOW).act.do).toBe("markDrained");

  const asked = (runs: HookRun[]) => drainOf("uid-a", at(runs), { grants: new Map() }, [], NOW);
  expect(asked([run("Before", "move", "Running")])).toBeUndefined();
  const name = jobName(runKey("nonce-7", "Before", "move"), "move");
  expect(asked([ended])).toMatchObject({ startedAt: NOW - 5000, hookJobs: [{ namespace: "ops", name }] });
  const ahead = { ...ended, until: timestamp(NOW + 3_600_000) };
  expect(asked([ahead])?.startedAt).toBeLessThanOrEqual(NOW);
});

/** One look of a manager: how much later, what the hook says, and whether it dies before it acts. */
const looks = fc.array(
  fc.record({
    later: fc.integer({ min: 0, max: 40 }),
    says: fc.constantFrom<Answer>(
      { kind: "unasked" },
      { kind: "pending", message: "not yet" },
      { kind: "silent", cause: "refused" },
      { kind: "done" },
      { kind: "failed", cause: "no" },
    ),
    dies: fc.boolean(),
  }),
  { minLength: 5, maxLength: 60 },
);
const list = fc.array(fc.constantFrom("Stop", "Continue"), { maxLength: 3 });

test("no commit before every hook that stops is done, no slot free before each is over: whatever hooks say and managers die of", () => {
  const seen = { drained: 0, revoked: 0, verified: 0, failed: 0 };
  fc.assert(
    fc.property(list, list, looks, (before, after, moments) => {
      const owner = pool(
        before.map((onFailure, index) => call(`b${index}`, onFailure)),
        after.map((onFailure, index) => call(`a${index}`, onFailure)),
      );
      const hooks = owner.spec.hooks as { before: Hook[]; after: Hook[] };
      const told = new Set<string>();
      let phase: Partial<Phase> & Pick<Phase, "phase"> = { phase: "Granted" };
      let update = under(phase, [], { group: owner }).nodeUpdate;
      let [now, watched] = [NOW, 0];
      const isOver = ({ name, onFailure }: Hook, of: HookPhase): boolean =>
        told.has(`${of}/${name}`) || (onFailure === "Continue" && stateOf(of, name) === "Failed");
      const stateOf = (of: HookPhase, name: string) =>
        update.status?.grant?.hooks?.find((each) => each.phase === of && each.name === name)?.state;
      for (const { later, says, dies } of moments) {
        now += later * 1000;
        const running = update.status?.grant?.hooks?.find(({ state }) => state === "Running");
        watched = running === undefined ? 0 : watched + Math.min(later * 1000, 15_000);
        if (running !== undefined && says.kind === "done") told.add(`${running.phase}/${running.name}`);
        const view = under(phase, [], {
          group: owner,
          nodeUpdate: update,
          ...(running === undefined ? {} : hook(says, watched)),
        });
        const { status, act, why } = decideNode(view, now);
        update = { ...update, status };
        // One at a time, in order.
        expect(status.grant?.hooks?.filter(({ state }) => state === "Running").length ?? 0).toBeLessThan(2);
        if (dies) {
          watched = 0;
          continue;
        }
        if (act.do === "markDrained") {
          for (const each of hooks.before) expect(isOver(each, "Before"), each.name).toBe(true);
          seen.drained++;
          phase = back;
        } else if (act.do === "revoke") {
          expect(why.reason).toBe("HookFailed");
          const stops = hooks.before.filter(({ onFailure }) => onFailure === "Stop");
          expect(stops.some(({ name }) => stateOf("Before", name) === "Failed")).toBe(true);
          seen.revoked++;
          return;
        } else if (act.do === "finish") {
          const stopped = hooks.after.some(
            ({ name, onFailure }) => onFailure === "Stop" && stateOf("After", name) === "Failed",
          );
          if (stopped) {
            expect(status.verifiedAt).toBeUndefined();
            expect(failureOf(status, "nonce-7")?.reason).toBe("HookFailed");
            seen.failed++;
          } else {
            for (const each of hooks.after) expect(isOver(each, "After"), each.name).toBe(true);
            expect(status.verifiedAt).toBeDefined();
            seen.verified++;
          }
          return;
        }
      }
    }),
    { numRuns: 500 },
  );
  // It must have been everywhere.
  for (const [where, times] of Object.entries(seen)) expect(times, where).toBeGreaterThan(10);
});

/** What never becomes done. */
const never: readonly Answer[] = [
  { kind: "unasked" },
  { kind: "pending", message: "not yet" },
  { kind: "silent", cause: "refused" },
];

test("whatever hooks say, the way ends within their timeouts", () => {
  fc.assert(
    fc.property(list, fc.constantFrom(...never), (kinds, answer) => {
      const owner = pool(
        [],
        kinds.map((onFailure, index) => call(`a${index}`, onFailure)),
      );
      let update = under(back, [], { group: owner }).nodeUpdate;
      let [seconds, watched, ended] = [0, 0, false];
      for (; seconds < 60 * kinds.length + 60 && !ended; seconds++) {
        const running = update.status?.grant?.hooks?.some(({ state }) => state === "Running") === true;
        watched = running ? watched + 1000 : 0;
        const look = running ? hook(answer, watched) : {};
        const { status, act } = decideNode(
          under(back, [], { group: owner, nodeUpdate: update, ...look }),
          NOW + seconds * 1000,
        );
        update = { ...update, status };
        ended = act.do === "finish";
      }
      expect(ended).toBe(true);
    }),
    { numRuns: 50 },
  );
});
