import { createHash, generateKeyPairSync, type KeyObject } from "node:crypto";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { FUZZ } from "../../test/damaged.ts";
import {
  bytes,
  number,
  payloadKeys,
  type Written,
  writePayload,
} from "../../test/payloads/payload-writer.ts";
import { FastPatchError } from "../errors.ts";
import { openPayload, type PayloadFile } from "./payload.ts";
import { payloadKey, verifyPayload } from "./verify.ts";

const vendor = payloadKeys();
const other = payloadKeys();
const key: KeyObject = payloadKey(vendor.pem);
const current = [{ key: vendor.privateKey, version: 2 }];
const blobs = [Buffer.from("first"), Buffer.alloc(5000, 7), Buffer.from("last")];
const write = (change: Partial<Written> = {}): Buffer => writePayload({ blobs, signers: current, ...change });

/** Counts what is read at once, and refuses what lies outside. */
function fileOf(data: Buffer): PayloadFile & { most: number } {
  const file = {
    ...{ size: data.length, most: 0 },
    read(offset: number, length: number): Promise<Uint8Array> {
      if (offset < 0 || length < 0 || offset + length > data.length)
        return Promise.reject(new Error(`read ${length} at ${offset} of ${data.length}`));
      file.most = Math.max(file.most, length);
      return Promise.resolve(data.subarray(offset, offset + length));
    },
  };
  return file;
}
const verify = (data: Buffer, expected = {}): ReturnType<typeof verifyPayload> =>
  verifyPayload(fileOf(data), { key, ...expected });
const codeOf = async (data: Buffer, expected = {}): Promise<string> => {
  try {
    await verify(data, expected);
    return "verified";
  } catch (error) {
    if (error instanceof FastPatchError) return error.code;
    throw error;
  }
};

describe("a payload", () => {
  it("is verified with its hash, its operations and its signature", async () => {
    const data = write({ kernel: Buffer.from("a kernel") });
    const sha256 = createHash("sha256").update(data).digest("hex");
    const verified = await verify(data, { size: data.length, sha256 });
    expect(verified).toMatchObject({ sha256, operations: 4, signature: 0 });
    expect(verified.payload.manifest.partitions.map(({ name }) => name)).toEqual(["root", "kernel"]);
  });

  it("of version 2 is verified with the signature over its metadata as well", async () => {
    const data = write({ format: 2 });
    const { payload } = await verify(data);
    expect(payload).toMatchObject({ version: 2, manifest: { partitions: [{ name: "system" }] } });
    // The signature of the metadata is not covered by that of the payload.
    const at = payload.blobsAt - 1;
    data[at] = (data[at] ?? 0) ^ 1;
    expect(await codeOf(data)).toBe("PayloadUntrusted");
  });

  it("is read in pieces", async () => {
    const large = fileOf(write({ blobs: [Buffer.alloc(9 * 1024 * 1024, 3)] }));
    await verifyPayload(large, { key });
    expect(large.most).toBeLessThanOrEqual(1024 * 1024);
  });

  it("may have signatures of several keys, of which the one of version 2 counts", async () => {
    const old = { key: other.privateKey, version: 1 };
    expect(await verify(write({ signers: [old, ...current] }))).toMatchObject({ signature: 1 });
    const rotated = write({
      signers: [
        { key: vendor.privateKey, version: 1 },
        { ...old, version: 2 },
      ],
    });
    expect(await codeOf(rotated)).toBe("PayloadUntrusted");
  });

  it.each<[string, Buffer, string]>([
    [
      "a page of a proxy",
      Buffer.from("<html>You are not signed in, and will not get this</html>"),
      "PayloadInvalid",
    ],
    ["nothing", Buffer.alloc(0), "PayloadInvalid"],
    ["its head only", write().subarray(0, 19), "PayloadInvalid"],
    ["all but its last byte", write().subarray(0, -1), "PayloadInvalid"],
    ["one byte more", Buffer.concat([write(), Buffer.alloc(1)]), "PayloadInvalid"],
    ["no signature", write({ signers: [] }), "PayloadUntrusted"],
    ["another's signature", write({ signers: [{ key: other.privateKey, version: 2 }] }), "PayloadUntrusted"],
    ["signatures elsewhere", write({ change: { signaturesOffset: 3 } }), "PayloadInvalid"],
    [
      "data that leave a gap",
      write({ change: { operation: (fields, at) => (at === 1 ? swap(fields, 5, 6) : fields) } }),
      "PayloadInvalid",
    ],
    [
      "an operation without a hash",
      write({ change: { operation: (fields, at) => (at === 1 ? fields.subarray(0, -34) : fields) } }),
      "PayloadInvalid",
    ],
    [
      "an operation with the hash of other data",
      write({
        change: {
          operation: (fields, at) =>
            at === 1 ? Buffer.concat([fields.subarray(0, -34), bytes(8, Buffer.alloc(32))]) : fields,
        },
      }),
      "PayloadDamaged",
    ],
    [
      "blocks beyond the partition",
      write({
        change: {
          operation: (fields, at) =>
            at === 2
              ? Buffer.concat([fields, bytes(6, Buffer.concat([number(1, 900), number(2, 1)]))])
              : fields,
        },
      }),
      "PayloadInvalid",
    ],
    [
      "two block sizes",
      write({ change: { manifest: (fields) => Buffer.concat([fields, number(3, 4096)]) } }),
      "PayloadInvalid",
    ],
    ["blocks of no bytes", write({ change: { manifest: () => number(3, 0) } }), "PayloadInvalid"],
    [
      "more operations than there can be",
      write({
        change: {
          manifest: () => Buffer.concat(Array.from({ length: 70_000 }, () => bytes(1, number(1, 2)))),
        },
      }),
      "PayloadInvalid",
    ],
    [
      "more extents than there can be",
      write({
        change: {
          manifest: () => {
            const extents = Buffer.concat(Array.from({ length: 200_000 }, () => bytes(6, number(2, 0))));
            const move = bytes(1, Buffer.concat([number(1, 2), extents]));
            return Buffer.concat([move, move]);
          },
        },
      }),
      "PayloadInvalid",
    ],
  ])("is refused with %s", async (_, data, code) => {
    expect(await codeOf(data)).toBe(code);
  });

  it("is refused where a length in its head says more than there is", async () => {
    for (const length of [2n ** 64n - 1n, 2n ** 53n, 17n * 1024n * 1024n, BigInt(write().length)]) {
      const data = write();
      data.writeBigUInt64BE(length, 12);
      expect(await codeOf(data)).toBe("PayloadInvalid");
    }
  });

  it("is refused with another size or hash than the Release says", async () => {
    expect(await codeOf(write(), { size: 5 })).toBe("PayloadDamaged");
    expect(await codeOf(write(), { sha256: "0".repeat(64) })).toBe("PayloadDamaged");
  });
});

describe("a key", () => {
  it("is an RSA key of 2048 bits", () => {
    const small = generateKeyPairSync("rsa", { modulusLength: 1024 }).publicKey;
    const curve = generateKeyPairSync("ed25519").publicKey;
    for (const wrong of [small, curve])
      expect(() => payloadKey(wrong.export({ type: "spki", format: "pem" }))).toThrow(/2048/);
    expect(() => payloadKey("no key")).toThrow(FastPatchError);
  });
});

/** Of a signature by a key that nobody asked for, nothing but its form is looked at. */
it("notices each flipped bit, but those of another key's signature and of its version", async () => {
  const small = { blobs: [Buffer.from("a"), Buffer.from("bc")] };
  expect(await harmless(write(small))).toEqual([]);
  const two = write({ ...small, signers: [{ key: other.privateKey, version: 1 }, ...current] });
  const { manifest } = await openPayload(fileOf(two));
  const blob = two.length - (manifest.signatures?.size ?? 0);
  const found = await harmless(two);
  // Field, length, then: version (2 bytes), field and length of the data (3), the data.
  const [version, data] = [blob + 4, blob + 8];
  expect(found.every((at) => at === version || (at >= data && at < data + 256))).toBe(true);
  expect(found).toHaveLength(257);
});

async function harmless(data: Buffer): Promise<number[]> {
  const found: number[] = [];
  for (let at = 0; at < data.length; at++) {
    let missed = false;
    for (let bit = 0; bit < 8; bit++) {
      data[at] = (data[at] ?? 0) ^ (1 << bit);
      missed ||= (await codeOf(data)) === "verified";
      data[at] = (data[at] ?? 0) ^ (1 << bit);
    }
    if (missed) found.push(at);
  }
  return found;
}

function swap(data: Buffer, from: number, to: number): Buffer {
  const copy = Buffer.from(data);
  copy[copy.indexOf(from, 2)] = to;
  return copy;
}

it(`answers each of ${FUZZ} damaged payloads with a verdict or a code`, async () => {
  const corpus = [write(), write({ format: 2 }), write({ kernel: Buffer.from("k") })];
  const sound = new Set(corpus.map((data) => data.toString("latin1")));
  const damage = fc.record({
    of: fc.nat({ max: corpus.length - 1 }),
    cuts: fc.array(
      fc.record({
        // Most of what can go wrong is in head and manifest.
        at: fc.oneof(fc.nat({ max: 400 }), fc.nat({ max: 6000 })),
        drop: fc.nat({ max: 12 }),
        put: fc.uint8Array({ maxLength: 12 }),
      }),
      { minLength: 1, maxLength: 4 },
    ),
  });
  await fc.assert(
    fc.asyncProperty(damage, async ({ of, cuts }) => {
      let data: Buffer = corpus[of] ?? Buffer.alloc(0);
      for (const { at, drop, put } of cuts)
        data = Buffer.concat([data.subarray(0, at), put, data.subarray(at + drop)]);
      const code = await codeOf(data);
      return code !== "verified" || sound.has(data.toString("latin1"));
    }),
    { numRuns: FUZZ },
  );
}, 300_000);
