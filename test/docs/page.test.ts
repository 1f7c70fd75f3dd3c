/** Which command blocks of the pages are run, and by whom. */
import { expect, test } from "vitest";
import { blocksOf, commandBlocks, isRunByCi, PAGES, runnableBlocks } from "./page.ts";

const page = `
\`\`\`sh
one
\`\`\`

says something.

\`\`\`sh
two
\`\`\`

untested: needs a machine; something else does it.

1. In a list:

   \`\`\`sh
   three
     indented
   \`\`\`
   and (untested: needs kind).
`;

test("blocks are found with their lines and marks", () => {
  expect(blocksOf("page", page)).toEqual([
    { page: "page", line: 3, language: "sh", text: "one\n", untested: undefined },
    { page: "page", line: 9, language: "sh", text: "two\n", untested: "a machine" },
    { page: "page", line: 17, language: "sh", text: "three\n  indented\n", untested: "kind" },
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
  const lines = marked.map(({ page: where, line, untested }) => `  ${where}:${line}: needs ${untested}`);
  process.stderr.write(
    `command blocks: ${all.length}; run by a test: ${runnableBlocks().length}, by .ci/run: ${ci.length}, untested: ${marked.length}\n${lines.join("\n")}\n`,
  );
  expect(ci.filter(({ untested }) => untested !== undefined)).toEqual([]);
  expect(runnableBlocks().length).toBeGreaterThan(all.length / 2);
});
