/**
 * Clocks that jump. Real processes share the host's clock, so these days are played on the
 * policies and on the agent's loop: what binds an agent is counted on a clock that does not
 * jump, and what a wrong clock dated ahead holds nobody up and forgives nothing.
 */
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { target } from "../../agent/fake-gateway.ts";
import { over, type World, world } from "../../agent/fake-world.ts";
import { timestamp } from "../../api/meta.ts";
import type { NodeUpdateStatus } from "../../api/node-update.ts";
import type { UpdateGroup, UpdateGroupStatus } from "../../api/update-group.ts";
import { group, live, nodeUpdate, nodeView } from "../../controllers/fixtures.ts";
import { GATE_VALIDITY } from "../../controllers/gates/policy.ts";
import { backOffUntil, lastReturn, rebootsSince } from "../../controllers/grants/history.ts";
import { decideNode } from "../../controllers/node-update/policy.ts";
import { isForgiven, resumeOf } from "../../controllers/rollout/failure.ts";
import { progressOf, type Standing } from "../../controllers/rollout/stage.ts";
import { answerCommit, type CommitQuestion } from "../../coordination/admission.ts";
import { openGate } from "../../coordination/fixtures.ts";

const NOW = Date.parse("2026-11-23T03:00:00Z");
const DAY = 86_400_000;
const YEAR = 365 * DAY;
const jumps = fc.integer({ min: -YEAR, max: YEAR });

describe("an agent whose wall clock jumps after its commit", () => {
  async function jumped(by: number, frozenFor: number): Promise<World> {
    const w = world();
    w.gateway.desired.target = target("2.0.0", "b");
    w.machine.startAgent();
    await w.until(() => w.gateway.observed.at(-1)?.stagedRootHash === "b");
    let once = true;
    w.machine.before = (act) => {
      if (act !== "arm" || !once) return;
      once = false;
      w.clock.jump(by);
      w.clock.freeze(frozenFor);
    };
    w.gateway.give();
    await w.until(() => over(w) || w.gateway.grant?.phase === "Withdrawn");
    return w;
  }

  it("reboots in time, whatever the clock on the wall says", async () => {
    await fc.assert(
      fc.asyncProperty(jumps, async (by) => {
        const w = await jumped(by, 5_000);
        expect(w.gateway.breaches).toEqual([]);
        expect(w.machine.running).toBe("B");
      }),
      { numRuns: 20 },
    );
  });

  it("does not reboot with its seconds spent", async () => {
    await fc.assert(
      fc.asyncProperty(jumps, async (by) => {
        const w = await jumped(by, 31_000);
        expect(w.gateway.breaches).toEqual([]);
        expect(w.machine.log.filter((line) => line.startsWith("reboot"))).toEqual([]);
      }),
      { numRuns: 20 },
    );
  });
});

describe("a gateway whose clock is not the manager's", () => {
  const { token, grant } = live("n", { phase: "Drained" });

  /** Gates of a manager at NOW, asked about on a clock that differs by `skew`. */
  function ask(skew: number, openFor: number | null): ReturnType<typeof answerCommit> {
    const validUntil = NOW + GATE_VALIDITY;
    const openUntil = openFor === null ? null : NOW + openFor;
    const budget = grant.budgets[0] ?? "";
    const question: CommitQuestion = {
      token,
      session: 1,
      boot: "boot-1",
      incarnation: token.incarnation,
      newest: 1,
      grant,
      living: token,
      phase: { phase: "Drained", at: NOW },
      gate: openGate(grant.group, validUntil, { openUntil }),
      budgets: [{ budget, gate: { budget, max: 1, unavailable: [], validUntil }, holders: new Set() }],
      grants: new Map(),
    };
    return answerCommit(question, NOW + skew);
  }

  it("never answers for longer than a commit may be good", () => {
    fc.assert(
      fc.property(jumps, fc.option(fc.integer({ min: 0, max: DAY })), (skew, openFor) => {
        const answer = ask(skew, openFor);
        if ("goodForSeconds" in answer) {
          expect(answer.goodForSeconds).toBeGreaterThan(0);
          expect(answer.goodForSeconds).toBeLessThanOrEqual(30);
        }
      }),
    );
  });

  it("refuses everything where it is ahead by more than a gate is valid", () => {
    fc.assert(
      fc.property(fc.integer({ min: GATE_VALIDITY, max: YEAR }), (skew) => {
        expect(ask(skew, null)).toMatchObject({ reason: "WaitingForGates" });
      }),
    );
  });
});

describe("a manager whose clock jumps", () => {
  /** Gave its slot back, and returned from a reboot, at `time`. */
  function past(time: number): NodeUpdateStatus {
    const at = timestamp(time);
    const entry = (step: "Staged" | "Draining" | "Verifying" | "Idle") => ({
      step,
      time: at,
      reason: "",
      message: "",
    });
    return {
      verifiedAt: at,
      givenBack: { times: 1, windowClosed: 0, time: at, reason: "DrainTimedOut" },
      transitions: [entry("Staged"), entry("Draining"), entry("Idle"), entry("Verifying")],
    };
  }

  it("waits for nothing that was dated ahead, once its clock is right again", () => {
    fc.assert(
      fc.property(fc.integer({ min: 120_000, max: YEAR }), (ahead) => {
        const status = past(NOW + ahead);
        expect(backOffUntil(status, NOW)).toBeUndefined();
        expect(lastReturn(status, NOW)).toBe(Number.NEGATIVE_INFINITY);
        expect(rebootsSince(status, NOW - DAY, NOW)).toBe(0);
      }),
    );
    expect(backOffUntil(past(NOW), NOW)).toBe(NOW + 30_000);
    expect(rebootsSince(past(NOW), NOW - DAY, NOW)).toBe(1);
  });

  it("lets a stage soak from when it noticed that a return was dated ahead", () => {
    const cohorts = [{ name: "canary", soak: "10m", members: ["a"], size: 1 }];
    const rules = { failureThreshold: 1, declared: true, moving: true };
    const good: Standing = {
      uid: "a",
      state: "Good",
      forgiven: false,
      healthy: true,
      verifiedAt: NOW + YEAR,
    };
    const standings = new Map([["a", good]]);
    const opened = { name: "canary", size: 1, verified: 1, openedAt: timestamp(NOW - DAY) };
    const ahead = { ...opened, lastReturnAt: timestamp(NOW + YEAR) };
    const noticed = progressOf(cohorts, standings, [ahead], rules, NOW);
    expect(noticed.soakingUntil).toBe(NOW + 600_000);
    const later = progressOf(cohorts, standings, noticed.stages, rules, NOW + 599_000);
    expect(later.soakingUntil).toBe(NOW + 600_000);
    expect(
      progressOf(cohorts, standings, later.stages, rules, NOW + 600_000).stages[0]?.passedAt,
    ).toBeDefined();
  });

  it("forgives no failure that comes after its clock was set back", () => {
    const group = groupWith({ resumed: "go on", resumedAt: timestamp(NOW + YEAR) });
    const resume = resumeOf(group, "go on", NOW);
    expect(isForgiven(timestamp(NOW + 60_000), resume.at)).toBe(false);
    expect(resumeOf(groupWith({ resumed: "go on", resumedAt: timestamp(NOW + 3000) }), "go on", NOW).at).toBe(
      NOW + 3000,
    );
  });

  it("says that a machine is Suspect, and neither convicts it at once nor forgets it", () => {
    const committed = (at: number, absentFor: number) =>
      decideNode(
        nodeView({
          nodeUpdate: nodeUpdate("a", "pool", "os-1.1.0", { step: "Rebooting" }),
          live: live("uid-a", { phase: "Committed", committedAt: at }),
          observed: undefined,
          present: false,
          absentFor,
        }),
        NOW,
      );
    const forward = committed(NOW - YEAR, 1000);
    expect(forward).toMatchObject({ step: "Suspect", act: { do: "none" } });
    expect(forward.status.failed).toBeUndefined();
    expect(committed(NOW + YEAR, 1000).step).toBe("Rebooting");
    expect(committed(NOW + YEAR, DAY).step).toBe("Suspect");
  });
});

function groupWith(status: UpdateGroupStatus): UpdateGroup {
  return { ...group("pool"), status };
}
