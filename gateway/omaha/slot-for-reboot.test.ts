/** Machines that ask for a slot before they reboot: what they are offered takes none. */
import { beforeEach, expect, it } from "vitest";
import { OmahaMachine } from "../../test/omaha/machine.ts";
import { GROUP, SERVED, StaleGateway, World } from "../../test/omaha/stale-gateway.ts";

const shut = { open: false, openUntil: 0 };
let world: World;
let gateway: StaleGateway;

beforeEach(async () => {
  world = await World.create();
  gateway = new StaleGateway(world);
});

it("goes on outside of every window and past every budget, and ends by what its machines come back with", async () => {
  await world.publish({}, 1, { ...shut, machines: { ...SERVED, slotFor: "Reboot" } });
  const [one, other] = [1, 2].map((id) => new OmahaMachine(id, "1.0.0", (xml) => gateway.post(xml)));
  if (one === undefined || other === undefined) throw new Error("there are two");
  for (const each of [one, other]) {
    expect(await each.check()).toMatchObject({ does: "update", version: "1.1.0" });
    expect(await each.check()).toMatchObject({ does: "update", version: "1.1.0" });
    await each.install();
    await each.ping();
  }
  expect(world.stored().get(other.id)).toMatchObject({ update: { state: "Staged", attempt: 1 } });
  expect((await world.led.room.readForeign(GROUP)).holders).toEqual([]);
  one.reboot("1.1.0");
  other.reboot("1.0.0");
  for (const each of [one, other]) expect(await each.check()).toMatchObject({ does: "nothing" });
  const tally = (await world.led.room.readFleet()).tallies.get(GROUP)?.get("os-1.1.0");
  expect(tally).toMatchObject({ granted: 2, good: 1, failed: 1 });
  expect(world.stored().get(other.id)).toMatchObject({ why: { reason: "NeverAgain" } });
});

it.each(["Update", "Reboot"] as const)(
  "is another group's once its machine is: slot for %s",
  async (slotFor) => {
    const machines = { ...SERVED, slotFor };
    await world.publish({}, 100, { machines });
    const one = new OmahaMachine(1, "1.0.0", (xml) => gateway.post(xml));
    expect(await one.check()).toMatchObject({ does: "update" });
    // Of two with its track the first by name.
    await world.publish({ group: "edge" }, 100, { group: "edge", machines });
    expect(await one.check()).toMatchObject({ does: "update" });
    const { tallies } = await world.led.room.readFleet();
    const granted = [GROUP, "edge"].map((group) => tallies.get(group)?.get("os-1.1.0")?.granted);
    expect(granted).toEqual([0, 1]);
    expect(world.stored().get(one.id)).toMatchObject({ update: { group: "edge" } });
  },
);

it("waits for window and budget where the update takes the slot", async () => {
  await world.publish({}, 1, shut);
  const one = new OmahaMachine(1, "1.0.0", (xml) => gateway.post(xml));
  expect(await one.check()).toMatchObject({ does: "nothing" });
  expect(world.stored().get(one.id)).toMatchObject({ why: { reason: "WaitingForWindow" } });
});
