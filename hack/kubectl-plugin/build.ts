/** The plugin as a script, and as a single executable (Node.js, "Single executable applications"). */
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { chmodSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { copyFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { gzipSync } from "node:zlib";
import { pack } from "tar-stream";
import { stringify } from "yaml";
import { VERSION } from "../../cli/version.ts";
import { bundlePlugin } from "../bundle.ts";
import { krewManifest } from "./krew.ts";

const ROOT = resolve(import.meta.dirname, "../..");
const run = promisify(execFile);
/** What Node.js calls a platform -> what Go, and so krew, does. */
const ARCHITECTURES: Readonly<Record<string, string>> = { x64: "amd64", arm64: "arm64" };

const COMPLETE = `#!/bin/sh
# kubectl calls this with the words after \`kubectl slipway\`.
exec kubectl-slipway __complete "$@"
`;

/** Writes bin/kubectl-slipway and bin/kubectl_complete-slipway below `folder`; gives their paths. */
export async function buildScript(folder: string): Promise<string[]> {
  const bin = join(folder, "bin");
  mkdirSync(bin, { recursive: true });
  const script = join(bin, "kubectl-slipway");
  await bundlePlugin(script, "esm");
  const completion = join(bin, "kubectl_complete-slipway");
  writeFileSync(completion, COMPLETE);
  for (const file of [script, completion]) chmodSync(file, 0o755);
  return [script, completion];
}

/** Writes kubectl-slipway (the executable), its archive and slipway.yaml into `folder`/krew; gives their paths. */
export async function buildExecutable(folder: string): Promise<string[]> {
  const out = join(folder, "krew");
  mkdirSync(out, { recursive: true });
  const main = join(out, "main.cjs");
  const config = join(out, "sea.json");
  const executable = join(out, "kubectl-slipway");
  await bundlePlugin(main, "cjs");
  writeFileSync(
    config,
    JSON.stringify({
      main,
      output: executable,
      disableExperimentalSEAWarning: true,
      useCodeCache: true,
      // $NODE_OPTIONS is for scripts of one's own; a plugin must not read it.
      execArgvExtension: "none",
    }),
  );
  await run(process.execPath, ["--build-sea", config]);
  for (const file of [main, config]) rmSync(file);
  chmodSync(executable, 0o755);
  const licence = join(out, "LICENSE");
  await copyFile(join(ROOT, "LICENSE"), licence);
  const architecture = ARCHITECTURES[process.arch] ?? process.arch;
  const archive = join(out, `kubectl-slipway_${VERSION}_linux_${architecture}.tar.gz`);
  const bytes = await archiveOf({ "kubectl-slipway": executable, LICENSE: licence });
  writeFileSync(archive, bytes);
  const sha256 = createHash("sha256").update(bytes).digest("hex");
  const manifest = join(out, "slipway.yaml");
  writeFileSync(manifest, stringify(krewManifest(VERSION, [{ architecture, sha256 }]), { lineWidth: 0 }));
  return [executable, archive, manifest];
}

async function archiveOf(files: Readonly<Record<string, string>>): Promise<Buffer> {
  const archive = pack();
  for (const [name, path] of Object.entries(files)) {
    archive.entry({ name, mode: name === "LICENSE" ? 0o644 : 0o755, mtime: new Date(0) }, readFileSync(path));
  }
  archive.finalize();
  const chunks: Buffer[] = [];
  for await (const chunk of archive) chunks.push(chunk as Buffer);
  return gzipSync(Buffer.concat(chunks));
}
