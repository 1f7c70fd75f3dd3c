/**
 * `npm run e2e [-- FILTER...]`: builds the image, and runs the tests on real nodes. Needs root.
 * The last line is `N passed, N failed`. With RECORD=1 memory and times go to bench/e2e.json.
 */
import { runProjects, VITEST } from "../../hack/projects.ts";
import { withEquippedBox } from "../../hack/real/equipped-box.ts";
import { ToolError } from "../../hack/tools/cache.ts";

const filters = process.argv.slice(2);
const begin = performance.now();
const seconds = (): number => Math.round((performance.now() - begin) / 1000);
const onProgress = (line: string): void => void process.stderr.write(`slipway: ${seconds()} s: ${line}\n`);

try {
  process.exitCode = await run();
} catch (error) {
  if (!(error instanceof ToolError)) throw error;
  // Where it is not a part of what must hold, a machine that can't do it is no failed test.
  const failed = process.env["CI"] === "true" && process.getuid?.() === 0 ? 1 : 0;
  process.stderr.write(`slipway: ${error.message}\n`);
  process.stdout.write(`0 passed, ${failed} failed\n`);
  process.exitCode = 1;
}

async function run(): Promise<number> {
  let summary = { passed: 0, failed: 0, lines: [] as string[] };
  await withEquippedBox({ tools: ["helm", "prometheus"], onProgress }, async (box) => {
    onProgress("the box is there");
    const inBox = (args: readonly string[]): Promise<number> => box.run(process.execPath, [VITEST, ...args]);
    summary = await runProjects(["e2e"], filters, inBox, "verbose");
    onProgress("the tests are done");
  });
  const { lines, passed, failed } = summary;
  for (const line of lines) process.stdout.write(`${line}\n`);
  process.stdout.write(`${passed} passed, ${failed} failed\n`);
  return failed === 0 ? 0 : 1;
}
