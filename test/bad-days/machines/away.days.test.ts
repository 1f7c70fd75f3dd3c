/** Machines that stay away while they hold a slot: after a reboot, with their Node deleted, with their whole zone. */
import { describe, expect, test } from "vitest";
import { HOLD_ANNOTATION, STEAL_ANNOTATION } from "../../../api/labels.ts";
import type { NodeUpdate } from "../../../api/node-update.ts";
import { Berth } from "../berth.ts";
import { days, machines } from "../day.ts";

const start = days({ machines: machines(6), limits: { total: 3, perZone: 2 } });

const LOST = ["node-01", "node-02", "node-03", "node-04"];

describe.concurrent("at the same time", () => {
  test("a machine that never comes back from its reboot keeps its slot until a person steals it", async () => {
    const day = start();
    const lost = new Berth(day, "lost", LOST);
    const others = LOST.slice(2);
    for (const node of others) await lost.annotate("node", node, HOLD_ANNOTATION, "node-01 goes first");
    await lost.machine("node-01").trap("reboot", "power-off");
    const health = { bootDeadline: "10s", rebootTime: "15s", releaseDeadline: "60s" };
    // With a lower threshold the others would wait for evidence, not for the budget.
    await lost.declare({ maxUnavailable: 2, failureThreshold: 4, health });
    await lost.publish("1.1.0");
    await day.waitFor("node-01 is off after its commit", async () => {
      return (await lost.machine("node-01").status()).power === "off";
    });
    for (const node of others) await lost.annotate("node", node, HOLD_ANNOTATION, undefined);
    await day.waitFor("a node says that node-01 holds a place", async () => {
      return (await lost.nodeUpdates()).some(
        ({ status }) =>
          status?.step === "Staged" && status.message?.includes("allows 2 down: node-01") === true,
      );
    });
    await lost.done("1.1.0", ["node-01"]);
    const suspect = await lost.until("node-01", "is Suspect", ({ status }) => status?.step === "Suspect");
    expect(suspect.status?.message).toContain("Its slot stays taken.");
    expect(suspect.status?.grant?.phase).toBe("Committed");
    expect(await day.holders("group/lost")).toEqual([suspect.spec.nodeUID]);

    await lost.annotate("nodeupdate", "node-01", STEAL_ANNOTATION, "its power supply burnt");
    const freed = await lost.until("node-01", "lost its slot", ({ status }) => status?.grant === undefined);
    expect(freed.status?.stolen).toBe("its power supply burnt");
    expect(await day.holders("group/lost")).toEqual([]);
    await day.waitFor("an event tells of the steal", async () => {
      return (await day.events("node-01")).some(({ reason }) => reason === "Stolen");
    });
    expect(lost.breaches({ total: 2, perZone: 2 })).toEqual([]);

    await lost.machine("node-01").powerOn();
    await lost.done("1.1.0");
  });

  test("a Node is deleted, once while it drains and once while its machine reboots", async () => {
    const day = start();
    const deleted = new Berth(day, "deleted", ["node-05", "node-06"]);
    await deleted.annotate("node", "node-06", HOLD_ANNOTATION, "node-05 goes first");
    await deleted.block("node-05");
    await deleted.declare();
    await deleted.publish("1.1.0-deleted");
    const draining = await deleted.until("node-05", "drains", ({ status }) => {
      return status?.step === "Draining" && status.reason === "BlockedByDisruptionBudget";
    });
    await deleted.kubectl("delete", "node", "node-05");
    await day.waitFor("the slot of node-05 is free", async () => await isGone(draining));

    await deleted.machine("node-06").trap("reboot", "power-off");
    await deleted.annotate("node", "node-06", HOLD_ANNOTATION, undefined);
    const committed = await deleted.until("node-06", "commits", ({ status }) => {
      return status?.grant?.phase === "Committed";
    });
    await day.waitFor("node-06 is off", async () => {
      return (await deleted.machine("node-06").status()).power === "off";
    });
    await deleted.kubectl("delete", "node", "node-06");
    await day.waitFor("the slot of node-06 is free", async () => await isGone(committed));

    await deleted.unblock("node-05");
    await deleted.machine("node-05").powerOff();
    for (const node of deleted.nodes) await deleted.machine(node).powerOn();
    await deleted.done("1.1.0-deleted");
    expect(deleted.breaches({ total: 1, perZone: 1 })).toEqual([]);

    async function isGone({ metadata, spec }: NodeUpdate): Promise<boolean> {
      const holders = await day.holders("group/deleted");
      const now = await day.nodeUpdate(metadata.name);
      return holders.length === 0 && now?.spec.nodeUID !== spec.nodeUID;
    }
  });
});

test("a zone loses its power during drains; nobody is convicted, and all is well when it returns", async () => {
  const day = start();
  const lost = new Berth(day, "lost", LOST);
  const east = ["node-01", "node-04"];
  for (const node of ["node-03", "node-04"]) {
    await lost.annotate("node", node, HOLD_ANNOTATION, "others go first");
  }
  for (const node of ["node-01", "node-02"]) await lost.block(node);
  await lost.publish("1.2.0");
  for (const node of ["node-01", "node-02"]) {
    await lost.until(node, "drains", ({ status }) => status?.reason === "BlockedByDisruptionBudget");
  }
  await Promise.all(east.map((node) => lost.machine(node).powerOff()));
  await lost.kubectl(
    "wait",
    "--for=condition=Ready=Unknown",
    "--timeout=60s",
    ...east.map((node) => `node/${node}`),
  );
  for (const node of ["node-03", "node-04"]) await lost.annotate("node", node, HOLD_ANNOTATION, undefined);
  for (const node of ["node-01", "node-02"]) await lost.unblock(node);
  await lost.done("1.2.0", ["node-03", ...east]);
  await lost.until("node-03", "waits for the dark zone", ({ status }) => {
    return status?.step === "Staged" && status.message?.includes("allows 2 down") === true;
  });

  await Promise.all(east.map((node) => lost.machine(node).powerOn()));
  await lost.done("1.2.0");
  for (const { status } of await lost.nodeUpdates()) expect(status?.failed ?? []).toEqual([]);
  expect((await lost.group())?.status?.failures).toEqual([]);
  expect(lost.breaches({ total: 2, perZone: 2 })).toEqual([]);
  await day.rest();
});
