/** Writes docs/reference/openapi.json. Usage: node console/generate.ts FOLDER */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { openApi } from "./openapi.ts";

const [root] = process.argv.slice(2);
if (root === undefined) throw new Error("usage: node console/generate.ts FOLDER");
writeFileSync(join(root, "docs/reference/openapi.json"), `${JSON.stringify(openApi(), undefined, 2)}\n`);
