/** Writes docs/reference/cli.md. Usage: node cli/generate.ts [FOLDER] */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pluginProgram } from "./program.ts";
import { cliPage } from "./reference.ts";
import { systemIo } from "./system-io.ts";

const folder = join(process.argv[2] ?? ".", "docs/reference");
mkdirSync(folder, { recursive: true });
writeFileSync(
  join(folder, "cli.md"),
  cliPage(
    pluginProgram(systemIo(new AbortController().signal)),
    "0 done; 1 an error, whose cause and remedy stand on standard error, or, from `doctor` and `rollout status --wait`, something that is wrong.",
  ),
);
