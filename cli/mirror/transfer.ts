/** Brings files into a directory: each is complete and has its hash before it has its name. */
import { createHash } from "node:crypto";
import { constants, createReadStream } from "node:fs";
import { copyFile, lstat, mkdir, open, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import type { Source } from "../../fastpatch/source.ts";
import { Failure } from "../io.ts";
import type { MirrorFile } from "./index-file.ts";

/** Times that all mirrors of a file are tried; what was fetched is kept in between. */
const ROUNDS = 3;

type Wanted = Pick<MirrorFile, "path" | "size" | "sha256">;

/** What is not complete yet. No file of a Release begins with a dot, and gateways serve none that does. */
function partOf(path: string): string {
  return join(dirname(path), `.${basename(path)}.part`);
}

/** What is wrong with the file at `path`; undefined where it is there and right. Links are no files. */
export async function faultOf(path: string, { size, sha256 }: Wanted): Promise<string | undefined> {
  const found = await lstat(path).catch(() => undefined);
  if (found === undefined) return "is missing";
  if (!found.isFile()) return "is no file";
  if (found.size !== size) return `has ${found.size} bytes, not ${size}`;
  const has = await hashOf(path);
  return has === sha256 ? undefined : `has the SHA-256 ${has}, not ${sha256}`;
}

async function hashOf(path: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(path, { highWaterMark: 1024 * 1024 }))
    hash.update(chunk as Buffer);
  return hash.digest("hex");
}

/**
 * Fetches `file` below `root`, from where an earlier attempt stopped. False where it was there already. `check` looks at
 * what was fetched, before it gets its name, and throws where it is not to be had.
 */
export async function fetchFile(
  source: Source,
  root: string,
  file: MirrorFile,
  signal: AbortSignal,
  check: (path: string) => Promise<void>,
): Promise<boolean> {
  const target = join(root, file.path);
  if ((await faultOf(target, file)) === undefined) {
    await check(target);
    return false;
  }
  if (file.urls.length === 0)
    throw new Failure(`${file.path} lies at a gateway: give the base of its URLs by --gateway`);
  await mkdir(dirname(target), { recursive: true });
  const part = partOf(target);
  const faults: string[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    for (const url of file.urls) {
      const fault = await attempt(source, url, part, file, signal);
      if (fault === undefined) {
        await check(part);
        await rename(part, target);
        return true;
      }
      faults.push(`${url}: ${fault}`);
    }
  }
  throw new Failure(`${file.path} can't be fetched:\n${[...new Set(faults)].join("\n")}`);
}

/** What went wrong; a part with the wrong hash is taken away, one that is short is kept. */
async function attempt(
  source: Source,
  url: string,
  part: string,
  file: MirrorFile,
  signal: AbortSignal,
): Promise<string | undefined> {
  const begun = await lstat(part).catch(() => undefined);
  if (begun !== undefined && (!begun.isFile() || begun.size > file.size)) await rm(part, { recursive: true });
  const offset = begun !== undefined && begun.isFile() && begun.size <= file.size ? begun.size : 0;
  if (offset < file.size) {
    const out = await open(part, "a");
    try {
      const range = { offset, length: file.size - offset, total: file.size };
      for await (const bytes of source.fetch(url, range, signal)) await out.appendFile(bytes);
      await out.sync();
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof Error && "kind" in error && error.kind === "rangeIgnored") await out.truncate(0);
      return error instanceof Error ? error.message : String(error);
    } finally {
      await out.close();
    }
  }
  const fault = await faultOf(part, file);
  if (fault !== undefined) await rm(part);
  return fault;
}

/** Copies a file that was verified; false where the target has it. */
export async function copyVerified(from: string, to: string, file: Wanted): Promise<boolean> {
  const target = join(to, file.path);
  if ((await faultOf(target, file)) === undefined) return false;
  await mkdir(dirname(target), { recursive: true });
  const part = partOf(target);
  await copyFile(join(from, file.path), part, constants.COPYFILE_FICLONE);
  const copy = await open(part, "r");
  try {
    await copy.sync();
  } finally {
    await copy.close();
  }
  const fault = await faultOf(part, file);
  if (fault !== undefined) throw new Failure(`the copy of ${file.path} ${fault}: look at the disk of ${to}`);
  await rename(part, target);
  return true;
}
