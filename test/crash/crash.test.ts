/** A machine's life with power cuts everywhere: after each, the firmware must find a complete slot. */
import { describe, expect, test } from "vitest";
import { region } from "../../fastpatch/disk.ts";
import { type Engine, openEngine } from "../../fastpatch/engine.ts";
import { memoryDisk } from "../../fastpatch/memory-disk.ts";
import { readSlotLabel } from "../../fastpatch/slot-label.ts";
import { gptprioNext, type NextBoot } from "../../hack/machine/gptprio.ts";
import { everyCrash, type RecordingDisk, recordingDisk } from "./recording-disk.ts";
import {
  installOptions,
  instantClock,
  makeRelease,
  memorySource,
  noise,
  SLOT_A,
  SLOT_B,
  type SmallMachine,
  scattered,
  seeded,
  smallMachine,
  type TestRelease,
  UNSIGNED,
} from "./small-machine.ts";

const KIB = 1024;
const dataA = noise(300 * KIB, 1);
const one = await makeRelease("1.0.0", dataA);
const two = await makeRelease("2.0.0", scattered(dataA, 0.3, 2), { base: one.manifest });
const three = await makeRelease("3.0.0", Buffer.concat([Buffer.alloc(40 * KIB), noise(320 * KIB, 3)]));
const releases = [one, two, three];
const sectorSizes = [512, 4096] as const;

/** The version whose whole image lies at `offset`. */
function contentOf(bytes: Buffer, offset: number): string | undefined {
  const found = releases.find(({ image }) => bytes.subarray(offset, offset + image.length).equals(image));
  return found?.target.version;
}

function boot(
  bytes: Buffer,
  write: (offset: number, data: Uint8Array) => void,
  sectorSize: number,
): NextBoot {
  return gptprioNext(
    (lba, count) => Buffer.from(bytes.subarray(lba * sectorSize, (lba + count) * sectorSize)),
    (lba, data) => write(lba * sectorSize, data),
    bytes.length / sectorSize,
    sectorSize,
  );
}

/** What must hold in any state: the slot that boots is complete, and no label lies. */
function mustBoot(
  machine: SmallMachine,
  bytes: Buffer,
  write: (offset: number, data: Uint8Array) => void,
): string {
  const { sectorSize } = machine.disk;
  const { firstLba } = boot(bytes, write, sectorSize);
  const version = contentOf(bytes, firstLba * sectorSize);
  if (version === undefined) throw new Error("the slot that boots is not complete");
  return version;
}

async function engineOf(
  disk: RecordingDisk | SmallMachine["disk"],
  runningPartition: string,
): Promise<Engine> {
  const objects = new Map(releases.flatMap((release: TestRelease) => [...release.objects]));
  return openEngine({
    disk,
    runningPartition,
    clock: instantClock(),
    source: memorySource(objects),
    trust: UNSIGNED,
  });
}

/** Runs `act` on a recorded disk and checks every crash of it. Returns the number of states and the versions that booted. */
async function survive(
  machine: SmallMachine,
  running: string,
  act: (engine: Engine) => Promise<unknown>,
): Promise<{ states: number; booted: Set<string> }> {
  const disk = recordingDisk(machine.bytes, machine.disk.sectorSize);
  await act(await engineOf(disk, running));
  const booted = new Set<string>();
  const labels: Buffer[] = [];
  const states = everyCrash(disk, { subsets: 1000, random: seeded(7) }, (bytes, write) => {
    for (const { offset, size } of [machine.slots.A, machine.slots.B]) {
      // The label is checked below; a state whose slot is complete may have it or not.
      if (contentOf(bytes, offset) === undefined)
        labels.push(Buffer.from(bytes.subarray(offset + size - 4096, offset + size)));
    }
    booted.add(mustBoot(machine, bytes, write));
  });
  const seen = new Set(labels.map((label) => label.toString("latin1")));
  for (const label of seen) {
    const slot = Buffer.alloc(machine.slots.A.size);
    slot.write(label, slot.length - 4096, "latin1");
    expect(await readSlotLabel(memoryDisk(slot))).toBeUndefined();
  }
  return { states, booted };
}

describe.each(sectorSizes)("with sectors of %i bytes", (sectorSize) => {
  test("no power cut during a life of updates leaves a machine without a complete slot", async () => {
    const machine = await smallMachine(one, { sectorSize });
    const write = (offset: number, data: Uint8Array): void => machine.bytes.set(data, offset);
    const total: Record<string, number> = {};
    const step = async (
      name: string,
      running: string,
      act: (engine: Engine) => Promise<unknown>,
      versions: string[],
    ) => {
      const { states, booted } = await survive(machine, running, act);
      total[name] = states;
      expect([...booted].sort(), name).toEqual(versions);
    };

    await step("install", SLOT_A, (engine) => engine.install(two.target, installOptions()), ["1.0.0"]);
    await step("setNext", SLOT_A, ({ bootControl }) => bootControl.setNext("B", 1), ["1.0.0", "2.0.0"]);
    await step("cancelNext", SLOT_A, ({ bootControl }) => bootControl.cancelNext(), ["1.0.0", "2.0.0"]);
    await step("setNext again", SLOT_A, ({ bootControl }) => bootControl.setNext("B", 1), ["1.0.0", "2.0.0"]);
    expect(boot(machine.bytes, write, sectorSize).uuid).toBe(SLOT_B);
    await step("markGood", SLOT_B, ({ bootControl }) => bootControl.markGood("B"), ["1.0.0", "2.0.0"]);
    await step("install over A", SLOT_B, (engine) => engine.install(three.target, installOptions()), [
      "2.0.0",
    ]);
    await step("setNext A", SLOT_B, ({ bootControl }) => bootControl.setNext("A", 2), ["2.0.0", "3.0.0"]);
    expect(boot(machine.bytes, write, sectorSize).uuid).toBe(SLOT_A);
    await step("markBad", SLOT_A, ({ bootControl }) => bootControl.markBad("A"), ["2.0.0", "3.0.0"]);
    expect(boot(machine.bytes, write, sectorSize).uuid).toBe(SLOT_B);
    await step("install again", SLOT_B, (engine) => engine.install(one.target, installOptions()), ["2.0.0"]);
    const states = Object.values(total).reduce((sum, count) => sum + count, 0);
    process.stdout.write(`crash states, sectors of ${sectorSize}: ${states} ${JSON.stringify(total)}\n`);
    expect(states).toBeGreaterThan(3_000);
  });

  test("an update goes on after a power cut in any of its writes", async () => {
    const machine = await smallMachine(one, { sectorSize });
    const disk = recordingDisk(machine.bytes, sectorSize);
    const engine = await engineOf(disk, SLOT_A);
    await engine.install(two.target, installOptions());
    await engine.bootControl.setNext("B", 1);
    const states: Buffer[] = [];
    // One state in twenty: each is a whole installation.
    let number = 0;
    everyCrash(disk, { subsets: 200, random: seeded(8) }, (bytes) => {
      if (number++ % 20 === 0) states.push(Buffer.from(bytes));
    });
    expect(states.length).toBeGreaterThan(10);
    for (const bytes of states) {
      const { firstLba, uuid } = boot(bytes, (offset, data) => bytes.set(data, offset), sectorSize);
      if (contentOf(bytes, firstLba * sectorSize) !== "1.0.0") continue;
      const again = await engineOf(memoryDisk(bytes, sectorSize), uuid);
      await again.install(two.target, installOptions());
      const { B } = await again.labels();
      expect(B?.version).toBe("2.0.0");
      const slot = region(memoryDisk(bytes), machine.slots.B.offset, two.image.length);
      expect((await slot.read(0, two.image.length)).equals(two.image)).toBe(true);
    }
  });

  test("without its flushes the same update would be caught", async () => {
    const machine = await smallMachine(one, { sectorSize });
    const disk = recordingDisk(machine.bytes, sectorSize);
    const engine = await engineOf({ ...disk, flush: async () => {} }, SLOT_A);
    await engine.bootControl.clearPassive();
    await engine.bootControl.markGood("A");
    await expect(engine.bootControl.setNext("B", 1)).rejects.toMatchObject({ code: "SlotIncomplete" });
    await engine.install(two.target, installOptions());
    await engine.bootControl.setNext("B", 1);
    const enumerate = (): number =>
      everyCrash(
        disk,
        { subsets: 1000, random: seeded(9) },
        (bytes, write) => void mustBoot(machine, bytes, write),
      );
    expect(enumerate).toThrow(/no such partition|not complete/);
  });

  test("repair of a damaged table survives a power cut too", async () => {
    const machine = await smallMachine(one, { sectorSize });
    const healthy = Buffer.from(machine.bytes);
    const last = machine.bytes.length - sectorSize;
    let states = 0;
    for (const damaged of [
      sectorSize,
      2 * sectorSize,
      last,
      last - sectorSize * Math.ceil((128 * 128) / sectorSize),
    ]) {
      healthy.copy(machine.bytes);
      machine.bytes.fill(0xa5, damaged, damaged + sectorSize);
      const survived = await survive(machine, SLOT_A, ({ bootControl }) => bootControl.slots());
      states += survived.states;
      expect([...survived.booted]).toEqual(["1.0.0"]);
      expect(machine.bytes.equals(healthy)).toBe(true);
    }
    // Growth: the backup moves to the new end.
    const grown: SmallMachine = {
      ...machine,
      bytes: Buffer.concat([healthy, Buffer.alloc(KIB * KIB)]),
    };
    const survived = await survive(grown, SLOT_A, ({ bootControl }) => bootControl.slots());
    expect([...survived.booted]).toEqual(["1.0.0"]);
    expect(grown.bytes.subarray(-sectorSize).toString("latin1", 0, 8)).toBe("EFI PART");
    expect(states + survived.states).toBeGreaterThan(20);
  });
});
