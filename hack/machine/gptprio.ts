/**
 * The firmware's choice of a slot: what `gptprio.next` of GRUB (grub-core/commands/gptprio.c
 * and grub-core/lib/gpt.c, as Container Linux and Flatcar carry them) does with a disk. It
 * shares no code with the engine that writes the disk: it is what the engine is judged by.
 */
import { crc32 } from "node:zlib";

export interface NextBoot {
  /** From 1, as tools count. */
  partition: number;
  /** "A" for the first slot of the table, "B" for the second, and so on. */
  slot: string;
  /** Unique partition GUID, lower case. */
  uuid: string;
  firstLba: number;
  /** Inclusive. */
  lastLba: number;
}

/** `count` sectors from `lba`. */
export type ReadSectors = (lba: number, count: number) => Buffer;
/** Whole sectors from `lba`. */
export type WriteSectors = (lba: number, data: Uint8Array) => void;

/** 5dfbf5f4-2848-4bac-aa5e-0d9a20b745a6 as it lies on a disk. */
const SLOT = "f4f5fb5d4828ac4baa5e0d9a20b745a6";

interface Table {
  header: Buffer;
  entries: Buffer;
}

const u64 = (bytes: Buffer, at: number): number => Number(bytes.readBigUInt64LE(at));

/** Reads one copy; undefined if it is not valid. */
function load(read: ReadSectors, lba: number, sectors: number, sectorSize: number): Table | undefined {
  if (lba < 1 || lba >= sectors) return undefined;
  const header = read(lba, 1);
  if (header.toString("latin1", 0, 8) !== "EFI PART" || header.readUInt32LE(8) !== 0x10000) return undefined;
  const length = header.readUInt32LE(12);
  if (length < 92 || length > sectorSize) return undefined;
  const blank = Buffer.from(header.subarray(0, length));
  blank.writeUInt32LE(0, 16);
  if (crc32(blank) !== header.readUInt32LE(16) || u64(header, 24) !== lba) return undefined;
  const bytes = header.readUInt32LE(80) * header.readUInt32LE(84);
  const from = u64(header, 72);
  const span = Math.ceil(bytes / sectorSize);
  if (header.readUInt32LE(84) < 128 || bytes === 0 || bytes > 2 ** 20 || from < 2 || from + span > sectors) {
    return undefined;
  }
  const entries = read(from, span);
  return crc32(entries.subarray(0, bytes)) === header.readUInt32LE(88) ? { header, entries } : undefined;
}

function store(write: WriteSectors, table: Table): void {
  const { header, entries } = table;
  const bytes = header.readUInt32LE(80) * header.readUInt32LE(84);
  header.writeUInt32LE(crc32(entries.subarray(0, bytes)), 88);
  header.writeUInt32LE(0, 16);
  header.writeUInt32LE(crc32(header.subarray(0, header.readUInt32LE(12))), 16);
  write(u64(header, 72), entries);
  write(u64(header, 24), header);
}

/** The other copy, made from the good one; a backup goes to the end of the disk. */
function twin(good: Table, lba: number, entriesLba: number): Table {
  const header = Buffer.from(good.header);
  header.writeBigUInt64LE(good.header.readBigUInt64LE(24), 32);
  header.writeBigUInt64LE(BigInt(lba), 24);
  header.writeBigUInt64LE(BigInt(entriesLba), 72);
  return { header, entries: Buffer.from(good.entries) };
}

/**
 * Chooses the slot that boots next and uses up one of its tries on the disk. Throws "no such
 * partition" where none may boot: a real machine then waits on its console for ever.
 */
export function gptprioNext(
  read: ReadSectors,
  write: WriteSectors,
  sectors: number,
  sectorSize: number,
): NextBoot {
  const boot = read(0, 1);
  const isProtective = [450, 466, 482, 498].some((at) => boot[at] === 0xee);
  if (boot.readUInt16LE(510) !== 0xaa55 || !isProtective)
    throw new Error("no such partition: no protective MBR");

  let primary = load(read, 1, sectors, sectorSize);
  let backup = load(read, primary === undefined ? sectors - 1 : u64(primary.header, 32), sectors, sectorSize);
  const good = primary ?? backup;
  if (good === undefined) throw new Error("no such partition: both tables are damaged");
  if (primary === undefined || backup === undefined) {
    const span = Math.ceil((good.header.readUInt32LE(80) * good.header.readUInt32LE(84)) / sectorSize);
    primary ??= twin(good, 1, 2);
    backup ??= twin(good, sectors - 1, sectors - 1 - span);
    primary.header.writeBigUInt64LE(backup.header.readBigUInt64LE(24), 32);
  }

  const size = good.header.readUInt32LE(84);
  let best: { index: number; slot: number; priority: number; tries: number } | undefined;
  for (let index = 0, slot = 0; index < good.header.readUInt32LE(80); index++) {
    const at = index * size;
    if (good.entries.toString("hex", at, at + 16) !== SLOT) continue;
    const bits = good.entries.readUInt16LE(at + 54);
    const priority = bits & 15;
    const tries = (bits >> 4) & 15;
    const successful = (bits >> 8) & 1;
    if ((tries > 0 || successful === 1) && priority > (best?.priority ?? 0))
      best = { index, slot, priority, tries };
    slot++;
  }
  if (best === undefined) throw new Error("no such partition");

  const at = best.index * size;
  if (best.tries > 0) {
    const bits = good.entries.readUInt16LE(at + 54) - 0x10;
    for (const table of [backup, primary]) {
      good.entries.copy(table.entries);
      table.entries.writeUInt16LE(bits, at + 54);
      store(write, table);
    }
  }
  return {
    partition: best.index + 1,
    slot: String.fromCharCode(65 + best.slot),
    uuid: text(good.entries.subarray(at + 16, at + 32)),
    firstLba: u64(good.entries, at + 32),
    lastLba: u64(good.entries, at + 40),
  };
}

function text(guid: Buffer): string {
  const fields = [
    [3, 2, 1, 0],
    [5, 4],
    [7, 6],
    [8, 9],
    [10, 11, 12, 13, 14, 15],
  ];
  return fields.map((field) => Buffer.from(field.map((at) => guid[at] ?? 0)).toString("hex")).join("-");
}
