/** A machine's disk: sparse, and honest about power cuts: of what was not flushed any sectors may be lost. */
import type { Disk } from "../../fastpatch/disk.ts";
import type { ProcessClock } from "./clock.ts";
import type { SeededRandom } from "./random.ts";

const SECTOR = 512;
const ZERO = Buffer.alloc(SECTOR);
/** Most milliseconds that a flush takes; a write takes none, it only fills a cache. */
const FLUSH = 8;

export class SimDisk {
  readonly size: number;
  /** Called after each flush and each power cut. */
  changed: () => void = () => {};
  readonly #random: SeededRandom;
  readonly #sectors = new Map<number, Buffer>();
  /** What a sector held when it was durable last, for those that are not durable now. */
  readonly #durable = new Map<number, Buffer>();

  constructor(size: number, random: SeededRandom) {
    this.size = size;
    this.#random = random;
  }

  sector(lba: number): Buffer {
    return this.#sectors.get(lba) ?? ZERO;
  }

  read(offset: number, length: number): Buffer {
    if (offset < 0 || offset + length > this.size) throw new RangeError("outside of the disk");
    const result = Buffer.alloc(length);
    const [first, last] = [Math.floor(offset / SECTOR), Math.ceil((offset + length) / SECTOR)];
    for (let lba = first; lba < last; lba++) {
      this.#sectors.get(lba)?.copy(result, lba * SECTOR - offset);
    }
    return result;
  }

  write(offset: number, data: Uint8Array): void {
    if (offset % SECTOR !== 0 || data.length % SECTOR !== 0) throw new RangeError("not whole sectors");
    for (let at = 0; at < data.length; at += SECTOR) {
      const lba = (offset + at) / SECTOR;
      if (!this.#durable.has(lba)) this.#durable.set(lba, this.sector(lba));
      this.#sectors.set(lba, Buffer.from(data.subarray(at, at + SECTOR)));
    }
  }

  flush(): void {
    this.#durable.clear();
    this.changed();
  }

  /** Each sector that was not flushed survives or not, by lot. */
  powerCut(): void {
    for (const [lba, before] of this.#durable) if (this.#random.chance(0.5)) this.#sectors.set(lba, before);
    this.#durable.clear();
    this.changed();
  }

  /** The disk as one process sees it, at the speed of a disk; after its end nothing arrives. */
  open(clock: ProcessClock): Disk {
    return {
      size: this.size,
      sectorSize: SECTOR,
      read: async (offset, length) => this.read(offset, length),
      write: async (offset, data) => {
        if (clock.alive) this.write(offset, data);
      },
      flush: () =>
        new Promise((resolve) => {
          clock.after(1 + this.#random.below(FLUSH), () => {
            this.flush();
            resolve();
          });
        }),
      dropCache: async () => "direct",
      close: async () => {},
    };
  }

  /** The disk as the firmware sees it: at once and durable. */
  immediate(): Disk {
    return {
      size: this.size,
      sectorSize: SECTOR,
      read: async (offset, length) => this.read(offset, length),
      write: async (offset, data) => this.write(offset, data),
      flush: async () => this.flush(),
      dropCache: async () => "direct",
      close: async () => {},
    };
  }
}
