/** Gets an image's manifest with as few bytes as the disk's own knowledge allows. */
import { hash } from "node:crypto";
import type { Clock } from "../ports/clock.ts";
import { FastPatchError } from "./errors.ts";
import { fetchParts, type Part, WrongBytes } from "./fetch.ts";
import {
  headLength,
  MAX_MANIFEST_BYTES,
  type Manifest,
  objectHash,
  PREAMBLE,
  parseHead,
  parseManifest,
  withBase,
} from "./manifest.ts";
import type { Source } from "./source.ts";
import type { BlobRef } from "./statement.ts";

/** Manifests up to this size are fetched whole. */
const SMALL = 32 * 1024;
/** Share of a larger one that is asked for first, in the hope that the head fits, and its bounds in bytes. */
const FIRST_SHARE = 1 / 32;
const FIRST_BOUNDS = [4 * 1024, 64 * 1024] as const;

export interface ManifestRequest {
  source: Source;
  clock: Clock;
  blob: BlobRef;
  rootHash: string;
  signal: AbortSignal;
  rateLimit: number;
  onBytes: (bytes: number) => void;
  /** Packed hashes of an image that the disk holds completely, by its root hash. */
  known(rootHash: string, dataBlocks: number): Promise<Buffer | undefined>;
}

/**
 * The manifest, proved by its signed hash. The head is fetched first; where it builds on an
 * image that we have, the rest follows. Otherwise, or if the two are not the signed object,
 * all of it is fetched: then it shows which mirror lied.
 */
export async function fetchManifest(request: ManifestRequest): Promise<Manifest> {
  const { blob, rootHash } = request;
  if (blob.size > MAX_MANIFEST_BYTES) {
    throw new FastPatchError("ManifestInvalid", `a manifest of ${blob.size} bytes is too large`);
  }
  const short = blob.size > SMALL ? await fromHead(request) : undefined;
  if (short !== undefined) return short;
  let manifest: Manifest | undefined;
  await fetchPart(request, { offset: 0, length: blob.size }, async (bytes) => {
    if (hash("sha256", bytes) !== blob.sha256)
      throw new WrongBytes("its manifest has another hash than the release says");
    manifest = await parseManifest(bytes);
  });
  if (manifest?.rootHash !== rootHash) {
    throw new FastPatchError(
      "ManifestInvalid",
      `the manifest is of the image ${manifest?.rootHash}, not ${rootHash}`,
    );
  }
  return manifest;
}

/**
 * Undefined where the head does not suffice, or is not that of the signed object. Nothing may
 * follow from such a head: its runs, say, decide whose bytes of the image are called wrong.
 */
async function fromHead(request: ManifestRequest): Promise<Manifest | undefined> {
  const [least, most] = FIRST_BOUNDS;
  const start = Math.min(Math.max(Math.floor(request.blob.size * FIRST_SHARE), least), most);
  try {
    const first = await fetchPart(request, { offset: 0, length: start });
    const end = PREAMBLE + headLength(first);
    if (end > request.blob.size) return undefined;
    const rest =
      end > start ? await fetchPart(request, { offset: start, length: end - start }) : Buffer.alloc(0);
    const upToHead = Buffer.concat([first, rest]).subarray(0, end);
    const head = await parseHead(upToHead.subarray(PREAMBLE));
    if (head.base === undefined || head.rootHash !== request.rootHash) return undefined;
    const base = await request.known(head.base.rootHash, head.base.dataBlocks);
    if (base === undefined) return undefined;
    const manifest = withBase(head, base);
    return objectHash(upToHead, manifest.hashes) === request.blob.sha256 ? manifest : undefined;
  } catch (error) {
    if (error instanceof FastPatchError && error.code === "ManifestInvalid") return undefined;
    throw error;
  }
}

async function fetchPart(
  request: ManifestRequest,
  part: Part,
  check: (bytes: Buffer) => Promise<void> = async () => {},
): Promise<Buffer> {
  let got: Buffer = Buffer.alloc(0);
  const { source, clock, blob, signal, rateLimit, onBytes } = request;
  await fetchParts({
    source,
    clock,
    blob,
    parts: [part],
    signal,
    rateLimit,
    onBytes,
    consume: async (_part, bytes) => {
      await check(bytes);
      got = Buffer.from(bytes);
    },
  });
  return got;
}
