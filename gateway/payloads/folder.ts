/**
 * The directory that payloads are served from. A path is walked name by name without following a link, so that nothing
 * outside can be reached, whatever lies in it; a file's hash is counted once and remembered while the file stays as it is.
 */
import { createHash } from "node:crypto";
import { constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import type { Clock } from "../../ports/clock.ts";
import { NAME, NotNow, type OpenPayload, type PayloadSource } from "./source.ts";

const MAX_DEPTH = 8;
/** Files whose hash is remembered: 500 releases with both architectures. */
const MAX_HASHES = 1024;
/** Bytes read at once. */
const PIECE = 128 * 1024;
/**
 * Times of files come in ticks of up to 10 ms (Linux before 6.13), of a second or two on some servers: one that was
 * written over within a tick, in the same size, looks as it did before. ms.
 */
const TICK = 2000;

interface Hashed {
  /** What changes when the file does. */
  stamp: string;
  sha256: Promise<string>;
}

export class PayloadFolder implements PayloadSource {
  readonly place = "directory";
  readonly #root: string;
  readonly #clock: Pick<Clock, "now">;
  /** By device and inode, those asked for last at the end. */
  readonly #hashes = new Map<string, Hashed>();
  /** One file at a time, so that many that are new don't take the processor from machines that check. */
  #hashing: Promise<unknown> = Promise.resolve();

  constructor(root: string, clock: Pick<Clock, "now">) {
    this.#root = root;
    this.#clock = clock;
  }

  async open(path: string): Promise<OpenPayload | undefined> {
    const handle = await this.#walk(path.split("/"));
    if (handle === undefined) return undefined;
    try {
      const stat = await handle.stat({ bigint: true });
      if (!stat.isFile()) {
        await handle.close();
        return undefined;
      }
      const sha256 = await this.#sha256(handle, `${stat.dev}:${stat.ino}`, stat);
      return {
        ...{ size: Number(stat.size), sha256, close: () => handle.close() },
        pieces: (first, length) => piecesOf(handle, first, length),
      };
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  async #walk(names: readonly string[]): Promise<FileHandle | undefined> {
    if (names.length > MAX_DEPTH || !names.every((name) => NAME.test(name))) return undefined;
    const { O_RDONLY, O_DIRECTORY, O_NOFOLLOW, O_NONBLOCK } = constants;
    let at = await open(this.#root, O_RDONLY | O_DIRECTORY).catch((error: unknown) => {
      throw new NotNow("The directory of payloads can't be read.", { cause: error });
    });
    for (const [index, name] of names.entries()) {
      const folder = index < names.length - 1 ? O_DIRECTORY : 0;
      try {
        // What openat(2) does: Node.js has no such call.
        const next = await open(
          `/proc/self/fd/${at.fd}/${name}`,
          O_RDONLY | O_NOFOLLOW | O_NONBLOCK | folder,
        );
        await at.close();
        at = next;
      } catch (error) {
        await at.close();
        const { code = "" } = error as NodeJS.ErrnoException;
        if (["ENOENT", "ENOTDIR", "ELOOP", "EACCES", "ENXIO"].includes(code)) return undefined;
        throw error;
      }
    }
    return at;
  }

  async #sha256(handle: FileHandle, id: string, stat: Times): Promise<string> {
    const stamp = stampOf(stat);
    let known = this.#hashes.get(id);
    if (known?.stamp !== stamp) {
      const sha256 = this.#hashing.then(() => hashOf(handle, stamp));
      this.#hashing = sha256.catch(() => {});
      // Another write may leave it looking the same, so that the next who asks counts anew.
      if (Math.abs(this.#clock.now() - Number(stat.ctimeNs / 1_000_000n)) < TICK) return await sha256;
      known = { stamp, sha256 };
      sha256.catch(() => {
        if (this.#hashes.get(id) === known) this.#hashes.delete(id);
      });
    }
    this.#hashes.delete(id);
    this.#hashes.set(id, known);
    const [oldest] = this.#hashes.keys();
    if (this.#hashes.size > MAX_HASHES && oldest !== undefined) this.#hashes.delete(oldest);
    return await known.sha256;
  }
}

interface Times {
  size: bigint;
  mtimeNs: bigint;
  ctimeNs: bigint;
}

function stampOf(stat: Times): string {
  return `${stat.size}:${stat.mtimeNs}:${stat.ctimeNs}`;
}

async function hashOf(handle: FileHandle, stamp: string): Promise<string> {
  const hash = createHash("sha256");
  const piece = Buffer.alloc(PIECE);
  for (let at = 0; ; ) {
    const { bytesRead } = await handle.read(piece, 0, PIECE, at);
    if (bytesRead === 0) break;
    hash.update(piece.subarray(0, bytesRead));
    at += bytesRead;
  }
  if (stampOf(await handle.stat({ bigint: true })) !== stamp) throw new NotNow("It is being written.");
  return hash.digest("hex");
}

/** `length` bytes from `first` on, in pieces; throws where the file has become shorter. */
async function* piecesOf(handle: FileHandle, first: number, length: number): AsyncGenerator<Buffer> {
  for (let done = 0; done < length; ) {
    const most = Math.min(PIECE, length - done);
    // Each piece is memory of its own: the one before may not have left yet.
    const { bytesRead, buffer } = await handle.read(Buffer.allocUnsafe(most), 0, most, first + done);
    if (bytesRead === 0) throw new Error("a payload became shorter while it was read");
    done += bytesRead;
    yield buffer.subarray(0, bytesRead);
  }
}
