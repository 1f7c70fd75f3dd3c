import { describe, expect, it } from "vitest";
import {
  answerCommit,
  type BudgetView,
  type CommitQuestion,
  type GrantQuestion,
  isRepair,
  refuseGrant,
} from "./admission.ts";
import { openGate } from "./fixtures.ts";
import type { BudgetGate, Grant, GroupGate, Phase } from "./records.ts";

const NOW = Date.UTC(2026, 10, 2);

function groupGate(change: Partial<GroupGate> = {}): GroupGate {
  return openGate("g", NOW + 30_000, change);
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

/** A budget as a commit sees it, with the grants of its holders. */
function budgetView(change: Partial<BudgetGate> = {}, holders: readonly string[] = ["n1"]): BudgetView {
  return { budget: "group/g", gate: budgetGate(change), holders: new Set(holders) };
}

function held(uid: string, phase: Phase["phase"], plain: boolean): [string, { grant: Grant; phase: Phase }] {
  return [uid, { grant: { ...grant, uid, plain }, phase: { phase, at: NOW } }];
}

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
    budgets: [budgetView()],
    grants: new Map([held("n1", "Drained", false)]),
    ...change,
  };
}

describe("answerCommit", () => {
  it("is good for as long as the gates are, 30 s at most", () => {
    expect(answerCommit(commit(), NOW)).toEqual({ goodForSeconds: 30 });
    expect(answerCommit(commit({ gate: groupGate({ validUntil: NOW + 90_000 }) }), NOW)).toEqual({
      goodForSeconds: 30,
    });
    const sooner = commit({ budgets: [budgetView({ validUntil: NOW + 8_000 })] });
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
    const freezing = (freezesAt: number) =>
      answerCommit(commit({ grant: finishing, gate: groupGate({ open: false, freezesAt }) }), NOW);
    for (const begins of [0, NOW - 1, NOW, NOW + 6_000, NOW + 64_999]) {
      expect(freezing(begins)).toMatchObject({
        reason: "ChangeFreeze",
        message: expect.stringMatching(/freeze/),
      });
    }
    expect(freezing(NOW + 70_000)).toEqual({ goodForSeconds: 10 });
    expect(freezing(NOW + 3_600_000)).toEqual({ goodForSeconds: 30 });
  });

  it("is bound by the freeze, too, while the window is still open", () => {
    const gate = groupGate({ openUntil: NOW + 6_000, freezesAt: NOW + 6_000 });
    expect(answerCommit(commit({ grant: { ...grant, finishes: true }, gate }), NOW)).toMatchObject({
      reason: "ChangeFreeze",
    });
  });

  it("answers anew while committed in the same boot, and in no other", () => {
    const phase = { phase: "Committed", at: NOW, committedBoot: "b/0", committedSession: 2 } as const;
    expect(answerCommit(commit({ phase }), NOW)).toEqual({ goodForSeconds: 30 });
    expect(answerCommit(commit({ phase, boot: "b/1" }), NOW)).toMatchObject({ reason: "StaleToken" });
  });

  it("does not mind a budget that shrank, or who else went down, where the gate counts a Node already", () => {
    const unavailable = ["n1", "n2"];
    for (const max of [0, 1]) {
      const budgets = [budgetView({ max, unavailable })];
      expect(answerCommit(commit({ budgets }), NOW)).toEqual({ goodForSeconds: 30 });
    }
  });

  it("refuses a Node that the gate has as available where others went down since the grant", () => {
    const budgets = [budgetView({ max: 1, unavailable: ["n2"] })];
    expect(answerCommit(commit({ budgets }), NOW)).toMatchObject({ reason: "WaitingForBudget" });
  });

  describe("of a plain machine, which serves until it commits,", () => {
    const m1 = { ...grant, plain: true };
    const asks = (view: BudgetView, ...others: Parameters<typeof held>[]) =>
      answerCommit(
        commit({
          grant: m1,
          budgets: [view],
          grants: new Map([held("n1", "Drained", true), ...others.map((other) => held(...other))]),
        }),
        NOW,
      );
    const refused = { reason: "WaitingForBudget", message: expect.stringMatching(/n2|allows 0/) };

    it.each<[string, BudgetView, Parameters<typeof held>[]]>([
      [
        "another committed and a third is down",
        budgetView({ max: 2, unavailable: ["n3"] }, ["n1", "n2"]),
        [["n2", "Committed", true]],
      ],
      [
        "another is back from its commit but not verified",
        budgetView({ max: 1 }, ["n1", "n2"]),
        [["n2", "Returned", true]],
      ],
      [
        "a Node has a slot: it is cordoned without asking again",
        budgetView({ max: 1 }, ["n1", "n2"]),
        [["n2", "Granted", false]],
      ],
      ["a holder has no grant that can be read", budgetView({ max: 1 }, ["n1", "n2"]), []],
      ["a grant from before the budget counts", budgetView({ max: 1, granted: ["n1", "n2"] }, []), []],
      ["its gate was read while it was between two gateways", budgetView({ unavailable: ["n1", "n2"] }), []],
      ["the budget allows nobody any more", budgetView({ max: 0 }), []],
    ])("refuses where %s", (_, view, others) => {
      expect(asks(view, ...others)).toMatchObject(refused);
    });

    it.each<[string, BudgetView, Parameters<typeof held>[]]>([
      [
        "one is down, and another has not committed",
        budgetView({ max: 2, unavailable: ["n3"] }, ["n1", "n2"]),
        [["n2", "Drained", true]],
      ],
      ["another gave its slot back", budgetView({ max: 1 }, ["n1", "n2"]), [["n2", "Withdrawn", true]]],
      ["the gate counts only itself", budgetView({ unavailable: ["n1"] }), []],
    ])("answers where %s", (_, view, others) => {
      expect(asks(view, ...others)).toEqual({ goodForSeconds: 30 });
    });
  });

  it("refuses where more budgets bind it than a transaction compares", () => {
    const budgets = Array.from({ length: 61 }, (_, i) => ({ ...budgetView(), budget: `budget/${i}` }));
    expect(answerCommit(commit({ budgets }), NOW)).toMatchObject({ reason: "TooManyBudgets" });
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
    ["WaitingForGates", { budgets: [{ ...budgetView(), gate: undefined }] }],
    ["WaitingForGates", { budgets: [budgetView({ validUntil: NOW })] }],
  ])("refuses: %s %j", (reason, change) => {
    expect(answerCommit(commit(change), NOW)).toMatchObject({ reason });
  });
});

describe("a reboot that a person asked for", () => {
  const closed = { open: false, openUntil: null };
  const frozen = { ...closed, freezesAt: NOW - 1000 };

  it("needs no window, but room in each budget, no pause or halt, and time until the next freeze", () => {
    const asked = { inFreeze: false };
    expect(refuseGrant(question({ asked, gate: groupGate(closed) }), NOW)).toBeUndefined();
    expect(refuseGrant(question({ asked, gate: groupGate({ openUntil: NOW + 1 }) }), NOW)).toBeUndefined();
    expect(refuseGrant({ ...withBudget(budgetGate(), ["n2"]), asked }, NOW)?.reason).toBe("WaitingForBudget");
    expect(refuseGrant(question({ asked, gate: groupGate({ paused: true }) }), NOW)?.reason).toBe("Paused");
    expect(refuseGrant(question({ asked, gate: groupGate({ halted: true }) }), NOW)?.reason).toBe(
      "FailureThresholdReached",
    );
    for (const freezesAt of [NOW - 1000, NOW + 59_000]) {
      const gate = groupGate({ ...closed, freezesAt });
      expect(refuseGrant(question({ asked, gate }), NOW)?.reason).toBe("ChangeFreeze");
      expect(refuseGrant(question({ asked: { inFreeze: true }, gate }), NOW)).toBeUndefined();
    }
  });

  it.each([
    ["out of every window", closed, { asked: "x" }, true],
    ["in a freeze", frozen, { asked: "x", inFreeze: false }, false],
    ["in a freeze, as that person said", frozen, { asked: "x", inFreeze: true }, true],
    ["that nobody asked for", closed, {}, false],
  ])("is committed %s: %o %o %s", (_when, gate, words, committed) => {
    const asked = commit({ gate: groupGate(gate), grant: { ...grant, ...words } });
    expect("goodForSeconds" in answerCommit(asked, NOW)).toBe(committed);
  });
});
