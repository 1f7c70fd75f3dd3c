/** Laying out a new disk: for reference machines, tests, and whoever installs one by hand. */
import type { Disk } from "./disk.ts";
import { FastPatchError } from "./errors.ts";
import { emptyTable, protect, sealCopy, writeEntry } from "./gpt.ts";
import { settle, writePair } from "./gpt-disk.ts";
import { encodeBits, SLOT_TYPE } from "./gptprio.ts";

/** UEFI 5.3.3. */
export const ESP_TYPE = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b";
/** "Linux filesystem data" of the Discoverable Partitions Specification. */
export const LINUX_TYPE = "0fc63daf-8483-4772-8e79-3d69d8477de4";
/** Label of the partition that keeps the agent's memory. */
export const STATE_LABEL = "SLIPWAY-STATE";
/** Partitions start at whole MiB, as all current tools have it. */
const ALIGN = 1024 * 1024;

export interface NewPartition {
  name: string;
  type: string;
  /** Unique partition GUID. */
  unique: string;
  /** Rounded up to whole MiB. */
  bytes: number;
  attributes?: bigint;
}

/** Where a partition came to lie, in bytes. */
export interface Extent {
  offset: number;
  size: number;
}

/** Writes a partition table over whatever was there. Extents come in the order of `partitions`. */
export async function createTable(
  disk: Disk,
  table: { diskGuid: string; partitions: readonly NewPartition[] },
): Promise<Extent[]> {
  const { sectorSize } = disk;
  const sectors = Math.floor(disk.size / sectorSize);
  const empty = emptyTable(sectors, sectorSize, table.diskGuid);
  const extents: Extent[] = [];
  let offset = ALIGN;
  for (const [index, partition] of table.partitions.entries()) {
    const size = Math.ceil(partition.bytes / ALIGN) * ALIGN;
    const firstLba = offset / sectorSize;
    const lastLba = (offset + size) / sectorSize - 1;
    if (lastLba > empty.header.lastUsable) {
      throw new FastPatchError(
        "DiskUnusable",
        `${partition.name} doesn't fit on a disk of ${disk.size} bytes`,
      );
    }
    const { name, type, unique, attributes = 0n } = partition;
    writeEntry(empty, { index, name, type, unique, firstLba, lastLba, attributes });
    extents.push({ offset, size });
    offset += size;
  }
  const primary = sealCopy(empty, {});
  await disk.write(0, protect(Buffer.alloc(sectorSize), sectors));
  await writePair(disk, settle({ primary, backup: primary }, sectors, sectorSize), {});
  return extents;
}

/**
 * The partitions of a reference machine: ESP, slot A (which boots), slot B (empty), state.
 * `guids` are four unique partition GUIDs in that order.
 */
export function referenceLayout(
  guids: readonly [string, string, string, string],
  bytes: { esp: number; slot: number; state: number },
): NewPartition[] {
  const good = encodeBits(0n, { priority: 2, tries: 0, successful: true });
  const [esp, a, b, state] = guids;
  return [
    { name: "EFI-SYSTEM", type: ESP_TYPE, unique: esp, bytes: bytes.esp },
    { name: "SLOT-A", type: SLOT_TYPE, unique: a, bytes: bytes.slot, attributes: good },
    { name: "SLOT-B", type: SLOT_TYPE, unique: b, bytes: bytes.slot },
    { name: STATE_LABEL, type: LINUX_TYPE, unique: state, bytes: bytes.state },
  ];
}
