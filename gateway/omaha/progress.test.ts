/** What a machine tells of its update: what is written at once, what with others, and that nothing it told is lost. */
import { beforeEach, describe, expect, it } from "vitest";
import type { ForeignMachine } from "../../coordination/records.ts";
import type { OmahaMachine } from "../../test/omaha/machine.ts";
import { GROUP, machineOf, StaleGateway, World } from "../../test/omaha/stale-gateway.ts";

let world: World;
let here: StaleGateway;

beforeEach(async () => {
  world = await World.create();
  here = new StaleGateway(world);
});

it("takes an update for a machine that the view knows in one look at etcd, and forgets nothing that it told", async () => {
  const one = machineOf(1, () => here);
  await one.check();
  await one.install();
  await one.fail(9);
  const { history } = world.stored().get(one.id) as ForeignMachine;
  await world.publish({}, 100, { paused: true });
  await one.check();
  here.sync();
  for (const known of here.known.values()) delete known.history;
  await world.publish();
  here.calls.length = 0;
  expect(await one.check()).toMatchObject({ does: "update" });
  expect(here.calls).toEqual(["takeUpdate"]);
  expect(history).toHaveLength(4);
  expect(world.stored().get(one.id)?.history).toEqual(history);
});

describe("a download that goes on", () => {
  let one: OmahaMachine;

  beforeEach(async () => {
    one = machineOf(1, () => here);
    await one.check();
    here.sync();
    here.calls.length = 0;
  });

  it("costs etcd nothing but a write with others' a second later", async () => {
    await one.tell(13);
    world.led.pass(10);
    await one.tell(14);
    expect(here.calls).toEqual([]);
    await world.settle();
    expect(here.calls).toEqual(["putSightings"]);
    const { update, history, lastSeen } = world.stored().get(one.id) as ForeignMachine;
    expect(update).toMatchObject({ state: "Downloaded" });
    expect(history?.map(({ type }) => type)).toEqual([14, 13]);
    expect(lastSeen).toBe(history?.[0]?.at);
  });

  it("is written at once with what must be known: that it is staged", async () => {
    await one.install();
    expect(here.calls).toEqual(["readForeignMachine", "putForeignMachine"]);
    const record = world.stored().get(one.id);
    expect(record).toMatchObject({ update: { state: "Staged" } });
    expect(record?.history?.map(({ type }) => type).toSorted()).toEqual([13, 14, 3]);
    await world.settle();
    expect(world.stored().get(one.id)).toEqual(record);
    expect(here.calls).not.toContain("putSightings");
  });

  it("is told by a gateway that died, or etcd is away, without harm to the update", async () => {
    await one.tell(13);
    here.sightings.stop();
    await world.settle();
    expect(world.stored().get(one.id)).toMatchObject({ update: { state: "Granted" } });
    here = new StaleGateway(world);
    await one.install();
    one.reboot("1.1.0");
    await one.check();
    expect((await world.led.room.readFleet()).tallies.get(GROUP)?.get("os-1.1.0")).toMatchObject({ good: 1 });
  });

  it("goes by etcd where the view is old, or the machine has rebooted", async () => {
    here.fresh = false;
    await one.tell(13);
    expect(here.calls).toEqual(["readForeignMachine", "putForeignMachine"]);
    here.fresh = true;
    here.calls.length = 0;
    one.reboot("1.1.0", true);
    await one.tell(14);
    expect(here.calls).toContain("endUpdate");
  });

  it("is written at once where it was staged before: a reboot means another thing from then on", async () => {
    await one.install();
    here.sync();
    here.calls.length = 0;
    await one.tell(13);
    expect(here.calls).toEqual(["readForeignMachine", "putForeignMachine"]);
    expect(world.stored().get(one.id)).toMatchObject({ update: { state: "Downloading" } });
  });
});

it("is refused for the same reason since the first check that was, whoever answers", async () => {
  const one = machineOf(1, () => here);
  const since = () => world.stored().get(one.id)?.why?.since;
  await world.publish({}, 100, { paused: true });
  const first = world.led.clock.now();
  await one.check();
  world.led.pass(400_000);
  await world.publish({}, 100, { paused: true });
  await one.check();
  expect(since()).toBe(first);
  here.sync();
  world.led.pass(400_000);
  await world.publish({}, 100, { paused: true });
  await one.check();
  await world.settle();
  expect(world.stored().get(one.id)?.lastSeen).toBeGreaterThan(first + 700_000);
  expect(since()).toBe(first);
  here.sync();
  await world.publish({ share: 0 });
  const second = world.led.clock.now();
  await one.check();
  await world.settle();
  expect(world.stored().get(one.id)?.why).toMatchObject({ reason: "WaitingForStage", since: second });
});

describe("while the manager is away", () => {
  let one: OmahaMachine;
  const tally = async () => (await world.led.room.readFleet()).tallies.get(GROUP)?.get("os-1.1.0");
  const holders = async () => (await world.led.room.readForeign(GROUP)).holders.length;

  beforeEach(async () => {
    one = machineOf(1, () => here);
    await one.check();
    here.sync();
    world.led.pass(31_000);
    await world.look();
  });

  it("ends an update by what its machine tells once", async () => {
    await one.install();
    here.sync();
    one.fallBack();
    expect(await one.check()).toMatchObject({ does: "nothing" });
    expect(here.outcomes.at(-1)).toBe("WaitingForGates");
    expect(world.stored().get(one.id)).toMatchObject({ failed: [{ release: "os-1.1.0" }] });
    expect(await tally()).toMatchObject({ granted: 1, failed: 1 });
    expect(await holders()).toBe(0);
    await world.publish();
    expect(await one.check()).toMatchObject({ does: "nothing" });
    expect(here.outcomes.at(-1)).toBe("NeverAgain");
  });

  it("ends it too where the group serves the machine no more, and offers nothing", async () => {
    await world.publish();
    one.track = "elsewhere";
    one.reboot("1.1.0");
    expect(await one.check()).toMatchObject({ does: "nothing" });
    expect(await tally()).toMatchObject({ granted: 1, good: 1 });
  });

  it("ends nothing by who has not the group's secret, or speaks of another product", async () => {
    // Offered when the group was not open.
    const { update, ...known } = here.known.get(one.id) as ForeignMachine;
    here.known.set(one.id, { ...known, update: update && { ...update, open: undefined } });
    one.fallBack();
    await one.check();
    here.sync();
    one.appid = "{00000000-0000-4000-8000-000000000000}";
    one.reboot("1.1.0");
    await one.check();
    expect(await holders()).toBe(1);
    expect(here.outcomes.slice(-2)).toEqual(["WaitingForGates", "WaitingForGates"]);
  });

  it("knows nobody new", async () => {
    const other = machineOf(2, () => here);
    await other.check();
    expect([...world.stored().keys()]).toEqual([one.id]);
  });
});
