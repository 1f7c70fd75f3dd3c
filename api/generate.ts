/** Writes crds/ and docs/reference/ from the kinds and the catalogue of reasons. Usage: node api/generate.ts [FOLDER] */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { stringify } from "yaml";
import { crd } from "./crd.ts";
import { kinds } from "./kinds.ts";
import { kindPage, reasonsPage } from "./reference.ts";

const root = process.argv[2] ?? ".";

async function write(path: string, text: string): Promise<void> {
  await mkdir(join(root, path, ".."), { recursive: true });
  await writeFile(join(root, path), text);
}

const HEADER = "# Generated from api/ by `npm run generate`: do not edit.\n";

for (const kind of kinds) {
  await write(
    `crds/${kind.plural}.yaml`,
    // kubectl reads YAML 1.1, in which a bare `Off` is false.
    HEADER + stringify(crd(kind), { version: "1.1", lineWidth: 0, aliasDuplicateObjects: false }),
  );
  await write(`docs/reference/${kind.singular}.md`, kindPage(kind));
}
await write("docs/reference/reasons.md", reasonsPage());
