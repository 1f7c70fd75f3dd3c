/** Machines that share an id, as images do that were made of a running one: none may cost another its place, or a release its name. */
import { beforeEach, expect, it } from "vitest";
import { bootsWith } from "../../coordination/machine-boots.ts";
import { OmahaMachine } from "../../test/omaha/machine.ts";
import { GROUP, StaleGateway, World } from "../../test/omaha/stale-gateway.ts";

const NOTHING = { does: "nothing" };
let world: World;
let here: StaleGateway;

beforeEach(async () => {
  world = await World.create();
  here = new StaleGateway(world);
});

/** One of several with the id 1, in its own boot. */
function twin(boot: number): OmahaMachine {
  const machine = new OmahaMachine(1, "1.0.0", (xml) => here.post(xml));
  for (let n = 0; n < boot; n++) machine.reboot("1.0.0", true);
  return machine;
}
const record = (one: OmahaMachine) => world.stored().get(one.id);
const holders = async () => (await world.led.room.readForeign(GROUP)).holders.length;
const tally = async () => (await world.led.room.readFleet()).tallies.get(GROUP)?.get("os-1.1.0");

it("offers them nothing, and says why, until they have ids of their own", async () => {
  await world.publish({}, 100, { paused: true });
  const [one, other] = [twin(0), twin(7)];
  for (const each of [one, other, one]) await each.check();
  await world.publish();
  for (const each of [other, one, other]) expect(await each.check()).toMatchObject(NOTHING);
  expect(here.outcomes.slice(-3)).toEqual(Array(3).fill("DuplicateMachineId"));
  expect(record(one)).toMatchObject({ why: { reason: "DuplicateMachineId" } });
  expect(await holders()).toBe(0);
  here.sync();
  await other.check();
  expect(here.outcomes.at(-1)).toBe("DuplicateMachineId");
  world.led.pass(12 * 3_600_000);
  await world.publish();
  expect(await other.check()).toMatchObject({ does: "update" });
});

it("takes the boot of another for no reboot of the one that has the update, and ends it by what is told of it alone", async () => {
  await world.publish({}, 100, { paused: true });
  const [one, other] = [twin(0), twin(7)];
  await other.check();
  await world.publish();
  expect(await one.check()).toMatchObject({ does: "update" });
  await one.install();
  other.version = "1.1.0";
  for (let n = 0; n < 3; n++) {
    await other.check();
    await one.ping();
  }
  expect(record(one)).toMatchObject({ update: { state: "Staged" }, failed: [] });
  expect(await holders()).toBe(1);
  one.reboot("1.1.0");
  await one.check();
  expect(await holders()).toBe(0);
  expect(await tally()).toMatchObject({ granted: 1, good: 1, failed: 0 });
});

it("keeps what it knows of boots where the view, which has them not, stands for the record", async () => {
  await world.publish({}, 100, { paused: true });
  const [one, other] = [twin(0), twin(7)];
  await other.check();
  await one.check();
  const { boots } = record(one) ?? {};
  expect(boots).toHaveLength(2);
  here.sync();
  for (const known of here.known.values()) delete known.boots;
  await world.publish();
  expect(await one.check()).toMatchObject({ does: "update" });
  expect(record(one)?.boots).toEqual(boots);
});

it("is not fooled by reboots, by machines that name no boot, or by a boot that nobody remembers", () => {
  let of: Parameters<typeof bootsWith>[0];
  for (const [at, bootId] of ["a", "a", "b", "", "b", "c", "d", "e", "a"].entries()) {
    of = { bootId, ...bootsWith(of, bootId, at) };
    expect(of.sharedAt).toBeUndefined();
    expect(of.boots?.length).toBeLessThanOrEqual(4);
  }
  expect(bootsWith(of, "d", 99)).toEqual({ boots: ["d", "a", "e", "c"], sharedAt: 99 });
  // A record of before boots were remembered.
  expect(bootsWith({ bootId: "x" }, "y", 1)).toEqual({ boots: ["y", "x"] });
});
