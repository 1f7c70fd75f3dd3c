/**
 * What comes between a slot and its reboot: drains that don't get on, agents that are frozen,
 * people who change their minds.
 */
import { describe, expect, test } from "vitest";
import { HOLD_ANNOTATION, STEAL_ANNOTATION } from "../../../api/labels.ts";
import type { KubeObject } from "../../../api/meta.ts";
import type { UpdateGroup } from "../../../api/update-group.ts";
import type { Node } from "../../../runtime/core.ts";
import { Berth } from "../berth.ts";
import { days, machines } from "../day.ts";
import { disruptionBudget, pinned } from "../pods.ts";
import { windowUntil } from "../windows.ts";

const HOUR = 3_600_000;
/** A commit is never good for longer, ms (coordination/admission.ts). */
const COMMIT_AT_MOST = 30_000;
/** Long enough for the dead man's switch to outlast a freeze: what reboots then would be the agent. */
const health = { rebootTime: "30s", bootDeadline: "60s", releaseDeadline: "60s" };
/** Two such reboots: what must fit into the window after a commit, ms. */
const BOOT_NEEDS = 180_000;
/** In no group. */
const BYSTANDER = "node-07";

// Each test holds its own group to its own limit.
const start = days({ machines: machines(19), limits: { total: 15, perZone: 15 } });

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
        "deployments",
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
    const node = await day.cluster.get<Node>("nodes", "node-06");
    expect(node?.spec?.unschedulable).toBeUndefined();
    expect(day.boots("node-06")).toBe(0);
    await berth.unblock("node-06");
  });

  test("a steal, a pause and a closing window find an agent frozen after its commit; thawed late, none reboots", async () => {
    const day = start();
    const stolen = new Berth(day, "stolen", ["node-10", "node-09"]);
    const paused = new Berth(day, "paused", ["node-11"]);
    const shut = new Berth(day, "shut", ["node-08"]);
    const victims = [
      { berth: stolen, node: "node-10", waitsFor: "Held" },
      { berth: paused, node: "node-11", waitsFor: "Paused" },
      { berth: shut, node: "node-08", waitsFor: "WaitingForWindow" },
    ];
    await stolen.annotate("node", "node-09", HOLD_ANNOTATION, "node-10 goes first");
    for (const { berth, node } of victims) await berth.machine(node).trap("arm-deadman", "freeze-agent");
    await stolen.declare({ health });
    await paused.declare({ health });
    await shut.declare({ health, drain: { enabled: false } }, { tier: "shut" });
    for (const { berth } of victims) await berth.publish(`1.1.0-${berth.name}`);
    await shut.until("node-08", "is staged and waits for its window", ({ status }) => {
      return status?.step === "Staged" && status.reason === "WaitingForWindow";
    });
    const closes = Date.now() + BOOT_NEEDS + COMMIT_AT_MOST;
    await day.cluster.apply(windowUntil("shut", closes, { tier: "shut" }));
    for (const { berth, node } of victims) {
      await berth.until(node, "has committed", ({ status }) => status?.grant?.phase === "Committed");
      await day.waitFor(`${node} is frozen`, async () => (await berth.machine(node).status()).armed);
    }
    const frozenAt = Date.now();
    const boots = victims.map(({ node }) => day.boots(node));

    await stolen.annotate("nodeupdate", "node-10", STEAL_ANNOTATION, "its console is dead");
    await stolen.annotate("node", "node-10", HOLD_ANNOTATION, "to be looked at");
    await stolen.annotate("node", "node-09", HOLD_ANNOTATION, undefined);
    await paused.patch({ paused: true });
    const freed = await stolen.until("node-10", "lost its slot", ({ status }) => status?.grant === undefined);
    expect(freed.status?.stolen).toBe("its console is dead");
    expect(freed.status?.transitions?.map(({ message }) => message)).toContainEqual(
      "A person freed the slot: its console is dead. The budget may be overrun.",
    );
    await day.waitFor("an event tells of the steal", async () => {
      return (await day.events("node-10")).some(({ reason }) => reason === "Stolen");
    });
    // The place is another's now, though the first one's machine may still reboot.
    await stolen.done(`1.1.0-${stolen.name}`, ["node-10"]);
    expect((await paused.nodeUpdates())[0]?.status?.grant?.phase).toBe("Committed");

    await day.waitFor("the commits are spent", () => {
      return Date.now() > Math.max(frozenAt + COMMIT_AT_MOST, closes - BOOT_NEEDS);
    });
    for (const { berth, node } of victims) await berth.machine(node).call("thaw-agent");
    for (const { berth, node, waitsFor } of victims) {
      await berth.until(node, "is back without its slot", ({ status }) => {
        return status?.connected === true && status.grant === undefined && status.reason === waitsFor;
      });
      await day.waitFor(`${node} put its dead man's switch at rest`, async () => {
        return !(await berth.machine(node).status()).armed;
      });
    }
    expect(victims.map(({ node }) => day.boots(node))).toEqual(boots);
  });

  test("a group is edited, paused and resumed in the middle of a rollout", async () => {
    const day = start();
    const nodes = ["node-12", "node-13", "node-14", "node-15"];
    const berth = new Berth(day, "edited", nodes);
    await berth.declare({ stages: [{ name: "canary", count: 1, soak: "1h" }] });
    await berth.publish("1.1.0-edited");
    await day.waitFor("the canary soaks", async () => progressing(await berth.group()) === "StageSoaking");
    expect(day.booted("1.1.0-edited").length).toBe(1);

    await berth.patch({ stages: [], maxUnavailable: 3 });
    await day.waitFor("another node commits", async () => {
      return (await berth.nodeUpdates()).some(({ status }) => status?.grant?.phase === "Committed");
    });
    await berth.patch({ paused: true });
    await day.waitFor("the pause binds, and what was committed has returned", async () => {
      const group = await berth.group();
      const flying = (await berth.nodeUpdates()).some(({ status }) => status?.grant !== undefined);
      return group?.status?.gate?.paused === true && progressing(group) !== "RollingOut" && !flying;
    });
    const since = Date.parse((await berth.group())?.status?.gate?.since ?? "");
    await berth.patch({ paused: false });
    await berth.done("1.1.0-edited");
    expect(since).toBeGreaterThan(0);
    expect(nodes.map((node) => day.boots(node))).toEqual([1, 1, 1, 1]);
  });

  test("a channel is pointed elsewhere in the middle of a rollout; who holds a slot ends what it began", async () => {
    const day = start();
    const berth = new Berth(day, "pointed", ["node-16", "node-17"]);
    await berth.block("node-16");
    await berth.declare({ maxUnavailable: 2 });
    await berth.publish("1.1.0-pointed");
    await berth.until("node-16", "drains", ({ status }) => status?.reason === "BlockedByDisruptionBudget");
    await berth.publish("1.2.0-pointed");
    await berth.done("1.2.0-pointed", ["node-16"]);
    const held = await day.nodeUpdate("node-16");
    expect(held?.status).toMatchObject({
      target: "1.1.0-pointed",
      grant: { release: "harbor-1.1.0-pointed" },
    });
    await berth.unblock("node-16");
    await berth.done("1.2.0-pointed");
  });

  test("a release is deleted in the middle of its rollout; slots are given back and machines keep what they run", async () => {
    const day = start();
    const berth = new Berth(day, "unmade", ["node-18", "node-19"]);
    await berth.block("node-18");
    await berth.declare();
    await berth.publish("1.1.0-unmade");
    await berth.until("node-18", "drains", ({ status }) => status?.reason === "BlockedByDisruptionBudget");
    await berth.kubectl("delete", "release", "harbor-1.1.0-unmade");
    const given = await berth.until(
      "node-18",
      "gave its slot back",
      ({ status }) => status?.grant === undefined,
    );
    expect(given.status?.transitions?.map(({ reason }) => reason)).toContain("ReleaseNotFound");
    await day.waitFor(
      "the group says so",
      async () => progressing(await berth.group()) === "ReleaseNotFound",
    );
    await berth.unblock("node-18");
    expect(day.booted("1.1.0-unmade")).not.toContain("node-18");

    await berth.publish("1.2.0-unmade");
    await berth.done("1.2.0-unmade");
  });
});

test("nothing is left of it but what people did", async () => {
  await start().rest();
});

function deployment(name: string): string {
  return `deployment/${name}`;
}

function progressing(group: UpdateGroup | undefined): string | undefined {
  return group?.status?.conditions?.find(({ type }) => type === "Progressing")?.reason;
}
