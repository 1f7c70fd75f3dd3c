/**
 * `npm run e2e [-- FILTER...]`: the tests on real nodes. Needs root. The last line is
 * `N passed, N failed`.
 */

import { runProjects, VITEST } from "../../hack/projects.ts";
import { Box } from "../../hack/real/box.ts";
import { harnessImages } from "../../hack/real/images.ts";
import { ToolError } from "../../hack/tools/cache.ts";

const filters = process.argv.slice(2);
const onProgress = (line: string): void => void process.stderr.write(`slipway: ${line}\n`);

try {
  process.exitCode = await run();
} catch (error) {
  if (!(error instanceof ToolError)) throw error;
  process.stderr.write(`slipway: ${error.message}\n0 passed, 1 failed\n`);
  process.exitCode = 1;
}

async function run(): Promise<number> {
  const images = await harnessImages(onProgress);
  const box = await Box.start({ images, onProgress });
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => void box.stop());
  try {
    const inBox = (args: readonly string[]): Promise<number> => box.run(process.execPath, [VITEST, ...args]);
    const { lines, passed, failed } = await runProjects(["e2e"], filters, inBox);
    for (const line of lines) process.stdout.write(`${line}\n`);
    process.stdout.write(`${passed} passed, ${failed} failed\n`);
    return failed === 0 ? 0 : 1;
  } finally {
    await box.stop();
  }
}
