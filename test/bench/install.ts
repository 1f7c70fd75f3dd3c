/**
 * Staging an image of 1 GiB on an image file: ours, read-back and block hashes included,
 * beside `dd conv=fsync` followed by `sha256sum` of what the disk then holds, and beside a
 * plain Node pipeline (fetch, write, fsync, hash). All read the image from the same local
 * server or file, all write to a preallocated file on the same file system, by turns.
 */
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdtemp, open, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { Worker } from "node:worker_threads";
import { region } from "../../fastpatch/disk.ts";
import { openEngine } from "../../fastpatch/engine.ts";
import { openFileDisk } from "../../fastpatch/file-disk.ts";
import { httpSource } from "../../fastpatch/http-source.ts";
import { buildImage } from "../../fastpatch/image.ts";
import type { InstallResult, InstallTarget } from "../../fastpatch/install.ts";
import { type Manifest, parseManifest } from "../../fastpatch/manifest.ts";
import { memoryDisk } from "../../fastpatch/memory-disk.ts";
import { createTable, referenceLayout } from "../../fastpatch/partition-table.ts";
import { writeSlotLabel } from "../../fastpatch/slot-label.ts";
import { systemClock } from "../../ports/clock.ts";
import { installOptions, noise, SLOT_A, SLOT_B, scattered, UNSIGNED } from "../crash/small-machine.ts";

const exec = promisify(execFile);
const MIB = 1024 * 1024;

export interface InstallBenchOptions {
  /** Bytes of the image; 1 GiB. */
  size?: number;
  rounds?: number;
  onProgress?: (line: string) => void;
}

interface Published {
  target: InstallTarget;
  manifest: Manifest;
}

/** Seconds of each way, best and median of all rounds, and the ratios that matter (above 1: ours is faster). */
export async function run(options: InstallBenchOptions = {}): Promise<object> {
  const { size = 1024 * MIB, rounds = 3, onProgress = () => {} } = options;
  const directory = await mkdtemp(join(tmpdir(), "slipway-bench-"));
  const files = (name: string): string => join(directory, name);
  const server = new Worker(new URL("./file-server.ts", import.meta.url), { workerData: directory });
  const origin = await new Promise<string>((resolve, reject) => {
    server.once("message", resolve);
    server.once("error", reject);
  });
  try {
    onProgress("building images");
    const old = mixed(size);
    const oldImage = await publish(directory, origin, "1.0.0", old);
    const newImage = await publish(directory, origin, "2.0.0", mixed(size, 99));
    const changed = scattered(old, 0.02, 7);
    const patch = await publish(directory, origin, "1.0.1", changed, oldImage.manifest);
    await writeWhole(files("raw"), mixed(size, 99));
    let changedBytes = 0;
    for (let at = 0; at < size; at += 4096) {
      if (old.compare(changed, at, at + 4096, at, at + 4096) !== 0) changedBytes += 4096;
    }

    const disk = files("disk.img");
    await prepare(disk, size, old, oldImage);
    await writeWhole(files("target"), Buffer.alloc(MIB), size);
    const seconds: Record<string, number[]> = {};
    const results: Record<string, InstallResult> = {};
    const timed = async (name: string, work: () => Promise<unknown>): Promise<void> => {
      await exec("sync");
      await dropCaches();
      const start = performance.now();
      await work();
      const took = (performance.now() - start) / 1000;
      (seconds[name] ??= []).push(took);
      onProgress(`${name}: ${took.toFixed(2)} s`);
    };
    for (let round = 0; round < rounds; round++) {
      await timed("ddAndSha256sum", () => ddAndHash(files("raw"), files("target")));
      await timed("nodePipeline", () => nodePipeline(`${origin}/raw`, files("target")));
      await timed("ours", async () => (results.ours = await stage(disk, newImage.target, false)));
      await timed(
        "oursSameAgain",
        async () => (results.oursSameAgain = await stage(disk, newImage.target, true)),
      );
      await timed(
        "oursSmallChange",
        async () => (results.oursSmallChange = await stage(disk, patch.target, true)),
      );
    }
    const best = Object.fromEntries(Object.entries(seconds).map(([name, all]) => [name, Math.min(...all)]));
    const middle = Object.fromEntries(Object.entries(seconds).map(([name, all]) => [name, median(all)]));
    return {
      imageBytes: size,
      objectBytes: newImage.target.image.size,
      rounds,
      readBack: results.ours?.readBack,
      bestSeconds: best,
      medianSeconds: middle,
      throughputAgainstDd: (middle.ddAndSha256sum ?? 0) / (middle.ours ?? 1),
      throughputAgainstNode: (middle.nodePipeline ?? 0) / (middle.ours ?? 1),
      smallChange: {
        changedBytes,
        fetchedBytes: results.oursSmallChange?.fetchedBytes,
        fetchedPerChanged: (results.oursSmallChange?.fetchedBytes ?? 0) / changedBytes,
      },
    };
  } finally {
    await server.terminate();
    await rm(directory, { recursive: true, force: true });
  }
}

const median = (values: number[]): number =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;

/** Half noise, half text-like bytes: it compresses about two to one, as binaries do. */
function mixed(size: number, seed = 5): Buffer {
  const part = noise(8 * MIB, seed);
  const data = Buffer.alloc(size);
  for (let at = 0; at < size; at += 4096) {
    const from = (at * 7919) % (part.length - 4096);
    part.copy(data, at, from, from + 2048);
    data.fill(`${at} the quick brown fox jumps over the lazy dog `, at + 2048, at + 4096);
    data.writeUInt32LE(at / 4096 + seed, at);
  }
  return data;
}

async function writeWhole(path: string, data: Buffer, size = data.length): Promise<void> {
  const file = await open(path, "w");
  try {
    for (let at = 0; at < size; at += data.length)
      await file.write(data, 0, Math.min(data.length, size - at), at);
    await file.datasync();
  } finally {
    await file.close();
  }
}

async function publish(
  directory: string,
  origin: string,
  version: string,
  data: Buffer,
  base?: Manifest,
): Promise<Published> {
  const object = await open(join(directory, `${version}.image`), "w");
  const built = await buildImage({
    input: memoryDisk(data),
    write: async (bytes) => void (await object.writev([bytes])),
    level: 3,
    ...(base === undefined ? {} : { base }),
  });
  await object.close();
  await writeWhole(join(directory, `${version}.manifest`), built.manifestObject);
  const target: InstallTarget = {
    version,
    product: "bench",
    architecture: "amd64",
    rootHash: built.rootHash,
    image: { urls: [`${origin}/${version}.image`], ...built.image },
    manifest: { urls: [`${origin}/${version}.manifest`], ...built.manifest },
    signatures: [],
  };
  return { target, manifest: await parseManifest(built.manifestObject) };
}

/** A preallocated disk whose slot A holds the first image. */
async function prepare(
  path: string,
  size: number,
  data: Buffer,
  { target, manifest }: Published,
): Promise<void> {
  const slot = size + 64 * MIB;
  await writeWhole(path, Buffer.alloc(MIB), 2 * slot + 8 * MIB);
  const disk = await openFileDisk(path);
  const guids = [
    "00000000-0000-4000-8000-00000000000e",
    SLOT_A,
    SLOT_B,
    "00000000-0000-4000-8000-00000000000d",
  ] as const;
  const [, extent] = await createTable(disk, {
    diskGuid: "00000000-0000-4000-8000-00000000000f",
    partitions: referenceLayout(guids, { esp: MIB, slot, state: MIB }),
  });
  const a = region(disk, extent?.offset ?? 0, slot);
  await a.write(0, data);
  await a.write(data.length, manifest.tail);
  const { version, product, architecture, rootHash } = target;
  const { dataBlocks } = manifest;
  const imageBytes = data.length + manifest.tail.length;
  await writeSlotLabel(a, { version, product, architecture, rootHash, imageBytes, dataBlocks });
  await disk.close();
}

async function stage(path: string, target: InstallTarget, reuse: boolean): Promise<InstallResult> {
  const disk = await openFileDisk(path);
  const source = httpSource();
  try {
    const engine = await openEngine({
      disk,
      runningPartition: SLOT_A,
      clock: systemClock,
      source,
      trust: UNSIGNED,
    });
    return await engine.install(target, installOptions({ reuse }));
  } finally {
    source.close();
    await disk.close();
  }
}

async function ddAndHash(from: string, to: string): Promise<void> {
  await exec("dd", [`if=${from}`, `of=${to}`, "bs=4M", "conv=fsync,notrunc"]);
  await dropCaches();
  await exec("sha256sum", [to]);
}

async function nodePipeline(url: string, to: string): Promise<void> {
  const response = await fetch(url);
  if (response.body === null) throw new Error("no body");
  const file = await open(to, "r+");
  for await (const chunk of response.body) await file.write(chunk);
  await file.datasync();
  await file.close();
  await dropCaches();
  const digest = createHash("sha256");
  for await (const chunk of createReadStream(to, { highWaterMark: MIB })) digest.update(chunk as Buffer);
  digest.digest();
}

/** Needs root; without it the others' read-back comes from the cache, which only flatters them. */
async function dropCaches(): Promise<void> {
  const file = await open("/proc/sys/vm/drop_caches", "w").catch(() => undefined);
  await file?.write("1").catch(() => {});
  await file?.close();
}
