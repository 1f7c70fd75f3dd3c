/** Images of the harness itself: what holds a Pod's namespaces, a web server, and etcd. Their names are of a registry that does not exist. */
import { createHash } from "node:crypto";
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { buildImage, saveImage } from "../image/build.ts";
import { Buildah } from "../image/buildah.ts";
import { removeAtExit } from "../plane/process.ts";
import { cacheDirectory } from "../tools/cache.ts";
import { debianTree } from "../tools/tree.ts";
import { tools } from "../tools.ts";

export const PAUSE_IMAGE = "slipway.test/pause:1";
/** busybox: `httpd`, `sh` and the like. */
export const WEB_IMAGE = "slipway.test/web:1";
export const ETCD_IMAGE = "slipway.test/etcd:1";
/** What is built of the Dockerfile. */
export const SLIPWAY_IMAGE = "slipway.test/slipway:e2e";

interface Recipe {
  image: string;
  /** Files, each by its path in the image. */
  files: Record<string, string>;
  config: string[];
}

/** Archives of the images, built when they are missing. */
export async function harnessImages(onProgress: (line: string) => void): Promise<string[]> {
  const pause = await debianTree("pause", { onProgress });
  const busybox = await debianTree("busybox", { onProgress });
  const { etcd, etcdctl, etcdutl } = await tools(["etcd", "etcdctl", "etcdutl"], { onProgress });
  const of = (...programs: string[]): Record<string, string> =>
    Object.fromEntries(programs.map((program) => [`usr/local/bin/${basename(program)}`, program]));
  const recipes: Recipe[] = [
    {
      image: PAUSE_IMAGE,
      files: { catatonit: join(pause, "usr/bin/catatonit") },
      config: ["--entrypoint", '["/catatonit","-P"]'],
    },
    {
      image: WEB_IMAGE,
      files: { "bin/busybox": join(busybox, "usr/bin/busybox"), "bin/sh": join(busybox, "usr/bin/busybox") },
      config: ["--entrypoint", '["/bin/busybox"]'],
    },
    {
      image: ETCD_IMAGE,
      files: of(etcd, etcdctl, etcdutl),
      config: ["--entrypoint", '["/usr/local/bin/etcd"]'],
    },
  ];
  const archives: string[] = [];
  for (const recipe of recipes) archives.push(await archiveOf(recipe, onProgress));
  return archives;
}

/**
 * `use` gets archives of the harness's images and of the Dockerfile's. The latter is this checkout's alone:
 * another one may be tested at the same time.
 */
export async function withImages<T>(
  onProgress: (line: string) => void,
  use: (archives: string[]) => Promise<T>,
): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), "slipway-images-"));
  const cleanup = removeAtExit(folder);
  const output = join(folder, "slipway.tar");
  try {
    const harness = await harnessImages(onProgress);
    await buildImage({ tag: SLIPWAY_IMAGE, output, pull: false, onProgress });
    return await use([...harness, output]);
  } finally {
    rmSync(folder, { recursive: true, force: true });
    cleanup.forget();
  }
}

/** Named by what it is made of: paths in the cache carry hashes of what made them. */
async function archiveOf(
  { image, files, config }: Recipe,
  onProgress: (line: string) => void,
): Promise<string> {
  const folder = join(cacheDirectory(process.env), "archives");
  const recipe = JSON.stringify([image, files, config]);
  const key = createHash("sha256").update(recipe).digest("hex").slice(0, 12);
  const archive = join(folder, `${image.replaceAll(/[^a-z0-9]/g, "-")}-${key}.tar`);
  if (existsSync(archive)) return archive;
  onProgress(`making the image ${image}`);
  mkdirSync(folder, { recursive: true });
  const root = mkdtempSync(join(tmpdir(), "slipway-root-"));
  try {
    for (const [path, source] of Object.entries(files)) {
      cpSync(source, join(root, path), { dereference: true });
    }
    await Buildah.with(onProgress, async (buildah) => {
      if (existsSync(archive)) return;
      await buildah.fromFolder(image, root, config);
      await saveImage(buildah, image, archive);
      await buildah.run("rmi", image);
    });
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
  return archive;
}
