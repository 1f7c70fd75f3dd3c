/**
 * The manifest of an image: the hash of every data block, and in which zstd frame of the
 * object each block lies. As an object it is
 *
 *   a skippable zstd frame of 16 bytes: magic, length 8, bytes of the head frame (u32 LE), "SLM1"
 *   a zstd frame with the head: a line of canonical JSON, which `zstd -dc` prints
 *   a skippable zstd frame with the hashes, packed
 *
 * A head that names a base lists what changed against it: who has the base fetches no hashes.
 * Only the whole object has a signed hash. That the last frame follows from the hashes alone,
 * whoever wrote it, is what lets a machine that fetched the head prove it by that hash.
 *
 * Bytes of the object belong to the runs in order, without gaps. Blocks outside of all runs
 * are zero. The verity tail is not in the object; it follows from the hashes.
 */
import { createHash, hash } from "node:crypto";
import { promisify } from "node:util";
import { constants, zstdCompress, zstdDecompress } from "node:zlib";
import * as z from "zod";
import { Sha256 } from "../api/release.ts";
import { FastPatchError } from "./errors.ts";
import { BLOCK, buildTree, DIGEST, MAX_DATA_BLOCKS } from "./verity.ts";

const compress = promisify(zstdCompress);
const decompress = promisify(zstdDecompress);

const FORMAT = "slipway-manifest-v2";
export const PREAMBLE = 16;
/** Magic of a skippable frame (RFC 8878, 3.1.2). */
const SKIPPABLE = 0x184d_2a50;
const SKIPPABLE_HASHES = 0x184d_2a51;
const MARK = "SLM1";
/** 1 MiB of data: what a client must hold to decode one frame. */
export const MAX_RUN_BLOCKS = 256;
/** Objects larger than this are refused before they are fetched. */
export const MAX_MANIFEST_BYTES = 256 * 1024 * 1024;
/** Bytes of the head frame, compressed and not. A gibibyte in runs of single blocks takes 4 MiB. */
const MAX_HEAD = 16 * 1024 * 1024;
const MAX_HEAD_TEXT = 64 * 1024 * 1024;
/** 2^21 bytes: a hostile frame can't ask for more memory than that as its window. */
const WINDOW_LOG = 21;

const ZERO_DIGEST = hash("sha256", Buffer.alloc(BLOCK), "buffer");

/** Whether the packed `hashes` say that block `index` is all zero. */
export function isZero(hashes: Buffer, index: number): boolean {
  return hashes.compare(ZERO_DIGEST, 0, DIGEST, index * DIGEST, (index + 1) * DIGEST) === 0;
}

/** Consecutive blocks that lie in one frame; stored as they are where `length` is `count` blocks. */
export interface Run {
  first: number;
  count: number;
  /** In the object, in bytes. */
  offset: number;
  length: number;
}

/** Runs in the object's order, 20 bytes each. */
export class Runs {
  readonly length: number;
  /** first, count, length of each. */
  readonly #columns: Uint32Array;
  readonly #offsets: Float64Array;
  readonly objectSize: number;

  constructor(columns: Uint32Array) {
    this.#columns = columns;
    this.length = Math.floor(columns.length / 3);
    this.#offsets = new Float64Array(this.length);
    let offset = 0;
    for (let index = 0; index < this.length; index++) {
      this.#offsets[index] = offset;
      offset += columns[index * 3 + 2] ?? 0;
    }
    this.objectSize = offset;
  }

  at(index: number): Run {
    const [first = 0, count = 0, length = 0] = this.#columns.subarray(index * 3, index * 3 + 3);
    return { first, count, offset: this.#offsets[index] ?? 0, length };
  }

  *[Symbol.iterator](): Generator<Run> {
    for (let index = 0; index < this.length; index++) yield this.at(index);
  }

  /** u32 LE columns, base64. */
  pack(): string {
    const bytes = Buffer.alloc(this.#columns.length * 4);
    this.#columns.forEach((value, index) => bytes.writeUInt32LE(value, index * 4));
    return bytes.toString("base64");
  }
}

/** What the head says. */
export interface ManifestHead {
  dataBlocks: number;
  rootHash: string;
  runs: Runs;
  /** The image against which `changed` is meant; only where the manifest was built with one. */
  base?: {
    rootHash: string;
    dataBlocks: number;
    changed: { first: number; count: number }[];
    hashes: Buffer;
  };
}

/** The whole of it: the head with the packed hashes of all data blocks, proved by the root hash. */
export interface Manifest {
  dataBlocks: number;
  rootHash: string;
  runs: Runs;
  hashes: Buffer;
  /** Superblock and tree. */
  tail: Buffer;
}

const Base64 = z.string().regex(/^[A-Za-z0-9+/]*={0,2}$/);
const Count = z.int().min(1).max(MAX_DATA_BLOCKS);
const Head = z.strictObject({
  base: z.strictObject({ changed: Base64, dataBlocks: Count, hashes: Base64, rootHash: Sha256 }).optional(),
  blockSize: z.literal(BLOCK),
  dataBlocks: Count,
  format: z.literal(FORMAT),
  objectSize: z.int().min(0),
  rootHash: Sha256,
  runs: Base64,
});

const invalid = (what: string, cause?: unknown): FastPatchError =>
  new FastPatchError("ManifestInvalid", `the image manifest is not valid: ${what}`, { cause });

async function inflateHead(frame: Buffer): Promise<unknown> {
  try {
    const bytes = await decompress(frame, {
      maxOutputLength: MAX_HEAD_TEXT,
      params: { [constants.ZSTD_d_windowLogMax]: WINDOW_LOG },
    });
    return JSON.parse(bytes.toString("utf8"));
  } catch (error) {
    throw invalid(
      `its head can't be read (${error instanceof Error ? error.message : String(error)})`,
      error,
    );
  }
}

/** Bytes of the head frame, which follows the preamble. */
export function headLength(preamble: Buffer): number {
  const length = preamble.length < PREAMBLE ? 0 : preamble.readUInt32LE(8);
  const valid =
    length > 0 &&
    preamble.readUInt32LE(0) === SKIPPABLE &&
    preamble.readUInt32LE(4) === 8 &&
    preamble.toString("latin1", 12, 16) === MARK;
  if (!valid) throw invalid("it does not begin as one");
  if (length > MAX_HEAD) throw invalid(`its head of ${length} bytes is too large`);
  return length;
}

/** Reads the head frame and checks everything that can be checked without the hashes. */
export async function parseHead(frame: Buffer): Promise<ManifestHead> {
  const parsed = Head.safeParse(await inflateHead(frame));
  if (!parsed.success) throw invalid(z.prettifyError(parsed.error));
  const { dataBlocks, rootHash, objectSize, base } = parsed.data;
  const runs = new Runs(unpack(parsed.data.runs, 3, "runs"));
  if (runs.objectSize !== objectSize) {
    throw invalid(`its runs take ${runs.objectSize} bytes, but the object has ${objectSize}`);
  }
  const covered = new Uint8Array(dataBlocks);
  for (const { first, count, length } of runs) {
    if (count < 1 || count > MAX_RUN_BLOCKS || first + count > dataBlocks) {
      throw invalid(`a run has blocks ${first} to ${first + count - 1} of ${dataBlocks}`);
    }
    if (length < 1 || length > count * BLOCK) throw invalid(`a run of ${count} blocks takes ${length} bytes`);
    for (let index = first; index < first + count; index++) {
      if (covered[index] === 1) throw invalid(`block ${index} lies in two runs`);
      covered[index] = 1;
    }
  }
  if (base === undefined) return { dataBlocks, rootHash, runs };
  return { dataBlocks, rootHash, runs, base: parseBase(base, dataBlocks) };
}

function parseBase(
  base: NonNullable<z.output<typeof Head>["base"]>,
  dataBlocks: number,
): NonNullable<ManifestHead["base"]> {
  const columns = unpack(base.changed, 2, "changes");
  const changed: { first: number; count: number }[] = [];
  let blocks = 0;
  let end = 0;
  for (let at = 0; at < columns.length; at += 2) {
    const [first = 0, count = 0] = columns.subarray(at, at + 2);
    if (first < end || count < 1 || first + count > dataBlocks) throw invalid("its changes are out of order");
    changed.push({ first, count });
    blocks += count;
    end = first + count;
  }
  const hashes = Buffer.from(base.hashes, "base64");
  if (hashes.length !== blocks * DIGEST) throw invalid("it has not one hash for each changed block");
  return { rootHash: base.rootHash, dataBlocks: base.dataBlocks, changed, hashes };
}

function unpack(text: string, columns: number, what: string): Uint32Array {
  const bytes = Buffer.from(text, "base64");
  if (bytes.length % (columns * 4) !== 0) throw invalid(`its ${what} are cut short`);
  const values = new Uint32Array(bytes.length / 4);
  for (let index = 0; index < values.length; index++) values[index] = bytes.readUInt32LE(index * 4);
  return values;
}

/** What stands before the packed hashes: the header of their frame. */
function hashesHeader(hashes: Buffer): Buffer {
  const header = Buffer.alloc(8);
  header.writeUInt32LE(SKIPPABLE_HASHES, 0);
  header.writeUInt32LE(hashes.length, 4);
  return header;
}

/** SHA-256 of the object that begins with `upToHead`, preamble and head frame, and has these hashes. */
export function objectHash(upToHead: Buffer, hashes: Buffer): string {
  return createHash("sha256").update(upToHead).update(hashesHeader(hashes)).update(hashes).digest("hex");
}

/** The manifest from its head and the packed hashes of the base that it names. */
export function withBase(head: ManifestHead, base: Buffer): Manifest {
  const hashes = Buffer.alloc(head.dataBlocks * DIGEST);
  base.copy(hashes);
  let at = 0;
  for (const { first, count } of head.base?.changed ?? []) {
    head.base?.hashes.copy(hashes, first * DIGEST, at, at + count * DIGEST);
    at += count * DIGEST;
  }
  return prove(head, hashes);
}

function prove(head: ManifestHead, hashes: Buffer): Manifest {
  const { dataBlocks, rootHash, runs } = head;
  if (hashes.length !== dataBlocks * DIGEST) {
    throw invalid(`it has ${Math.floor(hashes.length / DIGEST)} hashes for ${dataBlocks} blocks`);
  }
  const tree = buildTree(hashes);
  if (tree.rootHash !== rootHash)
    throw invalid(`its hashes give the root hash ${tree.rootHash}, not ${rootHash}`);
  const covered = new Uint8Array(dataBlocks);
  for (const { first, count } of runs) covered.fill(1, first, first + count);
  for (let index = 0; index < dataBlocks; index++) {
    if (covered[index] === 0 && !isZero(hashes, index)) throw invalid(`block ${index} lies in no run`);
  }
  return { dataBlocks, rootHash, runs, hashes, tail: tree.tail };
}

/** Reads a whole manifest object. */
export async function parseManifest(object: Buffer): Promise<Manifest> {
  const end = PREAMBLE + headLength(object);
  const head = await parseHead(object.subarray(PREAMBLE, end));
  const hashes = Buffer.from(object.subarray(end + 8));
  if (!object.subarray(end, end + 8).equals(hashesHeader(hashes))) throw invalid("its hashes are cut short");
  return prove(head, hashes);
}

/** Writes a manifest object. `base` is the manifest of the image that most machines run now. */
export async function encodeManifest(
  manifest: Omit<Manifest, "tail">,
  base?: Pick<Manifest, "rootHash" | "dataBlocks" | "hashes">,
): Promise<Buffer> {
  const delta = base === undefined ? undefined : changes(manifest, base);
  const head = await deflate({
    ...(delta === undefined ? {} : { base: delta }),
    blockSize: BLOCK,
    dataBlocks: manifest.dataBlocks,
    format: FORMAT,
    objectSize: manifest.runs.objectSize,
    rootHash: manifest.rootHash,
    runs: manifest.runs.pack(),
  });
  const preamble = Buffer.alloc(PREAMBLE);
  preamble.writeUInt32LE(SKIPPABLE, 0);
  preamble.writeUInt32LE(8, 4);
  preamble.writeUInt32LE(head.length, 8);
  preamble.write(MARK, 12, "latin1");
  return Buffer.concat([preamble, head, hashesHeader(manifest.hashes), manifest.hashes]);
}

/** Undefined where so much changed that the whole list is as short. */
function changes(
  manifest: Omit<Manifest, "tail">,
  base: Pick<Manifest, "rootHash" | "dataBlocks" | "hashes">,
): z.input<typeof Head>["base"] {
  const { hashes, dataBlocks } = manifest;
  const columns: number[] = [];
  const changed: Buffer[] = [];
  for (let index = 0; index < dataBlocks; index++) {
    const from = index * DIGEST;
    const same =
      index < base.dataBlocks && hashes.compare(base.hashes, from, from + DIGEST, from, from + DIGEST) === 0;
    if (same) continue;
    changed.push(hashes.subarray(from, from + DIGEST));
    const [first = -1, count = 0] = columns.slice(-2);
    if (first + count === index) columns[columns.length - 1] = count + 1;
    else columns.push(index, 1);
  }
  if (changed.length > dataBlocks / 2) return undefined;
  const packed = Buffer.alloc(columns.length * 4);
  columns.forEach((value, index) => packed.writeUInt32LE(value, index * 4));
  return {
    changed: packed.toString("base64"),
    dataBlocks: base.dataBlocks,
    hashes: Buffer.concat(changed).toString("base64"),
    rootHash: base.rootHash,
  };
}

/** Keys are written in order by the callers, so the line is canonical. */
function deflate(json: object): Promise<Buffer> {
  return compress(Buffer.from(`${JSON.stringify(json)}\n`), {
    params: { [constants.ZSTD_c_compressionLevel]: 9, [constants.ZSTD_c_windowLog]: WINDOW_LOG },
  });
}
