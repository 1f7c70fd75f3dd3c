/** Looks into, and damages, the disk of a machine: a file that its agent may have open. */
import { createHash } from "node:crypto";
import { closeSync, fstatSync, openSync, writeSync } from "node:fs";
import { openFileDisk } from "../../../fastpatch/file-disk.ts";
import { GptFault, partitions } from "../../../fastpatch/gpt.ts";
import { readGpt } from "../../../fastpatch/gpt-disk.ts";

const SECTOR = 512;

interface Extent {
  offset: number;
  size: number;
}

/** Where the partition labelled `name` lies, by the primary table. */
export async function extentOf(path: string, name: string): Promise<Extent> {
  const disk = await openFileDisk(path, { claim: false });
  try {
    const { primary } = await readGpt(disk);
    if (primary instanceof GptFault) throw primary;
    const found = partitions(primary).find((partition) => partition.name === name);
    if (found === undefined) throw new Error(`${path} has no partition ${name}`);
    return { offset: found.firstLba * SECTOR, size: (found.lastLba - found.firstLba + 1) * SECTOR };
  } finally {
    await disk.close();
  }
}

/** SHA-256 of what the partition labelled `name` holds. */
export async function hashOf(path: string, name: string): Promise<string> {
  const { offset, size } = await extentOf(path, name);
  const disk = await openFileDisk(path, { claim: false });
  try {
    return createHash("sha256")
      .update(await disk.read(offset, size))
      .digest("hex");
  } finally {
    await disk.close();
  }
}

/** Turns `size` bytes at `offset` (from the end of the disk if negative) into garbage. */
export function damage(path: string, { offset, size }: Extent): void {
  const file = openSync(path, "r+");
  try {
    const at = offset < 0 ? fstatSync(file).size + offset : offset;
    writeSync(file, Buffer.alloc(size, 0xa5), 0, size, at);
  } finally {
    closeSync(file);
  }
}

/** The header of a partition table's copy (UEFI 5.3.2). */
export const HEADER = {
  primary: { offset: SECTOR, size: SECTOR },
  backup: { offset: -SECTOR, size: SECTOR },
} as const;
