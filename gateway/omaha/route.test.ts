/** The update service as machines see it, over a real socket; etcd is simulated, and its transactions are the real ones. */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { FleetSnapshot } from "../../coordination/coordination.ts";
import { keys } from "../../coordination/keys.ts";
import { MachineView } from "../../coordination/machine-view.ts";
import type { BudgetGate, GroupGate, Offer } from "../../coordination/records.ts";
import { MachineCredentials } from "../../pki/machine-credentials.ts";
import { systemClock } from "../../ports/clock.ts";
import { silentLogger } from "../../ports/log.ts";
import { readAnswer } from "../../proto/omaha/answer.ts";
import { renderAsk } from "../../proto/omaha/ask.ts";
import { OmahaMachine } from "../../test/omaha/machine.ts";
import { offered } from "../../test/omaha/offered.ts";
import { FLATCAR, PING, requestOf } from "../../test/omaha/requests.ts";
import { readAsUpdateEngine } from "../../test/omaha/update-engine.ts";
import { SeededRandom } from "../../test/sim/random.ts";
import { LedRoom } from "../../test/slots/led-room.ts";
import { type EdgeServer, startEdge } from "../edge/server.ts";
import { Sightings } from "../machines/sightings.ts";
import { omahaRoute } from "./route.ts";

const machines = { budgets: ["group/workers"], needs: 60_000, open: true };
const NOTHING = { does: "nothing", pollInterval: undefined };

let led: LedRoom;
let edge: EdgeServer;
let fleet: FleetSnapshot;
let view: MachineView;
let sightings: Sightings;
let open = true;
const outcomes: string[] = [];

/** Gates and an offer as a manager would write them now. */
async function publish(
  offer: Partial<Offer> = {},
  gate: Partial<GroupGate> = {},
  budget: Partial<BudgetGate> = {},
): Promise<void> {
  const { groups } = led.gates({ group: "workers", machines, ...gate });
  const validUntil = led.clock.now() + 30_000;
  await led.room.writeGates(led.leader, {
    groups,
    budgets: [{ budget: "group/workers", max: 100, unavailable: [], validUntil, ...budget }],
    offers: [
      {
        ...{ group: "workers", tracks: ["workers", "stable"], product: `{${FLATCAR}}` },
        ...{ share: 1, threshold: 100 },
        ...{ ways: { amd64: [offered("1.1.0")] }, validUntil, ...offer },
      },
    ],
  });
  fleet = await led.room.readFleet();
}

beforeEach(async () => {
  led = await LedRoom.create();
  open = true;
  outcomes.length = 0;
  await publish();
  view = new MachineView({ etcd: led.port, clock: led.clock, log: silentLogger });
  sightings = new Sightings({ coordination: led.room, clock: led.clock, log: silentLogger });
  const route = omahaRoute({
    ...{ machines: view, sightings, unknown: () => {} },
    coordination: led.room,
    fleet: () => fleet,
    credentials: new MachineCredentials([Buffer.alloc(32, 1)]),
    isOpen: () => open,
    ...{ clock: led.clock, random: new SeededRandom(5), log: silentLogger },
    meter: (outcome) => outcomes.push(outcome),
  });
  edge = await startEdge({
    ...{ listen: { host: "127.0.0.1", port: 0 }, routes: [route], clock: systemClock, log: silentLogger },
    meter: { answered: () => {} },
  });
});
afterEach(async () => {
  view.stop();
  sightings.stop();
  await edge.stop(1000);
});

const send = (body: string, path = "/v1/update/") =>
  fetch(`http://127.0.0.1:${edge.port}${path}`, { method: "POST", body });
const post = async (xml: string): Promise<string> => (await send(xml)).text();
const machine = (id: number, version = "1.0.0") => new OmahaMachine(id, version, post);
const record = async ({ id }: OmahaMachine) => await led.room.readForeignMachine(id);
const tally = async (release = "os-1.1.0") =>
  (await led.room.readFleet()).tallies.get("workers")?.get(release);

describe("the way of an update", () => {
  it("goes from the offer over three events and a reboot to good, and holds one slot until then", async () => {
    const one = machine(1);
    expect(await one.check()).toMatchObject({
      ...{
        does: "update",
        version: "1.1.0",
        urls: ["https://images.test/os/1.1.0.gz"],
        size: 100,
        backoff: false,
      },
    });
    expect(await one.check()).toMatchObject({ does: "update", version: "1.1.0" });
    await one.install();
    await one.ping();
    expect(await record(one)).toMatchObject({ update: { release: "os-1.1.0", state: "Staged", attempt: 1 } });
    expect(await tally()).toMatchObject({ granted: 1, good: 0, failed: 0 });
    expect((await led.room.readForeign("workers")).holders).toMatchObject([
      { uid: one.id, protocol: "Omaha" },
    ]);
    one.reboot("1.1.0");
    expect(await one.check()).toEqual(NOTHING);
    expect(await tally()).toMatchObject({ granted: 1, good: 1, failed: 0, lastGoodAt: led.clock.now() });
    expect((await led.room.readForeign("workers")).holders).toEqual([]);
    expect((await record(one))?.update).toBeUndefined();
    expect(await one.check()).toEqual(NOTHING);
    expect((await record(one))?.why).toMatchObject({ reason: "UpToDate" });
  });

  it("ends although the event of its completion was lost", async () => {
    const one = machine(1);
    await one.check();
    await one.install();
    one.reboot("1.1.0", true);
    await one.check();
    expect(await tally()).toMatchObject({ good: 1 });
  });

  it("passes through a stepping stone first", async () => {
    const stone = offered("1.0.5");
    await publish({ ways: { amd64: [stone, offered("1.1.0", { updatesFrom: "1.0.5" })] } });
    const one = machine(1);
    expect(await one.check()).toMatchObject({ version: "1.0.5" });
    await one.install();
    one.reboot("1.0.5");
    expect(await one.check()).toMatchObject({ version: "1.1.0" });
    await publish({ ways: { amd64: [offered("1.1.0", { updatesFrom: "1.0.5" })] } });
    const other = machine(2);
    expect(await other.check()).toEqual(NOTHING);
    expect((await record(other))?.why).toMatchObject({ reason: "UpdateNotReachable" });
  });
});

describe("a machine that failed", () => {
  it("by falling back is not offered the release again, and counts", async () => {
    const one = machine(1);
    await one.check();
    await one.install();
    one.fallBack();
    expect(await one.check()).toEqual(NOTHING);
    expect(await record(one)).toMatchObject({
      failed: [{ release: "os-1.1.0", code: 44 }],
      why: { reason: "NeverAgain" },
    });
    expect(await tally()).toMatchObject({ good: 0, failed: 1, failures: [{ machine: one.id, code: 44 }] });
    expect((await led.room.readForeign("workers")).holders).toEqual([]);
    one.installsource = "ondemandupdate";
    expect(await one.check()).toEqual(NOTHING);
  });

  it("is offered it again once a person forgave it, and not what fails after that", async () => {
    const [one, other] = [machine(1), machine(2)];
    for (const each of [one, other]) {
      await each.check();
      await each.install();
      each.fallBack();
      expect(await each.check()).toEqual(NOTHING);
    }
    expect(await led.room.forgiveMachine(one.id)).toBe(true);
    expect(await led.room.forgiveMachine(one.id)).toBe(false);
    expect(await one.check()).toMatchObject({ does: "update" });
    await publish({ retriedAt: led.clock.now() });
    led.pass(1000);
    await publish({ retriedAt: led.clock.now() - 1000 });
    expect(await other.check()).toMatchObject({ does: "update" });
    await other.install();
    other.fallBack();
    expect(await other.check()).toEqual(NOTHING);
  });

  it("by completing with the old version, or by saying nothing after its reboot, fell back as well", async () => {
    const [said, silent] = [machine(1), machine(2)];
    for (const one of [said, silent]) {
      await one.check();
      await one.install();
    }
    said.reboot("1.0.0");
    silent.reboot("1.0.0", true);
    for (const one of [said, silent]) expect(await one.check()).toEqual(NOTHING);
    expect(await tally()).toMatchObject({ failed: 2 });
  });

  it("on the way is offered it three times", async () => {
    const one = machine(1);
    for (const attempt of [1, 2]) {
      expect(await one.check()).toMatchObject({ does: "update" });
      expect(await record(one)).toMatchObject({ update: { attempt } });
      await one.fail(9);
      expect(await tally()).toMatchObject({ granted: 0, failed: 0 });
    }
    await one.check();
    await one.fail(9);
    expect(await tally()).toMatchObject({ failed: 1, failures: [{ code: 9 }] });
    expect(await one.check()).toEqual(NOTHING);
  });

  it("halts its group's machines at the threshold", async () => {
    await publish({ threshold: 2 });
    for (const id of [1, 2]) {
      const one = machine(id);
      expect(await one.check()).toMatchObject({ does: "update" });
      await one.install();
      one.fallBack();
      await one.check();
    }
    const next = machine(3);
    expect(await next.check()).toEqual(NOTHING);
    expect((await record(next))?.why).toMatchObject({ reason: "FailureThresholdReached" });
  });
});

describe("why a machine is offered nothing, with a quiet answer", () => {
  it.each<[string, Partial<Offer>, Partial<GroupGate>, Partial<BudgetGate>]>([
    ["Paused", {}, { paused: true }, {}],
    ["FailureThresholdReached", {}, { halted: true }, {}],
    ["ReleaseQuarantined", {}, { quarantined: ["os-1.1.0"] }, {}],
    ["WaitingForWindow", {}, { open: false }, {}],
    ["WaitingForBudget", {}, {}, { max: 0 }],
    ["MachinesUnconfirmed", {}, {}, { unconfirmed: "workers" }],
    ["WaitingForStage", { share: 0 }, {}, {}],
    ["NoPayload", { ways: { arm64: [offered("1.1.0")] } }, {}, {}],
    ["UpToDate", { ways: { amd64: [offered("0.9.0")] } }, {}, {}],
    ["WaitingForRate", { rate: { updates: 0, period: 60_000 } }, {}, {}],
  ])("%s", async (reason, offer, gate, budget) => {
    await publish(offer, gate, budget);
    const one = machine(1);
    expect(await one.check()).toEqual(NOTHING);
    expect((await record(one))?.why).toMatchObject({ reason });
    expect(outcomes).toEqual([reason]);
    expect((await led.room.readFleet()).grants.size).toBe(0);
  });

  it("an older release, unless the group lets machines go back: then that at once, and good is good", async () => {
    const one = machine(1);
    one.version = "1.2.0";
    expect(await one.check()).toEqual(NOTHING);
    expect((await record(one))?.why?.message).toContain("spec.machines.downgrade");
    await publish({ downgrade: true, ways: { amd64: [offered("1.0.0"), offered("1.1.0")] } });
    expect(await one.check()).toMatchObject({ does: "update" });
    await one.install();
    one.reboot("1.1.0");
    expect(await one.check()).toEqual(NOTHING);
    expect(await tally()).toMatchObject({ good: 1, failed: 0 });
    expect(await one.check()).toEqual(NOTHING);
    expect((await record(one))?.why?.reason).toBe("UpToDate");
  });

  it("another track, another product, an offer that expired", async () => {
    const one = machine(1);
    one.track = "beta";
    expect(await one.check()).toEqual(NOTHING);
    expect(
      readAsUpdateEngine(await post(requestOf({ appid: "{00000000-0000-4000-8000-000000000000}" }))),
    ).toEqual(NOTHING);
    led.pass(31_000);
    expect(await machine(2).check()).toEqual(NOTHING);
  });

  it("until enough are good on the release: the first may fail, and no more than the threshold with it", async () => {
    await publish({ threshold: 2 });
    const all = [1, 2, 3, 4].map((id) => machine(id));
    const verdicts = [];
    for (const one of all) verdicts.push((await one.check()).does);
    expect(verdicts).toEqual(["update", "update", "nothing", "nothing"]);
    for (const one of all.slice(0, 2)) {
      await one.install();
      one.reboot("1.1.0");
      await one.check();
    }
    for (const one of all.slice(2)) expect(await one.check()).toMatchObject({ does: "update" });
  });

  it("by rate: so many within a period, and then more", async () => {
    await publish({ rate: { updates: 2, period: 60_000 } });
    const verdicts = [];
    for (const id of [1, 2, 3]) verdicts.push((await machine(id).check()).does);
    expect(verdicts).toEqual(["update", "update", "nothing"]);
    led.pass(62_000);
    await publish({ rate: { updates: 2, period: 60_000 } });
    expect(await machine(3).check()).toMatchObject({ does: "update" });
  });

  it("but a person at the machine passes stages and rate, and neither pause nor quarantine", async () => {
    const one = machine(1);
    one.installsource = "ondemandupdate";
    await publish({ share: 0, rate: { updates: 0, period: 60_000 } });
    expect(await one.check()).toMatchObject({ does: "update" });
    const other = machine(2);
    other.installsource = "ondemandupdate";
    await publish({}, { paused: true });
    expect(await other.check()).toEqual(NOTHING);
    await publish({}, { quarantined: ["os-1.1.0"] });
    expect(await other.check()).toEqual(NOTHING);
  });
});

describe("the budget", () => {
  it("is shared by all machines, and free again for the next", async () => {
    await publish({}, {}, { max: 1 });
    const [one, other] = [machine(1), machine(2)];
    expect(await one.check()).toMatchObject({ does: "update" });
    expect(await other.check()).toEqual(NOTHING);
    await one.install();
    one.reboot("1.1.0");
    await one.check();
    expect(await other.check()).toMatchObject({ does: "update" });
  });

  it("is not taken for a release that is not the target any more", async () => {
    const one = machine(1);
    await one.check();
    await publish({ ways: { amd64: [offered("1.2.0")] } });
    expect(await one.check()).toMatchObject({ version: "1.2.0" });
    expect(await tally("os-1.1.0")).toMatchObject({ granted: 0 });
    expect(await tally("os-1.2.0")).toMatchObject({ granted: 1 });
    expect((await led.room.readForeign("workers")).holders).toHaveLength(1);
  });
});

it("forgets a machine that asks no more, and how a release went, after half a year", async () => {
  const one = machine(1);
  await one.check();
  for (const key of [keys.foreignMachine(one.id), keys.tally("workers", "os-1.1.0")]) {
    expect(led.etcd.records.get(key)?.lease, key).toBeDefined();
  }
});

describe("without etcd", () => {
  it("offers nothing, and answers as ever", async () => {
    led.fates = Array.from({ length: 20 }, () => "lost" as const);
    expect(await machine(1).check()).toEqual(NOTHING);
    expect(outcomes).toEqual(["EtcdUnavailable"]);
  });

  it("learns from the next check what it was not told", async () => {
    const one = machine(1);
    await one.check();
    await one.install();
    one.reboot("1.1.0");
    led.fates = Array.from({ length: 20 }, () => "lost" as const);
    await one.check();
    led.fates = [];
    await one.check();
    expect(await tally()).toMatchObject({ good: 1 });
  });
});

describe("a server that follows", () => {
  const ask = async (version: string): Promise<object> => {
    const sent = { product: FLATCAR, track: "stable", board: "amd64-usr", version, machineId: "f0110e5" };
    return readAnswer(await (await send(renderAsk(sent))).text());
  };

  it("is told one step after the other, takes no slot, and is not written down", async () => {
    await publish({ ways: { amd64: [offered("1.0.5"), offered("1.1.0")] }, share: 0 }, { open: false });
    expect(await ask("0.0.0")).toMatchObject({ manifests: [{ version: "1.0.5", target: false }] });
    expect(await ask("1.0.5")).toMatchObject({ manifests: [{ version: "1.1.0", target: true }] });
    expect(await ask("1.1.0")).toEqual({ is: "nothing" });
    expect(outcomes).toEqual(["follower", "follower", "follower"]);
    expect((await led.room.readForeign("workers")).holders).toEqual([]);
    expect(await led.room.readForeignMachine("f0110e5")).toBeUndefined();
  });

  it.each<[string, Partial<GroupGate>]>([
    ["is paused", { paused: true }],
    ["is halted", { halted: true }],
    ["has its release quarantined", { quarantined: ["os-1.1.0"] }],
  ])("is told nothing where the group %s", async (_, gate) => {
    await publish({}, gate);
    expect(await ask("0.0.0")).toEqual({ is: "nothing" });
  });
});

describe("the door", () => {
  it("wants the secret in the URL where the group is not open", async () => {
    open = false;
    const secret = new MachineCredentials([Buffer.alloc(32, 1)]).secret("workers") ?? "";
    const ping = requestOf({ track: "workers", inside: PING });
    expect((await send(ping)).status).toBe(403);
    expect((await send(ping, `/v1/update/${secret}`)).status).toBe(200);
    expect((await send(ping, `/v1/update/${secret}/`)).status).toBe(200);
  });

  it("says what it can't read", async () => {
    expect((await send("hello")).status).toBe(400);
    expect((await fetch(`http://127.0.0.1:${edge.port}/v1/update`)).status).toBe(405);
    expect((await send("x".repeat(65 * 1024))).status).toBe(413);
  });
});
