/**
 * Writes what is generated of the chart: into FOLDER values.yaml, values.schema.json, the templates of FOLDER's
 * crds/ and the table in the README; or, with `--golden`, what `helm template` makes of several values.
 *
 * Usage: node hack/chart/generate.ts FOLDER|--golden
 */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { GOLDEN, GOLDEN_CASES, goldenPath, renderGolden } from "./golden.ts";
import { schemaOf, tableOf, valuesFile } from "./schema.ts";
import { Values } from "./values.ts";

const ROOT = resolve(import.meta.dirname, "../..");
const HEADER = " Generated from hack/chart/values.ts by `npm run generate`: do not edit.";
const [BEGIN, END] = ["<!-- values -->", "<!-- /values -->"];

/** A CRD as a template: the annotation that keeps it at uninstall is in it already; the label is what it is removed by. */
function crdTemplate(crd: string): string {
  const literal = crd
    .replaceAll("{{", '{{ "{{" }}')
    .replace("\nmetadata:\n", "\nmetadata:\n  labels:\n    app.kubernetes.io/part-of: slipway\n")
    .trimEnd();
  return `{{- if .Values.crds.install }}\n${literal}\n{{- end }}\n`;
}

function readme(text: string, rows: readonly string[]): string {
  const [begin, end] = [text.indexOf(BEGIN), text.indexOf(END)];
  if (begin < 0 || end < begin) throw new Error(`charts/slipway/README.md has no ${BEGIN} ... ${END}`);
  const table = ["| value | default | meaning |", "|---|---|---|", ...rows].join("\n");
  return `${text.slice(0, begin)}${BEGIN}\n${table}\n${text.slice(end)}`;
}

const folder = process.argv[2];
if (folder === undefined) throw new Error("usage: node hack/chart/generate.ts FOLDER|--golden");
if (folder === "--golden") await writeGolden();
else writeChart(folder);

function writeChart(folder: string): void {
  const schema = schemaOf(Values);
  write(folder, "charts/slipway/values.yaml", valuesFile(schema, HEADER));
  write(folder, "charts/slipway/values.schema.json", `${JSON.stringify(schema, undefined, 2)}\n`);
  const page = readFileSync(join(ROOT, "charts/slipway/README.md"), "utf8");
  write(folder, "charts/slipway/README.md", readme(page, tableOf(schema)));
  const crds = join(folder, "crds");
  for (const name of readdirSync(crds)) {
    const text = crdTemplate(readFileSync(join(crds, name), "utf8"));
    write(folder, `charts/slipway/templates/crds/${name}`, text);
  }
}

async function writeGolden(): Promise<void> {
  rmSync(join(ROOT, GOLDEN), { recursive: true, force: true });
  for (const golden of GOLDEN_CASES) write(ROOT, goldenPath(golden), await renderGolden(golden));
}

function write(folder: string, path: string, text: string): void {
  const file = join(folder, path);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, text);
}
