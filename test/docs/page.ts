/** The pages for people, and the command blocks in them. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

export const ROOT = join(import.meta.dirname, "../..");

/** Pages that people wrote; those of docs/reference/ are generated. */
export const PAGES: readonly string[] = [
  "README.md",
  "CONTRIBUTING.md",
  "charts/slipway/README.md",
  ...["docs", "docs/runbooks"].flatMap((folder) =>
    readdirSync(join(ROOT, folder))
      .filter((file) => file.endsWith(".md"))
      .map((file) => `${folder}/${file}`),
  ),
];

/** For people who come from another server: each of their commands is run, beside a manager, or needs a client of that server. */
export const MIGRATIONS: readonly string[] = [
  "docs/coreupdate.md",
  "docs/migration-airlock.md",
  "docs/migration-locksmith.md",
  "docs/migration-nebraska.md",
];

export function textOf(page: string): string {
  return readFileSync(join(ROOT, page), "utf8");
}

/** A fenced block of a page. */
export interface Block {
  page: string;
  /** Of its first line. */
  line: number;
  /** What stands after the fence: `sh`, `yaml`, or nothing. */
  language: string;
  text: string;
  /** What it needs that no test has; undefined where it is run. */
  untested: string | undefined;
  /** Whether it says that the test on a real node runs it. */
  e2e: boolean;
}

/** In the paragraph that follows a block. */
const MARK = /untested: needs ([^;.)]+)/;

export function blocksOf(page: string, content = textOf(page)): Block[] {
  return [...content.matchAll(/^( *)```(\w*)\n([\s\S]*?)^\1```$/gm)].map((match) => {
    const [whole, indent = "", language = "", text = ""] = match;
    const after = content.slice(match.index + whole.length).trimStart();
    const [paragraph = ""] = after.split(/\n\s*\n|\n *```/, 1);
    return {
      page,
      line: content.slice(0, match.index).split("\n").length + 1,
      language,
      text: text.replaceAll(new RegExp(`^${indent}`, "gm"), ""),
      untested: MARK.exec(paragraph)?.[1],
      e2e: paragraph.startsWith("<!-- run: e2e -->"),
    };
  });
}

/** Blocks of shell commands of all pages. */
export function commandBlocks(): Block[] {
  return PAGES.flatMap((page) => blocksOf(page)).filter(({ language }) => language === "sh");
}

/** Whether `.ci/run` runs each line of it as it is. */
export function isRunByCi({ text }: Block): boolean {
  const ci = textOf(".ci/run");
  return text
    .trim()
    .split("\n")
    .every((line) => new RegExp(` ${line}$`, "m").test(ci));
}

/** The blocks of docs/getting-started.md that pages.e2e.test.ts runs: each by words that no other has. */
export function e2eBlocks(): Block[] {
  const words = [...textOf("test/e2e/pages.e2e.test.ts").matchAll(/ run\("([^"]+)"\)/g)];
  const blocks = blocksOf("docs/getting-started.md").filter(({ language }) => language === "sh");
  return words.flatMap(([, word = ""]) =>
    blocks.filter(({ text }) => text.includes(word.replaceAll("\\n", "\n"))),
  );
}

/** What blocks.real.test.ts runs. */
export function runnableBlocks(): Block[] {
  return commandBlocks().filter((block) => block.untested === undefined && !block.e2e && !isRunByCi(block));
}
