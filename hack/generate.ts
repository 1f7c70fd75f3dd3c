/**
 * Writes what is generated and checked in: proto/gen/ from the protocol, crds/ and docs/reference/
 * from api/, from the commands, and from what hack/reference/ has, of the chart what hack/chart/ has,
 * then the chart's renders.
 * `npm run generate`; with `--check` nothing is written and stale files are named, without the
 * renders: those need helm, and a test compares them.
 */
import { spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

const root = resolve(import.meta.dirname, "..");
/** Folders that hold nothing but generated files. */
const FOLDERS = ["proto/gen", "crds", "docs/reference", "charts/slipway/templates/crds"];
/** Generated files beside others. */
const FILES = ["values.yaml", "values.schema.json", "README.md"].map((name) => `charts/slipway/${name}`);

const fresh = mkdtempSync(join(tmpdir(), "slipway-generate-"));
try {
  run("buf", ["generate", "--output", join(fresh, "proto")], join(root, "proto"));
  run(process.execPath, [join(root, "api/generate.ts"), fresh], root);
  run(process.execPath, [join(root, "cli/generate.ts"), fresh], root);
  run(process.execPath, [join(root, "console/generate.ts"), fresh], root);
  run(process.execPath, [join(root, "hack/reference/generate.ts"), fresh], root);
  run(process.execPath, [join(root, "hack/chart/generate.ts"), fresh], root);
  if (process.argv.includes("--check")) check();
  else {
    replace();
    run(process.execPath, [join(root, "hack/chart/generate.ts"), "--golden"], root);
  }
} finally {
  rmSync(fresh, { recursive: true, force: true });
}

function run(command: string, args: readonly string[], cwd: string): void {
  const { status, error } = spawnSync(command, args, { cwd, stdio: ["ignore", "inherit", "inherit"] });
  if (status === 0) return;
  const cause = error === undefined ? `exit code ${status}` : error.message;
  throw new Error(
    `${command} ${args.join(" ")}: ${cause}. Use \`npm run generate\`, which puts buf on PATH.`,
  );
}

function check(): void {
  const inFolders = FOLDERS.flatMap((folder) => {
    const files = new Set([...list(join(root, folder)), ...list(join(fresh, folder))]);
    return [...files].map((file) => join(folder, file));
  });
  const stale = [...inFolders, ...FILES].filter((file) => read(root, file) !== read(fresh, file));
  if (stale.length === 0) return;
  process.stderr.write(`stale: ${stale.join(", ")}; run \`npm run generate\`\n`);
  process.exitCode = 1;
}

function replace(): void {
  for (const file of FILES) cpSync(join(fresh, file), join(root, file));
  for (const folder of FOLDERS) {
    rmSync(join(root, folder), { recursive: true, force: true });
    if (existsSync(join(fresh, folder))) cpSync(join(fresh, folder), join(root, folder), { recursive: true });
  }
}

function list(directory: string): string[] {
  if (!existsSync(directory)) return [];
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(directory.length + 1));
}

function read(base: string, file: string): string | undefined {
  const path = join(base, file);
  return existsSync(path) ? readFileSync(path, "utf8") : undefined;
}
