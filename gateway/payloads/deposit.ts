/**
 * Puts files into the directory that payloads are served from: whole or not at all. What is still being written has a
 * name that nobody can ask for.
 */
import { createHash } from "node:crypto";
import { type FileHandle, link, open, readdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "../../ports/clock.ts";
import type { Random } from "../../ports/random.ts";
import { PayloadFolder } from "./folder.ts";
import { NotNow, type OpenPayload } from "./source.ts";

const UNFINISHED = ".upload-";
/** What was not finished for so long is nobody's any more: its gateway was killed, ms. */
const ABANDONED = 24 * 3_600_000;

/** What link(2) says where the file system has no hard links, and FUSE. */
const WITHOUT_LINKS = ["EPERM", "ENOTSUP", "EOPNOTSUPP", "ENOSYS"];

/** The directory's file system can't give a file a second name. */
export class NoLinks extends Error {
  override readonly name = "NoLinks";
}

export interface DepositOptions {
  root: string;
  clock: Pick<Clock, "now">;
  random: Pick<Random, "uuid">;
}

/** A file that is there to the last byte, and not served yet. */
export interface Written {
  size: number;
  /** Lower-case hex. */
  sha256: string;
  path: string;
}

export class PayloadDeposit {
  readonly #options: DepositOptions;
  readonly #folder: PayloadFolder;

  constructor(options: DepositOptions) {
    this.#options = options;
    this.#folder = new PayloadFolder(options.root, options.clock);
  }

  /** Takes away what was begun and never finished. */
  async clean(): Promise<void> {
    const { root, clock } = this.#options;
    for (const name of await readdir(root)) {
      if (!name.startsWith(UNFINISHED)) continue;
      const path = join(root, name);
      const found = await stat(path).catch(() => undefined);
      if (found !== undefined && clock.now() - found.mtimeMs > ABANDONED) await rm(path, { force: true });
    }
  }

  /** `most`: bytes; undefined where there are more. What it rejects with leaves nothing behind. */
  async write(pieces: AsyncIterable<Buffer>, most: number): Promise<Written | undefined> {
    const { root, random } = this.#options;
    const path = join(root, `${UNFINISHED}${random.uuid()}`);
    const file = await open(path, "wx", 0o644);
    let whole: Written | undefined;
    try {
      whole = await fill(file, path, pieces, most);
    } finally {
      await file.close();
      if (whole === undefined) await this.drop({ path });
    }
    return whole;
  }

  async drop({ path }: Pick<Written, "path">): Promise<void> {
    await rm(path, { force: true });
  }

  /**
   * Serves it under `name`; false where anything but a file of the same content has the name, which is never replaced.
   * Throws `NoLinks`, and `NotNow` where that one is being written.
   */
  async keep({ path, sha256 }: Written, name: string): Promise<boolean> {
    const { root } = this.#options;
    try {
      // Unlike a rename it takes no name that is taken, whoever else looks for it at the same time.
      await link(path, join(root, name));
    } catch (error) {
      const { code = "" } = error as NodeJS.ErrnoException;
      if (WITHOUT_LINKS.includes(code)) throw new NoLinks(`link: ${code}`, { cause: error });
      if (code !== "EEXIST") throw error;
      const there = await this.#settled(name);
      await there?.close();
      if (there?.sha256 !== sha256) return false;
    } finally {
      await this.drop({ path });
    }
    const folder = await open(root, "r");
    await folder.sync();
    await folder.close();
    return true;
  }

  /** Whoever gave it that name takes away the one that it had meanwhile, which changes its times: once. */
  async #settled(name: string): Promise<OpenPayload | undefined> {
    try {
      return await this.#folder.open(name);
    } catch (error) {
      if (!(error instanceof NotNow)) throw error;
      return await this.#folder.open(name);
    }
  }
}

async function fill(
  file: FileHandle,
  path: string,
  pieces: AsyncIterable<Buffer>,
  most: number,
): Promise<Written | undefined> {
  const hash = createHash("sha256");
  let size = 0;
  for await (const piece of pieces) {
    size += piece.length;
    if (size > most) return undefined;
    hash.update(piece);
    await file.writeFile(piece);
  }
  await file.sync();
  return { size, sha256: hash.digest("hex"), path };
}
