/** Which command blocks of the pages are run, and by whom. */
import { describe, expect, test } from "vitest";
import { inlineCommands, namedInline } from "./command.ts";
import { blocksOf, commandBlocks, e2eBlocks, isRunByCi, MIGRATIONS, PAGES, runnableBlocks } from "./page.ts";

const page = `
\`\`\`sh
one
\`\`\`

says something.

\`\`\`sh
two
\`\`\`

untested: needs a machine; something else does it.

\`\`\`sh
four
\`\`\`
<!-- run: e2e -->

1. In a list:

   \`\`\`sh
   three
     indented
   \`\`\`
   and (untested: needs kind).
`;

test("blocks are found with their lines and marks", () => {
  const found = blocksOf("page", page).map(({ line, text, untested, e2e }) => [line, text, untested, e2e]);
  expect(found).toEqual([
    [3, "one\n", undefined, false],
    [9, "two\n", "a machine", false],
    [15, "four\n", undefined, true],
    [22, "three\n  indented\n", "kind", false],
  ]);
});

test("a block without a language is a drawing, and holds no commands", () => {
  const drawings = PAGES.flatMap((name) => blocksOf(name)).filter(({ language }) => language === "");
  const commands = drawings.filter(({ text }) =>
    /^(?:\$ )?(?:kubectl|helm|npm|node|slipway|etcdctl|ctr|docker|kind) /m.test(text),
  );
  expect(commands.map(({ page: where, line }) => `${where}:${line}`)).toEqual([]);
});

test("every command block is run, or says what it needs that no test has", () => {
  const all = commandBlocks();
  const marked = all.filter(({ untested }) => untested !== undefined);
  const ci = all.filter(isRunByCi);
  const e2e = all.filter((block) => block.e2e);
  const lines = marked.map(({ page: where, line, untested }) => `  ${where}:${line}: needs ${untested}`);
  process.stderr.write(
    `command blocks: ${all.length}; run by a test: ${runnableBlocks().length}, by .ci/run: ${ci.length}, on a real node: ${e2e.length}, untested: ${marked.length}\n${lines.join("\n")}\n`,
  );
  const really = e2eBlocks().map(({ text }) => text);
  expect(e2e.filter(({ text }) => !really.includes(text))).toEqual([]);
  expect(ci.filter(({ untested }) => untested !== undefined)).toEqual([]);
  expect(runnableBlocks().length).toBeGreaterThan(all.length / 2);
});

describe("of pages for people who come from another server", () => {
  /** What belongs to it, or to a machine: no test has one. */
  const FOREIGN = /^(?:updateservicectl|locksmithctl|airlock) /;
  /** Run by docs.real.test.ts; or a verb's name alone; or what asks for an editor. */
  const RUN = /^(?:kubectl (?:get|describe|patch|annotate) .+|kubectl apply(?: -f)?|kubectl edit secret)$/;

  test.each(MIGRATIONS)("a block of %s is left out only for what a foreign client does", (page) => {
    const left = blocksOf(page).filter(
      ({ language, untested }) => language === "sh" && untested !== undefined,
    );
    const lines = left.flatMap(({ text }) =>
      text
        .trim()
        .replaceAll(/\\\n\s*/g, "")
        .split("\n"),
    );
    expect(lines.filter((line) => !FOREIGN.test(line) && !line.startsWith("export "))).toEqual([]);
    expect(blocksOf(page).filter(({ e2e }) => e2e)).toEqual([]);
  });

  test.each(MIGRATIONS)("what %s says in a line is whole, so it can be run", (page) => {
    const ours = namedInline(page);
    expect(ours.filter(({ program }) => program === "slipway")).toEqual([]);
    const whole = new Set(ours.map(({ text }) => text));
    const others = inlineCommands(page).filter((command) =>
      /^(?:kubectl|helm|slipway|npm|node|curl) /.test(command),
    );
    expect(others.filter((command) => !whole.has(command) && !RUN.test(command))).toEqual([]);
  });
});
