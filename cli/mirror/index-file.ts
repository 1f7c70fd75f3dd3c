/**
 * A mirror: a directory that carries Releases and all their files over a gap. `index.json` has the Releases, and is
 * written last; where each file lies follows from them, so that an index can name nothing outside of the directory.
 */
import { open, readFile, rename, stat } from "node:fs/promises";
import { join } from "node:path";
import * as z from "zod";
import { ObjectName } from "../../api/channel.ts";
import { expandCodebase } from "../../api/codebase.ts";
import { API_VERSION } from "../../api/meta.ts";
import { type Release, ReleaseSpec } from "../../api/release.ts";
import { Failure } from "../io.ts";

const INDEX = "index.json";
/** What a gateway serves under /payloads/. */
export const PAYLOADS = "payloads";
const MAX_RELEASES = 256;
/** A Release has 40 KiB at most with all its extras. */
const MAX_INDEX = 16 * 1024 * 1024;

const Index = z.strictObject({
  format: z.literal(1),
  releases: z
    .array(z.strictObject({ name: ObjectName, spec: ReleaseSpec }))
    .max(MAX_RELEASES)
    .refine((list) => new Set(list.map(({ name }) => name)).size === list.length, {
      error: "two Releases of one name",
    }),
});

type Architecture = ReleaseSpec["payloads"][number]["architecture"];

/** A file of a Release. */
export interface MirrorFile {
  /** Below `PAYLOADS`, with slashes. */
  path: string;
  /** Bytes. */
  size: number;
  sha256: string;
  /** Where it may be fetched, in order of preference. */
  urls: string[];
  /** A payload of update_engine, which has a vendor's signature of its own. */
  signed: boolean;
}

/**
 * Where an image of our agent, or its manifest, lies. Packages of update_engine lie in the folder of an architecture and
 * may have any name: that folder can't be theirs.
 */
export function imagePath(release: string, architecture: Architecture, file: "image" | "manifest"): string {
  return `${release}/fastpatch/${architecture}/${file}.zst`;
}

/** `gateway`: base of the URLs of the gateway that the Releases speak of. */
export function filesOf({ metadata: { name }, spec }: Release, gateway: string | undefined): MirrorFile[] {
  const files: MirrorFile[] = [];
  for (const { architecture, image, manifest } of spec.payloads) {
    for (const [file, blob] of [["image", image] as const, ["manifest", manifest] as const])
      files.push({ path: imagePath(name, architecture, file), ...blob, signed: false });
  }
  for (const { architecture, codebases, payload, extras } of spec.omaha ?? []) {
    const place = { gateway, version: spec.version, architecture, name };
    const folders = codebases
      .flatMap((codebase) => expandCodebase(codebase, place) ?? [])
      .map((folder) => (folder.endsWith("/") ? folder : `${folder}/`));
    for (const one of [payload, ...extras]) {
      const urls = folders.map((folder) => `${folder}${one.name}`);
      files.push({ ...one, path: `${name}/${architecture}/${one.name}`, urls, signed: true });
    }
  }
  const paths = new Set(files.map(({ path }) => path));
  if (paths.size !== files.length)
    throw new Failure(`Release ${name} names two files alike: it can't be mirrored`);
  return files;
}

/** The Releases of the mirror at `directory`; none where there is no index yet. */
export async function readIndex(directory: string): Promise<Release[] | undefined> {
  const path = join(directory, INDEX);
  let text: string;
  try {
    const { size } = await stat(path);
    if (size > MAX_INDEX) throw new Failure(`${path} has ${size} bytes: it is no index of a mirror`);
    text = await readFile(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
  let data: unknown;
  try {
    data = JSON.parse(text);
  } catch {
    throw new Failure(`${path} is no JSON: save the mirror again`);
  }
  const index = Index.safeParse(data);
  if (!index.success) throw new Failure(`${path} is no index of a mirror:\n${z.prettifyError(index.error)}`);
  return index.data.releases.map(({ name, spec }) => releaseOf(name, spec));
}

export function releaseOf(name: string, spec: ReleaseSpec): Release {
  return { apiVersion: API_VERSION, kind: "Release", metadata: { name }, spec };
}

/** In one step: whoever reads it finds the old one or the new one. */
export async function writeIndex(directory: string, releases: readonly Release[]): Promise<void> {
  if (releases.length > MAX_RELEASES)
    throw new Failure(`a mirror has at most ${MAX_RELEASES} Releases: save into another directory`);
  const index: z.input<typeof Index> = {
    format: 1,
    releases: releases.map(({ metadata: { name }, spec }) => ({ name, spec })),
  };
  const path = join(directory, INDEX);
  const file = await open(`${path}.part`, "w");
  try {
    await file.writeFile(`${JSON.stringify(index, undefined, 2)}\n`);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(`${path}.part`, path);
}
