/** sgdisk and cgpt, which know nothing of us, agree with the table after every step of an update. */
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Engine, openEngine } from "../fastpatch/engine.ts";
import { openFileDisk } from "../fastpatch/file-disk.ts";
import { memoryDisk } from "../fastpatch/memory-disk.ts";
import { tool } from "../hack/tools.ts";
import {
  installOptions,
  instantClock,
  makeRelease,
  memorySource,
  noise,
  SLOT_A,
  SLOT_B,
  smallMachine,
  UNSIGNED,
} from "./crash/small-machine.ts";

const exec = promisify(execFile);
let directory = "";
let sgdisk = "";
let cgpt = "";

beforeAll(async () => {
  [sgdisk, cgpt] = [await tool("sgdisk"), await tool("cgpt")];
  directory = await mkdtemp(join(tmpdir(), "slipway-gpt-"));
}, 300_000);
afterAll(() => rm(directory, { recursive: true, force: true }));

const old = await makeRelease("1.0.0", noise(200_000, 1));
const next = await makeRelease("2.0.0", noise(200_000, 2));

/** Partition numbers of the reference layout. */
const NUMBER = { A: 2, B: 3 };

async function healthy(path: string): Promise<void> {
  const { stdout } = await exec(sgdisk, ["-v", path]);
  expect(stdout).toContain("No problems found.");
  expect(stdout).not.toMatch(/Caution|Warning|Problem:/);
}

/**
 * Debian's cgpt shows the bits only of ChromeOS kernel partitions, so it looks at a copy of
 * the table with that type in place of ours.
 */
async function bitsOf(path: string, partition: number): Promise<string> {
  const copy = `${path}.copy`;
  await writeFile(copy, await readFile(path));
  await exec(cgpt, ["add", "-i", `${partition}`, "-t", "fe3a2a5d-4f32-41a7-b725-accc3285a309", copy]);
  const show = async (flag: string): Promise<string> =>
    (await exec(cgpt, ["show", "-i", `${partition}`, flag, copy])).stdout.trim();
  return [await show("-P"), await show("-T"), await show("-S")].join(".");
}

test("an update, a fallback and a repair, step by step", async () => {
  const path = join(directory, "disk.img");
  const { bytes } = await smallMachine(old);
  await writeFile(path, bytes);
  const disk = await openFileDisk(path);
  const open = (runningPartition: string): Promise<Engine> =>
    openEngine({
      disk,
      runningPartition,
      clock: instantClock(),
      source: memorySource(next.objects),
      trust: UNSIGNED,
    });
  const agrees = async (engine: Engine): Promise<string[]> => {
    await healthy(path);
    const seen: string[] = [];
    for (const { name, priority, tries, successful } of await engine.bootControl.slots()) {
      const bits = `${priority}.${tries}.${successful ? 1 : 0}`;
      expect(await bitsOf(path, NUMBER[name])).toBe(bits);
      seen.push(bits);
    }
    return seen;
  };

  const a = await open(SLOT_A);
  expect(await agrees(a)).toEqual(["2.0.1", "0.0.0"]);
  await a.install(next.target, installOptions());
  expect(await agrees(a)).toEqual(["2.0.1", "0.0.0"]);
  await a.bootControl.setNext("B", 3);
  expect(await agrees(a)).toEqual(["1.0.1", "2.3.0"]);
  await a.bootControl.cancelNext();
  expect(await agrees(a)).toEqual(["2.0.1", "0.0.0"]);
  await a.bootControl.setNext("B", 1);
  const b = await open(SLOT_B);
  await b.bootControl.markGood("B");
  expect(await agrees(b)).toEqual(["1.0.1", "2.0.1"]);
  await b.bootControl.markBad("B");
  expect(await agrees(b)).toEqual(["1.0.1", "0.0.0"]);

  // Damage that sgdisk sees, repaired by us; and growth.
  const last = disk.size - 512;
  await disk.write(last, Buffer.alloc(512, 0xff));
  await a.bootControl.slots();
  expect(await agrees(a)).toEqual(["1.0.1", "0.0.0"]);
  await disk.close();
  await writeFile(path, Buffer.concat([await readFile(path), Buffer.alloc(1024 * 1024)]));
  const grown = await openFileDisk(path);
  const engine = await openEngine({
    disk: grown,
    runningPartition: SLOT_A,
    clock: instantClock(),
    source: memorySource(new Map()),
    trust: UNSIGNED,
  });
  expect(await agrees(engine)).toEqual(["1.0.1", "0.0.0"]);
  await grown.close();
});

test("a table that sgdisk made is understood, and its attributes survive", async () => {
  const path = join(directory, "sgdisk.img");
  await writeFile(path, Buffer.alloc(16 * 1024 * 1024));
  const type = "5dfbf5f4-2848-4bac-aa5e-0d9a20b745a6";
  await exec(sgdisk, [
    "-n",
    "1:0:+1M",
    "-t",
    "1:ef00",
    "-n",
    "3:0:+2M",
    "-t",
    `3:${type}`,
    "-u",
    `3:${SLOT_A}`,
    "-A",
    "3:set:60",
    "-A",
    "3:set:48",
    "-A",
    "3:set:56",
    "-n",
    "4:0:+2M",
    "-t",
    `4:${type}`,
    "-u",
    `4:${SLOT_B}`,
    "-A",
    "4:set:63",
    "-n",
    "9:0:+1M",
    "-c",
    "9:SLIPWAY-STATE",
    path,
  ]);
  const disk = memoryDisk(await readFile(path));
  const engine = await openEngine({
    disk,
    runningPartition: SLOT_A,
    clock: instantClock(),
    source: memorySource(next.objects),
    trust: UNSIGNED,
  });
  expect(engine.state.size).toBe(1024 * 1024);
  await engine.install(next.target, installOptions());
  await engine.bootControl.setNext("B", 1);
  await writeFile(path, await disk.read(0, disk.size));
  await healthy(path);
  const attributes = async (partition: number): Promise<string> =>
    /Attribute flags: ([0-9A-F]+)/.exec((await exec(sgdisk, ["-i", `${partition}`, path])).stdout)?.[1] ?? "";
  expect(await attributes(3)).toBe("1101000000000000");
  expect(await attributes(4)).toBe("8012000000000000");
});
