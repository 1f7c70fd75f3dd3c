import * as fc from "fast-check";
import { expect, test } from "vitest";
import { memoryDisk } from "./memory-disk.ts";
import { clearSlotLabel, readSlotLabel, type SlotLabel, writeSlotLabel } from "./slot-label.ts";
import { imageBlocks } from "./verity.ts";

const label: SlotLabel = {
  version: "4081.2.0",
  product: "io.example.harbor",
  architecture: "amd64",
  rootHash: "0f".repeat(32),
  imageBytes: imageBlocks(10) * 4096,
  dataBlocks: 10,
};

test("a label is there when written, gone when cleared, and void with any changed byte", async () => {
  const bytes = Buffer.alloc(100 * 1024);
  const slot = memoryDisk(bytes);
  expect(await readSlotLabel(slot)).toBeUndefined();
  await writeSlotLabel(slot, label);
  expect(await readSlotLabel(slot)).toEqual(label);
  const used = bytes.subarray(-4096).toString("latin1").replace(/\0+$/, "").length;
  await fc.assert(
    fc.asyncProperty(fc.nat({ max: used - 1 }), fc.integer({ min: 1, max: 255 }), async (at, flip) => {
      const damaged = Buffer.from(bytes);
      const place = damaged.length - 4096 + at;
      damaged[place] = (damaged[place] ?? 0) ^ flip;
      expect(await readSlotLabel(memoryDisk(damaged))).toBeUndefined();
    }),
  );
  await clearSlotLabel(slot);
  expect(await readSlotLabel(slot)).toBeUndefined();
});

test.each([
  { ...label, imageBytes: 1024 * 1024 },
  { ...label, version: "latest" },
  { ...label, rootHash: "" },
])("refuses to write what it would not read", async (bad) => {
  await expect(writeSlotLabel(memoryDisk(Buffer.alloc(100 * 1024)), bad)).rejects.toMatchObject({
    code: "TargetInvalid",
  });
});
