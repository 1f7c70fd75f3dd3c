/**
 * Bundles the program: one file for all roles, one for the agent alone, which must stay small,
 * and one for the kubectl plugin; beside them the files of the console's page. etcd3 reads its .proto files beside itself at run time, so they
 * are laid where the bundle's `__dirname/../proto` points.
 *
 * Usage: node hack/bundle.ts FOLDER; or --root FOLDER for all that an image has beside its base.
 */
import { chmod, cp, mkdir, readFile, realpath, writeFile } from "node:fs/promises";
import { basename, dirname, join, relative, resolve } from "node:path";
import { parseArgs } from "node:util";
import { build } from "esbuild";
import { buildConsole } from "../console/build.ts";
import { billOfMaterials } from "./image/sbom.ts";

const ROOT = resolve(import.meta.dirname, "..");

/** What CommonJS packages expect of their surroundings, for an ES module. */
const COMMONJS = [
  'import { createRequire as __createRequire } from "node:module";',
  "const require = __createRequire(import.meta.url);",
  "const __dirname = import.meta.dirname;",
  "const __filename = import.meta.filename;",
].join("\n");

const COMMON = {
  bundle: true,
  platform: "node",
  target: "node26",
  minify: true,
  legalComments: "none",
  logLevel: "error",
  metafile: true,
  absWorkingDir: ROOT,
} as const;

/** The agent as one CommonJS file; gives the files that went into it. */
export async function bundleAgent(outfile: string): Promise<string[]> {
  return bundle("agent/main.ts", outfile, "cjs");
}

/** The kubectl plugin as one file that a Node.js starts; gives the files that went into it. */
export async function bundlePlugin(outfile: string, format: "esm" | "cjs"): Promise<string[]> {
  return bundle("cli/main.ts", outfile, format);
}

async function bundle(entry: string, outfile: string, format: "esm" | "cjs"): Promise<string[]> {
  const banner = format === "esm" ? { banner: { js: COMMONJS } } : {};
  const { metafile } = await build({
    ...COMMON,
    entryPoints: [join(ROOT, entry)],
    outfile,
    format,
    ...banner,
  });
  return Object.keys(metafile.inputs);
}

/** Writes the console's page into `folder`; gives the files that went into it. */
async function bundleConsole(folder: string): Promise<readonly string[]> {
  await mkdir(folder, { recursive: true });
  const { files, inputs } = await buildConsole();
  for (const [path, bytes] of files) await writeFile(join(folder, path), bytes);
  return inputs;
}

async function bundleAll(folder: string): Promise<void> {
  const bin = join(folder, "bin");
  await mkdir(bin, { recursive: true });
  const inputs = [
    ...(await bundle("main.ts", join(bin, "slipway.mjs"), "esm")),
    ...(await bundleAgent(join(bin, "agent.cjs"))),
    ...(await bundlePlugin(join(bin, "kubectl-slipway.mjs"), "esm")),
    ...(await bundleConsole(join(bin, "console/dist"))),
  ];
  await cp(join(ROOT, "node_modules/etcd3/proto"), join(folder, "proto"), { recursive: true });
  const lock = JSON.parse(await readFile(join(ROOT, "package-lock.json"), "utf8"));
  const installed = async (path: string) =>
    JSON.parse(await readFile(join(ROOT, path, "package.json"), "utf8"));
  const node = relative(ROOT, dirname(dirname(process.execPath)));
  const sbom = await billOfMaterials([...inputs, `${node}/package.json`], lock, installed);
  await writeFile(join(folder, "sbom.cdx.json"), `${JSON.stringify(sbom, null, 2)}\n`);
}

/** By which the agent runs the systemctl of its host (agent/systemd-host.ts); a distroless image has none. */
export const CHROOT = "/usr/sbin/chroot";

async function copyChroot(root: string): Promise<void> {
  await mkdir(join(root, dirname(CHROOT)), { recursive: true });
  await cp(CHROOT, join(root, CHROOT), { dereference: true });
  await chmod(join(root, CHROOT), 0o755);
}

/** The Node.js that runs this, with the one library of its own that a distroless image lacks. */
async function copyNode(root: string): Promise<void> {
  const bin = join(root, "usr/local/bin");
  await mkdir(bin, { recursive: true });
  await cp(process.execPath, join(bin, "node"));
  await chmod(join(bin, "node"), 0o755);
  const { sharedObjects } = process.report.getReport() as { sharedObjects: string[] };
  const library = sharedObjects.find((path) => path.includes("/libatomic.so"));
  if (library === undefined) return;
  const file = await realpath(library);
  // As in /usr/lib/x86_64-linux-gnu, whether or not /lib is a link to /usr/lib.
  const folder = join(root, "usr/lib", basename(dirname(file)));
  await mkdir(folder, { recursive: true });
  await cp(file, join(folder, basename(library)));
}

if (import.meta.main) {
  const { values, positionals } = parseArgs({
    options: { root: { type: "string" } },
    allowPositionals: true,
  });
  const folder = values.root === undefined ? positionals[0] : join(values.root, "usr/lib/slipway");
  if (folder === undefined) throw new Error("usage: node hack/bundle.ts FOLDER, or --root FOLDER");
  await bundleAll(resolve(folder));
  if (values.root !== undefined) {
    await copyNode(resolve(values.root));
    await copyChroot(resolve(values.root));
  }
}
