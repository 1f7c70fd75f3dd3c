import { describe, expect, it } from "vitest";
import { answerCommit, type CommitQuestion, type GrantQuestion, isRepair, refuseGrant } from "./admission.ts";
import type { BudgetGate, Grant, GroupGate } from "./records.ts";

const NOW = Date.UTC(2026, 10, 2);

function groupGate(change: Partial<GroupGate> = {}): GroupGate {
  return {
    group: "g",
    paused: false,
    halted: false,
    deleting: false,
    quarantined: [],
    open: true,
    openUntil: null,
    validUntil: NOW + 30_000,
    ...change,
  };
}

function budgetGate(change: Partial<BudgetGate> = {}): BudgetGate {
  return { budget: "group/g", max: 1, unavailable: [], validUntil: NOW + 30_000, ...change };
}

function question(change: Partial<GrantQuestion> = {}): GrantQuestion {
  const budgets = [{ budget: "group/g", gate: budgetGate(), holders: new Set<string>() }];
  return { uid: "n1", release: "r1", group: "g", gate: groupGate(), budgets, needs: 60_000, ...change };
}

function withBudget(gate: BudgetGate | undefined, holders: string[]): GrantQuestion {
  return question({ budgets: [{ budget: "group/g", gate, holders: new Set(holders) }] });
}

describe("refuseGrant", () => {
  it("lets a node through an open gate with room", () => {
    expect(refuseGrant(question(), NOW)).toBeUndefined();
  });

  it.each([
    ["WaitingForGates", undefined],
    ["WaitingForGates", groupGate({ validUntil: NOW })],
    ["WaitingForGates", groupGate({ validUntil: NOW + 6_000 })],
    ["Deleting", groupGate({ deleting: true })],
    ["Paused", groupGate({ paused: true })],
    ["FailureThresholdReached", groupGate({ halted: true })],
    ["ReleaseQuarantined", groupGate({ quarantined: ["r1"] })],
    ["WaitingForWindow", groupGate({ open: false })],
    ["WaitingForWindow", groupGate({ openUntil: NOW + 59_999 })],
    ["WaitingForWindow", groupGate({ openUntil: NOW - 1 })],
  ])("refuses: %s", (reason, gate) => {
    expect(refuseGrant(question({ gate }), NOW)).toMatchObject({
      reason,
      message: expect.stringMatching(/\w/),
    });
  });

  it.each([
    ["a holder fills it", withBudget(budgetGate(), ["n2"])],
    ["an unavailable node fills it", withBudget(budgetGate({ unavailable: ["n2"] }), [])],
    ["max is 0", withBudget(budgetGate({ max: 0 }), [])],
    ["a grant from before the budget fills it", withBudget(budgetGate({ granted: ["n2"] }), [])],
    [
      "holders alone fill it, though the node is unavailable",
      withBudget(budgetGate({ unavailable: ["n1"] }), ["n2"]),
    ],
    [
      "a grant from before the budget fills it, though the node is unavailable",
      withBudget(budgetGate({ unavailable: ["n1"], granted: ["n2"] }), []),
    ],
    [
      "max is 0 and another is repaired",
      withBudget(budgetGate({ max: 0, unavailable: ["n1", "n2"] }), ["n2"]),
    ],
  ])("refuses where a budget is full: %s", (_, asked) => {
    expect(refuseGrant(asked, NOW)).toMatchObject({ reason: "WaitingForBudget" });
  });

  it.each([
    ["a node counts once", withBudget(budgetGate({ max: 2, unavailable: ["n2"] }), ["n2"])],
    ["a repair fits a full budget", withBudget(budgetGate({ unavailable: ["n1", "n2", "n3"] }), [])],
    [
      "repairs fit as many as the limit",
      withBudget(budgetGate({ max: 2, unavailable: ["n1", "n2", "n3"] }), ["n2"]),
    ],
    ["a repair fits where max is 0", withBudget(budgetGate({ max: 0, unavailable: ["n1"] }), [])],
  ])("lets through: %s", (_, asked) => {
    expect(refuseGrant(asked, NOW)).toBeUndefined();
  });

  it.each([
    ["max 1", 1, 1],
    ["max 3", 3, 3],
    ["max 0", 0, 1],
  ])("lets no more than the limit through when all nodes blink at once: %s", (_, max, fit) => {
    const unavailable = Array.from({ length: 10 }, (__, i) => `n${i}`);
    const holders = new Set<string>();
    for (const uid of unavailable) {
      const budgets = [{ budget: "group/g", gate: budgetGate({ max, unavailable }), holders }];
      if (refuseGrant(question({ uid, budgets }), NOW) === undefined) holders.add(uid);
    }
    expect(holders.size).toBe(fit);
  });

  it("knows a repair by the budget that was full without it", () => {
    expect(isRepair(withBudget(budgetGate({ unavailable: ["n1", "n2"] }), []))).toBe(true);
    expect(isRepair(withBudget(budgetGate({ unavailable: ["n1"] }), []))).toBe(false);
    expect(isRepair(withBudget(budgetGate({ max: 0, unavailable: ["n1"] }), []))).toBe(true);
    expect(isRepair(withBudget(budgetGate({ max: 2, unavailable: ["n1"] }), ["n2"]))).toBe(false);
  });

  it("refuses where one of several budgets has no valid gate", () => {
    const good = { budget: "group/g", gate: budgetGate(), holders: new Set<string>() };
    for (const gate of [undefined, budgetGate({ validUntil: NOW - 1 })]) {
      const asked = question({ budgets: [good, { budget: "budget/z", gate, holders: new Set() }] });
      expect(refuseGrant(asked, NOW)).toMatchObject({ reason: "WaitingForGates" });
    }
  });

  it("names some of many that are away", () => {
    const many = Array.from({ length: 100 }, (_, i) => `node-${i}`);
    const why = refuseGrant(withBudget(budgetGate({ unavailable: many }), []), NOW);
    expect(why?.message).toMatch(/and 95 more$/);
  });
});

const token = { incarnation: "i", revision: 7 };
const grant: Grant = {
  uid: "n1",
  node: "n1",
  group: "g",
  release: "r1",
  budgets: ["group/g"],
  nonce: "",
  epoch: 1,
  incarnation: "i",
  at: NOW,
  target: null,
  policy: {},
  bootNeeds: 60_000,
  supersedes: null,
  reason: "",
};

function commit(change: Partial<CommitQuestion> = {}): CommitQuestion {
  return {
    token,
    session: 3,
    boot: "b/0",
    incarnation: "i",
    newest: 3,
    grant,
    living: token,
    phase: { phase: "Drained", at: NOW },
    gate: groupGate(),
    budgets: [{ budget: "group/g", gate: budgetGate() }],
    ...change,
  };
}

describe("answerCommit", () => {
  it("is good for as long as the gates are, 30 s at most", () => {
    expect(answerCommit(commit(), NOW)).toEqual({ goodForSeconds: 30 });
    expect(answerCommit(commit({ gate: groupGate({ validUntil: NOW + 90_000 }) }), NOW)).toEqual({
      goodForSeconds: 30,
    });
    const sooner = commit({
      budgets: [{ budget: "group/g", gate: budgetGate({ validUntil: NOW + 8_000 }) }],
    });
    expect(answerCommit(sooner, NOW)).toEqual({ goodForSeconds: 8 });
  });

  it("leaves room for the boot before the window closes", () => {
    const closing = (at: number) => commit({ gate: groupGate({ openUntil: NOW + at }) });
    expect(answerCommit(closing(70_000), NOW)).toEqual({ goodForSeconds: 10 });
    expect(answerCommit(closing(64_999), NOW)).toMatchObject({ reason: "WindowClosing" });
  });

  it("may come after the window where the group lets a drain finish, but not in a change freeze", () => {
    const finishing = { ...grant, finishes: true };
    const closed = groupGate({ open: false, openUntil: null });
    expect(answerCommit(commit({ grant: finishing, gate: closed }), NOW)).toEqual({ goodForSeconds: 30 });
    const frozen = groupGate({ open: false, openUntil: null, frozen: true });
    expect(answerCommit(commit({ grant: finishing, gate: frozen }), NOW)).toMatchObject({
      reason: "WaitingForWindow",
    });
  });

  it("answers anew while committed in the same boot, and in no other", () => {
    const phase = { phase: "Committed", at: NOW, committedBoot: "b/0", committedSession: 2 } as const;
    expect(answerCommit(commit({ phase }), NOW)).toEqual({ goodForSeconds: 30 });
    expect(answerCommit(commit({ phase, boot: "b/1" }), NOW)).toMatchObject({ reason: "StaleToken" });
  });

  it("does not mind a budget that shrank: the node is counted already", () => {
    const budgets = [{ budget: "group/g", gate: budgetGate({ max: 0, unavailable: [] }) }];
    expect(answerCommit(commit({ budgets }), NOW)).toEqual({ goodForSeconds: 30 });
  });

  it("refuses a node that is still up where others went down since the grant", () => {
    const full = [{ budget: "group/g", gate: budgetGate({ max: 1, unavailable: ["n2"] }) }];
    expect(answerCommit(commit({ budgets: full }), NOW)).toMatchObject({ reason: "WaitingForBudget" });
    const drained = [{ budget: "group/g", gate: budgetGate({ max: 1, unavailable: ["n1", "n2"] }) }];
    expect(answerCommit(commit({ budgets: drained }), NOW)).toEqual({ goodForSeconds: 30 });
  });

  it.each<[string, Partial<CommitQuestion>]>([
    ["StaleToken", { newest: 4 }],
    ["StaleToken", { newest: undefined }],
    ["StaleToken", { grant: undefined, living: undefined }],
    ["StaleToken", { token: { incarnation: "i", revision: 6 } }],
    [
      "StaleToken",
      {
        token: { incarnation: "h", revision: 7 },
        grant: { ...grant, supersedes: { incarnation: "h", revision: 7 } },
      },
    ],
    ["StaleToken", { incarnation: "rebuilding:x" }],
    ["StaleToken", { grant: { ...grant, supersedes: { incarnation: "h", revision: 7 } } }],
    ["StaleToken", { phase: { phase: "Returned", at: NOW } }],
    ["StaleToken", { phase: { phase: "Withdrawn", at: NOW } }],
    ["Draining", { phase: { phase: "Granted", at: NOW } }],
    ["Paused", { gate: groupGate({ paused: true }) }],
    ["FailureThresholdReached", { gate: groupGate({ halted: true }) }],
    ["Deleting", { gate: groupGate({ deleting: true }) }],
    ["ReleaseQuarantined", { gate: groupGate({ quarantined: ["r1"] }) }],
    ["WaitingForWindow", { gate: groupGate({ open: false }) }],
    ["WaitingForGates", { gate: undefined }],
    ["WaitingForGates", { gate: groupGate({ validUntil: NOW }) }],
    ["WaitingForGates", { gate: groupGate({ validUntil: NOW + 4_999 }) }],
    ["WaitingForGates", { budgets: [{ budget: "group/g", gate: undefined }] }],
    ["WaitingForGates", { budgets: [{ budget: "group/g", gate: budgetGate({ validUntil: NOW }) }] }],
  ])("refuses: %s %j", (reason, change) => {
    expect(answerCommit(commit(change), NOW)).toMatchObject({ reason });
  });
});

describe("a reboot that a person asked for", () => {
  const closed = { open: false, openUntil: null };

  it("needs no window, but room in each budget, and no pause, halt or freeze", () => {
    const asked = { inFreeze: false };
    expect(refuseGrant(question({ asked, gate: groupGate(closed) }), NOW)).toBeUndefined();
    expect(refuseGrant(question({ asked, gate: groupGate({ openUntil: NOW + 1 }) }), NOW)).toBeUndefined();
    expect(refuseGrant({ ...withBudget(budgetGate(), ["n2"]), asked }, NOW)?.reason).toBe("WaitingForBudget");
    expect(refuseGrant(question({ asked, gate: groupGate({ paused: true }) }), NOW)?.reason).toBe("Paused");
    expect(refuseGrant(question({ asked, gate: groupGate({ halted: true }) }), NOW)?.reason).toBe(
      "FailureThresholdReached",
    );
    const frozen = groupGate({ ...closed, frozen: true });
    expect(refuseGrant(question({ asked, gate: frozen }), NOW)?.reason).toBe("WaitingForWindow");
    expect(refuseGrant(question({ asked: { inFreeze: true }, gate: frozen }), NOW)).toBeUndefined();
  });

  it.each([
    ["out of every window", closed, { asked: "x" }, true],
    ["in a freeze", { ...closed, frozen: true }, { asked: "x", inFreeze: false }, false],
    ["in a freeze, as that person said", { ...closed, frozen: true }, { asked: "x", inFreeze: true }, true],
    ["that nobody asked for", closed, {}, false],
  ])("is committed %s: %o %o %s", (_when, gate, words, committed) => {
    const asked = commit({ gate: groupGate(gate), grant: { ...grant, ...words } });
    expect("goodForSeconds" in answerCommit(asked, NOW)).toBe(committed);
  });
});
