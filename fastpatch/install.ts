/**
 * Staging an image, in the order in which a power cut at any instant leaves the running
 * slot the one that boots and the passive slot either empty or complete:
 * check what may be checked without writing; clear the passive slot's boot bits, then its
 * label; write; flush; read all of it back from the medium and verify; write the label.
 */
import type { Clock } from "../ports/clock.ts";
import type { BootControl, SlotName } from "./boot-control.ts";
import { type Disk, region } from "./disk.ts";
import { FastPatchError } from "./errors.ts";
import { fetchManifest } from "./fetch-manifest.ts";
import { other } from "./gptprio.ts";
import type { Manifest } from "./manifest.ts";
import { type Consents, checkPermitted, type PermissionRequest } from "./permission.ts";
import { clearSlotLabel, readSlotLabel, type SlotLabel, slotCapacity, writeSlotLabel } from "./slot-label.ts";
import type { Source } from "./source.ts";
import { copyBlocks, fetchRuns, indexSlots, type Slots, type StagingOptions } from "./staging.ts";
import type { BlobRef } from "./statement.ts";
import type { TrustRoots } from "./trust.ts";
import { BLOCK, checkImage, DIGEST, imageBlocks, readLeafHashes } from "./verity.ts";

export interface InstallTarget extends PermissionRequest {
  image: BlobRef;
  manifest: BlobRef;
}

export interface InstallProgress {
  phase: "Fetching" | "Verifying";
  /** Bytes of the image that are in place, or were read back; of `total`. */
  done: number;
  total: number;
  /** Bytes that came over the network; bytes that did not have to. */
  fetched: number;
  reused: number;
}

export interface InstallOptions extends Consents {
  signal: AbortSignal;
  /** Bytes per second; 0 is no limit. */
  rateLimit: number;
  /** Whether blocks that the disk has may be used; true unless something measures without. */
  reuse?: boolean;
  onProgress?(progress: InstallProgress): void;
}

export interface InstallResult {
  /** Whether the read-back came from the medium, or only from the page cache. */
  readBack: "direct" | "cached";
  fetchedBytes: number;
  reusedBytes: number;
}

export interface InstallContext {
  disk: Disk;
  bootControl: BootControl;
  clock: Clock;
  source: Source;
  /** Whom the machine trusts, as its file says now. */
  trust: () => Promise<TrustRoots>;
}

/** Rejects with FastPatchError, or with the signal's reason. The running slot is never touched. */
export async function install(
  context: InstallContext,
  target: InstallTarget,
  options: InstallOptions,
): Promise<InstallResult> {
  const { signal } = options;
  signal.throwIfAborted();
  checkPermitted(target, await context.trust(), options, context.clock.now());
  const slots = await openSlots(context);
  checkFits(target, slots.runningLabel);

  const tally = { fetched: 0, reused: 0 };
  const onBytes = (bytes: number): void => {
    tally.fetched += bytes;
  };
  const common = {
    source: context.source,
    clock: context.clock,
    signal,
    rateLimit: options.rateLimit,
    onBytes,
  };
  const manifest = await fetchManifest({
    ...common,
    blob: target.manifest,
    rootHash: target.rootHash,
    known: (rootHash, dataBlocks) => knownHashes(slots, rootHash, dataBlocks),
  });
  const imageBytes = imageBlocks(manifest.dataBlocks) * BLOCK;
  if (imageBytes > slotCapacity(slots.passive)) {
    throw new FastPatchError(
      "SlotTooSmall",
      `the image takes ${imageBytes} bytes, the slot has ${slotCapacity(slots.passive)}`,
    );
  }
  if (manifest.runs.objectSize !== target.image.size) {
    throw new FastPatchError(
      "ManifestInvalid",
      `the manifest describes an object of ${manifest.runs.objectSize} bytes, the release one of ${target.image.size}`,
    );
  }
  signal.throwIfAborted();
  await context.bootControl.clearPassive();
  await clearSlotLabel(slots.passive);

  const report = (phase: InstallProgress["phase"], done: number): void =>
    options.onProgress?.({ phase, done, total: imageBytes, ...tally });
  const staging: StagingOptions = {
    ...common,
    slots,
    image: target.image,
    manifest,
    onDone: (done) => report("Fetching", done),
  };
  const index = options.reuse === false ? undefined : await indexSlots(slots, manifest, signal);
  const runs = await copyBlocks(staging, index);
  tally.reused = (manifest.dataBlocks - runs.reduce((sum, run) => sum + run.count, 0)) * BLOCK;
  await fetchRuns(staging, runs);
  await slots.passive.write(manifest.dataBlocks * BLOCK, manifest.tail);
  await slots.passive.flush();

  const readBack = await slots.passive.dropCache();
  await verify(slots.passive, manifest, signal, (done) => report("Verifying", done));
  const { version, product, architecture, rootHash } = target;
  await writeSlotLabel(slots.passive, {
    version,
    product,
    architecture,
    rootHash,
    imageBytes,
    dataBlocks: manifest.dataBlocks,
  });
  return { readBack, fetchedBytes: tally.fetched, reusedBytes: tally.reused };
}

function checkFits(target: InstallTarget, running: SlotLabel | undefined): void {
  if (running === undefined) return;
  for (const field of ["product", "architecture"] as const) {
    if (running[field] !== target[field]) {
      throw new FastPatchError(
        "WrongProduct",
        `the image has ${field} ${target[field]}, this machine runs ${running[field]}`,
      );
    }
  }
}

async function openSlots({ disk, bootControl }: InstallContext): Promise<Slots> {
  const all = await bootControl.slots();
  const { running } = bootControl;
  const slot = (name: SlotName) => {
    const found = all.find((candidate) => candidate.name === name);
    if (found === undefined) throw new FastPatchError("SlotMissing", `the disk has no slot ${name}`);
    return found;
  };
  const from = slot(running);
  if (!from.successful) {
    throw new FastPatchError("RunningNotGood", `slot ${running} runs, but is not marked good`);
  }
  const to = slot(other(running));
  const runningRegion = region(disk, from.offset, from.size);
  const passive = region(disk, to.offset, to.size);
  return {
    running: runningRegion,
    runningLabel: await readSlotLabel(runningRegion),
    passive,
    passiveLabel: await readSlotLabel(passive),
  };
}

async function knownHashes(slots: Slots, rootHash: string, dataBlocks: number): Promise<Buffer | undefined> {
  for (const [slot, label] of [
    [slots.running, slots.runningLabel],
    [slots.passive, slots.passiveLabel],
  ] as const) {
    if (label?.rootHash !== rootHash || label.dataBlocks !== dataBlocks) continue;
    const hashes = await readLeafHashes(slot, dataBlocks, rootHash);
    if (hashes !== undefined) return hashes;
  }
  return undefined;
}

async function verify(
  slot: Disk,
  manifest: Manifest,
  signal: AbortSignal,
  onProgress: (bytes: number) => void,
): Promise<void> {
  const check = await checkImage(slot, manifest.dataBlocks, { signal, onProgress });
  if (check.rootHash === manifest.rootHash && check.treeMatches) return;
  let block = 0;
  const differs = (at: number): boolean =>
    check.hashes.compare(manifest.hashes, at * DIGEST, (at + 1) * DIGEST, at * DIGEST, (at + 1) * DIGEST) !==
    0;
  while (block < manifest.dataBlocks && !differs(block)) block++;
  const where = block < manifest.dataBlocks ? `block ${block}` : "the hash tree";
  throw new FastPatchError("ReadBackMismatch", `${where} reads back other than it was written`);
}
