import { describe, expect, test } from "vitest";
import { HOLD_ANNOTATION, REBOOT_ANNOTATION, REBOOT_IN_FREEZE_ANNOTATION } from "../../api/labels.ts";
import { timestamp } from "../../api/meta.ts";
import { type RebootWindow, RebootWindowSpec } from "../../api/reboot-window.ts";
import { fleet, group, NOW, node, nodeUpdate, observed } from "../fixtures.ts";
import { planSnapshot, taken } from "./fixtures.ts";
import { type PlanSnapshot, planGrants } from "./policy.ts";

describe("a reboot that a person asked for", () => {
  const pool = group("pool", { windows: "OnlyInWindows", settle: "1h", rate: { updates: 1, period: "24h" } });
  const current = fleet(["uid-a", "uid-b"], {
    observed: new Map([
      ["uid-a", observed("1.1.0", undefined)],
      ["uid-b", observed("1.1.0", undefined)],
    ]),
  });
  const asking = (words: Record<string, string>, changes: Partial<PlanSnapshot> = {}) => {
    const seen = planSnapshot(["b", "a"], { groups: [pool], fleet: current, ...changes });
    const [b, a] = seen.nodeUpdates;
    if (a === undefined || b === undefined) throw new Error("two nodes expected");
    const asked = { ...a, metadata: { ...a.metadata, annotations: words } };
    return planGrants({ ...seen, nodeUpdates: [b, asked] }, NOW);
  };
  const freeze: RebootWindow = {
    apiVersion: "slipway.dev/v1alpha1",
    kind: "RebootWindow",
    metadata: { name: "freeze" },
    spec: RebootWindowSpec.parse({
      start: "00:00",
      duration: "24h",
      mode: "Deny",
      groupSelector: { matchLabels: { tier: "pool" } },
    }),
  };

  test("waits for no window, pace or blocker, and says who asked", () => {
    const blockers = [{ name: "hook", http: { url: "http://hook.test" } }];
    const readings = new Map([
      ["pool", new Map([["hook", { kind: "refused" as const, message: "no", since: NOW }]])],
    ]);
    const groups = [group("pool", { ...pool.spec, blockers })];
    const plan = asking({ [REBOOT_ANNOTATION]: "new firmware" }, { groups, readings });
    expect(plan.take).toMatchObject([
      {
        node: "a",
        release: "",
        asked: { why: "new firmware", inFreeze: false },
        why: { message: "A person asked for a reboot now: new firmware." },
      },
    ]);
  });

  test("waits for its budget", () => {
    const plan = asking({ [REBOOT_ANNOTATION]: "x" }, { nodes: [node("b", { cordoned: true }), node("a")] });
    expect(taken(plan)).toEqual([]);
    expect(plan.waiting.get("uid-a")?.reason).toBe("WaitingForBudget");
  });

  test.each([
    ["hold", { [HOLD_ANNOTATION]: "mine" }, "Held"],
    ["back-off", {}, "BackingOff"],
  ])("is bound by %s", (what, words, reason) => {
    const gaveBack = {
      step: "Staged" as const,
      givenBack: { times: 1, windowClosed: 0, time: timestamp(NOW - 1000), reason: "DrainTimedOut" },
    };
    const nodeUpdates = ["b", "a"].map((name) =>
      nodeUpdate(name, "pool", "os-1.1.0", what === "back-off" ? gaveBack : {}),
    );
    const plan = asking({ [REBOOT_ANNOTATION]: "x", ...words }, { nodeUpdates });
    expect(plan.waiting.get("uid-a")?.reason).toBe(reason);
  });

  test("waits for the end of a change freeze, unless the person said otherwise", () => {
    const windows = [freeze];
    const plan = asking({ [REBOOT_ANNOTATION]: "x" }, { windows });
    expect(plan.waiting.get("uid-a")?.reason).toBe("ChangeFreeze");
    const anyhow = asking({ [REBOOT_ANNOTATION]: "x", [REBOOT_IN_FREEZE_ANNOTATION]: "yes" }, { windows });
    expect(anyhow.take).toMatchObject([{ node: "a", asked: { inFreeze: true } }]);
  });

  test("goes before those who waited longer, and after a repair", () => {
    const ready = fleet(["uid-a", "uid-b"]);
    const groups = [group("pool")];
    expect(taken(asking({ [REBOOT_ANNOTATION]: "x" }, { groups, fleet: ready }))).toEqual(["a"]);
    const nodes = [node("b", { ready: false }), node("a")];
    expect(taken(asking({ [REBOOT_ANNOTATION]: "x" }, { groups, fleet: ready, nodes }))).toEqual(["b"]);
  });
});
