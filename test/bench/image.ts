/** Size of the image, and how long each of its programs takes until it has loaded its code and said what it can do. */
import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { buildImage } from "../../hack/image/build.ts";

const exec = promisify(execFile);

const RUNS = 9;
const MIB = 2 ** 20;
/** The image's own user. */
const USER = "65532:65532";

/** Arguments of Node.js in the image. */
const PROGRAMS: Record<string, readonly string[]> = {
  manager: ["/usr/lib/slipway/bin/slipway.mjs", "manager", "--help"],
  gateway: ["/usr/lib/slipway/bin/slipway.mjs", "gateway", "--help"],
  agent: ["/usr/lib/slipway/bin/slipway.mjs", "agent", "--help"],
  "agent.cjs": ["/usr/lib/slipway/bin/agent.cjs", "--help"],
};

export async function run({ onProgress }: { onProgress: (line: string) => void }): Promise<object> {
  const work = mkdtempSync(join(tmpdir(), "slipway-bench-"));
  try {
    const archive = join(work, "image.tar");
    const built = await buildImage({
      tag: "slipway.test/slipway:bench",
      output: archive,
      pull: false,
      onProgress,
    });
    const { layers, root } = await unpack(archive, work);
    const coldStart: Record<string, number> = {};
    for (const [name, args] of Object.entries(PROGRAMS)) coldStart[name] = await median(root, args);
    const bin = join(root, "usr/lib/slipway/bin");
    const mib = (bytes: number): number => Math.round((bytes / MIB) * 10) / 10;
    return {
      archiveMiB: mib(built.bytes),
      layersMiB: layers.map(mib),
      nodeMiB: mib(statSync(join(root, "usr/local/bin/node")).size),
      bundleMiB: mib(statSync(join(bin, "slipway.mjs")).size),
      agentBundleMiB: mib(statSync(join(bin, "agent.cjs")).size),
      coldStartMs: coldStart,
    };
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** Sizes of the layers in bytes, and the folder with their content. */
async function unpack(archive: string, work: string): Promise<{ layers: number[]; root: string }> {
  const parts = join(work, "parts");
  const root = join(work, "root");
  mkdirSync(parts);
  mkdirSync(root);
  await exec("tar", ["-xf", archive, "-C", parts]);
  const [image] = JSON.parse(readFileSync(join(parts, "manifest.json"), "utf8")) as [{ Layers: string[] }];
  for (const layer of image.Layers) await exec("tar", ["-xf", join(parts, layer), "-C", root]);
  return { layers: image.Layers.map((layer) => statSync(join(parts, layer)).size), root };
}

/** Milliseconds from start to end, with the file's pages in memory after the first run. */
async function median(root: string, args: readonly string[]): Promise<number> {
  const times: number[] = [];
  for (let i = 0; i < RUNS; i++) {
    const start = performance.now();
    await exec("chroot", ["--userspec", USER, root, "/usr/local/bin/node", ...args], { timeout: 30_000 });
    times.push(performance.now() - start);
  }
  return Math.round(times.toSorted((a, b) => a - b)[RUNS >> 1] ?? 0);
}
