import { crc32 } from "node:zlib";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { makeRelease, noise, SLOT_A, SLOT_B, smallMachine } from "../test/crash/small-machine.ts";
import { decodeHeader, GptFault, guidBytes, guidText, masterBootRecord, partitions, protect } from "./gpt.ts";
import { readGpt, repairGpt } from "./gpt-disk.ts";
import { memoryDisk } from "./memory-disk.ts";

const release = await makeRelease("1.0.0", noise(10_000, 1));
const sizes = [512, 4096] as const;

describe("GUIDs", () => {
  test("the first three fields are little-endian", () => {
    const bytes = guidBytes("C12A7328-F81F-11D2-BA4B-00A0C93EC93B");
    expect(bytes.toString("hex")).toBe("28732ac11ff8d211ba4b00a0c93ec93b");
    expect(guidText(bytes)).toBe("c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
    expect(() => guidBytes("no guid")).toThrow(RangeError);
  });

  test("text and bytes are inverse", () => {
    fc.assert(fc.property(fc.uuid(), (text) => guidText(guidBytes(text)) === text));
  });
});

describe("the protective MBR", () => {
  test("is told apart from none and from a table of its own", () => {
    const empty = Buffer.alloc(512);
    expect(masterBootRecord(empty)).toBe("missing");
    const legacy = Buffer.alloc(512);
    legacy[450] = 0x83;
    legacy.writeUInt16BE(0x55aa, 510);
    expect(masterBootRecord(legacy)).toBe("foreign");
    const code = Buffer.alloc(512, 0x90);
    const made = protect(code, 2 ** 40);
    expect(masterBootRecord(made)).toBe("protective");
    expect(made.subarray(0, 446).equals(code.subarray(0, 446))).toBe(true);
    expect(made.readUInt32LE(458)).toBe(0xffff_ffff);
  });
});

describe.each(sizes)("a table on sectors of %i bytes", (sectorSize) => {
  test("reads back as it was made", async () => {
    const { disk } = await smallMachine(release, { sectorSize });
    const { primary } = await repairGpt(disk);
    expect(partitions(primary).map(({ name, unique, index }) => [index, name, unique])).toEqual([
      [0, "EFI-SYSTEM", "eeeeeeee-0000-4000-8000-000000000000"],
      [1, "SLOT-A", SLOT_A],
      [2, "SLOT-B", SLOT_B],
      [3, "SLIPWAY-STATE", "dddddddd-0000-4000-8000-000000000003"],
    ]);
  });

  test("damage of any bytes of one copy is undone from the other", async () => {
    const { bytes } = await smallMachine(release, { sectorSize });
    const entries = Math.ceil((128 * 128) / sectorSize) * sectorSize;
    const last = bytes.length - sectorSize;
    const copies = [
      [sectorSize, 2 * sectorSize + entries],
      [last - entries, bytes.length],
    ] as const;
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...copies),
        fc.array(fc.tuple(fc.nat(), fc.integer({ min: 1, max: 255 })), { minLength: 1, maxLength: 20 }),
        async ([from, to], damage) => {
          const damaged = Buffer.from(bytes);
          for (const [at, flip] of damage) {
            const place = from + (at % (to - from));
            damaged[place] = (damaged[place] ?? 0) ^ flip;
          }
          await repairGpt(memoryDisk(damaged, sectorSize));
          // Bytes that no checksum covers are nobody's business: they stay.
          const read = await readGpt(memoryDisk(damaged, sectorSize));
          const healthy = await readGpt(memoryDisk(bytes, sectorSize));
          for (const which of ["primary", "backup"] as const) {
            const copy = read[which];
            const whole = healthy[which];
            if (copy instanceof GptFault || whole instanceof GptFault) throw new Error("not repaired");
            expect(copy.header).toEqual(whole.header);
            expect(copy.entries.equals(whole.entries)).toBe(true);
          }
        },
      ),
      { numRuns: 100 },
    );
  });

  test("any bytes at all give a table or a clear error", async () => {
    const { bytes } = await smallMachine(release, { sectorSize });
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom("primary", "backup", "both"),
        fc.array(fc.tuple(fc.integer({ min: 8, max: 95 }), fc.integer({ min: 0, max: 255 })), {
          maxLength: 6,
        }),
        async (which, changes) => {
          const fuzzed = Buffer.from(bytes);
          for (const [name, at] of [
            ["primary", sectorSize],
            ["backup", bytes.length - sectorSize],
          ] as const) {
            if (which !== "both" && which !== name) continue;
            for (const [offset, value] of changes) fuzzed[at + offset] = value;
            // A right checksum, so that what stands behind it is looked at.
            const size = Math.min(Math.max(fuzzed.readUInt32LE(at + 12), 92), sectorSize);
            fuzzed.writeUInt32LE(0, at + 16);
            fuzzed.writeUInt32LE(crc32(fuzzed.subarray(at, at + size)), at + 16);
          }
          await repairGpt(memoryDisk(fuzzed, sectorSize)).catch((error: unknown) => {
            expect(error).toMatchObject({ code: expect.stringMatching(/^Gpt/) });
          });
        },
      ),
      { numRuns: 300 },
    );
  });

  test("random sectors are never a header", () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 512, maxLength: 512 }), fc.boolean(), (random, signed) => {
        const sector = Buffer.from(random);
        if (signed) sector.write("EFI PART", "latin1");
        expect(() => decodeHeader(sector, 1, 10_000)).toThrow(GptFault);
      }),
    );
  });

  test("two damaged copies are an error that says what to do", async () => {
    const { bytes } = await smallMachine(release, { sectorSize });
    bytes.fill(0, sectorSize, 2 * sectorSize);
    bytes.fill(0, bytes.length - sectorSize);
    const before = Buffer.from(bytes);
    await expect(repairGpt(memoryDisk(bytes, sectorSize))).rejects.toMatchObject({
      code: "GptDamaged",
      message: expect.stringContaining("sgdisk"),
    });
    expect(bytes.equals(before)).toBe(true);
  });

  test("of two valid copies that differ the primary wins", async () => {
    const { bytes } = await smallMachine(release, { sectorSize });
    const other = await smallMachine(release, { sectorSize });
    const backup = await readGpt(memoryDisk(other.bytes, sectorSize));
    if (backup.backup instanceof GptFault) throw backup.backup;
    const { sector, entries, header } = backup.backup;
    const changed = Buffer.from(entries);
    changed[128 + 54] = 0x0f;
    const sealed = Buffer.from(sector);
    sealed.writeUInt32LE(crc32(changed), 88);
    sealed.writeUInt32LE(0, 16);
    sealed.writeUInt32LE(crc32(sealed.subarray(0, 92)), 16);
    const healthy = Buffer.from(bytes);
    changed.copy(bytes, header.entriesLba * sectorSize);
    sealed.copy(bytes, header.lba * sectorSize);
    await repairGpt(memoryDisk(bytes, sectorSize));
    expect(bytes.equals(healthy)).toBe(true);
  });

  test("bytes that we don't know survive: past the header, past the names, in the boot code", async () => {
    const { bytes } = await smallMachine(release, { sectorSize });
    bytes.fill(0x42, 0, 440);
    bytes.fill(0x43, sectorSize + 92, 2 * sectorSize);
    await repairGpt(memoryDisk(bytes, sectorSize));
    expect(bytes.subarray(sectorSize + 92, 2 * sectorSize).every((byte) => byte === 0x43)).toBe(true);
    expect(bytes.subarray(0, 440).every((byte) => byte === 0x42)).toBe(true);
  });
});
