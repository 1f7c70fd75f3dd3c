/** Machines that are updated by something else, and machines that are no Nodes. */
import { existsSync, readFileSync, rmSync } from "node:fs";
import { X509Certificate } from "node:crypto";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { Berth } from "../berth.ts";
import { days } from "../day.ts";

const start = days({
  machines: [
    { name: "debian-1", zone: "east", driver: "sentinel" },
    { name: "debian-2", zone: "north", driver: "sentinel" },
    { name: "debian-3", zone: "west", driver: "sentinel" },
    { name: "node-01", zone: "east" },
    { name: "node-02", zone: "north" },
    { name: "quay-1", zone: "east", plainGroup: "mixed" },
    { name: "quay-2", zone: "north", plainGroup: "mixed" },
  ],
  limits: { total: 2, perZone: 2 },
});

describe.concurrent("at the same time", () => {
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

    // Another marker is another wish.
    rmSync(berth.machine("debian-3").paths.sentinel);
    await berth.until("debian-3", "needs no reboot", ({ status }) => status?.reason === "NoRebootRequired");
    berth.machine("debian-3").requireReboot();
    await day.waitFor("debian-3 rebooted again", () => day.boots("debian-3") === 2);
  });

  test("plain machines join by token and are updated under the budget of their group's Nodes", async () => {
    const day = start();
    const berth = new Berth(day, "mixed", ["node-01", "node-02", "quay-1", "quay-2"]);
    await berth.declare();
    await berth.publish("1.1.0");
    await berth.done("1.1.0");
    expect(berth.nodes.map((node) => day.boots(node))).toEqual([1, 1, 1, 1]);
    expect(berth.breaches({ total: 1, perZone: 1 })).toEqual([]);
    for (const name of ["quay-1", "quay-2"]) {
      const { identity } = berth.machine(name).paths;
      const file = join(identity, "identity.pem");
      expect(existsSync(file)).toBe(true);
      const certificate = new X509Certificate(readFileSync(file));
      expect(certificate.verify(new X509Certificate(readFileSync(berth.machine(name).config.gatewayCa)).publicKey)).toBe(
        true,
      );
    }
    // A token is spent once.
    expect(await day.etcdKeys("joins/")).toEqual([]);
    expect((await day.etcdKeys("machines/")).length).toBe(2);
  });
});

test("nothing is left of it", async () => {
  await start().rest();
});
