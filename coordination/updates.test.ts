import { beforeEach, describe, expect, it } from "vitest";
import { LedRoom } from "../test/slots/led-room.ts";
import type { UpdateAsk } from "./coordination.ts";
import { keys } from "./keys.ts";
import type { ForeignMachine } from "./records.ts";

let led: LedRoom;
const machines = { budgets: ["group/g"], needs: 60_000, open: false };

const machineOf = (id: string, more: Partial<ForeignMachine> = {}): ForeignMachine => ({
  ...{ id, group: "g", product: "p", version: "1", track: "g", board: "", oem: "", alias: "", bootId: "b" },
  ...{ firstSeen: 1, lastSeen: 1, failed: [], ...more },
});
const ask = (uid: string, more: Partial<UpdateAsk> = {}): UpdateAsk => ({
  ...{ uid, name: uid, group: "g", nonce: `nonce-${uid}`, release: "r", version: "2", threshold: 10 },
  ...{ machine: machineOf(uid), ...more },
});

beforeEach(async () => {
  led = await LedRoom.create();
  await led.room.writeGates(led.leader, led.gates({ machines }, { max: 5 }));
});

describe("an update", () => {
  it("is refused where the release failed on the machine since it was looked at", async () => {
    await led.room.takeUpdate(ask("m"));
    await led.room.endUpdate({ uid: "m", group: "g", machine: machineOf("m"), how: "failed", code: 44 });
    expect(await led.room.takeUpdate(ask("m"))).toMatchObject({ why: { reason: "NeverAgain" } });
    expect(await led.room.takeUpdate(ask("m", { release: "s" }))).toMatchObject({ outcome: "granted" });
  });

  it("is told of and counted although a person freed its slot", async () => {
    await led.room.takeUpdate(ask("m"));
    const { grants } = await led.room.readFleet();
    const live = grants.get("m");
    if (live === undefined) throw new Error("there is no grant");
    await led.room.free(led.leader, "m", live.token, "Stolen");
    expect((await led.room.readForeignMachine("m"))?.update).toBeDefined();
    const end = {
      uid: "m",
      group: "g",
      machine: machineOf("m", { version: "2" }),
      how: "good",
      code: 0,
    } as const;
    expect(await led.room.endUpdate(end)).toBe(true);
    const after = await led.room.readForeignMachine("m");
    expect(after).toMatchObject({ version: "2", failed: [] });
    expect(after?.update).toBeUndefined();
    const tally = (await led.room.readFleet()).tallies.get("g")?.get("r");
    expect(tally).toMatchObject({ granted: 1, good: 1, failed: 0 });
    expect(await led.room.endUpdate(end)).toBe(false);
  });
});

describe("sightings", () => {
  const why = { reason: "UpToDate", message: "It is." };
  const record = (uid: string) => led.room.readForeignMachine(uid);

  it("change when and why, and nothing else, in records that are there and older", async () => {
    await led.room.takeUpdate(ask("busy"));
    await led.room.putForeignMachine("idle", machineOf("idle"));
    await led.room.putForeignMachine("later", machineOf("later", { lastSeen: 900 }));
    const before = await record("busy");
    const revision = led.etcd.revision;
    const sighting = { lastSeen: 500, why };
    await led.room.putSightings(new Map(["busy", "idle", "later", "gone"].map((uid) => [uid, sighting])));
    expect(led.etcd.revision).toBe(revision + 1);
    expect(await record("busy")).toEqual({ ...before, lastSeen: 500, why });
    expect(await record("idle")).toEqual({ ...machineOf("idle"), lastSeen: 500, why });
    expect(await record("later")).toMatchObject({ lastSeen: 900 });
    expect(await record("gone")).toBeUndefined();
    expect(led.etcd.records.get(keys.foreignMachine("idle"))?.lease).toBeDefined();
  });

  it("happen once where the answer is lost, and spoil no write that came between", async () => {
    await led.room.putForeignMachine("m", machineOf("m"));
    led.fates = ["unanswered"];
    await led.room.putSightings(new Map([["m", { lastSeen: 500, why }]]));
    expect(await record("m")).toMatchObject({ lastSeen: 500 });
    led.fates = ["late"];
    const late = led.room.putSightings(new Map([["m", { lastSeen: 600, why }]]));
    await late;
    await led.room.putForeignMachine("m", machineOf("m", { version: "9", lastSeen: 700 }));
    for (const land of led.land.splice(0)) land();
    expect(await record("m")).toMatchObject({ version: "9", lastSeen: 700 });
  });
});
