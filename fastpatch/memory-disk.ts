/** A disk in memory: for building images from bytes, for simulations and for tests. */
import type { Disk } from "./disk.ts";

/** Reads and writes `bytes` themselves; what is written is durable at once. */
export function memoryDisk(bytes: Buffer, sectorSize: 512 | 4096 = 512): Disk {
  const check = (offset: number, length: number): void => {
    if (offset < 0 || length < 0 || offset + length > bytes.length) {
      throw new RangeError(
        `bytes ${offset}..${offset + length} lie outside of a disk of ${bytes.length} bytes`,
      );
    }
  };
  return {
    size: bytes.length,
    sectorSize,
    read: async (offset, length) => {
      check(offset, length);
      return Buffer.from(bytes.subarray(offset, offset + length));
    },
    write: async (offset, data) => {
      check(offset, data.length);
      bytes.set(data, offset);
    },
    flush: async () => {},
    dropCache: async () => "direct",
    close: async () => {},
  };
}
