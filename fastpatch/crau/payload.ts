/**
 * The file that update_engine installs ("CrAU"): magic, version, lengths, manifest, blobs, signatures. This is its
 * outline, held against the file: each byte belongs to one part, and no part reaches beyond the end.
 */
import { type Manifest, type Operation, type PayloadVersion, parseManifest } from "./manifest.ts";
import { broken, fieldsOf, Message } from "./wire.ts";

const MAGIC = "CrAU";
/** Magic, version and length of the manifest; version 2 adds the length of a signature of these. */
const HEADER: Readonly<Record<PayloadVersion, number>> = { 1: 20, 2: 24 };
/** About a hundred bytes for each MiB of the image: 400 KiB for what version 1 can address. */
const MAX_MANIFEST = 16 * 1024 * 1024;
const MAX_SIGNATURES = 64 * 1024;
const MAX_SIGNERS = 16;

/** What a payload is read from. */
export interface PayloadFile {
  /** Bytes. */
  size: number;
  /** Exactly `length` bytes. */
  read(offset: number, length: number): Promise<Uint8Array>;
}

export interface PayloadSignature {
  /** In version 1 of the format only a signature of version 2 counts. */
  version?: number;
  data: Uint8Array;
}

export interface Payload {
  version: PayloadVersion;
  size: number;
  /** Header and manifest, bytes: what a metadata signature signs. */
  metadataSize: number;
  metadataSignatures: PayloadSignature[];
  /** Where the blobs begin, bytes; offsets of operations and signatures count from here. */
  blobsAt: number;
  manifest: Manifest;
  signatures: PayloadSignature[];
}

/** One operation and where it stands. */
export interface Placed {
  what: string;
  operation: Operation;
}

/** Reads outline and signatures of a payload, and checks that they fit the file; blobs are not read. */
export async function openPayload(file: PayloadFile): Promise<Payload> {
  const start = Buffer.from(await file.read(0, Math.min(file.size, HEADER[2])));
  if (start.length < HEADER[1] || start.toString("latin1", 0, 4) !== MAGIC)
    throw broken("the file", `does not begin as a payload does${looksLike(start)}`);
  const said = start.readBigUInt64BE(4);
  const version = said === 1n ? 1 : said === 2n ? 2 : undefined;
  if (version === undefined) throw broken("the payload", `has the version ${said}; 1 and 2 are known`);
  const header = HEADER[version];
  const manifestSize = bounded("the manifest", start.readBigUInt64BE(12), MAX_MANIFEST, file.size - header);
  const metadataSize = header + manifestSize;
  const signed = version === 1 ? 0n : BigInt(start.length < header ? 0 : start.readUInt32BE(20));
  const rest = file.size - metadataSize;
  const signatureSize = bounded("the metadata signature", signed, MAX_SIGNATURES, rest);
  const manifest = parseManifest(await file.read(header, manifestSize), version);
  const blobsAt = metadataSize + signatureSize;
  checkOutline(manifest, file.size - blobsAt);
  const { signatures } = manifest;
  return {
    version,
    size: file.size,
    metadataSize,
    metadataSignatures:
      signatureSize === 0 ? [] : parseSignatures(await file.read(metadataSize, signatureSize)),
    blobsAt,
    manifest,
    signatures:
      signatures === undefined
        ? []
        : parseSignatures(await file.read(blobsAt + signatures.offset, signatures.size)),
  };
}

/** All operations in the order in which their data lies. */
export function operationsOf(manifest: Manifest): Placed[] {
  return manifest.partitions.flatMap(({ name, operations }) =>
    operations.map((operation, index) => ({ what: `operation ${index} of ${name}`, operation })),
  );
}

/** update_engine reads a payload as a stream: data lies in the order of the operations, without gaps; then the signatures. */
function checkOutline(manifest: Manifest, blobs: number): void {
  let at = 0;
  for (const { what, operation } of operationsOf(manifest)) {
    const { dataOffset, dataLength } = operation;
    if (dataLength === 0) continue;
    if (dataOffset !== at) throw broken(what, `has its data at ${dataOffset}, where ${at} comes next`);
    at += dataLength;
    if (at > blobs) throw broken(what, "has data beyond the end of the file");
  }
  const { signatures } = manifest;
  if (signatures !== undefined) {
    if (signatures.offset !== at)
      throw broken("the manifest", `has its signatures at ${signatures.offset}, where ${at} comes next`);
    if (signatures.size === 0 || signatures.size > MAX_SIGNATURES)
      throw broken("the manifest", `has signatures of ${signatures.size} bytes`);
    at += signatures.size;
  }
  if (at !== blobs)
    throw broken("the file", at < blobs ? `has ${blobs - at} bytes that belong to nothing` : "is cut off");
  for (const { dataOffset, dataLength } of manifest.noops) {
    if (dataLength > 0 && (dataOffset !== signatures?.offset || dataLength !== signatures.size))
      throw broken("a noop", "has data that are not the signatures");
  }
  checkExtents(manifest);
}

function checkExtents({ blockSize, partitions }: Manifest): void {
  for (const { name, to, operations } of partitions) {
    const most = to === undefined ? undefined : Math.ceil(to.size / blockSize);
    for (const [index, { type, destination, dataLength }] of operations.entries()) {
      const what = `operation ${index} of ${name}`;
      let blocks = 0;
      for (const extent of destination) {
        const end = (extent.start ?? 0) + extent.blocks;
        if (most !== undefined && end > most) throw broken(what, "writes beyond the end of its partition");
        blocks += extent.blocks;
      }
      if (type === "REPLACE" && dataLength > blocks * blockSize)
        throw broken(what, "has more data than blocks");
    }
  }
}

/** Not signed themselves: nothing may stand in them that is not read. */
function parseSignatures(bytes: Uint8Array): PayloadSignature[] {
  const what = "the signatures";
  for (const { number } of fieldsOf(bytes, what))
    if (number !== 1) throw broken(what, `have a field ${number}`);
  const list = new Message(bytes, what, [1], MAX_SIGNERS).all(1);
  return list.map((one) => {
    for (const { number } of fieldsOf(one, "a signature"))
      if (number > 2) throw broken("a signature", `has a field ${number}`);
    const message = new Message(one, "a signature", [1, 2], 1);
    const version = message.number(1);
    const data = message.bytes(2);
    if (data === undefined) throw broken("a signature", "is empty");
    return { ...(version === undefined ? {} : { version }), data };
  });
}

function bounded(what: string, value: bigint, most: number, left: number): number {
  if (value > BigInt(most)) throw broken(what, `has ${value} bytes; at most ${most} are read`);
  if (value > BigInt(Math.max(0, left))) throw broken(what, "reaches beyond the end of the file");
  return Number(value);
}

/** What people have in place of a payload. */
function looksLike(start: Buffer): string {
  if (start.length === 0) return ": it is empty";
  if (start[0] === 0x1f && start[1] === 0x8b) return ": it is compressed with gzip";
  if (start.toString("latin1", 0, 3) === "BZh") return ": it is compressed with bzip2";
  return /^\s*</.test(start.toString("latin1")) ? ": it is a page of HTML or XML" : "";
}
