/**
 * Makes the page's files out of console/page: `index.html`, and beside it scripts, styles and an icon whose names hold
 * their hashes. Nothing of it is checked in: the image build and the tests make it.
 */
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { build } from "esbuild";

const PAGE = join(import.meta.dirname, "page");

export interface ConsoleFiles {
  /** By path: "index.html", "app-HASH.js", ... */
  files: ReadonlyMap<string, Uint8Array>;
  /** What went into them, relative to the repository. */
  inputs: readonly string[];
}

export async function buildConsole(): Promise<ConsoleFiles> {
  const { outputFiles, metafile } = await build({
    absWorkingDir: join(PAGE, "../.."),
    entryPoints: { app: join(PAGE, "main.tsx"), style: join(PAGE, "style/page.css") },
    outdir: PAGE,
    entryNames: "[name]-[hash]",
    bundle: true,
    minify: true,
    write: false,
    metafile: true,
    format: "esm",
    target: ["chrome120", "firefox121", "safari17.2"],
    jsx: "automatic",
    jsxImportSource: "preact",
    legalComments: "none",
    logLevel: "error",
  });
  const files = new Map<string, Uint8Array>();
  for (const { path, contents } of outputFiles) files.set(path.slice(PAGE.length + 1), contents);
  const icon = await readFile(join(PAGE, "icon.svg"));
  const iconName = `icon-${createHash("sha256").update(icon).digest("hex").slice(0, 8)}.svg`;
  files.set(iconName, icon);
  const script = nameOf(files, ".js");
  const style = nameOf(files, ".css");
  files.set("index.html", Buffer.from(document({ script, style, icon: iconName })));
  return { files, inputs: Object.keys(metafile.inputs) };
}

function nameOf(files: ReadonlyMap<string, Uint8Array>, ending: string): string {
  const found = [...files.keys()].find((path) => path.endsWith(ending));
  if (found === undefined) throw new Error(`the console's page has no ${ending}`);
  return found;
}

/** Without a line of script or style: the page's policy forbids both. */
function document({ script, style, icon }: { script: string; style: string; icon: string }): string {
  return [
    "<!doctype html>",
    '<html lang="en">',
    "<head>",
    '<meta charset="utf-8">',
    "<title>Slipway</title>",
    '<meta name="viewport" content="width=device-width, initial-scale=1">',
    '<meta name="color-scheme" content="light dark">',
    `<link rel="icon" href="${icon}" type="image/svg+xml">`,
    `<link rel="stylesheet" href="${style}">`,
    `<script type="module" src="${script}"></script>`,
    "</head>",
    '<body><div id="app"><noscript>This page needs JavaScript; <code>kubectl get ug,nu</code> shows the same.</noscript></div></body>',
    "</html>",
    "",
  ].join("\n");
}
