/**
 * Builds the kubectl plugin into a folder: bin/kubectl-slipway (a script for any Node.js of the
 * fitting version), bin/kubectl_complete-slipway, and with --sea the single-file executable for
 * this platform, its archive, and the krew manifest that names it.
 *
 * Usage: node hack/kubectl-plugin/main.ts [--sea] [FOLDER]
 */
import { resolve } from "node:path";
import { parseArgs } from "node:util";
import { buildExecutable, buildScript } from "./build.ts";

const { values, positionals } = parseArgs({
  options: { sea: { type: "boolean" } },
  allowPositionals: true,
});
const folder = resolve(positionals[0] ?? "dist");
for (const file of await buildScript(folder)) process.stdout.write(`${file}\n`);
if (values.sea === true) for (const file of await buildExecutable(folder)) process.stdout.write(`${file}\n`);
