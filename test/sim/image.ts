/**
 * Images of the simulated machines, and how one comes into a slot: real boot control and
 * real labels on the disk; only the copy is simulated, block by block.
 */

import type { Driver, SlotMachine } from "../../agent/driver.ts";
import type { BootControl, BootSlot, SlotName } from "../../fastpatch/boot-control.ts";
import { type Disk, region } from "../../fastpatch/disk.ts";
import { other } from "../../fastpatch/gptprio.ts";
import { clearSlotLabel, readSlotLabel, type SlotLabel, writeSlotLabel } from "../../fastpatch/slot-label.ts";
import { BLOCK, imageBlocks } from "../../fastpatch/verity.ts";
import { sleep } from "../../ports/clock.ts";
import type { Target } from "../../proto/gen/agent_pb.ts";
import type { ProcessClock } from "./clock.ts";
import type { SeededRandom } from "./random.ts";

/** Blocks of an image. */
const BLOCKS = 5;

/** Block `index` of the image with that root hash. */
function block(rootHash: string, index: number): Buffer {
  const bytes = Buffer.alloc(BLOCK);
  bytes.write(`${rootHash} ${index}`, "latin1");
  return bytes;
}

export function labelOf(version: string, rootHash: string): SlotLabel {
  const dataBlocks = BLOCKS;
  const imageBytes = imageBlocks(dataBlocks) * BLOCK;
  return { version, product: "os", architecture: "amd64", rootHash, imageBytes, dataBlocks };
}

/** The image that a slot holds from its first byte to its last, whatever its label says; undefined where blocks differ. */
export function imageIn(
  read: (offset: number, length: number) => Buffer,
  offset: number,
): string | undefined {
  let found: string | undefined;
  for (let index = 0; index < BLOCKS; index++) {
    const [rootHash = "", number] = read(offset + index * BLOCK, 80)
      .toString("latin1")
      .split(/[ \0]/);
    if (number !== String(index) || (found !== undefined && found !== rootHash)) return undefined;
    found = rootHash;
  }
  return found;
}

/** Writes an image and its label as a factory does. */
export async function install(slot: Disk, version: string, rootHash: string): Promise<void> {
  for (let index = 0; index < BLOCKS; index++) await slot.write(index * BLOCK, block(rootHash, index));
  await writeSlotLabel(slot, labelOf(version, rootHash));
}

export interface SimDriverOptions {
  disk: Disk;
  bootControl: BootControl;
  clock: ProcessClock;
  random: SeededRandom;
  /** Most milliseconds for one block of an image. */
  pace: number;
}

/** Driver `fastpatch` with everything real but the bytes of images. */
export function simDriver({ disk, bootControl, clock, random, pace }: SimDriverOptions): Driver {
  const slotDisk = (slots: readonly BootSlot[], name: SlotName): Disk => {
    const slot = slots.find((each) => each.name === name);
    if (slot === undefined) throw new Error(`no slot ${name}`);
    return region(disk, slot.offset, slot.size);
  };
  return {
    name: "fastpatch",
    observe: async (): Promise<SlotMachine> => {
      const slots = await bootControl.slots();
      const labels = {
        A: await readSlotLabel(slotDisk(slots, "A")),
        B: await readSlotLabel(slotDisk(slots, "B")),
      };
      return { kind: "slots", running: bootControl.running, slots, labels };
    },
    objection: async () => undefined,
    stage: async (target: Target, { signal, onProgress }) => {
      await bootControl.clearPassive();
      const passive = slotDisk(await bootControl.slots(), other(bootControl.running));
      await clearSlotLabel(passive);
      for (let index = 0; index < BLOCKS; index++) {
        await sleep(clock, 1 + random.below(pace), signal);
        await passive.write(index * BLOCK, block(target.rootHash, index));
      }
      await passive.flush();
      onProgress({ phase: "Verifying", done: BLOCKS, total: BLOCKS, fetched: BLOCKS, reused: 0 });
      await sleep(clock, 1 + random.below(pace), signal);
      const bytes = await passive.read(0, BLOCKS * BLOCK);
      const found = imageIn((offset, length) => bytes.subarray(offset, offset + length), 0);
      if (found !== target.rootHash) throw new Error("the image reads back other than it was written");
      await writeSlotLabel(passive, labelOf(target.version, target.rootHash));
    },
    flip: (slot, tries) => bootControl.setNext(slot, tries),
    unflip: () => bootControl.cancelNext(),
    markGood: (slot) => bootControl.markGood(slot),
    markBad: (slot) => bootControl.markBad(slot),
  };
}
