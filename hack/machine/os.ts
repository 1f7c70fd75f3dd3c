/**
 * The operating system of the reference machine: a tar archive that holds the agent, one
 * service and os-release. What is in the slot is what runs.
 */
import { createHash } from "node:crypto";
import { Readable } from "node:stream";
import { extract, pack } from "tar-stream";

/** A file of the archive, by its path without a leading slash. */
export type OsFiles = ReadonlyMap<string, Buffer>;

export const OS_RELEASE = "usr/lib/os-release";
export const AGENT = "usr/lib/slipway/agent.cjs";
export const SERVICE = "usr/lib/harbor/service.mjs";
/** JSON: path -> SHA-256 of every other file. Firmware won't run what differs from it. */
const CONTENTS = "usr/share/contents.json";

export interface OsSpec {
  version: string;
  /** The bundled agent. */
  agent: Buffer;
  /** The service `harbor.service`. */
  service: Buffer;
  /** Further content, so that images have a size worth showing. */
  ballast: Buffer;
}

export function osFiles(spec: OsSpec): OsFiles {
  const release = `NAME=Harbor\nID=harbor\nVERSION_ID=${spec.version}\nPRETTY_NAME="Harbor ${spec.version}"\n`;
  return new Map([
    [OS_RELEASE, Buffer.from(release)],
    [AGENT, spec.agent],
    [SERVICE, spec.service],
    ["usr/share/ballast", spec.ballast],
  ]);
}

/** The archive, with its table of contents; the same files give the same bytes. */
export async function packOs(files: OsFiles): Promise<Buffer> {
  const archive = pack();
  const chunks: Buffer[] = [];
  const whole = new Promise<Buffer>((resolve, reject) => {
    archive.on("data", (chunk) => chunks.push(chunk as Buffer));
    archive.on("end", () => resolve(Buffer.concat(chunks)));
    archive.on("error", reject);
  });
  const contents = Object.fromEntries([...files].map(([path, data]) => [path, sha256(data)]));
  for (const [path, data] of [...files, [CONTENTS, Buffer.from(JSON.stringify(contents))] as const]) {
    archive.entry({ name: path, size: data.length, mtime: new Date(0), mode: 0o644 }, data);
  }
  archive.finalize();
  return whole;
}

/** Reads the archive at the start of `slot`; throws where a file is missing or damaged, as a kernel would panic. */
export async function unpackOs(slot: Buffer): Promise<OsFiles> {
  const files = new Map<string, Buffer>();
  const archive = extract();
  Readable.from([slot]).pipe(archive);
  for await (const entry of archive) {
    const parts: Buffer[] = [];
    for await (const part of entry) parts.push(part as Buffer);
    files.set(entry.header.name, Buffer.concat(parts));
    // What follows the table of contents is the rest of the slot, not of the archive.
    if (entry.header.name === CONTENTS) break;
  }
  const contents = files.get(CONTENTS);
  if (contents === undefined) throw new Error("the slot holds no complete system");
  for (const [path, hash] of Object.entries(JSON.parse(contents.toString()) as Record<string, string>)) {
    const data = files.get(path);
    if (data === undefined || sha256(data) !== hash) throw new Error(`${path} in the slot is damaged`);
  }
  files.delete(CONTENTS);
  return files;
}

/** `VERSION_ID` of os-release (os-release(5)). */
export function versionOf(files: OsFiles): string {
  const text = files.get(OS_RELEASE)?.toString() ?? "";
  return /^VERSION_ID=(.*)$/m.exec(text)?.[1] ?? "unknown";
}

function sha256(data: Buffer): string {
  return createHash("sha256").update(data).digest("hex");
}
