/** Checks that are answered from memory: what etcd is spared, and that a view that lags behind costs nobody a place or an update. */
import * as fc from "fast-check";
import { beforeEach, describe, expect, it } from "vitest";
import type { ForeignMachine, Offer } from "../../coordination/records.ts";
import { OmahaMachine } from "../../test/omaha/machine.ts";
import { offered } from "../../test/omaha/offered.ts";
import { GROUP, machineOf, StaleGateway, World } from "../../test/omaha/stale-gateway.ts";
import type { Verdict } from "../../test/omaha/update-engine.ts";

const NOTHING = { does: "nothing" };

let world: World;
let here: StaleGateway;
let there: StaleGateway;

beforeEach(async () => {
  world = await World.create();
  here = new StaleGateway(world);
  there = new StaleGateway(world);
});

it("knows no new machine where there are more than it keeps: ids cost nothing to make up", async () => {
  const old = machineOf(1, () => here);
  expect(await old.check()).toMatchObject({ does: "update" });
  here.full = true;
  const made = machineOf(2, () => here);
  expect(await made.check()).toMatchObject({ does: "nothing" });
  expect([...world.stored().keys()]).toEqual([old.id]);
  expect(await old.check()).toMatchObject({ does: "update" });
});

it("ends an update in one transaction, with what the machine hears next in its record", async () => {
  const one = machineOf(1, () => here);
  await one.check();
  await one.install();
  one.reboot("1.1.0");
  here.calls.length = 0;
  const before = world.led.etcd.revision;
  expect(await one.check()).toMatchObject(NOTHING);
  expect(here.calls).toEqual(["readForeignMachine", "endUpdate"]);
  expect(world.led.etcd.revision).toBe(before + 1);
  const record = world.stored().get(one.id);
  expect(record).toMatchObject({
    version: "1.1.0",
    why: { reason: "UpToDate" },
    lastSeen: world.led.clock.now(),
  });
  expect(record?.update).toBeUndefined();
});

describe("a machine that says nothing new", () => {
  it.each<[string, Partial<Offer>, boolean]>([
    ["UpToDate", { ways: { amd64: [offered("1.0.0")] } }, false],
    ["WaitingForRate", { rate: { updates: 0, period: 60_000 } }, false],
    ["WaitingForStage", { share: 0 }, false],
    ["OEMExcluded", { excludedOEMs: ["qemu"] }, false],
    ["Paused", {}, true],
  ])("is refused without etcd: %s", async (reason, offer, paused) => {
    await world.publish(offer, 100, { paused });
    const one = machineOf(1, () => here);
    expect(await one.check()).toMatchObject(NOTHING);
    here.sync();
    here.calls.length = 0;
    expect(await one.check()).toMatchObject(NOTHING);
    await one.ping();
    expect(here.calls).toEqual([]);
    expect(here.outcomes).toEqual([reason, reason, "ping"]);
  });

  it("is seen all the same: written with others after some minutes, or when the reason is another", async () => {
    const all = [1, 2, 3].map((n) => machineOf(n, () => here));
    await world.publish({}, 100, { paused: true });
    for (const one of all) await one.check();
    here.sync();
    here.calls.length = 0;
    world.led.pass(300_000);
    await world.publish({ share: 0 });
    const now = world.led.clock.now();
    for (const one of all) await one.check();
    await world.settle();
    expect(here.calls).toEqual(["putSightings"]);
    for (const record of world.stored().values()) {
      expect(record).toMatchObject({ lastSeen: now, why: { reason: "WaitingForStage" } });
    }
    here.sync();
    here.calls.length = 0;
    await world.publish({}, 100, { paused: true });
    await all[0]?.check();
    await world.settle();
    expect(here.calls).toEqual(["putSightings"]);
    expect(world.stored().get(all[0]?.id ?? "")?.why).toMatchObject({ reason: "Paused" });
  });

  it("is looked up in etcd while the view is not fresh, or does not have it", async () => {
    await world.publish({}, 100, { paused: true });
    const one = machineOf(1, () => here);
    await one.check();
    here.calls.length = 0;
    await one.check();
    here.sync();
    here.fresh = false;
    await one.check();
    expect(here.calls).toEqual(["readForeignMachine", "readForeignMachine"]);
  });
});

it("asks etcd for a machine that has an update: it keeps what it was offered before a pause", async () => {
  const one = machineOf(1, () => here);
  expect(await one.check()).toMatchObject({ does: "update" });
  here.sync();
  await world.publish({}, 100, { paused: true });
  expect(await one.check()).toMatchObject({ does: "update", version: "1.1.0" });
});

it("writes at once what a machine says anew", async () => {
  await world.publish({}, 100, { paused: true });
  const one = machineOf(1, () => here);
  await one.check();
  here.sync();
  one.reboot("1.0.5", true);
  await one.check();
  expect(world.stored().get(one.id)).toMatchObject({ version: "1.0.5" });
});

describe("a view that has not seen what another gateway did a moment ago", () => {
  let at: StaleGateway;
  let one: OmahaMachine;
  const tally = async () => (await world.led.room.readFleet()).tallies.get(GROUP)?.get("os-1.1.0");
  const holders = async () => (await world.led.room.readForeign(GROUP)).holders.map(({ uid }) => uid);

  beforeEach(async () => {
    one = machineOf(1, () => at);
    at = here;
    await world.publish({}, 100, { paused: true });
    await one.check();
    here.sync();
    at = there;
    await world.publish();
    expect(await one.check()).toMatchObject({ does: "update" });
    at = here;
  });

  it("offers the same once more, and takes no second place", async () => {
    expect(await one.check()).toMatchObject({ does: "update", version: "1.1.0" });
    expect(await holders()).toEqual([one.id]);
    expect(await tally()).toMatchObject({ granted: 1 });
  });

  it("leaves the place to who has it where it would offer nothing", async () => {
    await world.publish({}, 100, { paused: true });
    expect(await one.check()).toMatchObject(NOTHING);
    expect(await holders()).toEqual([one.id]);
    here.sync();
    await world.publish();
    expect(await one.check()).toMatchObject({ does: "update", version: "1.1.0" });
    expect(await tally()).toMatchObject({ granted: 1 });
  });

  it("loses no event, and ends the update", async () => {
    await one.install();
    expect(world.stored().get(one.id)).toMatchObject({ update: { state: "Staged" } });
    one.reboot("1.1.0");
    await one.check();
    expect(await holders()).toEqual([]);
    expect(await tally()).toMatchObject({ granted: 1, good: 1 });
  });

  it("ends it at the next check where the event of its completion was lost as well", async () => {
    await one.install();
    here.sync();
    const before = here.known;
    one.reboot("1.1.0", true);
    at = there;
    await one.check();
    expect(await tally()).toMatchObject({ good: 1 });
    // And here, where the view still has the update that ended.
    at = here;
    here.known = before;
    await one.check();
    expect(await tally()).toMatchObject({ granted: 1, good: 1, failed: 0 });
    expect(await holders()).toEqual([]);
  });

  it("does not offer again what failed on the machine", async () => {
    await one.install();
    at = there;
    one.fallBack();
    await one.check();
    at = here;
    expect(await one.check()).toMatchObject(NOTHING);
    expect(here.outcomes.at(-1)).toBe("NeverAgain");
    expect(await holders()).toEqual([]);
  });
});

it("in any order, with views of any age: no place too many, none lost, and nothing that failed comes again", async () => {
  const step = fc.record({
    machine: fc.nat({ max: 4 }),
    gateway: fc.nat({ max: 1 }),
    does: fc.constantFrom(
      "check",
      "check",
      "install",
      "reboot",
      "silent",
      "fallBack",
      "ping",
      "fail",
      "sync",
    ),
  });
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { minLength: 5, maxLength: 60 }),
      fc.integer({ min: 1, max: 3 }),
      async (steps, max) => {
        world = await World.create({}, max);
        const gateways = [new StaleGateway(world), new StaleGateway(world)] as const;
        let at: StaleGateway = gateways[0];
        const machines = [0, 1, 2, 3, 4].map((n) => machineOf(n, () => at));
        const offers = new Map<string, boolean>();
        const check = async (one: OmahaMachine): Promise<void> => {
          const failedBefore = world.stored().get(one.id)?.failed.length ?? 0;
          const verdict: Verdict = await one.check();
          offers.set(one.id, verdict.does === "update");
          if (verdict.does === "update") expect(failedBefore).toBe(0);
        };
        for (const { machine, gateway, does } of steps) {
          const one = machines[machine] as OmahaMachine;
          at = gateways[gateway] as StaleGateway;
          if (does === "sync") at.sync();
          else if (does === "check") await check(one);
          else if (does === "ping") await one.ping();
          else if (offers.get(one.id) === true) {
            if (does === "install") await one.install();
            else if (does === "fail") await one.fail(9);
            else if (does === "reboot") one.reboot("1.1.0");
            else if (does === "silent") one.reboot("1.1.0", true);
            else if (does === "fallBack") one.fallBack();
            if (does !== "install") offers.delete(one.id);
          }
          await world.look();
          const { holders } = await world.led.room.readForeign(GROUP);
          expect(holders.length).toBeLessThanOrEqual(max);
          const updating = [...world.stored()]
            .filter(([, { update }]) => update !== undefined)
            .map(([uid]) => uid);
          expect(holders.map(({ uid }) => uid).toSorted()).toEqual(updating.toSorted());
        }
        // Once the views have caught up, who runs the release, or failed on it, holds nothing.
        for (const one of machines) {
          for (const gateway of gateways) gateway.sync();
          await check(one);
        }
        const { holders } = await world.led.room.readForeign(GROUP);
        for (const { uid } of holders) {
          const { version, failed } = world.stored().get(uid) as ForeignMachine;
          expect({ version, failed }).toEqual({ version: "1.0.0", failed: [] });
        }
      },
    ),
    { numRuns: 120 },
  );
});

it("knows a machine whose record has ended by the slot of its update, and frees that, also where all else is full", async () => {
  const [done, other] = [1, 2].map((id) => new OmahaMachine(id, "1.0.0", (xml) => here.post(xml)));
  await done?.check();
  await other?.check();
  world.led.pass(182 * 86_400_000);
  expect(world.stored().size).toBe(0);
  here.full = true;
  await world.publish();
  done?.reboot("1.1.0");
  expect(await done?.check()).toMatchObject(NOTHING);
  await world.publish({ ways: { amd64: [offered("1.2.0")] } });
  expect(await other?.check()).toMatchObject({ does: "update", version: "1.2.0" });
  expect((await world.led.room.readForeign(GROUP)).holders).toMatchObject([{ uid: other?.id }]);
  expect(world.fleet.tallies.get(GROUP)?.get("os-1.1.0")).toMatchObject({ good: 1 });
});
