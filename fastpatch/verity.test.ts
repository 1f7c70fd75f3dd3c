import * as fc from "fast-check";
import { expect, test } from "vitest";
import { noise } from "../test/crash/small-machine.ts";
import { memoryDisk } from "./memory-disk.ts";
import { buildTree, checkImage, DIGEST, hashBlocks, imageBlocks, readLeafHashes } from "./verity.ts";

function imageOf(data: Buffer): { image: Buffer; rootHash: string; blocks: number } {
  const blocks = data.length / 4096;
  const hashes = Buffer.alloc(blocks * DIGEST);
  hashBlocks(data, hashes, 0);
  const { tail, rootHash } = buildTree(hashes);
  return { image: Buffer.concat([data, tail]), rootHash, blocks };
}

// Made with `veritysetup format --salt=- --hash-offset=N --data-blocks=M` of cryptsetup 2.6.1 over blocks of which block i is filled with the byte i modulo 251.
test.each([
  [1, "ad7facb2586fc6e966c004d7d1d16b024f5805ff7cb47c7a85dabd8b48892ca7"],
  [2, "dd9c4d99ab2332f88ff3bd4cb99e3db16fea710ecbc8cef4b7e237fc5765401b"],
  [128, "eade1212c3a6dd9dd817bf456bf067c41cdb483af154c5d0890d32744b7e4f6b"],
  [129, "f0dbc433d6188c4e8e30ee2de31ee90ab1edf2fd7438d97feab12f75375886ad"],
  [300, "edc24cd4615abcd726845d41c1e48a99aeb5837da57ffd6c74dce3919d1d6447"],
  [16385, "782e251d56bb96c667a59e2bcd44726d659bd335a49621cbfc23c1f2715e725d"],
])("root hash of %i blocks is veritysetup's", (blocks, expected) => {
  const data = Buffer.alloc(blocks * 4096);
  for (let block = 0; block < blocks; block++) data.fill(block % 251, block * 4096, (block + 1) * 4096);
  const { image, rootHash } = imageOf(data);
  expect(rootHash).toBe(expected);
  expect(image.length).toBe(imageBlocks(blocks) * 4096);
});

test("the check finds any changed byte, and says whether data or tree differ", async () => {
  const { image, rootHash, blocks } = imageOf(noise(300 * 4096, 1));
  const clean = await checkImage(memoryDisk(image), blocks);
  expect(clean).toMatchObject({ rootHash, treeMatches: true });
  await fc.assert(
    fc.asyncProperty(
      fc.nat({ max: image.length - 1 }),
      fc.integer({ min: 1, max: 255 }),
      async (at, flip) => {
        const damaged = Buffer.from(image);
        damaged[at] = (damaged[at] ?? 0) ^ flip;
        const check = await checkImage(memoryDisk(damaged), blocks);
        expect(check.rootHash === rootHash).toBe(at >= blocks * 4096);
        expect(check.treeMatches && check.rootHash === rootHash).toBe(false);
      },
    ),
    { numRuns: 40 },
  );
});

test("leaf hashes come from the tree, or not at all", async () => {
  const { image, rootHash, blocks } = imageOf(noise(300 * 4096, 2));
  const expected = Buffer.alloc(blocks * DIGEST);
  hashBlocks(image.subarray(0, blocks * 4096), expected, 0);
  expect(await readLeafHashes(memoryDisk(image), blocks, rootHash)).toEqual(expected);
  const damaged = Buffer.from(image);
  damaged[image.length - 4096] = (damaged[image.length - 4096] ?? 0) ^ 1;
  expect(await readLeafHashes(memoryDisk(damaged), blocks, rootHash)).toBeUndefined();
});
