/** Writing the blocks of an image into the passive slot: from the disk where it has them, from mirrors the rest. */
import type { Clock } from "../ports/clock.ts";
import type { Disk } from "./disk.ts";
import { fetchParts, WrongBytes } from "./fetch.ts";
import { isZero, type Manifest, type Run } from "./manifest.ts";
import { BlockIndex } from "./reuse.ts";
import { decodeRun } from "./run-codec.ts";
import type { SlotLabel } from "./slot-label.ts";
import type { Source } from "./source.ts";
import type { BlobRef } from "./statement.ts";
import { BLOCK, DIGEST, hashBlocks, readLeafHashes, readThrough } from "./verity.ts";

/** Blocks copied or zeroed at once. */
const COPY_BLOCKS = 256;
/** Stretches that are copied at once. */
const COPIES = 6;
/** Bytes after which what was written is flushed: the kernel then writes while we fetch, and a restart finds it. */
const FLUSH_EVERY = 64 * 1024 * 1024;

/** Both slots. A label is undefined where the slot holds no image that was verified: its blocks are then read to be known. */
export interface Slots {
  running: Disk;
  runningLabel: SlotLabel | undefined;
  passive: Disk;
  /** As it was before it was cleared. */
  passiveLabel: SlotLabel | undefined;
}

export interface StagingOptions {
  slots: Slots;
  source: Source;
  clock: Clock;
  image: BlobRef;
  manifest: Manifest;
  signal: AbortSignal;
  rateLimit: number;
  onBytes: (bytes: number) => void;
  /** Bytes of the image that are in place. */
  onDone: (bytes: number) => void;
}

/**
 * Learns what both slots hold: of a labelled slot from its hash tree, of another by reading
 * it. Should blocks of a labelled passive slot have rotted, the read-back finds it, and the
 * next try, without the label, reads them.
 */
export async function indexSlots(slots: Slots, manifest: Manifest, signal: AbortSignal): Promise<BlockIndex> {
  const index = new BlockIndex(manifest.hashes);
  for (const name of ["running", "passive"] as const) {
    const label = name === "running" ? slots.runningLabel : slots.passiveLabel;
    const leaves = label && (await readLeafHashes(slots[name], label.dataBlocks, label.rootHash));
    if (leaves === undefined)
      await offerAll(index, slots[name], name, wholeBlocks(slots[name], manifest), signal);
    else for (let block = 0; block < leaves.length / DIGEST; block++) index.offer(leaves, block, name, block);
  }
  return index;
}

/** As far as the new image reaches: what an older, longer one has behind it is not looked at. */
function wholeBlocks(slot: Disk, manifest: Manifest): number {
  return Math.min(Math.floor(slot.size / BLOCK), manifest.dataBlocks);
}

async function offerAll(
  index: BlockIndex,
  slot: Disk,
  name: "running" | "passive",
  blocks: number,
  signal: AbortSignal,
): Promise<void> {
  const digests = Buffer.alloc(COPY_BLOCKS * DIGEST);
  for await (const { at, data } of readThrough(slot, 0, blocks * BLOCK, signal)) {
    hashBlocks(data, digests, 0);
    for (let block = 0; block < data.length / BLOCK; block++)
      index.offer(digests, block, name, at / BLOCK + block);
  }
}

/** Copies what the index knows; `index` undefined copies nothing. Returns the runs that must be fetched, in the object's order. */
export async function copyBlocks(options: StagingOptions, index: BlockIndex | undefined): Promise<Run[]> {
  const { manifest, slots, signal } = options;
  const missing = new Uint8Array(manifest.dataBlocks);
  const zeros = Buffer.alloc(COPY_BLOCKS * BLOCK);
  const flight = new Set<Promise<void>>();
  const failures: unknown[] = [];
  const start = (work: Promise<void>): void => {
    const tracked = work
      .catch((error: unknown) => void failures.push(error))
      .finally(() => flight.delete(tracked));
    flight.add(tracked);
  };
  for (let block = 0; block < manifest.dataBlocks && failures.length === 0 && !signal.aborted; ) {
    const { count, from } = stretchAt(manifest, index, block);
    if (from === "zero") start(slots.passive.write(block * BLOCK, zeros.subarray(0, count * BLOCK)));
    else if (from === "missing") missing.fill(1, block, block + count);
    else if (from !== "inPlace") start(copy(options, block, count, slots[from.slot], from.block, missing));
    block += count;
    while (flight.size >= COPIES) await Promise.race(flight);
  }
  await Promise.all(flight);
  signal.throwIfAborted();
  if (failures.length > 0) throw failures[0];
  const runs: Run[] = [];
  let left = 0;
  for (const run of manifest.runs) {
    if (missing.subarray(run.first, run.first + run.count).includes(1)) {
      runs.push(run);
      left += run.count;
    }
  }
  options.onDone((manifest.dataBlocks - left) * BLOCK);
  return runs;
}

type From = "zero" | "inPlace" | "missing" | { slot: "running" | "passive"; block: number };

/** The longest stretch from `block` on that has one origin. */
function stretchAt(
  manifest: Manifest,
  index: BlockIndex | undefined,
  block: number,
): { count: number; from: From } {
  const classOf = (at: number): From => {
    if (index?.inPlace(at)) return "inPlace";
    if (isZero(manifest.hashes, at)) return "zero";
    return index?.origin(at) ?? "missing";
  };
  const from = classOf(block);
  let count = 1;
  for (; count < COPY_BLOCKS && block + count < manifest.dataBlocks; count++) {
    const next = classOf(block + count);
    const follows =
      typeof from === "string" || typeof next === "string"
        ? next === from
        : next.slot === from.slot && next.block === from.block + count;
    if (!follows) break;
  }
  return { count, from };
}

/** Copies blocks whose hash is right when they are read; the others are missing after all. */
async function copy(
  { manifest, slots }: StagingOptions,
  block: number,
  count: number,
  slot: Disk,
  from: number,
  missing: Uint8Array,
): Promise<void> {
  const data = await slot.read(from * BLOCK, count * BLOCK);
  const digests = Buffer.alloc(count * DIGEST);
  hashBlocks(data, digests, 0);
  const right = (at: number): boolean =>
    digests.compare(
      manifest.hashes,
      (block + at) * DIGEST,
      (block + at + 1) * DIGEST,
      at * DIGEST,
      (at + 1) * DIGEST,
    ) === 0;
  for (let at = 0; at < count; ) {
    let end = at + 1;
    while (end < count && right(end) === right(at)) end++;
    if (right(at)) await slots.passive.write((block + at) * BLOCK, data.subarray(at * BLOCK, end * BLOCK));
    else missing.fill(1, block + at, block + end);
    at = end;
  }
}

/** Fetches, checks and writes `runs`. */
export async function fetchRuns(options: StagingOptions, runs: readonly Run[]): Promise<void> {
  const { manifest, slots, source, clock, image, signal, rateLimit, onBytes } = options;
  let done = manifest.dataBlocks - runs.reduce((sum, run) => sum + run.count, 0);
  let unflushed = 0;
  let flushing = Promise.resolve();
  const consume = async (run: Run, bytes: Buffer): Promise<void> => {
    const blocks = decodeRun(bytes, run);
    const digests = Buffer.allocUnsafe(run.count * DIGEST);
    if (blocks !== undefined) hashBlocks(blocks, digests, 0);
    const wanted = manifest.hashes.subarray(run.first * DIGEST, (run.first + run.count) * DIGEST);
    if (blocks === undefined || !digests.equals(wanted)) {
      throw new WrongBytes(`it sent wrong bytes for blocks ${run.first} to ${run.first + run.count - 1}`);
    }
    await slots.passive.write(run.first * BLOCK, blocks);
    done += run.count;
    options.onDone(done * BLOCK);
    unflushed += blocks.length;
    if (unflushed < FLUSH_EVERY) return;
    unflushed = 0;
    // One flush at a time: a disk slower than the network holds the fetch back here.
    await flushing;
    flushing = slots.passive.flush();
    flushing.catch(() => {});
  };
  try {
    await fetchParts({ source, clock, blob: image, parts: runs, signal, rateLimit, onBytes, consume });
  } finally {
    await flushing;
  }
}
