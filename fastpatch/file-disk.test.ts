import { mkdtemp, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { noise } from "../test/crash/small-machine.ts";
import { openFileDisk } from "./file-disk.ts";

let directory = "";
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "slipway-disk-"));
});
afterAll(() => rm(directory, { recursive: true }));

test("reads what it wrote, at any offset, before and after the cache is dropped", async () => {
  const path = join(directory, "disk.img");
  await writeFile(path, "");
  await truncate(path, 3 * 1024 * 1024 + 512);
  const disk = await openFileDisk(path);
  const data = noise(2 * 1024 * 1024 + 77, 1);
  await disk.write(1000, data);
  await disk.flush();
  const pieces = [
    [1000, data.length],
    [1001, 1],
    [5000, 8191],
    [1_000_000, 1_000_003],
  ] as const;
  const check = async (): Promise<void> => {
    const got = await Promise.all(pieces.map(([offset, length]) => disk.read(offset, length)));
    for (const [index, [offset, length]] of pieces.entries()) {
      expect(got[index]?.equals(data.subarray(offset - 1000, offset - 1000 + length))).toBe(true);
    }
  };
  await check();
  const readBack = await disk.dropCache();
  expect(["direct", "cached"]).toContain(readBack);
  await check();
  await disk.write(5000, data.subarray(4000, 4100));
  expect((await disk.read(disk.size - 512, 512)).equals(Buffer.alloc(512))).toBe(true);
  await check();
  await expect(disk.read(disk.size - 1, 2)).rejects.toThrow(RangeError);
  await expect(disk.write(-1, data)).rejects.toThrow(RangeError);
  await disk.close();
});

test("is clear about what is no disk", async () => {
  const odd = join(directory, "odd.img");
  await writeFile(odd, "odd");
  await expect(openFileDisk(odd)).rejects.toMatchObject({ code: "DiskUnusable" });
  await expect(openFileDisk(join(directory, "missing"))).rejects.toMatchObject({ code: "ENOENT" });
  await expect(openFileDisk("/dev/null")).rejects.toMatchObject({ code: "DiskUnusable" });
});
