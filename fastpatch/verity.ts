/**
 * dm-verity in user space: hash type 1, SHA-256, blocks of 4096 bytes, no salt, superblock
 * as veritysetup(8) writes it. Without a salt the lowest level of the tree is the list of
 * plain SHA-256 block hashes, so the manifest's list and the tree prove each other.
 */
import { hash } from "node:crypto";
import type { Disk } from "./disk.ts";

/** Bytes of a block: data, hash, label. */
export const BLOCK = 4096;
/** 16 GiB of data: the list of hashes of such an image still fits into an agent's memory. */
export const MAX_DATA_BLOCKS = 4_194_304;
/** Bytes of a SHA-256. */
export const DIGEST = 32;
const PER_BLOCK = BLOCK / DIGEST;

/** SHA-256 of each 4 KiB block of `data`, packed into `hashes` from block `first` on. */
export function hashBlocks(data: Buffer, hashes: Buffer, first: number): void {
  for (let at = 0, index = first; at < data.length; at += BLOCK, index++) {
    hashes.write(hash("sha256", data.subarray(at, at + BLOCK), "latin1"), index * DIGEST, DIGEST, "latin1");
  }
}

/** Sizes of the tree's levels in blocks, from the one over the data up to the root. */
function levels(dataBlocks: number): number[] {
  const sizes: number[] = [];
  for (let blocks = dataBlocks; blocks > 1; ) {
    blocks = Math.ceil(blocks / PER_BLOCK);
    sizes.push(blocks);
  }
  return sizes;
}

/** Blocks of a whole image: data, superblock, tree. */
export function imageBlocks(dataBlocks: number): number {
  return dataBlocks + 1 + levels(dataBlocks).reduce((sum, blocks) => sum + blocks, 0);
}

export interface VerityTree {
  /** What follows the data: the superblock, then the levels from the root down. */
  tail: Buffer;
  /** Lower-case hex. */
  rootHash: string;
}

/** Builds superblock and tree over packed block hashes. */
export function buildTree(hashes: Buffer): VerityTree {
  const dataBlocks = hashes.length / DIGEST;
  const tail = Buffer.alloc((imageBlocks(dataBlocks) - dataBlocks) * BLOCK);
  let digests = hashes;
  let end = tail.length;
  for (const blocks of levels(dataBlocks)) {
    const level = tail.subarray(end - blocks * BLOCK, end);
    digests.copy(level);
    const above = Buffer.alloc(blocks * DIGEST);
    hashBlocks(level, above, 0);
    digests = above;
    end -= level.length;
  }
  const rootHash = digests.toString("hex");
  superblock(dataBlocks, rootHash).copy(tail);
  return { tail, rootHash };
}

/** struct verity_sb of cryptsetup's lib/verity/verity.c. The UUID is made from the root hash, so that images are reproducible. */
function superblock(dataBlocks: number, rootHash: string): Buffer {
  const block = Buffer.alloc(BLOCK);
  block.write("verity", "latin1");
  block.writeUInt32LE(1, 8);
  block.writeUInt32LE(1, 12);
  const uuid = Buffer.from(rootHash, "hex").subarray(0, 16);
  uuid.copy(block, 16);
  // Version 8, variant 10 (RFC 9562).
  block.writeUInt8(((uuid[6] ?? 0) & 0x0f) | 0x80, 22);
  block.writeUInt8(((uuid[8] ?? 0) & 0x3f) | 0x80, 24);
  block.write("sha256", 32, "latin1");
  block.writeUInt32LE(BLOCK, 64);
  block.writeUInt32LE(BLOCK, 68);
  block.writeBigUInt64LE(BigInt(dataBlocks), 72);
  return block;
}

/** Bytes per read, and reads under way at once, when a slot is read through. */
const CHUNK = 1024 * 1024;
const AHEAD = 3;

/**
 * Reads `length` bytes from `offset` in order, a few chunks ahead of the consumer, into the
 * same few buffers: `data` is good until the next chunk is asked for. An abort ends it
 * between chunks.
 */
export async function* readThrough(
  disk: Pick<Disk, "read">,
  offset: number,
  length: number,
  signal?: AbortSignal,
): AsyncGenerator<{ at: number; data: Buffer }> {
  const free: Buffer[] = [];
  const under: { at: number; data: Promise<Buffer>; buffer: Buffer }[] = [];
  let next = 0;
  try {
    while (next < length || under.length > 0) {
      signal?.throwIfAborted();
      while (next < length && under.length < AHEAD) {
        const buffer = free.pop() ?? Buffer.allocUnsafeSlow(CHUNK);
        const data = disk.read(offset + next, Math.min(CHUNK, length - next), buffer);
        // It is awaited in order below; until then a failure must not count as unhandled.
        data.catch(() => {});
        under.push({ at: offset + next, data, buffer });
        next += CHUNK;
      }
      const head = under.shift();
      if (head === undefined) break;
      yield { at: head.at, data: await head.data };
      free.push(head.buffer);
    }
  } finally {
    await Promise.allSettled(under.map((read) => read.data));
  }
}

export interface VerityCheck {
  /** Root hash that the data give. */
  rootHash: string;
  /** Whether superblock and tree on the disk are those of the data. */
  treeMatches: boolean;
  /** Packed hashes of the data blocks. */
  hashes: Buffer;
}

/** Reads a whole image from the start of `disk` and computes its root hash anew. */
export async function checkImage(
  disk: Pick<Disk, "read">,
  dataBlocks: number,
  options: { signal?: AbortSignal; onProgress?: (bytes: number) => void } = {},
): Promise<VerityCheck> {
  const hashes = Buffer.alloc(dataBlocks * DIGEST);
  for await (const { at, data } of readThrough(disk, 0, dataBlocks * BLOCK, options.signal)) {
    hashBlocks(data, hashes, at / BLOCK);
    options.onProgress?.(at + data.length);
  }
  const { tail, rootHash } = buildTree(hashes);
  let treeMatches = true;
  const start = dataBlocks * BLOCK;
  for await (const { at, data } of readThrough(disk, start, tail.length, options.signal)) {
    treeMatches &&= data.equals(tail.subarray(at - start, at - start + data.length));
    options.onProgress?.(at + data.length);
  }
  return { rootHash, treeMatches, hashes };
}

/**
 * The packed block hashes of an image that lies at the start of `disk`, taken from its
 * tree; undefined where the tree is not that of `rootHash`. The data are not read.
 */
export async function readLeafHashes(
  disk: Pick<Disk, "read">,
  dataBlocks: number,
  rootHash: string,
): Promise<Buffer | undefined> {
  const leafBlocks = levels(dataBlocks)[0];
  if (leafBlocks === undefined) return undefined;
  const leaves = Buffer.alloc(leafBlocks * BLOCK);
  const start = (imageBlocks(dataBlocks) - leafBlocks) * BLOCK;
  for await (const { at, data } of readThrough(disk, start, leaves.length)) data.copy(leaves, at - start);
  const hashes = leaves.subarray(0, dataBlocks * DIGEST);
  return buildTree(hashes).rootHash === rootHash ? hashes : undefined;
}
