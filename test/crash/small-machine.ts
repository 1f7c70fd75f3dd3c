/** A machine small enough to be taken apart thousands of times, and releases for it. All bytes follow from seeds. */
import type { KeyObject } from "node:crypto";
import type { Disk } from "../../fastpatch/disk.ts";
import { region } from "../../fastpatch/disk.ts";
import { type BuiltImage, buildImage } from "../../fastpatch/image.ts";
import type { InstallOptions, InstallTarget } from "../../fastpatch/install.ts";
import { type Manifest, parseManifest } from "../../fastpatch/manifest.ts";
import { memoryDisk } from "../../fastpatch/memory-disk.ts";
import { createTable, type Extent, referenceLayout } from "../../fastpatch/partition-table.ts";
import { writeSlotLabel } from "../../fastpatch/slot-label.ts";
import { type ByteRange, type Source, SourceError } from "../../fastpatch/source.ts";
import { keyId, signStatement } from "../../fastpatch/statement.ts";
import type { TrustRoots } from "../../fastpatch/trust.ts";
import type { Clock } from "../../ports/clock.ts";

const MIB = 1024 * 1024;

export const PRODUCT = "io.example.harbor";
export const SLOT_A = "aaaaaaaa-0000-4000-8000-000000000001";
export const SLOT_B = "bbbbbbbb-0000-4000-8000-000000000002";
const GUIDS = [
  "eeeeeeee-0000-4000-8000-000000000000",
  SLOT_A,
  SLOT_B,
  "dddddddd-0000-4000-8000-000000000003",
] as const;

/** mulberry32: numbers in [0, 1) from a seed. */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Bytes that don't compress. */
export function noise(bytes: number, seed: number): Buffer {
  const next = seeded(seed);
  const data = Buffer.alloc(Math.ceil(bytes / 4) * 4);
  for (let at = 0; at < data.length; at += 4) data.writeUInt32LE(Math.floor(next() * 2 ** 32), at);
  return data.subarray(0, bytes);
}

/** A copy of `data` in which `share` of the 4 KiB blocks, scattered, are new noise. */
export function scattered(data: Buffer, share: number, seed: number): Buffer {
  const next = seeded(seed);
  const changed = Buffer.from(data);
  for (let at = 0; at + 4096 <= data.length; at += 4096) {
    if (next() < share) noise(4096, seed + at + 1).copy(changed, at);
  }
  return changed;
}

export interface TestRelease {
  target: InstallTarget;
  /** URL -> bytes. */
  objects: Map<string, Buffer>;
  manifest: Manifest;
  built: BuiltImage;
  /** What a slot holds from its first byte. */
  image: Buffer;
}

/** Builds a release of `data`, served under `http://MIRROR/VERSION/` for each mirror. */
export async function makeRelease(
  version: string,
  data: Buffer,
  options: {
    base?: Manifest;
    key?: { privateKey: KeyObject; publicKey: KeyObject };
    mirrors?: string[];
    level?: number;
  } = {},
): Promise<TestRelease> {
  const { base, key, mirrors = ["one"], level = 1 } = options;
  const parts: Buffer[] = [];
  const built = await buildImage({
    input: memoryDisk(data),
    write: (bytes) => void parts.push(bytes),
    level,
    ...(base === undefined ? {} : { base }),
  });
  const manifest = await parseManifest(built.manifestObject);
  const urls = (file: string): string[] => mirrors.map((mirror) => `http://${mirror}/${version}/${file}`);
  const objects = new Map<string, Buffer>();
  const object = Buffer.concat(parts);
  for (const url of urls("image.zst")) objects.set(url, object);
  for (const url of urls("manifest.zst")) objects.set(url, built.manifestObject);
  const statement = {
    product: PRODUCT,
    version,
    architecture: "amd64",
    rootHash: built.rootHash,
    image: { urls: urls("image.zst"), ...built.image },
    manifest: { urls: urls("manifest.zst"), ...built.manifest },
  };
  const signatures =
    key === undefined
      ? []
      : [{ keyId: keyId(key.publicKey), signature: signStatement(statement, key.privateKey) }];
  const image = Buffer.alloc(built.imageBytes);
  data.copy(image);
  manifest.tail.copy(image, built.dataBlocks * 4096);
  return { target: { ...statement, signatures }, objects, manifest, built, image };
}

export interface SmallMachine {
  bytes: Buffer;
  disk: Disk;
  slots: { A: Extent; B: Extent };
}

/** A disk with slot A running `first`, marked good, and slot B empty. */
export async function smallMachine(
  first: TestRelease,
  options: { sectorSize?: 512 | 4096; slotBytes?: number } = {},
): Promise<SmallMachine> {
  const { sectorSize = 512, slotBytes = MIB } = options;
  const bytes = Buffer.alloc(2 * slotBytes + 4 * MIB);
  const disk = memoryDisk(bytes, sectorSize);
  const layout = referenceLayout(GUIDS, { esp: MIB, slot: slotBytes, state: MIB });
  const [, A, B] = await createTable(disk, {
    diskGuid: "cccccccc-0000-4000-8000-00000000000f",
    partitions: layout,
  });
  if (A === undefined || B === undefined) throw new Error("the layout has no slots");
  const slot = region(disk, A.offset, A.size);
  await slot.write(0, first.image);
  await writeSlotLabel(slot, labelOf(first));
  return { bytes, disk, slots: { A, B } };
}

export function labelOf({ target, built }: TestRelease) {
  const { version, product, architecture, rootHash } = target;
  return {
    version,
    product,
    architecture,
    rootHash,
    imageBytes: built.imageBytes,
    dataBlocks: built.dataBlocks,
  };
}

/** Serves objects from memory. `served` counts bytes; `answer` may alter what is sent, or throw. */
export function memorySource(
  objects: ReadonlyMap<string, Buffer>,
  answer: (url: string, bytes: Buffer, range: ByteRange) => Buffer = (_url, bytes) => bytes,
): Source & { served: number; requests: { url: string; range: ByteRange }[] } {
  const source = {
    served: 0,
    requests: [] as { url: string; range: ByteRange }[],
    async *fetch(url: string, range: ByteRange, signal: AbortSignal) {
      source.requests.push({ url, range });
      const object = objects.get(url);
      if (object === undefined) throw new SourceError("status", "it answered 404");
      const bytes = answer(url, object.subarray(range.offset, range.offset + range.length), range);
      for (let at = 0; at < bytes.length; at += 10_000) {
        signal.throwIfAborted();
        const chunk = bytes.subarray(at, at + 10_000);
        source.served += chunk.length;
        yield chunk;
      }
      if (bytes.length < range.length) throw new SourceError("tooShort", "it ended early");
      if (bytes.length > range.length) throw new SourceError("tooLong", "it sent too much");
    },
  };
  return source;
}

/** A clock on which waiting takes no time; `waited` is how long it would have been. */
export function instantClock(): Clock & { waited: number } {
  const clock = {
    waited: 0,
    now: () => Date.UTC(2026, 0, 1) + clock.waited,
    monotonic: () => clock.waited,
    after(milliseconds: number, fn: () => void) {
      const timer = setImmediate(() => {
        clock.waited += milliseconds;
        fn();
      });
      return () => clearImmediate(timer);
    },
  };
  return clock;
}

export const UNSIGNED = async (): Promise<TrustRoots> => ({ keys: [], threshold: 1, allowUnsigned: true });

export function installOptions(over: Partial<InstallOptions> = {}): InstallOptions {
  return {
    signal: new AbortController().signal,
    rateLimit: 0,
    allowUnsigned: true,
    runningVersion: "1.0.0",
    ...over,
  };
}
