/** Checks that are answered from memory: what etcd is spared, and that a view that lags behind costs nobody a place or an update. */
import * as fc from "fast-check";
import { beforeEach, describe, expect, it } from "vitest";
import type { Coordination, FleetSnapshot } from "../../coordination/coordination.ts";
import { keys } from "../../coordination/keys.ts";
import { ForeignMachine, type Offer } from "../../coordination/records.ts";
import { MachineCredentials } from "../../pki/machine-credentials.ts";
import { silentLogger } from "../../ports/log.ts";
import { OmahaMachine } from "../../test/omaha/machine.ts";
import { offered } from "../../test/omaha/offered.ts";
import { FLATCAR } from "../../test/omaha/requests.ts";
import type { Verdict } from "../../test/omaha/update-engine.ts";
import { SeededRandom } from "../../test/sim/random.ts";
import { LedRoom } from "../../test/slots/led-room.ts";
import type { EdgeRequest } from "../edge/server.ts";
import { Sightings } from "../machines/sightings.ts";
import { omahaRoute } from "./route.ts";

const NOTHING = { does: "nothing" };
const GROUP = "workers";

let led: LedRoom;
let fleet: FleetSnapshot;

async function publish(offer: Partial<Offer> = {}, max = 100, paused = false): Promise<void> {
  const validUntil = led.clock.now() + 30_000;
  const machines = { budgets: [`group/${GROUP}`], needs: 1000, open: true };
  const { groups } = led.gates({ group: GROUP, machines, paused });
  const one = { group: GROUP, tracks: [GROUP], product: FLATCAR, share: 1, threshold: 100, validUntil };
  await led.room.writeGates(led.leader, {
    groups,
    budgets: [{ budget: `group/${GROUP}`, max, unavailable: [], validUntil }],
    offers: [{ ...one, ways: { amd64: [offered("1.1.0")] }, ...offer }],
  });
  fleet = await led.room.readFleet();
}

/** All records as etcd has them. */
function stored(): Map<string, ForeignMachine> {
  const kept = [...led.etcd.records.values()].filter(({ key }) => key.startsWith(keys.foreignMachines));
  return new Map(
    kept.map(({ key, value }) => [
      key.slice(keys.foreignMachines.length),
      ForeignMachine.parse(JSON.parse(value)),
    ]),
  );
}

/** A gateway whose view is what `sync` saw last, and fresh, whatever happened since. */
class StaleGateway {
  fresh = true;
  known = new Map<string, ForeignMachine>();
  readonly calls: string[] = [];
  full = false;
  readonly outcomes: string[] = [];
  readonly #route: ReturnType<typeof omahaRoute>;
  readonly sightings: Sightings;

  constructor() {
    const coordination = new Proxy(led.room, {
      get: (room, name: keyof Coordination) => {
        this.calls.push(name);
        return room[name];
      },
    });
    const ports = { clock: led.clock, random: new SeededRandom(7), log: silentLogger };
    this.sightings = new Sightings({ coordination, ...ports });
    const [isFresh, isFull] = [() => this.fresh, () => this.full];
    const get = (uid: string) => this.known.get(uid);
    this.#route = omahaRoute({
      ...{ coordination, ...ports, fleet: () => fleet, sightings: this.sightings },
      machines: {
        get fresh() {
          return isFresh();
        },
        get full() {
          return isFull();
        },
        get,
      },
      credentials: new MachineCredentials([]),
      isOpen: () => true,
      meter: (outcome) => this.outcomes.push(outcome),
    });
  }

  sync(): void {
    this.known = stored();
  }

  async post(xml: string): Promise<string> {
    const request = { method: "POST", path: "/v1/update/", body: Buffer.from(xml) };
    const { status, body } = await this.#route.answer(request as unknown as EdgeRequest);
    expect(status).toBe(200);
    return String(body);
  }
}

let here: StaleGateway;
let there: StaleGateway;

beforeEach(async () => {
  led = await LedRoom.create();
  await publish();
  here = new StaleGateway();
  there = new StaleGateway();
});

it("knows no new machine where there are more than it keeps: ids cost nothing to make up", async () => {
  const old = machineOf(1, () => here);
  expect(await old.check()).toMatchObject({ does: "update" });
  here.full = true;
  const made = machineOf(2, () => here);
  expect(await made.check()).toMatchObject({ does: "nothing" });
  expect([...stored().keys()]).toEqual([old.id]);
  expect(await old.check()).toMatchObject({ does: "update" });
});

it("ends an update in one transaction, with what the machine hears next in its record", async () => {
  const one = machineOf(1, () => here);
  await one.check();
  await one.install();
  one.reboot("1.1.0");
  here.calls.length = 0;
  const before = led.etcd.revision;
  expect(await one.check()).toMatchObject(NOTHING);
  expect(here.calls).toEqual(["readForeignMachine", "endUpdate"]);
  expect(led.etcd.revision).toBe(before + 1);
  const record = stored().get(one.id);
  expect(record).toMatchObject({ version: "1.1.0", why: { reason: "UpToDate" }, lastSeen: led.clock.now() });
  expect(record?.update).toBeUndefined();
});

/** A machine that asks at `at`, which may be changed. */
function machineOf(n: number, at: () => StaleGateway): OmahaMachine {
  return new OmahaMachine(n, "1.0.0", (xml) => at().post(xml));
}

async function settle(): Promise<void> {
  led.pass(2000);
  for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve));
}

describe("a machine that says nothing new", () => {
  it.each<[string, Partial<Offer>, boolean]>([
    ["UpToDate", { ways: { amd64: [offered("1.0.0")] } }, false],
    ["WaitingForRate", { rate: { updates: 0, period: 60_000 } }, false],
    ["WaitingForStage", { share: 0 }, false],
    ["Paused", {}, true],
  ])("is refused without etcd: %s", async (reason, offer, paused) => {
    await publish(offer, 100, paused);
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
    await publish({}, 100, true);
    for (const one of all) await one.check();
    here.sync();
    here.calls.length = 0;
    led.pass(300_000);
    await publish({ share: 0 });
    const now = led.clock.now();
    for (const one of all) await one.check();
    await settle();
    expect(here.calls).toEqual(["putSightings"]);
    for (const record of stored().values()) {
      expect(record).toMatchObject({ lastSeen: now, why: { reason: "WaitingForStage" } });
    }
    here.sync();
    here.calls.length = 0;
    await publish({}, 100, true);
    await all[0]?.check();
    await settle();
    expect(here.calls).toEqual(["putSightings"]);
    expect(stored().get(all[0]?.id ?? "")?.why).toMatchObject({ reason: "Paused" });
  });

  it("is looked up in etcd while the view is not fresh, or does not have it", async () => {
    await publish({}, 100, true);
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
  await publish({}, 100, true);
  expect(await one.check()).toMatchObject({ does: "update", version: "1.1.0" });
});

it("writes at once what a machine says anew", async () => {
  await publish({}, 100, true);
  const one = machineOf(1, () => here);
  await one.check();
  here.sync();
  one.reboot("1.0.5", true);
  await one.check();
  expect(stored().get(one.id)).toMatchObject({ version: "1.0.5" });
});

describe("a view that has not seen what another gateway did a moment ago", () => {
  let at: StaleGateway;
  let one: OmahaMachine;
  const tally = async () => (await led.room.readFleet()).tallies.get(GROUP)?.get("os-1.1.0");
  const holders = async () => (await led.room.readForeign(GROUP)).holders.map(({ uid }) => uid);

  beforeEach(async () => {
    one = machineOf(1, () => at);
    at = here;
    await publish({}, 100, true);
    await one.check();
    here.sync();
    at = there;
    await publish();
    expect(await one.check()).toMatchObject({ does: "update" });
    at = here;
  });

  it("offers the same once more, and takes no second place", async () => {
    expect(await one.check()).toMatchObject({ does: "update", version: "1.1.0" });
    expect(await holders()).toEqual([one.id]);
    expect(await tally()).toMatchObject({ granted: 1 });
  });

  it("leaves the place to who has it where it would offer nothing", async () => {
    await publish({}, 100, true);
    expect(await one.check()).toMatchObject(NOTHING);
    expect(await holders()).toEqual([one.id]);
    here.sync();
    await publish();
    expect(await one.check()).toMatchObject({ does: "update", version: "1.1.0" });
    expect(await tally()).toMatchObject({ granted: 1 });
  });

  it("loses no event, and ends the update", async () => {
    await one.install();
    expect(stored().get(one.id)).toMatchObject({ update: { state: "Staged" } });
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
        led = await LedRoom.create();
        await publish({}, max);
        const gateways = [new StaleGateway(), new StaleGateway()] as const;
        let at: StaleGateway = gateways[0];
        const machines = [0, 1, 2, 3, 4].map((n) => machineOf(n, () => at));
        const offers = new Map<string, boolean>();
        const check = async (one: OmahaMachine): Promise<void> => {
          const failedBefore = stored().get(one.id)?.failed.length ?? 0;
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
          fleet = await led.room.readFleet();
          const { holders } = await led.room.readForeign(GROUP);
          expect(holders.length).toBeLessThanOrEqual(max);
          const updating = [...stored()].filter(([, { update }]) => update !== undefined).map(([uid]) => uid);
          expect(holders.map(({ uid }) => uid).toSorted()).toEqual(updating.toSorted());
        }
        // Once the views have caught up, who runs the release, or failed on it, holds nothing.
        for (const one of machines) {
          for (const gateway of gateways) gateway.sync();
          await check(one);
        }
        const { holders } = await led.room.readForeign(GROUP);
        for (const { uid } of holders) {
          const { version, failed } = stored().get(uid) as ForeignMachine;
          expect({ version, failed }).toEqual({ version: "1.0.0", failed: [] });
        }
      },
    ),
    { numRuns: 120 },
  );
});
