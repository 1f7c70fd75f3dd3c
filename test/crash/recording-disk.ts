/**
 * A disk that records writes and flushes, and the states in which a power cut could leave
 * it: everything before the last flush is there; of what was written since, any subset of
 * sectors may be.
 */
import type { Disk } from "../../fastpatch/disk.ts";
import { memoryDisk } from "../../fastpatch/memory-disk.ts";

interface Write {
  offset: number;
  data: Buffer;
}

/** What was written between two flushes. */
export type Epoch = Write[];

export interface RecordingDisk extends Disk {
  /** In order; the last one was not flushed. */
  readonly epochs: Epoch[];
  /** The disk when recording began; the enumeration replays into it. */
  readonly before: Buffer;
}

/** Records from now on what happens to a disk that holds `bytes`, which is changed in place. */
export function recordingDisk(bytes: Buffer, sectorSize: 512 | 4096): RecordingDisk {
  const disk = memoryDisk(bytes, sectorSize);
  const epochs: Epoch[] = [[]];
  return {
    ...disk,
    before: Buffer.from(bytes),
    epochs,
    write: async (offset, data) => {
      await disk.write(offset, data);
      epochs.at(-1)?.push({ offset, data: Buffer.from(data) });
    },
    flush: async () => {
      if (epochs.at(-1)?.length !== 0) epochs.push([]);
    },
  };
}

/** Up to this many sectors between two flushes, every subset is a state. */
const EXHAUSTIVE = 12;

export interface Sampling {
  /** States of an epoch with more sectors, beside all its prefixes and all single losses. */
  subsets: number;
  random: () => number;
}

/**
 * Calls `check` in every state, on one buffer that is put right again afterwards; `check`
 * may write to it only through the function that it is given. Returns the number of states.
 */
export function everyCrash(
  disk: RecordingDisk,
  sampling: Sampling,
  check: (bytes: Buffer, write: (offset: number, data: Uint8Array) => void, epoch: number) => void,
): number {
  const bytes = disk.before;
  let states = 0;
  const inState = (epoch: number, pieces: readonly Write[]): void => {
    const undo: Write[] = [];
    const write = (offset: number, data: Uint8Array): void => {
      undo.push({ offset, data: Buffer.from(bytes.subarray(offset, offset + data.length)) });
      bytes.set(data, offset);
    };
    for (const { offset, data } of pieces) write(offset, data);
    check(bytes, write, epoch);
    for (const { offset, data } of undo.toReversed()) bytes.set(data, offset);
    states++;
  };
  for (const [number, epoch] of disk.epochs.entries()) {
    for (const pieces of crashesOf(epoch, disk.sectorSize, sampling)) inState(number, pieces);
    for (const { offset, data } of epoch) bytes.set(data, offset);
  }
  inState(disk.epochs.length, []);
  return states;
}

/** What may have reached the disk of an epoch that no flush followed. */
function* crashesOf(epoch: Epoch, sectorSize: number, sampling: Sampling): Generator<readonly Write[]> {
  const sectors = epoch.flatMap((write) => torn(write, sectorSize));
  if (sectors.length <= EXHAUSTIVE) {
    for (let mask = 0; mask < 2 ** sectors.length; mask++) {
      yield sectors.filter((_, index) => (mask & (1 << index)) !== 0);
    }
    return;
  }
  for (let count = 0; count <= epoch.length; count++) yield epoch.slice(0, count);
  for (let lost = 0; lost < epoch.length; lost++) yield epoch.filter((_, index) => index !== lost);
  for (let sample = 0; sample < sampling.subsets; sample++) {
    const likelihood = sampling.random();
    yield sectors.filter(() => sampling.random() < likelihood);
  }
}

/** A sector is written whole or not at all. */
function torn({ offset, data }: Write, sectorSize: number): Write[] {
  const pieces: Write[] = [];
  for (let at = 0; at < data.length; at += sectorSize) {
    pieces.push({ offset: offset + at, data: data.subarray(at, at + sectorSize) });
  }
  return pieces;
}
