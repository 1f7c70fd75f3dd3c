/** Machines that stay away while they hold a slot, and machines that are no ordinary Nodes. */
import { X509Certificate } from "node:crypto";
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { HOLD_ANNOTATION, STEAL_ANNOTATION } from "../../../api/labels.ts";
import type { NodeUpdate } from "../../../api/node-update.ts";
import { Berth } from "../berth.ts";
import { days, machines } from "../day.ts";

const start = days({
  machines: [
    ...machines(12),
    { name: "debian-1", zone: "east", driver: "sentinel" },
    { name: "debian-2", zone: "north", driver: "sentinel" },
    { name: "debian-3", zone: "west", driver: "sentinel" },
    { name: "quay-1", zone: "east", plainGroup: "mixed" },
    { name: "quay-2", zone: "north", plainGroup: "mixed" },
  ],
  // Each test holds its own group to its own limit.
  limits: { total: 7, perZone: 7 },
});

describe.concurrent("at the same time", () => {
  test("a machine that never comes back from its reboot keeps its slot until a person steals it", async () => {
    const day = start();
    const lost = new Berth(day, "lost", ["node-01", "node-02", "node-03", "node-04"]);
    const others = ["node-03", "node-04"];
    for (const node of others) await lost.annotate("node", node, HOLD_ANNOTATION, "node-01 goes first");
    await lost.machine("node-01").trap("reboot", "power-off");
    const health = { bootDeadline: "10s", rebootTime: "15s", releaseDeadline: "60s" };
    // With a lower threshold the others would wait for evidence, not for the budget.
    await lost.declare({ maxUnavailable: 2, failureThreshold: 4, health });
    await lost.publish("1.1.0-lost");
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
    await lost.done("1.1.0-lost", ["node-01"]);
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
    await lost.done("1.1.0-lost");
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

  test("a zone loses its power during drains; nobody is convicted, and all is well when it returns", async () => {
    const day = start();
    const dark = new Berth(day, "dark", ["node-07", "node-08", "node-09", "node-10"]);
    const east = ["node-07", "node-10"];
    for (const node of ["node-09", "node-10"]) {
      await dark.annotate("node", node, HOLD_ANNOTATION, "others go first");
    }
    for (const node of ["node-07", "node-08"]) await dark.block(node);
    await dark.declare({ maxUnavailable: 2, failureThreshold: 4 });
    await dark.publish("1.1.0-dark");
    for (const node of ["node-07", "node-08"]) {
      await dark.until(node, "drains", ({ status }) => status?.reason === "BlockedByDisruptionBudget");
    }
    await Promise.all(east.map((node) => dark.machine(node).powerOff()));
    await dark.kubectl(
      "wait",
      "--for=condition=Ready=Unknown",
      "--timeout=60s",
      ...east.map((node) => `node/${node}`),
    );
    for (const node of ["node-09", "node-10"]) await dark.annotate("node", node, HOLD_ANNOTATION, undefined);
    for (const node of ["node-07", "node-08"]) await dark.unblock(node);
    await dark.done("1.1.0-dark", ["node-09", ...east]);
    await dark.until("node-09", "waits for the dark zone", ({ status }) => {
      return status?.step === "Staged" && status.message?.includes("allows 2 down") === true;
    });

    await Promise.all(east.map((node) => dark.machine(node).powerOn()));
    await dark.done("1.1.0-dark");
    for (const { status } of await dark.nodeUpdates()) expect(status?.failed ?? []).toEqual([]);
    expect((await dark.group())?.status?.failures).toEqual([]);
    expect(dark.breaches({ total: 2, perZone: 2 })).toEqual([]);
  });

  test("markers on three machines: one reboot each, one machine at a time, and none again where the marker stays", async () => {
    const day = start();
    const berth = new Berth(day, "debian", ["debian-1", "debian-2", "debian-3"]);
    await berth.declare({ driver: "sentinel", channel: undefined });
    for (const node of berth.nodes) berth.machine(node).requireReboot({ stays: node === "debian-3" });
    for (const node of ["debian-1", "debian-2"]) {
      await berth.until(node, "rebooted and needs no more reboot", ({ status }) => {
        return day.boots(node) === 1 && status?.reason === "NoRebootRequired" && status.grant === undefined;
      });
    }
    const still = await berth.until("debian-3", "still asks for a reboot", ({ status }) => {
      return status?.step === "Failed" && status.reason === "StillRequired" && status.grant === undefined;
    });
    expect(still.status?.message).toContain("still set after");
    expect(berth.nodes.map((node) => day.boots(node))).toEqual([1, 1, 1]);
    expect(berth.breaches({ total: 1, perZone: 1 })).toEqual([]);

    // Another marker is another wish; an agent that starts anew sees it at once.
    rmSync(berth.machine("debian-3").paths.sentinel);
    await berth.machine("debian-3").call("kill-agent");
    await berth.until("debian-3", "needs no reboot", ({ status }) => status?.reason === "NoRebootRequired");
    berth.machine("debian-3").requireReboot();
    await berth.machine("debian-3").call("kill-agent");
    await day.waitFor("debian-3 rebooted again", () => day.boots("debian-3") === 2);
  });

  test("plain machines join by token and are updated under the budget of their group's Nodes", async () => {
    const day = start();
    const berth = new Berth(day, "mixed", ["node-11", "node-12", "quay-1", "quay-2"]);
    await berth.declare();
    await berth.publish("1.1.0");
    await berth.done("1.1.0");
    expect(berth.nodes.map((node) => day.boots(node))).toEqual([1, 1, 1, 1]);
    expect(berth.breaches({ total: 1, perZone: 1 })).toEqual([]);
    for (const name of ["quay-1", "quay-2"]) {
      const { identity } = berth.machine(name).paths;
      const file = join(identity, "identity.pem");
      const certificate = new X509Certificate(readFileSync(file));
      expect(
        certificate.verify(new X509Certificate(readFileSync(berth.machine(name).config.gatewayCa)).publicKey),
      ).toBe(true);
    }
    // A token is spent once.
    expect(await day.etcdKeys("joins/")).toEqual([]);
    expect((await day.etcdKeys("machines/")).length).toBe(2);
  });
});

test("nothing is left of it", async () => {
  await start().rest();
});
