/** Builds the project's Dockerfile into an image file. */
import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { CHROOT } from "../bundle.ts";
import { debianTree } from "../tools/tree.ts";
import { makeBase } from "./base.ts";
import { Buildah } from "./buildah.ts";

const ROOT = resolve(import.meta.dirname, "../..");

export interface ImageOptions {
  /** NAME:TAG. */
  tag: string;
  /** Where the archive (docker-archive, as `docker save` writes it) goes; replaced when it is complete. */
  output: string;
  /** Whether the base images are asked of their registries instead of being made here. */
  pull: boolean;
  onProgress: (line: string) => void;
}

export interface BuiltImage {
  /** SHA-256 of its configuration, hex. */
  id: string;
  /** Size of the archive. */
  bytes: number;
}

export async function buildImage(options: ImageOptions): Promise<BuiltImage> {
  const { tag, output, pull, onProgress } = options;
  return await Buildah.with(onProgress, async (buildah) => {
    if (!pull) await makeBases(buildah, onProgress);
    onProgress(`building ${tag}`);
    // The dependencies are there, so the build stage need not fetch them again; and it has no coreutils.
    const modules = pull
      ? []
      : [
          ...["--volume", `${join(ROOT, "node_modules")}:/src/node_modules:ro`],
          ...["--volume", `${await debianTree("coreutils", { onProgress })}${CHROOT}:${CHROOT}:ro`],
        ];
    await buildah.run(
      "build",
      ...["--quiet", "--format", "docker", "--timestamp", "0"],
      ...["--ignorefile", join(ROOT, ".dockerignore"), "--file", join(ROOT, "Dockerfile")],
      ...[pull ? "--pull" : "--pull-never", ...modules, "--tag", tag, ROOT],
    );
    const image = await saveImage(buildah, tag, output);
    // The cache keeps base images only.
    await buildah.run("rmi", tag);
    return image;
  });
}

/** Writes the image `tag` into the file `output`. */
export async function saveImage(buildah: Buildah, tag: string, output: string): Promise<BuiltImage> {
  mkdirSync(dirname(output), { recursive: true });
  const making = `${output}.making`;
  rmSync(making, { force: true });
  await buildah.run("push", "--quiet", tag, `docker-archive:${making}:${tag}`);
  renameSync(making, output);
  const id = (await buildah.run("inspect", "--type", "image", "--format", "{{.FromImageID}}", tag)).trim();
  return { id, bytes: statSync(output).size };
}

/** The names after FROM: the build stage's needs a Node.js, the image's own needs none. */
async function makeBases(buildah: Buildah, onProgress: (line: string) => void): Promise<void> {
  const stages = [...readFileSync(join(ROOT, "Dockerfile"), "utf8").matchAll(/^FROM (\S+)( AS .*)?$/gm)];
  const work = mkdtempSync(join(tmpdir(), "slipway-base-"));
  try {
    for (const [, name = "", stage] of stages) {
      await makeBase(buildah, name, { work, node: stage !== undefined, onProgress });
    }
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}
