import * as fc from "fast-check";
import { expect, test } from "vitest";
import { noise } from "../test/crash/small-machine.ts";
import { BlockIndex } from "./reuse.ts";
import { DIGEST, hashBlocks } from "./verity.ts";

/** Contents by number; 0 is the zero block. */
const contents = [Buffer.alloc(4096), ...[1, 2, 3, 4, 5].map((seed) => noise(4096, seed))];
const numbers = fc.array(fc.nat({ max: 5 }), { minLength: 1, maxLength: 40 });

function hashesOf(blocks: number[]): Buffer {
  const hashes = Buffer.alloc(blocks.length * DIGEST);
  hashBlocks(Buffer.concat(blocks.map((block) => contents[block] ?? Buffer.alloc(4096))), hashes, 0);
  return hashes;
}

test("finds every block that a slot has, the running one first, and nothing else", () => {
  fc.assert(
    fc.property(numbers, numbers, numbers, (image, running, passive) => {
      const index = new BlockIndex(hashesOf(image));
      const [runningHashes, passiveHashes] = [hashesOf(running), hashesOf(passive)];
      for (const block of running.keys()) index.offer(runningHashes, block, "running", block);
      for (const block of passive.keys()) index.offer(passiveHashes, block, "passive", block);
      for (const [block, content] of image.entries()) {
        expect(index.inPlace(block)).toBe(passive[block] === content);
        const expected = running.includes(content)
          ? { slot: "running", block: running.indexOf(content) }
          : passive.includes(content)
            ? { slot: "passive", block: passive.indexOf(content) }
            : undefined;
        expect(index.origin(block)).toEqual(content === 0 ? undefined : expected);
      }
    }),
  );
});
