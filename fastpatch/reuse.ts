/** Which blocks of a new image the disk already has. Takes about 12 bytes per block, all outside of the heap. */
import { isZero } from "./manifest.ts";
import { DIGEST } from "./verity.ts";

/** Where a block can be copied from: a slot, and a block there. */
export interface BlockOrigin {
  slot: "running" | "passive";
  block: number;
}

const NONE = -1;
/** Set in an origin that is the passive slot's. Block numbers are below it (`MAX_DATA_BLOCKS`). */
const PASSIVE = 2 ** 30;

export class BlockIndex {
  readonly #hashes: Buffer;
  /** Open addressing, at most half full: block numbers, one for each hash. */
  readonly #table: Int32Array;
  readonly #mask: number;
  /** Of the one block that stands for a hash. */
  readonly #origin: Int32Array;
  readonly #inPlace: Uint8Array;

  /** `hashes` are the packed hashes of the new image. */
  constructor(hashes: Buffer) {
    const blocks = hashes.length / DIGEST;
    const size = 2 ** Math.ceil(Math.log2(blocks * 2 + 2));
    this.#hashes = hashes;
    this.#mask = size - 1;
    this.#table = new Int32Array(size).fill(NONE);
    this.#origin = new Int32Array(blocks).fill(NONE);
    this.#inPlace = new Uint8Array(blocks);
    for (let block = 0; block < blocks; block++) {
      if (isZero(hashes, block)) continue;
      const place = this.#place(hashes, block);
      if (this.#table[place] === NONE) this.#table[place] = block;
    }
  }

  /** The place in the table of the hash at `index` of `digests`. */
  #place(digests: Buffer, index: number): number {
    const from = index * DIGEST;
    let place = digests.readUInt32LE(from) & this.#mask;
    for (;;) {
      const block = this.#table[place] ?? NONE;
      if (block === NONE) return place;
      const at = block * DIGEST;
      if (digests.compare(this.#hashes, at, at + DIGEST, from, from + DIGEST) === 0) return place;
      place = (place + 1) & this.#mask;
    }
  }

  /** Says that the slot's block `block` has the hash at `index` of the packed `digests`. The first origin of a hash stays. */
  offer(digests: Buffer, index: number, slot: BlockOrigin["slot"], block: number): void {
    if (slot === "passive" && block < this.#inPlace.length) {
      const at = block * DIGEST;
      const from = index * DIGEST;
      if (digests.compare(this.#hashes, at, at + DIGEST, from, from + DIGEST) === 0) this.#inPlace[block] = 1;
    }
    const leader = this.#table[this.#place(digests, index)] ?? NONE;
    if (leader !== NONE && this.#origin[leader] === NONE) {
      this.#origin[leader] = slot === "passive" ? block + PASSIVE : block;
    }
  }

  /** Whether the passive slot has block `block` of the image where it belongs. */
  inPlace(block: number): boolean {
    return this.#inPlace[block] === 1;
  }

  /** Where block `block` of the image may be copied from: its hash must be checked when it is. */
  origin(block: number): BlockOrigin | undefined {
    const leader = this.#table[this.#place(this.#hashes, block)] ?? NONE;
    const origin = leader === NONE ? NONE : (this.#origin[leader] ?? NONE);
    if (origin === NONE) return undefined;
    return origin >= PASSIVE
      ? { slot: "passive", block: origin - PASSIVE }
      : { slot: "running", block: origin };
  }
}
