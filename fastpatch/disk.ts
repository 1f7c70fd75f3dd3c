/**
 * A disk as a port: the only way by which bytes reach a disk. The real ones are
 * `file-disk.ts`; a recording one enumerates crash points.
 */
export interface Disk {
  /** Bytes. */
  readonly size: number;
  /** Logical sector size (BLKSSZGET). Writes smaller than this may tear. */
  readonly sectorSize: 512 | 4096;
  /**
   * Exactly `length` bytes from `offset`; rejects at the end of the disk. They may come in
   * `into`, which has at least that length: for those who read a lot and keep nothing.
   */
  read(offset: number, length: number, into?: Buffer): Promise<Buffer>;
  /** Writes all of `data`; it is durable only after `flush`. Until then any subset may survive a power cut. */
  write(offset: number, data: Uint8Array): Promise<void>;
  /** Returns when every write before it is durable. */
  flush(): Promise<void>;
  /**
   * Makes the next reads come from the medium. `direct` if they do; `cached` where the
   * file system refuses (the read-back then proves less, and results say so).
   */
  dropCache(): Promise<"direct" | "cached">;
  close(): Promise<void>;
}

/** A part of a disk, for code that must not leave it: `read` and `write` are relative to `offset`. */
export function region(disk: Disk, offset: number, size: number): Disk {
  const check = (at: number, length: number): void => {
    if (at < 0 || length < 0 || at + length > size) {
      throw new RangeError(`bytes ${at}..${at + length} lie outside of a region of ${size} bytes`);
    }
  };
  return {
    size,
    sectorSize: disk.sectorSize,
    read: async (at, length, into) => {
      check(at, length);
      return disk.read(offset + at, length, into);
    },
    write: async (at, data) => {
      check(at, data.length);
      await disk.write(offset + at, data);
    },
    flush: () => disk.flush(),
    dropCache: () => disk.dropCache(),
    close: async () => {},
  };
}
