/**
 * Bundles the program: one file for all roles, one for the agent alone, which must stay small,
 * and one for the kubectl plugin. etcd3 reads its .proto files beside itself at run time, so they are laid where the
 * bundle's `__dirname/../proto` points.
 *
 * Usage: node hack/bundle.ts FOLDER
 */
import { cp, mkdir } from "node:fs/promises";
import { join, resolve } from "node:path";
import { build } from "esbuild";

const ROOT = resolve(import.meta.dirname, "..");

/** What CommonJS packages expect of their surroundings, for an ES module. */
const COMMONJS = [
  'import { createRequire as __createRequire } from "node:module";',
  "const require = __createRequire(import.meta.url);",
  "const __dirname = import.meta.dirname;",
  "const __filename = import.meta.filename;",
].join("\n");

/** The agent as one CommonJS file. */
export async function bundleAgent(outfile: string): Promise<void> {
  await build({
    entryPoints: [join(ROOT, "agent/main.ts")],
    outfile,
    bundle: true,
    platform: "node",
    target: "node26",
    format: "cjs",
    minify: true,
    legalComments: "none",
    logLevel: "error",
  });
}

/** The kubectl plugin as one file, that a Node.js starts. */
export async function bundlePlugin(outfile: string, format: "esm" | "cjs"): Promise<void> {
  await build({
    entryPoints: [join(ROOT, "cli/main.ts")],
    outfile,
    bundle: true,
    platform: "node",
    target: "node26",
    format,
    minify: true,
    legalComments: "none",
    logLevel: "error",
    ...(format === "esm" ? { banner: { js: COMMONJS } } : {}),
  });
}

async function bundleAll(folder: string): Promise<void> {
  await mkdir(join(folder, "bin"), { recursive: true });
  await build({
    entryPoints: [join(ROOT, "main.ts")],
    outfile: join(folder, "bin/slipway.mjs"),
    bundle: true,
    platform: "node",
    target: "node26",
    format: "esm",
    minify: true,
    legalComments: "none",
    logLevel: "error",
    banner: { js: COMMONJS },
  });
  await bundleAgent(join(folder, "bin/agent.cjs"));
  await bundlePlugin(join(folder, "bin/kubectl-slipway.mjs"), "esm");
  await cp(join(ROOT, "node_modules/etcd3/proto"), join(folder, "proto"), { recursive: true });
}

if (import.meta.main) {
  const folder = process.argv[2];
  if (folder === undefined) throw new Error("usage: node hack/bundle.ts FOLDER");
  await bundleAll(resolve(folder));
}
