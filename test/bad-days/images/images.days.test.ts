/** Images that don't arrive, don't fit, or meet a damaged disk or a power cut. */
import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";
import { type MirrorFault, startMirror } from "../../../hack/cluster/mirror.ts";
import { tool } from "../../../hack/tools.ts";
import { SeededRandom } from "../../sim/random.ts";
import { Berth } from "../berth.ts";
import { days, machines } from "../day.ts";
import { damage, extentOf, HEADER, hashOf } from "./disk-file.ts";

const start = days({ machines: machines(11), limits: { total: 11, perZone: 11 } });

/**
 * What the message says of a mirror with the fault; undefined where it comes too late for a test
 * (each attempt waits 30 s for a mirror that stalls) or may not come at all (what a mirror sends
 * too much is cut off, and what it sent before may be right).
 */
const MIRRORS: [fault: MirrorFault, node: string, said: RegExp | undefined][] = [
  ["lie", "node-01", /another hash/],
  ["short", "node-02", /early|closed/],
  ["gone", "node-03", /answered 503/],
  ["long", "node-04", undefined],
  ["stall", "node-05", undefined],
];

describe.concurrent("at the same time", () => {
  for (const [fault, node, said] of MIRRORS) {
    test(`a mirror with the fault "${fault}": the next one serves; alone, the message says why`, async ({
      onTestFinished,
    }) => {
      const day = start();
      const berth = new Berth(day, fault, [node]);
      const mirror = await startMirror(join(day.cluster.directory, "images"));
      onTestFinished(() => mirror.close());
      mirror.fault = fault;
      const bad = (url: string): string => url.replace(day.cluster.mirror.url, mirror.url);
      const patient = fault === "stall";
      await berth.declare();
      await berth.publish(`1.1.0-${fault}`, {
        urls: (good) => (patient && good.endsWith("/manifest") ? [good] : [bad(good), good]),
      });
      await berth.done(`1.1.0-${fault}`);
      if (said === undefined) return;

      const { slot, version } = await berth.machine(node).status();
      const { disk } = berth.machine(node).paths;
      const running = await hashOf(disk, `SLOT-${slot}`);
      await berth.publish(`1.2.0-${fault}`, { urls: (good) => [bad(good)] });
      const failed = await berth.until(node, "says why nothing arrives", ({ status }) => {
        return status?.reason === "StagingFailed";
      });
      expect(failed.status?.message).toMatch(said);
      expect(failed.status?.message).toContain(mirror.url);
      expect(await hashOf(disk, `SLOT-${slot}`)).toBe(running);
      expect(await berth.machine(node).status()).toMatchObject({ slot, version });
      mirror.fault = "none";
      await berth.done(`1.2.0-${fault}`);
    });
  }

  test("an image larger than the slot is refused, and the running slot is not touched", async () => {
    const day = start();
    const berth = new Berth(day, "large", ["node-06"]);
    const { disk } = berth.machine("node-06").paths;
    const running = await hashOf(disk, "SLOT-A");
    await berth.declare();
    await berth.publish("1.1.0-large", { defect: "size" });
    const refused = await berth.until(
      "node-06",
      "refuses",
      ({ status }) => status?.reason === "ImageRefused",
    );
    expect(refused.status?.message).toMatch(/SlotTooSmall: the image takes \d+ bytes, the slot has \d+/);
    expect(await hashOf(disk, "SLOT-A")).toBe(running);
    await berth.publish("1.2.0-large");
    await berth.done("1.2.0-large");
  });

  for (const [which, node] of [
    ["primary", "node-07"],
    ["backup", "node-08"],
  ] as const) {
    test(`a damaged ${which} partition table boots, and is repaired by the next update`, async () => {
      const day = start();
      const berth = new Berth(day, `gpt-${which}`, [node]);
      const { disk } = berth.machine(node).paths;
      const sgdisk = await tool("sgdisk");
      await berth.machine(node).powerOff();
      damage(disk, HEADER[which]);
      expect((await verify(sgdisk, disk)).healthy).toBe(false);
      await berth.machine(node).powerOn();
      await berth.declare();
      await berth.publish(`1.1.0-gpt-${which}`);
      await berth.done(`1.1.0-gpt-${which}`);
      expect(await verify(sgdisk, disk)).toMatchObject({ healthy: true });
    });
  }

  test("the agent's memory is lost between commit and return; the boot bits tell what happened", async () => {
    const day = start();
    const berth = new Berth(day, "forgetful", ["node-09"]);
    const machine = berth.machine("node-09");
    await machine.trap("reboot", "power-off");
    await berth.declare();
    await berth.publish("1.1.0-forgetful");
    await day.waitFor(
      "node-09 is off after its commit",
      async () => (await machine.status()).power === "off",
    );
    const { offset, size } = await extentOf(machine.paths.disk, "SLIPWAY-STATE");
    damage(machine.paths.disk, { offset, size });
    await machine.powerOn();
    await berth.done("1.1.0-forgetful");
    expect((await berth.nodeUpdates())[0]?.status?.failed ?? []).toEqual([]);
    await berth.publish("1.2.0-forgetful");
    await berth.done("1.2.0-forgetful");
  });

  test("power cuts at random moments of staging, flip and boot leave a complete slot that boots", async () => {
    const day = start();
    const berth = new Berth(day, "cut", ["node-10", "node-11"]);
    const random = new SeededRandom(20_261_123);
    await berth.declare({ maxUnavailable: 2, transfer: { rateLimit: 1_500_000 } });
    for (let round = 1; round <= ROUNDS; round++) {
      await berth.publish(`1.${round}.0-cut`);
      const published = Date.now();
      const moments = berth.nodes.map((node) => ({ node, at: published + random.next() * LONGEST }));
      await Promise.all(
        moments.map(async ({ node, at }) => {
          await day.waitFor(`the moment of ${node}`, () => Date.now() >= at);
          await berth.machine(node).powerOff();
          await berth.machine(node).powerOn();
        }),
      );
    }
    await berth.publish("2.0.0-cut");
    await berth.done("2.0.0-cut");
    for (const node of berth.nodes) {
      const events = berth.machine(node).events();
      expect(events.filter(({ event }) => event === "stuck")).toEqual([]);
      const offs = events.flatMap((event) => (event.event === "off" ? [event.cause] : []));
      expect(offs).toContain("power");
      expect(offs).not.toContain("panic");
    }
  });
});

test("nothing is left of it", async () => {
  await start().rest();
});

/** Two machines are cut in each round, one round after the other: all else happens at the same time. */
const ROUNDS = process.env.LONG === "1" ? 8 : 2;
/** From the publication to the latest cut, ms: about as long as an update takes. */
const LONGEST = 7_000;

async function verify(sgdisk: string, disk: string): Promise<{ healthy: boolean; said: string }> {
  const { stdout, stderr } = await promisify(execFile)(sgdisk, ["-v", disk]).catch(
    (error: { stdout: string; stderr: string }) => error,
  );
  const said = `${stdout}${stderr}`;
  return { healthy: said.includes("No problems found.") && !/Caution|Warning|Problem:/.test(said), said };
}
