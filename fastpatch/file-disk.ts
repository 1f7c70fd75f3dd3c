/** A disk that is a block device or an image file. */
import { constants, readSync } from "node:fs";
import { type FileHandle, open, readFile } from "node:fs/promises";
import type { Disk } from "./disk.ts";
import { FastPatchError } from "./errors.ts";

export interface FileDiskOptions {
  /** Logical sectors of an image file; a block device's are read from sysfs. Default 512. */
  sectorSize?: 512 | 4096;
  /**
   * What to claim exclusively while the disk is open: by default a block device itself. A
   * disk with mounted partitions can't be claimed as a whole: name the passive slot's
   * partition node then. `false` claims nothing.
   */
  claim?: string | false;
}

/** O_DIRECT wants buffers, offsets and lengths in multiples of this (open(2): the logical block size; 4096 fits all). */
const DIRECT_ALIGN = 4096;
/** Bytes of a buffer for direct reads, and how many there are. */
const DIRECT_CHUNK = 1024 * 1024;
const DIRECT_BUFFERS = 3;

/** Opens for reading and writing. Throws `DiskBusy` if somebody else claimed it, `DiskUnusable` if it is no disk. */
export async function openFileDisk(path: string, options: FileDiskOptions = {}): Promise<Disk> {
  const file = await open(path, constants.O_RDWR);
  let claimed: FileHandle | undefined;
  try {
    const stat = await file.stat();
    const isDevice = stat.isBlockDevice();
    if (!isDevice && !stat.isFile())
      throw new FastPatchError("DiskUnusable", `${path} is no disk and no image file`);
    const geometry = isDevice
      ? await deviceGeometry(path, stat.rdev)
      : { size: stat.size, sectorSize: options.sectorSize ?? 512 };
    const { size, sectorSize } = geometry;
    if ((sectorSize !== 512 && sectorSize !== 4096) || size === 0 || size % sectorSize !== 0) {
      throw new FastPatchError("DiskUnusable", `${path} has ${size} bytes in sectors of ${sectorSize}`);
    }
    const claim = options.claim ?? (isDevice ? path : false);
    if (claim !== false) claimed = await claimNode(claim);
    return new FileDisk(path, file, claimed, size, sectorSize);
  } catch (error) {
    await file.close();
    await claimed?.close();
    throw error;
  }
}

/** O_EXCL without O_CREAT claims a block device (open(2)); a mounted or claimed one gives EBUSY. */
async function claimNode(path: string): Promise<FileHandle> {
  try {
    return await open(path, constants.O_RDONLY | constants.O_EXCL);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EBUSY") throw error;
    throw new FastPatchError("DiskBusy", `${path} is mounted, or another program has claimed it`, {
      cause: error,
    });
  }
}

/** sysfs counts a device's size in units of 512 bytes, whatever its sectors. */
async function deviceGeometry(path: string, rdev: number): Promise<{ size: number; sectorSize: number }> {
  // The encoding of dev_t in makedev(3).
  const major = Math.floor(rdev / 256) & 0xfff;
  const minor = (rdev & 0xff) | (Math.floor(rdev / 4096) & ~0xff);
  const node = `/sys/dev/block/${major}:${minor}`;
  try {
    const read = async (file: string): Promise<number> => Number(await readFile(`${node}/${file}`, "latin1"));
    return { size: (await read("size")) * 512, sectorSize: await read("queue/logical_block_size") };
  } catch (error) {
    throw new FastPatchError(
      "DiskUnusable",
      `${path} is no whole disk: ${node} has no queue/logical_block_size`,
      { cause: error },
    );
  }
}

class FileDisk implements Disk {
  readonly size: number;
  readonly sectorSize: 512 | 4096;
  readonly #path: string;
  readonly #file: FileHandle;
  readonly #claimed: FileHandle | undefined;
  #direct: DirectReader | undefined;

  constructor(
    path: string,
    file: FileHandle,
    claimed: FileHandle | undefined,
    size: number,
    sectorSize: 512 | 4096,
  ) {
    this.size = size;
    this.sectorSize = sectorSize;
    this.#path = path;
    this.#file = file;
    this.#claimed = claimed;
  }

  async read(offset: number, length: number, into?: Buffer): Promise<Buffer> {
    this.#check(offset, length);
    const bytes = into?.subarray(0, length) ?? Buffer.allocUnsafeSlow(length);
    if (this.#direct !== undefined) await this.#direct.read(offset, bytes);
    else await readAll(this.#file, bytes, offset, this.#path);
    return bytes;
  }

  async write(offset: number, data: Uint8Array): Promise<void> {
    this.#check(offset, data.length);
    let done = 0;
    while (done < data.length) {
      const { bytesWritten } = await this.#file.write(data, done, data.length - done, offset + done);
      done += bytesWritten;
    }
  }

  async flush(): Promise<void> {
    await this.#file.datasync();
  }

  /** From the first call on, all reads go around the page cache: the kernel keeps them coherent with the writes. */
  async dropCache(): Promise<"direct" | "cached"> {
    this.#direct ??= await DirectReader.open(this.#path, this.size);
    return this.#direct === undefined ? "cached" : "direct";
  }

  async close(): Promise<void> {
    await this.#direct?.close();
    await this.#file.close();
    await this.#claimed?.close();
  }

  #check(offset: number, length: number): void {
    if (offset < 0 || length < 0 || offset + length > this.size) {
      throw new RangeError(
        `bytes ${offset}..${offset + length} lie outside of ${this.#path} with ${this.size} bytes`,
      );
    }
  }
}

async function readAll(file: FileHandle, bytes: Buffer, offset: number, path: string): Promise<void> {
  let done = 0;
  while (done < bytes.length) {
    const { bytesRead } = await file.read(bytes, done, bytes.length - done, offset + done);
    if (bytesRead === 0) throw new FastPatchError("DiskUnusable", `${path} ended at byte ${offset + done}`);
    done += bytesRead;
  }
}

/** Reads with O_DIRECT through a few aligned buffers, and copies out of them. */
class DirectReader {
  readonly #file: FileHandle;
  readonly #size: number;
  readonly #free: Buffer[];
  readonly #waiting: ((buffer: Buffer) => void)[] = [];

  constructor(file: FileHandle, size: number, buffers: Buffer[]) {
    this.#file = file;
    this.#size = size;
    this.#free = buffers;
  }

  /** Undefined where the file system refuses direct reads. */
  static async open(path: string, size: number): Promise<DirectReader | undefined> {
    let file: FileHandle;
    try {
      file = await open(path, constants.O_RDONLY | constants.O_DIRECT);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "EINVAL") return undefined;
      throw error;
    }
    const buffers: Buffer[] = [];
    while (buffers.length < DIRECT_BUFFERS) {
      const buffer = alignedBuffer(file.fd);
      if (buffer === undefined) {
        await file.close();
        return undefined;
      }
      buffers.push(buffer);
    }
    return new DirectReader(file, size, buffers);
  }

  /** Fills `bytes` from `offset`. */
  async read(offset: number, bytes: Buffer): Promise<void> {
    for (let at = offset; at < offset + bytes.length; ) {
      const from = at - (at % DIRECT_ALIGN);
      const upTo = Math.min(offset + bytes.length, from + DIRECT_CHUNK);
      const buffer = await this.#take();
      try {
        const want = Math.min(Math.ceil((upTo - from) / DIRECT_ALIGN) * DIRECT_ALIGN, DIRECT_CHUNK);
        const { bytesRead } = await this.#file.read(buffer, 0, want, from);
        const end = Math.min(upTo, from + bytesRead, this.#size);
        if (end <= at) throw new FastPatchError("DiskUnusable", `the disk ended at byte ${at}`);
        buffer.copy(bytes, at - offset, at - from, end - from);
        at = end;
      } finally {
        this.#give(buffer);
      }
    }
  }

  close(): Promise<void> {
    return this.#file.close();
  }

  async #take(): Promise<Buffer> {
    return this.#free.pop() ?? new Promise((resolve) => this.#waiting.push(resolve));
  }

  #give(buffer: Buffer): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#free.push(buffer);
    else next(buffer);
  }
}

/**
 * JavaScript can't ask for an aligned address, but memory outside of the heap doesn't move:
 * the offset at which the kernel accepts a direct read is found by trying.
 */
function alignedBuffer(fd: number): Buffer | undefined {
  const memory = new ArrayBuffer(DIRECT_CHUNK + DIRECT_ALIGN);
  for (let offset = 0; offset < DIRECT_ALIGN; offset += 16) {
    const buffer = Buffer.from(memory, offset, DIRECT_CHUNK);
    try {
      readSync(fd, buffer, 0, DIRECT_ALIGN, 0);
      return buffer;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EINVAL") throw error;
    }
  }
  return undefined;
}
