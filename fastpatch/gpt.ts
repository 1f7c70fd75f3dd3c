/**
 * The GUID partition table as bytes (UEFI specification 2.10, section 5.3). Structures
 * keep the sectors that they were read from, so that what this code doesn't know survives.
 */
import { crc32 } from "node:zlib";

const SIGNATURE = "EFI PART";
/** Revision 1.0, the only one there is. */
const REVISION = 0x0001_0000;
/** UEFI 5.3.2: header size at least this. */
const MIN_HEADER = 92;
/** More than any tool makes (128 entries of 128 bytes are 16 KiB). */
const MAX_ENTRIES_BYTES = 1024 * 1024;

/** Why a copy of the table can't be used. */
export class GptFault extends Error {
  override readonly name = "GptFault";
}

export interface GptHeader {
  /** Bytes under the header's checksum. */
  size: number;
  /** LBA of this copy of the header, and of the other. */
  lba: number;
  alternateLba: number;
  firstUsable: number;
  lastUsable: number;
  diskGuid: string;
  entriesLba: number;
  entryCount: number;
  entrySize: number;
  entriesCrc: number;
}

/** One copy of the table: the whole sectors of its header and of its entries. */
export interface GptCopy {
  header: GptHeader;
  sector: Buffer;
  entries: Buffer;
}

export interface GptEntry {
  /** From 0; tools count from 1. */
  index: number;
  /** GUIDs in lower-case text. */
  type: string;
  unique: string;
  firstLba: number;
  /** Inclusive. */
  lastLba: number;
  attributes: bigint;
  name: string;
}

/** Text form of a GUID; the first three fields are little-endian on disk (UEFI appendix A). */
export function guidText(bytes: Uint8Array): string {
  const b = Buffer.from(bytes.buffer, bytes.byteOffset, 16);
  const hex = (value: number, digits: number): string => value.toString(16).padStart(digits, "0");
  const head = [hex(b.readUInt32LE(0), 8), hex(b.readUInt16LE(4), 4), hex(b.readUInt16LE(6), 4)];
  return [...head, b.toString("hex", 8, 10), b.toString("hex", 10, 16)].join("-");
}

/** Inverse of `guidText`, in either case of letters; throws RangeError on other text. */
export function guidBytes(text: string): Buffer {
  if (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(text)) {
    throw new RangeError(`${JSON.stringify(text)} is no GUID`);
  }
  const b = Buffer.from(text.replaceAll("-", ""), "hex");
  b.subarray(0, 4).reverse();
  b.subarray(4, 6).reverse();
  b.subarray(6, 8).reverse();
  return b;
}

/** Bytes of all entries, without the rest of their last sector. */
function entriesBytes(header: Pick<GptHeader, "entryCount" | "entrySize">): number {
  return header.entryCount * header.entrySize;
}

/** Sectors that the entries of one copy take. */
export function entriesSectors(
  header: Pick<GptHeader, "entryCount" | "entrySize">,
  sectorSize: number,
): number {
  return Math.ceil(entriesBytes(header) / sectorSize);
}

function lba(sector: Buffer, offset: number, field: string, sectors: number): number {
  const value = sector.readBigUInt64LE(offset);
  if (value >= BigInt(sectors))
    throw new GptFault(`${field} ${value} lies past the disk's ${sectors} sectors`);
  return Number(value);
}

/** Reads the header that lies at LBA `at` of a disk of `sectors` sectors. Throws GptFault. */
export function decodeHeader(sector: Buffer, at: number, sectors: number): GptHeader {
  if (sector.toString("latin1", 0, 8) !== SIGNATURE) throw new GptFault("it has no signature");
  if (sector.readUInt32LE(8) !== REVISION) throw new GptFault("its revision is unknown");
  const size = sector.readUInt32LE(12);
  if (size < MIN_HEADER || size > sector.length) throw new GptFault(`its header size ${size} is impossible`);
  if (headerCrc(sector, size) !== sector.readUInt32LE(16)) throw new GptFault("its header checksum is wrong");
  const header: GptHeader = {
    size,
    lba: lba(sector, 24, "its own address", sectors),
    alternateLba: lba(sector, 32, "the other header's address", sectors),
    firstUsable: lba(sector, 40, "the first usable sector", sectors),
    lastUsable: lba(sector, 48, "the last usable sector", sectors),
    diskGuid: guidText(sector.subarray(56, 72)),
    entriesLba: lba(sector, 72, "the entries' address", sectors),
    entryCount: sector.readUInt32LE(80),
    entrySize: sector.readUInt32LE(84),
    entriesCrc: sector.readUInt32LE(88),
  };
  if (header.lba !== at) throw new GptFault(`it says that it lies in sector ${header.lba}`);
  const { entrySize } = header;
  if (entrySize < 128 || entrySize > 4096 || (entrySize & (entrySize - 1)) !== 0) {
    throw new GptFault(`its entry size ${entrySize} is impossible`);
  }
  const bytes = entriesBytes(header);
  if (bytes === 0 || bytes > MAX_ENTRIES_BYTES) {
    throw new GptFault(`its ${header.entryCount} entries of ${entrySize} bytes are impossible`);
  }
  const end = header.entriesLba + entriesSectors(header, sector.length);
  const beforeUsable = header.entriesLba > 1 && end <= header.firstUsable;
  const afterUsable = header.entriesLba > header.lastUsable && end < sectors;
  if (header.firstUsable > header.lastUsable || !(beforeUsable || afterUsable)) {
    throw new GptFault("its entries overlap the space of partitions");
  }
  return header;
}

function headerCrc(sector: Buffer, size: number): number {
  const bytes = Buffer.from(sector.subarray(0, size));
  bytes.writeUInt32LE(0, 16);
  return crc32(bytes);
}

/** CRC of the entries; `entries` may have the rest of the last sector behind them. */
export function checkEntries(header: GptHeader, entries: Buffer): void {
  if (crc32(entries.subarray(0, entriesBytes(header))) !== header.entriesCrc) {
    throw new GptFault("the checksum of its entries is wrong");
  }
}

/** A copy of the table with `fields` changed and `entries` in it; checksums are made anew, all other bytes kept. */
export function sealCopy(
  copy: GptCopy,
  fields: Partial<Pick<GptHeader, "lba" | "alternateLba" | "entriesLba" | "lastUsable">>,
  entries: Buffer = copy.entries,
): GptCopy {
  const sector = Buffer.from(copy.sector);
  const header = {
    ...copy.header,
    ...fields,
    entriesCrc: crc32(entries.subarray(0, entriesBytes(copy.header))),
  };
  sector.writeBigUInt64LE(BigInt(header.lba), 24);
  sector.writeBigUInt64LE(BigInt(header.alternateLba), 32);
  sector.writeBigUInt64LE(BigInt(header.lastUsable), 48);
  sector.writeBigUInt64LE(BigInt(header.entriesLba), 72);
  sector.writeUInt32LE(header.entriesCrc, 88);
  sector.writeUInt32LE(headerCrc(sector, header.size), 16);
  return { header, sector, entries };
}

/** The primary copy of a new table without partitions. */
export function emptyTable(sectors: number, sectorSize: number, diskGuid: string): GptCopy {
  const entries = Buffer.alloc(Math.ceil((128 * 128) / sectorSize) * sectorSize);
  const room = entries.length / sectorSize;
  const header: GptHeader = {
    size: MIN_HEADER,
    lba: 1,
    alternateLba: sectors - 1,
    firstUsable: 2 + room,
    lastUsable: sectors - 2 - room,
    diskGuid: diskGuid.toLowerCase(),
    entriesLba: 2,
    entryCount: 128,
    entrySize: 128,
    entriesCrc: 0,
  };
  const sector = Buffer.alloc(sectorSize);
  sector.write(SIGNATURE, "latin1");
  sector.writeUInt32LE(REVISION, 8);
  sector.writeUInt32LE(MIN_HEADER, 12);
  sector.writeBigUInt64LE(BigInt(header.firstUsable), 40);
  guidBytes(diskGuid).copy(sector, 56);
  sector.writeUInt32LE(header.entryCount, 80);
  sector.writeUInt32LE(header.entrySize, 84);
  return sealCopy({ header, sector, entries }, {});
}

const UNUSED = "00000000-0000-0000-0000-000000000000";

/** The partitions of a table, in its order. Sectors past 2^53 read as unsafe numbers: callers check extents. */
export function partitions(copy: GptCopy): GptEntry[] {
  const found: GptEntry[] = [];
  for (let index = 0; index < copy.header.entryCount; index++) {
    const at = index * copy.header.entrySize;
    const bytes = copy.entries.subarray(at, at + copy.header.entrySize);
    const type = guidText(bytes);
    if (type === UNUSED) continue;
    found.push({
      index,
      type,
      unique: guidText(bytes.subarray(16)),
      firstLba: Number(bytes.readBigUInt64LE(32)),
      lastLba: Number(bytes.readBigUInt64LE(40)),
      attributes: bytes.readBigUInt64LE(48),
      name: bytes.toString("utf16le", 56, 128).replace(/\0.*$/s, ""),
    });
  }
  return found;
}

/** Writes an entry into `copy.entries`, which is changed in place; bytes past the name are kept. */
export function writeEntry(copy: GptCopy, entry: GptEntry): void {
  const at = entry.index * copy.header.entrySize;
  const bytes = copy.entries.subarray(at, at + copy.header.entrySize);
  guidBytes(entry.type).copy(bytes, 0);
  guidBytes(entry.unique).copy(bytes, 16);
  bytes.writeBigUInt64LE(BigInt(entry.firstLba), 32);
  bytes.writeBigUInt64LE(BigInt(entry.lastLba), 40);
  bytes.writeBigUInt64LE(entry.attributes, 48);
  bytes.fill(0, 56, 128);
  bytes.write(entry.name.slice(0, 36), 56, "utf16le");
}

/** Writes the attribute bits of the entry at `index` into `entries`, in place. */
export function writeAttributes(entries: Buffer, entrySize: number, index: number, attributes: bigint): void {
  entries.writeBigUInt64LE(attributes, index * entrySize + 48);
}

/** Offset, length and marks of the four partition records of an MBR (UEFI 5.2). */
const MBR_RECORDS = 446;
const MBR_RECORD = 16;
const PROTECTIVE = 0xee;

/**
 * Whether sector 0 says that the disk has a GPT. `foreign`: it holds partitions of its own
 * and no protective one, so it is no GPT disk.
 */
export function masterBootRecord(sector: Buffer): "protective" | "missing" | "foreign" {
  const types = [0, 1, 2, 3].map((record) => sector[MBR_RECORDS + record * MBR_RECORD + 4]);
  if (sector.readUInt16BE(510) !== 0x55aa) return "missing";
  if (types.includes(PROTECTIVE)) return "protective";
  return types.some((type) => type !== 0) ? "foreign" : "missing";
}

/** `sector` with a protective record (UEFI 5.2.3); boot code is kept. */
export function protect(sector: Buffer, sectors: number): Buffer {
  const protective = Buffer.from(sector);
  protective.fill(0, MBR_RECORDS, 510);
  protective.writeUInt8(PROTECTIVE, MBR_RECORDS + 4);
  // First CHS 0/0/2, last CHS "beyond", as the specification asks.
  protective.writeUIntBE(0x000200, MBR_RECORDS + 1, 3);
  protective.writeUIntBE(0xffffff, MBR_RECORDS + 5, 3);
  protective.writeUInt32LE(1, MBR_RECORDS + 8);
  protective.writeUInt32LE(Math.min(sectors - 1, 0xffff_ffff), MBR_RECORDS + 12);
  protective.writeUInt16BE(0x55aa, 510);
  return protective;
}
