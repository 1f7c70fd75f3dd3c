/** Drains that don't get on, and drains that must end although they would. */
import { describe, expect, test } from "vitest";
import { HOLD_ANNOTATION } from "../../../api/labels.ts";
import type { KubeObject } from "../../../api/meta.ts";
import type { Node } from "../../../runtime/core.ts";
import { Berth } from "../berth.ts";
import { days, machines } from "../day.ts";
import { disruptionBudget, pinned } from "../pods.ts";
import { windowUntil } from "../windows.ts";

const HOUR = 3_600_000;
/** In no group. */
const BYSTANDER = "node-07";

const start = days({ machines: machines(7), limits: { total: 5, perZone: 5 } });

describe.concurrent("at the same time", () => {
  test("of two drains that block each other the younger gives way, and both end", async () => {
    const day = start();
    const berth = new Berth(day, "crossed", ["node-01", "node-02"]);
    const [elder, younger] = ["node-01", "node-02"] as const;
    await day.cluster.apply(
      ...[pinned("p-1", elder, { pair: "p" }), pinned("q-1", elder, { pair: "q" })],
      ...[pinned("p-2", younger, { pair: "p" }), pinned("q-2", younger, { pair: "q" })],
      ...[disruptionBudget("p", { app: "p-1" }, 0), disruptionBudget("q", { pair: "q" }, 1)],
    );
    await berth.kubectl(
      "rollout",
      "status",
      "--timeout=60s",
      ...["p-1", "q-1", "p-2", "q-2"].map(deployment),
    );
    await berth.annotate("node", younger, HOLD_ANNOTATION, "node-01 goes first");
    await berth.declare({ maxUnavailable: 2, failureThreshold: 4, drain: { timeout: "10m" } });
    await berth.publish("1.1.0-crossed");
    // First q-1 leaves, then p-2; each leaves the other pair's second Pod without permission.
    await day.waitFor("q-1 left", () => isAway("q-1"));
    await berth.annotate("node", younger, HOLD_ANNOTATION, undefined);
    await day.waitFor("p-2 left", () => isAway("p-2"));
    await day.cluster.apply(disruptionBudget("p", { pair: "p" }, 1));
    for (const node of [elder, younger]) {
      await berth.until(node, "is blocked", ({ status }) => {
        return status?.step === "Draining" && status.reason === "BlockedByDisruptionBudget";
      });
    }
    const given = await berth.until(
      younger,
      "gave its slot back",
      ({ status }) => status?.grant === undefined,
    );
    expect(given.status?.transitions).toContainEqual(
      expect.objectContaining({ reason: "DrainYielded", message: expect.stringContaining(elder) }),
    );
    expect(day.boots(younger)).toBe(0);
    await berth.done("1.1.0-crossed");
    expect(day.boots(elder)).toBe(1);

    async function isAway(name: string): Promise<boolean> {
      const found = await day.cluster.get<KubeObject & { status?: { readyReplicas?: number } }>(
        "deployment",
        name,
      );
      return found?.status?.readyReplicas === undefined;
    }
  });

  test("a PodDisruptionBudget that never allows costs a node its place, and the next one goes on", async () => {
    const day = start();
    const berth = new Berth(day, "kept", ["node-03", "node-04"]);
    await berth.block("node-03");
    await berth.annotate("node", "node-04", HOLD_ANNOTATION, "node-03 goes first");
    await berth.declare({ drain: { timeout: "8s" } });
    await berth.publish("1.1.0-kept");
    await berth.until("node-03", "drains", ({ status }) => status?.reason === "BlockedByDisruptionBudget");
    await berth.annotate("node", "node-04", HOLD_ANNOTATION, undefined);
    const given = await berth.until("node-03", "gave its slot back", ({ status }) => {
      return status?.step === "Staged" && status.grant === undefined;
    });
    const late = given.status?.transitions?.find(({ reason }) => reason === "DrainTimedOut");
    expect(late?.message).toMatch(
      /^After 8s 1 Pod had not left, and default\/kept-node-03-\S+ may not be evicted/,
    );
    expect(late?.message).toContain("disruption budget kept-node-03");
    await berth.done("1.1.0-kept", ["node-03"]);
    expect(day.boots("node-03")).toBe(0);
    await berth.unblock("node-03");
    await berth.done("1.1.0-kept");
    expect(berth.breaches({ total: 1, perZone: 1 })).toEqual([]);
  });

  test("a window that closes during a drain ends it, and a person's cordon outlives ours", async () => {
    const day = start();
    const berth = new Berth(day, "closing", ["node-05"]);
    const labels = { tier: "closing" };
    await day.cluster.apply(windowUntil("closing", Date.now() + HOUR, labels));
    await berth.block("node-05");
    await day.cordonByHand("node-05");
    await berth.declare({}, labels);
    await berth.publish("1.1.0-closing");
    await berth.until("node-05", "drains", ({ status }) => status?.reason === "BlockedByDisruptionBudget");
    await day.cluster.apply(windowUntil("closing", Date.now() + 30_000, labels));
    const given = await berth.until("node-05", "waits for a window", ({ status }) => {
      return status?.grant === undefined && status?.step === "Staged" && status.reason !== "WaitingForTurn";
    });
    expect(given.status?.transitions?.map(({ reason }) => reason)).toContain("WindowClosing");
    await berth.unblock("node-05");
    expect(day.boots("node-05")).toBe(0);
  });

  test("a group that is deleted while its node drains leaves the node as it was", async () => {
    const day = start();
    const berth = new Berth(day, "leaving", ["node-06"]);
    await day.cordonByHand(BYSTANDER);
    await berth.block("node-06");
    await berth.declare();
    await berth.publish("1.1.0-leaving");
    await berth.until("node-06", "drains", ({ status }) => status?.reason === "BlockedByDisruptionBudget");
    await berth.kubectl("delete", "updategroup", "leaving", "--timeout=60s");
    expect(await day.nodeUpdate("node-06")).toBeUndefined();
    expect(await day.holders("group/leaving")).toEqual([]);
    const node = await day.cluster.get<Node>("node", "node-06");
    expect(node?.spec?.unschedulable).toBeUndefined();
    expect(day.boots("node-06")).toBe(0);
    await berth.unblock("node-06");
  });
});

test("nothing is left of it but what people did", async () => {
  await start().rest();
});

function deployment(name: string): string {
  return `deployment/${name}`;
}
