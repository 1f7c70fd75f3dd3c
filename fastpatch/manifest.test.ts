import { constants, zstdCompressSync, zstdDecompressSync } from "node:zlib";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { makeRelease, noise, scattered } from "../test/crash/small-machine.ts";
import { FastPatchError } from "./errors.ts";
import { buildImage, planRuns } from "./image.ts";
import {
  encodeManifest,
  headLength,
  objectHash,
  PREAMBLE,
  parseHead,
  parseManifest,
  Runs,
  withBase,
} from "./manifest.ts";
import { memoryDisk } from "./memory-disk.ts";
import { decodeRun } from "./run-codec.ts";
import { DIGEST, hashBlocks } from "./verity.ts";

const KIB = 1024;
const data = Buffer.concat([noise(300 * KIB, 1), Buffer.alloc(100 * KIB), noise(50 * KIB + 7, 2)]);
const release = await makeRelease("1.0.0", data);
const object = release.built.manifestObject;

/** The head of `object` as JSON, and an object with another one. */
function head(of = object): Record<string, unknown> {
  return JSON.parse(
    zstdDecompressSync(of.subarray(PREAMBLE, PREAMBLE + headLength(of))).toString(),
  ) as Record<string, unknown>;
}

function withHead(json: unknown): Buffer {
  const frame = zstdCompressSync(Buffer.from(typeof json === "string" ? json : JSON.stringify(json)));
  const preamble = Buffer.from(object.subarray(0, PREAMBLE));
  preamble.writeUInt32LE(frame.length, 8);
  return Buffer.concat([preamble, frame, object.subarray(PREAMBLE + headLength(object))]);
}

const packed = (...values: number[]): string => {
  const bytes = Buffer.alloc(values.length * 4);
  values.forEach((value, index) => bytes.writeUInt32LE(value, index * 4));
  return bytes.toString("base64");
};

describe("a manifest", () => {
  test("round trips, is plain zstd to others, and rebuilds every block", async () => {
    const manifest = await parseManifest(object);
    expect(manifest.rootHash).toBe(release.built.rootHash);
    expect(Object.keys(JSON.parse(zstdDecompressSync(object).toString()) as object)).toEqual([
      "blockSize",
      "dataBlocks",
      "format",
      "objectSize",
      "rootHash",
      "runs",
    ]);
    const served = release.objects.get("http://one/1.0.0/image.zst") ?? Buffer.alloc(0);
    const rebuilt = Buffer.alloc(manifest.dataBlocks * 4096);
    for (const run of manifest.runs) {
      const blocks = decodeRun(served.subarray(run.offset, run.offset + run.length), run);
      blocks?.copy(rebuilt, run.first * 4096);
    }
    expect(rebuilt.subarray(0, data.length).equals(data)).toBe(true);
  });

  test("is the same bytes for the same input", async () => {
    const again = await makeRelease("1.0.0", data);
    expect(again.built).toEqual(release.built);
  });

  test("with a base needs only its head where the base is known", async () => {
    const next = await makeRelease("2.0.0", scattered(data, 0.1, 3), { base: release.manifest });
    const bytes = next.built.manifestObject;
    const parsed = await parseHead(bytes.subarray(PREAMBLE, PREAMBLE + headLength(bytes)));
    expect(parsed.base?.rootHash).toBe(release.built.rootHash);
    const whole = withBase(parsed, release.manifest.hashes);
    expect(whole).toEqual(next.manifest);
    const upToHead = bytes.subarray(0, PREAMBLE + headLength(bytes));
    expect(objectHash(upToHead, whole.hashes)).toBe(next.built.manifest.sha256);
    expect(() => withBase(parsed, noise(release.manifest.hashes.length, 4))).toThrow(/root hash/);
  });

  test("with a base of which little is left names none", async () => {
    const next = await makeRelease("2.0.0", noise(300 * KIB, 5), { base: release.manifest });
    expect(head(next.built.manifestObject)).not.toHaveProperty("base");
  });
});

describe("a hostile manifest", () => {
  const valid = head();
  test.each<[string, unknown, RegExp]>([
    ["no JSON", "{", /head can't be read/],
    ["another format", { ...valid, format: "x" }, /format/],
    ["an unknown field", { ...valid, more: 1 }, /more/],
    ["too many blocks", { ...valid, dataBlocks: 4_194_305 }, /dataBlocks/],
    ["no blocks", { ...valid, dataBlocks: 0 }, /dataBlocks/],
    ["sizes that don't add up", { ...valid, objectSize: 1 }, /the object has 1/],
    ["a run outside", { ...valid, runs: packed(1_000_000, 1, 10), objectSize: 10 }, /of 113/],
    ["a run that wraps around", { ...valid, runs: packed(0xffff_ffff, 2, 10), objectSize: 10 }, /of 113/],
    ["an empty run", { ...valid, runs: packed(0, 0, 10), objectSize: 10 }, /a run has blocks/],
    ["a run without bytes", { ...valid, runs: packed(0, 1, 0), objectSize: 0 }, /takes 0 bytes/],
    [
      "a run larger than its blocks",
      { ...valid, runs: packed(0, 1, 4097), objectSize: 4097 },
      /takes 4097 bytes/,
    ],
    ["a block in two runs", { ...valid, runs: packed(0, 2, 10, 1, 1, 10), objectSize: 20 }, /two runs/],
    ["a block in no run", { ...valid, runs: packed(0, 2, 10), objectSize: 10 }, /lies in no run/],
    ["runs cut short", { ...valid, runs: packed(0, 2), objectSize: 0 }, /cut short/],
    ["another root hash", { ...valid, rootHash: "0".repeat(64) }, /root hash/],
    ["fewer blocks than hashes", { ...valid, dataBlocks: 112 }, /./],
    [
      "changes out of order",
      {
        ...valid,
        base: { rootHash: "0".repeat(64), dataBlocks: 9, changed: packed(5, 1, 2, 1), hashes: "" },
      },
      /out of order/,
    ],
    [
      "changes without hashes",
      { ...valid, base: { rootHash: "0".repeat(64), dataBlocks: 9, changed: packed(5, 1), hashes: "" } },
      /one hash for each/,
    ],
  ])("%s is refused", async (_name, json, message) => {
    const result = parseManifest(withHead(json));
    await expect(result).rejects.toMatchObject({ code: "ManifestInvalid", refused: true });
    await expect(result).rejects.toThrow(message);
  });

  test("a bomb does not go off", async () => {
    const bomb = zstdCompressSync(Buffer.alloc(100 * KIB * KIB));
    const preamble = Buffer.from(object.subarray(0, PREAMBLE));
    preamble.writeUInt32LE(bomb.length, 8);
    await expect(parseManifest(Buffer.concat([preamble, bomb]))).rejects.toThrow(/head can't be read/);
    const window = zstdCompressSync(noise(KIB, 1), { params: { [constants.ZSTD_c_windowLog]: 27 } });
    expect(decodeRun(bomb, { count: 4 })).toBeUndefined();
    expect(decodeRun(window, { count: 4 })).toBeUndefined();
  });

  test.each([1, 32, object.length - PREAMBLE - headLength(object)])(
    "without its last %i bytes is cut short",
    async (bytes) => {
      await expect(parseManifest(object.subarray(0, -bytes))).rejects.toThrow(/hashes are cut short/);
    },
  );

  test("any bytes give a manifest or a clear error", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.nat({ max: object.length - 1 }), fc.integer({ min: 0, max: 255 })), {
          maxLength: 8,
        }),
        fc.option(fc.nat({ max: object.length })),
        async (changes, cut) => {
          const fuzzed = Buffer.from(object);
          for (const [at, value] of changes) fuzzed[at] = value;
          const outcome = await parseManifest(fuzzed.subarray(0, cut ?? undefined)).catch(
            (error: unknown) => error,
          );
          if (outcome instanceof Error) expect(outcome).toBeInstanceOf(FastPatchError);
        },
      ),
      { numRuns: 400 },
    );
    await fc.assert(
      fc.asyncProperty(fc.json(), async (json) => {
        await expect(parseManifest(withHead(json))).rejects.toMatchObject({ code: "ManifestInvalid" });
      }),
    );
  });

  test("a head that changes only its JSON never yields another image", async () => {
    const field = fc.constantFrom(...Object.keys(valid));
    await fc.assert(
      fc.asyncProperty(field, fc.jsonValue(), async (name, value) => {
        const outcome = await parseManifest(withHead({ ...valid, [name]: value })).catch(
          (error: unknown) => error,
        );
        if (outcome instanceof Error) expect(outcome).toMatchObject({ code: "ManifestInvalid" });
        else expect(outcome).toMatchObject({ rootHash: release.built.rootHash });
      }),
    );
  });
});

describe("runs", () => {
  const hashesOf = (bytes: Buffer): Buffer => {
    const hashes = Buffer.alloc((bytes.length / 4096) * DIGEST);
    hashBlocks(bytes, hashes, 0);
    return hashes;
  };

  test("cover every block that is not zero once, at most 256 KiB each", () => {
    fc.assert(
      fc.property(
        fc.array(fc.constantFrom(0, 1, 2, 3), { minLength: 1, maxLength: 300 }),
        fc.boolean(),
        (kinds, based) => {
          const bytes = Buffer.concat(
            kinds.map((kind, index) =>
              kind === 0 ? Buffer.alloc(4096) : noise(4096, kind * 1000 + (index % 7)),
            ),
          );
          const base = based
            ? hashesOf(Buffer.concat([1, 2].map((kind) => noise(4096, kind * 1000))))
            : undefined;
          const covered = kinds.map(() => 0);
          for (const { first, count } of planRuns(hashesOf(bytes), base)) {
            expect(count).toBeLessThanOrEqual(64);
            for (let block = first; block < first + count; block++)
              covered[block] = (covered[block] ?? 0) + 1;
          }
          expect(covered).toEqual(kinds.map((kind) => (kind === 0 ? 0 : 1)));
        },
      ),
    );
  });

  test("what changed since the base comes first and costs at most its own bytes", async () => {
    const old = noise(4096 * 1000, 6);
    const base = await makeRelease("1.0.0", old);
    const changed = scattered(old, 0.02, 7);
    const next = await makeRelease("2.0.0", changed, { base: base.manifest });
    const isChanged = (block: number): boolean =>
      old.compare(changed, block * 4096, (block + 1) * 4096, block * 4096, (block + 1) * 4096) !== 0;
    const flags = [...next.manifest.runs].map(({ first, count, length }) => {
      const kinds = new Set(Array.from({ length: count }, (_, index) => isChanged(first + index)));
      expect(kinds.size).toBe(1);
      if (kinds.has(true)) expect(length).toBe(count * 4096);
      return kinds.has(true);
    });
    expect(flags).toEqual(flags.toSorted((a, b) => Number(b) - Number(a)));
  });

  test("an image of zeros has none", async () => {
    const built = await buildImage({ input: memoryDisk(Buffer.alloc(100_000)), write: () => {} });
    expect(built.image.size).toBe(0);
    expect((await parseManifest(built.manifestObject)).runs.length).toBe(0);
  });

  test("pack and unpack", async () => {
    const runs = new Runs(Uint32Array.from([0, 25, 9, 25, 88, 11]));
    expect([...runs]).toEqual([
      { first: 0, count: 25, offset: 0, length: 9 },
      { first: 25, count: 88, offset: 9, length: 11 },
    ]);
    const { dataBlocks, rootHash, hashes } = release.manifest;
    const encoded = await encodeManifest({ dataBlocks, rootHash, hashes, runs });
    expect([...(await parseManifest(encoded)).runs]).toEqual([...runs]);
  });
});
