/**
 * The label of a slot: one checksummed block at the end of its partition, written last and
 * cleared first. A slot holds a complete image if, and only if, its label is valid.
 *
 *   0 "SLIPSLOT"   8 format (u32 LE)   12 payload length (u32 LE)   16 SHA-256 over bytes 0..15 and the payload   48 JSON
 */
import { hash } from "node:crypto";
import * as z from "zod";
import { Architecture, ReleaseVersion, Sha256 } from "../api/release.ts";
import type { Disk } from "./disk.ts";
import { FastPatchError } from "./errors.ts";
import { BLOCK, imageBlocks, MAX_DATA_BLOCKS } from "./verity.ts";

const MAGIC = "SLIPSLOT";
const FORMAT = 1;
const HEADER = 48;

const Label = z.strictObject({
  version: ReleaseVersion,
  product: z.string().min(1).max(128),
  architecture: Architecture,
  rootHash: Sha256,
  imageBytes: z.int().min(BLOCK),
  dataBlocks: z.int().min(1).max(MAX_DATA_BLOCKS),
});

export interface SlotLabel {
  version: string;
  product: string;
  architecture: string;
  /** dm-verity root hash, lower-case hex. */
  rootHash: string;
  /** Data, verity superblock and tree, in bytes: where the image ends in the slot. */
  imageBytes: number;
  /** Blocks of 4 KiB before the superblock. */
  dataBlocks: number;
}

const position = (slot: Disk): number => Math.floor(slot.size / BLOCK) * BLOCK - BLOCK;

/** Bytes of a slot that an image may take. */
export function slotCapacity(slot: Pick<Disk, "size">): number {
  return Math.floor(slot.size / BLOCK) * BLOCK - BLOCK;
}

function checksum(block: Buffer, length: number): Buffer {
  return hash(
    "sha256",
    Buffer.concat([block.subarray(0, 16), block.subarray(HEADER, HEADER + length)]),
    "buffer",
  );
}

/** The label of `slot` (the region of its partition), or undefined: then nothing complete is known to be there. */
export async function readSlotLabel(slot: Disk): Promise<SlotLabel | undefined> {
  const block = await slot.read(position(slot), BLOCK);
  const length = block.readUInt32LE(12);
  if (block.toString("latin1", 0, 8) !== MAGIC || block.readUInt32LE(8) !== FORMAT) return undefined;
  if (length > BLOCK - HEADER || !checksum(block, length).equals(block.subarray(16, HEADER)))
    return undefined;
  try {
    const label = Label.parse(JSON.parse(block.toString("utf8", HEADER, HEADER + length)));
    const fits =
      label.imageBytes === imageBlocks(label.dataBlocks) * BLOCK && label.imageBytes <= slotCapacity(slot);
    return fits ? label : undefined;
  } catch {
    return undefined;
  }
}

/** Declares the slot complete, durably. Also used where a machine gets its first image. */
export async function writeSlotLabel(slot: Disk, label: SlotLabel): Promise<void> {
  const parsed = Label.safeParse(label);
  if (!parsed.success || label.imageBytes > slotCapacity(slot)) {
    const why = parsed.success ? `its ${label.imageBytes} bytes don't fit` : z.prettifyError(parsed.error);
    throw new FastPatchError("TargetInvalid", `the image can't be labelled: ${why}`);
  }
  const payload = Buffer.from(JSON.stringify(parsed.data));
  const block = Buffer.alloc(BLOCK);
  block.write(MAGIC, "latin1");
  block.writeUInt32LE(FORMAT, 8);
  block.writeUInt32LE(payload.length, 12);
  payload.copy(block, HEADER);
  checksum(block, payload.length).copy(block, 16);
  await slot.write(position(slot), block);
  await slot.flush();
}

/** Declares the slot incomplete, durably: before anything else in it changes. */
export async function clearSlotLabel(slot: Disk): Promise<void> {
  await slot.write(position(slot), Buffer.alloc(BLOCK));
  await slot.flush();
}
