/**
 * Bundles the program: one file for all roles, and one for the agent alone, which must stay
 * small. etcd3 reads its .proto files beside itself at run time, so they are laid where the
 * bundle's `__dirname/../proto` points.
 *
 * Usage: node hack/bundle.ts FOLDER; or --root FOLDER for all that an image has beside its base.
 */
import { existsSync } from "node:fs";
import { chmod, cp, mkdir, readFile, realpath, writeFile } from "node:fs/promises";
import { basename, dirname, join, relative, resolve } from "node:path";
import { parseArgs } from "node:util";
import { build } from "esbuild";
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
  const entryPoints = [join(ROOT, "agent/main.ts")];
  const { metafile } = await build({ ...COMMON, entryPoints, outfile, format: "cjs" });
  return Object.keys(metafile.inputs);
}

/** An entry as one module; gives the files that went into it. */
async function bundleModule(entry: string, outfile: string): Promise<string[]> {
  const banner = { js: COMMONJS };
  const { metafile } = await build({ ...COMMON, entryPoints: [entry], outfile, format: "esm", banner });
  return Object.keys(metafile.inputs);
}

async function bundleAll(folder: string): Promise<void> {
  const bin = join(folder, "bin");
  await mkdir(bin, { recursive: true });
  const inputs = [
    ...(await bundleModule(join(ROOT, "main.ts"), join(bin, "slipway.mjs"))),
    ...(await bundleAgent(join(bin, "agent.cjs"))),
  ];
  const plugin = join(ROOT, "cli/main.ts");
  if (existsSync(plugin)) inputs.push(...(await bundleModule(plugin, join(bin, "kubectl-slipway.mjs"))));
  await cp(join(ROOT, "node_modules/etcd3/proto"), join(folder, "proto"), { recursive: true });
  const lock = JSON.parse(await readFile(join(ROOT, "package-lock.json"), "utf8"));
  const installed = async (path: string) =>
    JSON.parse(await readFile(join(ROOT, path, "package.json"), "utf8"));
  const node = relative(ROOT, dirname(dirname(process.execPath)));
  const sbom = await billOfMaterials([...inputs, `${node}/package.json`], lock, installed);
  await writeFile(join(folder, "sbom.cdx.json"), `${JSON.stringify(sbom, null, 2)}\n`);
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
  if (values.root !== undefined) await copyNode(resolve(values.root));
}
