/**
 * Images in a node's container runtime before it first starts: imported once by a containerd of
 * our own, kept in the cache, and hard-linked into each node. Layers and blobs are never written again.
 */
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import {
  createReadStream,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { promisify } from "node:util";
import { Child } from "../plane/process.ts";
import { waitUntil } from "../plane/wait.ts";
import { cacheDirectory, TEMPORARY } from "../tools/cache.ts";
import { withLock } from "../tools/lock.ts";
import { tools } from "../tools.ts";

const exec = promisify(execFile);

/** Seeds that are kept, newest first; and all that were asked for so lately, ms, that they may not be planted yet. */
const KEPT = 3;
const IN_USE = 10 * 60_000;
const READY_WITHIN = 20_000;
const IMPORT_WITHIN = 120_000;

/** What containerd writes again after it was imported. */
const DATABASES = [
  "io.containerd.metadata.v1.bolt/meta.db",
  "io.containerd.snapshotter.v1.overlayfs/metadata.db",
];

/** The folder of a containerd that has the images of `archives` (docker-archive or OCI). */
export async function seed(archives: readonly string[], onProgress: (line: string) => void): Promise<string> {
  const hash = createHash("sha256");
  for (const archive of archives) await pipeline(createReadStream(archive), hash, { end: false });
  const seeds = join(cacheDirectory(process.env), "seeds");
  const folder = join(seeds, hash.digest("hex").slice(0, 16));
  mkdirSync(seeds, { recursive: true });
  const onWait = (): void => onProgress("waiting for another process that imports images");
  await withLock(join(seeds, ".lock"), onWait, async () => {
    if (!existsSync(folder)) {
      onProgress("importing images");
      await make(archives, seeds, folder);
      removeOld(seeds, folder);
    }
    const now = new Date();
    utimesSync(folder, now, now);
  });
  return folder;
}

async function make(archives: readonly string[], seeds: string, folder: string): Promise<void> {
  const making = mkdtempSync(join(seeds, TEMPORARY));
  try {
    await importAll(archives, making);
    renameSync(join(making, "root"), folder);
  } finally {
    rmSync(making, { recursive: true, force: true, maxRetries: 3 });
  }
}

/** Lays a seed into a node's /var/lib/containerd. */
export async function plant(folder: string, into: string): Promise<void> {
  mkdirSync(into, { recursive: true });
  await exec("cp", ["-a", "--link", `${folder}/.`, into]).catch(() =>
    exec("cp", ["-a", `${folder}/.`, into]),
  );
  for (const database of DATABASES) {
    await exec("cp", ["-a", "--remove-destination", join(folder, database), join(into, database)]);
  }
}

async function importAll(archives: readonly string[], making: string): Promise<void> {
  const { containerd, ctr } = await tools(["containerd", "ctr"]);
  const socket = join(making, "sock");
  writeFileSync(
    join(making, "config.toml"),
    [
      "version = 3",
      `root = "${making}/root"`,
      `state = "${making}/state"`,
      'disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime"]',
      `[grpc]\naddress = "${socket}"`,
      `[ttrpc]\naddress = "${socket}.ttrpc"`,
    ].join("\n"),
  );
  const daemon = await Child.start({
    name: "containerd",
    command: containerd,
    args: ["--config", join(making, "config.toml")],
    logFile: join(making, "log"),
    env: { PATH: process.env["PATH"] },
  });
  try {
    await waitUntil(() => existsSync(socket), {
      what: "containerd listens",
      deadline: READY_WITHIN,
      hopeless: () => daemon.obituary(),
    });
    for (const archive of archives) {
      const args = [
        "--address",
        socket,
        "--namespace",
        "k8s.io",
        "images",
        "import",
        "--snapshotter",
        "overlayfs",
        archive,
      ];
      await exec(ctr, args, { timeout: IMPORT_WITHIN });
    }
  } finally {
    await daemon.stop();
  }
}

function removeOld(seeds: string, but: string): void {
  const age = (path: string): number => statSync(path).mtimeMs;
  const old = readdirSync(seeds)
    .filter((name) => !name.startsWith("."))
    .map((name) => join(seeds, name))
    .filter((path) => path !== but)
    .toSorted((a, b) => age(b) - age(a));
  for (const path of old.slice(KEPT - 1)) {
    if (age(path) < Date.now() - IN_USE) rmSync(path, { recursive: true, force: true, maxRetries: 3 });
  }
}
