/**
 * Both copies of a partition table on a disk: reading, repair, and changes in the only
 * order in which a power cut at any instant leaves one copy whole (UEFI 5.3.2).
 */
import type { Disk } from "./disk.ts";
import { FastPatchError } from "./errors.ts";
import {
  checkEntries,
  decodeHeader,
  entriesSectors,
  type GptCopy,
  GptFault,
  masterBootRecord,
  protect,
  sealCopy,
} from "./gpt.ts";

export interface GptRead {
  primary: GptCopy | GptFault;
  backup: GptCopy | GptFault;
}

interface GptPair {
  primary: GptCopy;
  backup: GptCopy;
}

function sectorsOf(disk: Disk): number {
  return Math.floor(disk.size / disk.sectorSize);
}

async function readCopy(disk: Disk, lba: number): Promise<GptCopy | GptFault> {
  const sector = await disk.read(lba * disk.sectorSize, disk.sectorSize);
  try {
    const header = decodeHeader(sector, lba, sectorsOf(disk));
    const length = entriesSectors(header, disk.sectorSize) * disk.sectorSize;
    const entries = await disk.read(header.entriesLba * disk.sectorSize, length);
    checkEntries(header, entries);
    return { header, sector, entries };
  } catch (error) {
    if (error instanceof GptFault) return error;
    throw error;
  }
}

/** Where a primary header, whose entries may be damaged, says that the backup lies. */
async function alternate(disk: Disk): Promise<number | undefined> {
  try {
    return decodeHeader(await disk.read(disk.sectorSize, disk.sectorSize), 1, sectorsOf(disk)).alternateLba;
  } catch (error) {
    if (error instanceof GptFault) return undefined;
    throw error;
  }
}

/** Reads both copies; a backup is looked for at the disk's end, then where the primary says. */
export async function readGpt(disk: Disk): Promise<GptRead> {
  const last = sectorsOf(disk) - 1;
  // PMBR, two headers, two tables of at least one sector, and a partition.
  if (last < 6)
    throw new FastPatchError(
      "DiskUnusable",
      `a disk of ${disk.size} bytes has no room for a partition table`,
    );
  const primary = await readCopy(disk, 1);
  let backup = await readCopy(disk, last);
  if (primary instanceof GptFault && backup instanceof GptFault) {
    const elsewhere = await alternate(disk);
    if (elsewhere !== undefined && elsewhere > 1 && elsewhere < last)
      backup = await readCopy(disk, elsewhere);
  }
  return { primary, backup };
}

/** What both copies should be, given what was read. Throws `GptDamaged` if neither can be used. */
export function settle(read: GptRead, sectors: number, sectorSize: number): GptPair {
  const { primary, backup } = read;
  const last = sectors - 1;
  if (primary instanceof GptFault && backup instanceof GptFault) {
    throw new FastPatchError(
      "GptDamaged",
      `both copies of the partition table are damaged (primary: ${primary.message}; backup: ${backup.message})`,
    );
  }
  const good = primary instanceof GptFault ? (backup as GptCopy) : primary;
  const room = entriesSectors(good.header, sectorSize);
  const grown = Math.max(good.header.lba, good.header.alternateLba) !== last;
  const lastUsable = grown ? last - room - 1 : good.header.lastUsable;
  const entriesLba = primary instanceof GptFault ? 2 : primary.header.entriesLba;
  if (entriesLba + room > good.header.firstUsable || lastUsable + room >= last) {
    throw new FastPatchError("GptUnsupported", "the partition table leaves no room for both of its copies");
  }
  const settled = sealCopy(good, { lba: 1, alternateLba: last, entriesLba, lastUsable });
  // The backup's own sector is the base where it agrees, so that its unknown bytes stay its own.
  const own = backup instanceof GptFault || backup.header.lba !== last ? undefined : backup;
  const fits = own !== undefined && sameShape(own, settled) && own.header.entriesLba > lastUsable;
  const base = fits ? own : settled;
  const where = fits ? own.header.entriesLba : last - room;
  return {
    primary: settled,
    backup: sealCopy(base, { lba: last, alternateLba: 1, entriesLba: where, lastUsable }, settled.entries),
  };
}

function sameShape(a: GptCopy, b: GptCopy): boolean {
  const fields = ["size", "firstUsable", "lastUsable", "diskGuid", "entryCount", "entrySize"] as const;
  return fields.every((field) => a.header[field] === b.header[field]);
}

/** Writes the sectors of `next` that differ from `present`: entries first, then the header. */
async function writeCopy(disk: Disk, next: GptCopy, present: GptCopy | undefined): Promise<boolean> {
  const size = disk.sectorSize;
  let wrote = false;
  for (let from = 0; from < next.entries.length; from += size) {
    const sector = next.entries.subarray(from, from + size);
    if (present?.entries.subarray(from, from + size).equals(sector)) continue;
    await disk.write(next.header.entriesLba * size + from, sector);
    wrote = true;
  }
  if (!present?.sector.equals(next.sector)) {
    await disk.write(next.header.lba * size, next.sector);
    wrote = true;
  }
  return wrote;
}

/** Backup first, then the primary, each flushed; then both are read back from the medium. */
export async function writePair(disk: Disk, next: GptPair, present: Partial<GptPair>): Promise<void> {
  let wrote = false;
  for (const which of ["backup", "primary"] as const) {
    const before = present[which];
    const inPlace =
      before?.header.lba === next[which].header.lba &&
      before.header.entriesLba === next[which].header.entriesLba;
    if (await writeCopy(disk, next[which], inPlace ? before : undefined)) {
      await disk.flush();
      wrote = true;
    }
  }
  if (!wrote) return;
  await disk.dropCache();
  for (const which of ["backup", "primary"] as const) {
    const copy = await readCopy(disk, next[which].header.lba);
    if (
      copy instanceof GptFault ||
      !copy.sector.equals(next[which].sector) ||
      !copy.entries.equals(next[which].entries)
    ) {
      throw new FastPatchError(
        "WriteLost",
        `the ${which} partition table reads back other than it was written`,
      );
    }
  }
}

const usable = (copy: GptCopy | GptFault): GptCopy | undefined =>
  copy instanceof GptFault ? undefined : copy;

/**
 * Makes both copies whole and equal: a damaged one is made from the other, of two that
 * differ the primary wins (as firmware and GRUB have it), a backup that growth left in the
 * middle of the disk moves to its end. Writes nothing where nothing is wrong.
 */
export async function repairGpt(disk: Disk): Promise<GptPair> {
  const sectors = sectorsOf(disk);
  const boot = await disk.read(0, disk.sectorSize);
  const mark = masterBootRecord(boot);
  if (mark === "foreign") {
    throw new FastPatchError("GptUnsupported", "the disk has an MBR partition table, no GPT");
  }
  const read = await readGpt(disk);
  const pair = settle(read, sectors, disk.sectorSize);
  if (mark === "missing") {
    await disk.write(0, protect(boot, sectors));
    await disk.flush();
  }
  const present: Partial<GptPair> = {};
  const primary = usable(read.primary);
  const backup = usable(read.backup);
  if (primary !== undefined) present.primary = primary;
  if (backup !== undefined) present.backup = backup;
  await writePair(disk, pair, present);
  return pair;
}

/** Repairs, then lets `change` alter a copy of the entries in place, and writes what differs. */
export async function updateGpt(
  disk: Disk,
  change: (entries: Buffer, table: GptCopy) => void,
): Promise<void> {
  const pair = await repairGpt(disk);
  const entries = Buffer.from(pair.primary.entries);
  change(entries, pair.primary);
  const next = { primary: sealCopy(pair.primary, {}, entries), backup: sealCopy(pair.backup, {}, entries) };
  await writePair(disk, next, pair);
}
