/** Building an image: hashes, runs and the object that mirrors serve. */
import { createHash, hash } from "node:crypto";
import type { Disk } from "./disk.ts";
import { FastPatchError } from "./errors.ts";
import { encodeManifest, isZero, type Manifest, Runs } from "./manifest.ts";
import { encodeRun } from "./run-codec.ts";
import { BLOCK, buildTree, DIGEST, hashBlocks, imageBlocks, MAX_DATA_BLOCKS, readThrough } from "./verity.ts";

/** Blocks of a run: 256 KiB, in which zstd finds most of what it finds at all. */
const RUN_BLOCKS = 64;
/** Runs that are compressed at once; each takes a thread of the pool. */
const AT_ONCE = 8;

export interface BuildOptions {
  /** The file system or archive; it is padded with zeros to whole blocks. Read twice. */
  input: Pick<Disk, "read" | "size">;
  /** Takes the object's bytes in order. */
  write(bytes: Buffer): Promise<void> | void;
  /** Manifest of the release that most machines run: they will fetch only what changed since. */
  base?: Manifest;
  /** zstd level, 1 to 22. */
  level?: number;
  onProgress?: (done: number, total: number) => void;
}

export interface BuiltImage {
  rootHash: string;
  dataBlocks: number;
  /** Data, superblock and tree: what it takes in a slot, in bytes. */
  imageBytes: number;
  image: { size: number; sha256: string };
  manifest: { size: number; sha256: string };
  manifestObject: Buffer;
}

/** What becomes of a block: not stored, stored for all, or stored where clients of the base find it together. */
const ZERO = 0;
const KEPT = 1;
const CHANGED = 2;

/** Builds image and manifest. The same input, base and level give the same bytes. */
export async function buildImage(options: BuildOptions): Promise<BuiltImage> {
  const { input, base, level = 9 } = options;
  const dataBlocks = Math.ceil(input.size / BLOCK);
  if (dataBlocks < 1 || dataBlocks > MAX_DATA_BLOCKS) {
    throw new FastPatchError(
      "ImageInvalid",
      `an image of ${input.size} bytes can't be built: 1 byte to 16 GiB`,
    );
  }
  const padded = { read: (offset: number, length: number) => readPadded(input, offset, length) };
  const hashes = Buffer.alloc(dataBlocks * DIGEST);
  for await (const { at, data } of readThrough(padded, 0, dataBlocks * BLOCK)) {
    hashBlocks(data, hashes, at / BLOCK);
  }
  const { rootHash } = buildTree(hashes);

  const columns: number[] = [];
  const digest = createHash("sha256");
  let size = 0;
  let done = 0;
  const planned = planRuns(hashes, base?.hashes);
  const total = planned.reduce((sum, run) => sum + run.count, 0);
  for (let from = 0; from < planned.length; from += AT_ONCE) {
    const group = planned.slice(from, from + AT_ONCE);
    const frames = await Promise.all(
      group.map(async ({ first, count }) =>
        encodeRun(await padded.read(first * BLOCK, count * BLOCK), level),
      ),
    );
    for (const [index, { first, count }] of group.entries()) {
      const frame = frames[index] ?? Buffer.alloc(0);
      columns.push(first, count, frame.length);
      digest.update(frame);
      await options.write(frame);
      size += frame.length;
      done += count;
    }
    options.onProgress?.(done * BLOCK, total * BLOCK);
  }
  const runs = new Runs(Uint32Array.from(columns));
  const manifestObject = await encodeManifest({ dataBlocks, rootHash, runs, hashes }, base);
  return {
    rootHash,
    dataBlocks,
    imageBytes: imageBlocks(dataBlocks) * BLOCK,
    image: { size, sha256: digest.digest("hex") },
    manifest: { size: manifestObject.length, sha256: hash("sha256", manifestObject) },
    manifestObject,
  };
}

async function readPadded(
  input: Pick<Disk, "read" | "size">,
  offset: number,
  length: number,
): Promise<Buffer> {
  const there = Math.min(length, input.size - offset);
  const bytes = await input.read(offset, there);
  return there === length ? bytes : Buffer.concat([bytes, Buffer.alloc(length - there)]);
}

/**
 * Runs in the object's order: first those that the base lacks, together, so that a client
 * that has it fetches one range; then the rest.
 */
export function planRuns(hashes: Buffer, base: Buffer | undefined): { first: number; count: number }[] {
  const known = base ?? Buffer.alloc(0);
  const had = new Set<string>();
  for (let at = 0; at < known.length; at += DIGEST) had.add(known.toString("latin1", at, at + DIGEST));
  const classOf = (index: number): number => {
    if (isZero(hashes, index)) return ZERO;
    return had.has(hashes.toString("latin1", index * DIGEST, (index + 1) * DIGEST)) ? KEPT : CHANGED;
  };
  const runs: { first: number; count: number; kind: number }[] = [];
  let last: { first: number; count: number; kind: number } | undefined;
  for (let index = 0; index < hashes.length / DIGEST; index++) {
    const kind = classOf(index);
    if (last?.kind === kind && last.count < RUN_BLOCKS) last.count++;
    else runs.push((last = { first: index, count: 1, kind }));
  }
  const of = (kind: number) =>
    runs.filter((run) => run.kind === kind).map(({ first, count }) => ({ first, count }));
  return [...of(CHANGED), ...of(KEPT)];
}
