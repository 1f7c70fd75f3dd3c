import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { gptprioNext } from "../hack/machine/gptprio.ts";
import { labelOf, makeRelease, noise, SLOT_A, smallMachine } from "../test/crash/small-machine.ts";
import { region } from "./disk.ts";
import { FastPatchError } from "./errors.ts";
import {
  bootable,
  createGptPrio,
  decodeBits,
  encodeBits,
  other,
  planBits,
  type SlotBits,
} from "./gptprio.ts";
import { writeSlotLabel } from "./slot-label.ts";

const release = await makeRelease("1.0.0", noise(10_000, 1));

const bits = fc.record({
  priority: fc.integer({ min: 0, max: 15 }),
  tries: fc.integer({ min: 0, max: 15 }),
  successful: fc.boolean(),
});
const slotName = fc.constantFrom("A" as const, "B" as const);
const change = fc.oneof(
  fc.record({ change: fc.constant("clearPassive" as const) }),
  fc.record({
    change: fc.constant("setNext" as const),
    slot: slotName,
    tries: fc.integer({ min: 0, max: 15 }),
  }),
  fc.record({ change: fc.constant("cancelNext" as const) }),
  fc.record({ change: fc.constant("markGood" as const), slot: slotName }),
  fc.record({ change: fc.constant("markBad" as const), slot: slotName }),
);

/** Firmware's choice among two slots. */
function next({ A, B }: SlotBits): "A" | "B" | undefined {
  const candidates = [
    { name: "A" as const, bits: A },
    { name: "B" as const, bits: B },
  ].filter((slot) => bootable(slot.bits));
  return candidates.sort((a, b) => b.bits.priority - a.bits.priority)[0]?.name;
}

describe("the bits", () => {
  test.each([
    [0x0012_0000_0000_0000n, { priority: 2, tries: 1, successful: false }],
    [0x0101_0000_0000_0000n, { priority: 1, tries: 0, successful: true }],
  ])("%s", (attributes, decoded) => {
    expect(decodeBits(attributes)).toEqual(decoded);
    expect(encodeBits(0n, decoded)).toBe(attributes);
  });

  test("encoding keeps every other attribute", () => {
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), bits, (attributes, wanted) => {
        const encoded = encodeBits(attributes, wanted);
        expect(decodeBits(encoded)).toEqual(wanted);
        expect(encoded & ~(0x1ffn << 48n)).toBe(attributes & ~(0x1ffn << 48n));
      }),
    );
  });
});

describe("a change of bits", () => {
  test("never leaves nothing to boot, and does what it says", () => {
    fc.assert(
      fc.property(fc.record({ A: bits, B: bits }), slotName, change, (before, running, asked) => {
        let after: SlotBits;
        try {
          after = planBits(before, running, asked);
        } catch (error) {
          expect(error).toBeInstanceOf(FastPatchError);
          return;
        }
        const boots = next(after);
        expect(boots).toBeDefined();
        for (const slot of [after.A, after.B]) expect(decodeBits(encodeBits(0n, slot))).toEqual(slot);
        if (asked.change === "clearPassive" || asked.change === "cancelNext") expect(boots).toBe(running);
        if (asked.change === "setNext" && asked.slot !== running) {
          expect(boots).toBe(asked.tries > 0 ? asked.slot : running);
          expect(bootable(after[running])).toBe(bootable(before[running]));
        }
        if (asked.change === "markBad") expect(boots).toBe(other(asked.slot));
        if (asked.change === "markGood") expect(bootable(after[asked.slot])).toBe(true);
      }),
      { numRuns: 2000 },
    );
  });

  test("a boot without the firmware takes the only try beforehand", () => {
    const good = { priority: 2, tries: 0, successful: true };
    const cleared = { priority: 0, tries: 0, successful: false };
    const flipped = planBits({ A: good, B: cleared }, "A", { change: "setNext", slot: "B", tries: 0 });
    expect(next(flipped)).toBe("A");
    expect(planBits(flipped, "B", { change: "markGood", slot: "B" }).B).toEqual({
      priority: 2,
      tries: 0,
      successful: true,
    });
  });
});

describe("boot control", () => {
  async function control(sectorSize: 512 | 4096 = 512) {
    const machine = await smallMachine(release, { sectorSize });
    const bootControl = await createGptPrio({ disk: machine.disk, runningPartition: SLOT_A.toUpperCase() });
    const { B } = machine.slots;
    return { ...machine, bootControl, slotB: region(machine.disk, B.offset, B.size) };
  }

  test("says which slot runs and where the slots lie", async () => {
    const { bootControl, slots } = await control();
    expect(bootControl.running).toBe("A");
    expect(await bootControl.slots()).toEqual([
      { name: "A", priority: 2, tries: 0, successful: true, ...slots.A, partition: SLOT_A },
      expect.objectContaining({ name: "B", priority: 0, tries: 0, successful: false, ...slots.B }),
    ]);
  });

  test("won't boot a slot without a complete image", async () => {
    const { bootControl, bytes } = await control();
    const before = Buffer.from(bytes);
    await expect(bootControl.setNext("B", 1)).rejects.toMatchObject({ code: "SlotIncomplete" });
    await expect(bootControl.markGood("B")).rejects.toMatchObject({ code: "SlotIncomplete" });
    await expect(bootControl.markBad("A")).rejects.toMatchObject({ code: "NothingBootable" });
    expect(bytes.equals(before)).toBe(true);
  });

  test.each([512, 4096] as const)(
    "writes one sector of entries and one of header per copy (sectors of %i bytes)",
    async (sectorSize) => {
      const { bootControl, bytes, slotB } = await control(sectorSize);
      await writeSlotLabel(slotB, labelOf(release));
      const before = Buffer.from(bytes);
      await bootControl.setNext("B", 3);
      const touched: number[] = [];
      for (let at = 0; at < bytes.length; at += sectorSize) {
        if (!bytes.subarray(at, at + sectorSize).equals(before.subarray(at, at + sectorSize)))
          touched.push(at / sectorSize);
      }
      const last = bytes.length / sectorSize - 1;
      expect(touched).toEqual([1, 2, last - Math.ceil((128 * 128) / sectorSize), last]);
    },
  );

  test("changes that come at once take turns, and firmware agrees with the result", async () => {
    const { bootControl, bytes, slotB } = await control();
    await writeSlotLabel(slotB, labelOf(release));
    await Promise.all([
      bootControl.setNext("B", 1),
      bootControl.cancelNext(),
      bootControl.setNext("B", 2),
      bootControl.slots(),
    ]);
    const boot = () =>
      gptprioNext(
        (lba, count) => Buffer.from(bytes.subarray(lba * 512, (lba + count) * 512)),
        (lba, data) => bytes.set(data, lba * 512),
        bytes.length / 512,
        512,
      ).slot;
    expect([boot(), boot(), boot()]).toEqual(["B", "B", "A"]);
  });

  test("refuses a disk that it does not understand", async () => {
    const { disk } = await control();
    await expect(
      createGptPrio({ disk, runningPartition: "00000000-0000-4000-8000-000000000009" }),
    ).rejects.toMatchObject({ code: "SlotMissing" });
  });
});
