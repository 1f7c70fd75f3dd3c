/**
 * `npm run e2e [-- FILTER...]`: builds the image, and runs the tests on real nodes. Needs root.
 * The last line is `N passed, N failed`. With RECORD=1 memory and times go to bench/e2e.json.
 */

import { join } from "node:path";
import { buildImage } from "../../hack/image/build.ts";
import { runProjects, VITEST } from "../../hack/projects.ts";
import { Box } from "../../hack/real/box.ts";
import { harnessImages } from "../../hack/real/images.ts";
import { cacheDirectory, ToolError } from "../../hack/tools/cache.ts";
import { SLIPWAY_IMAGE } from "./installation.ts";

const filters = process.argv.slice(2);
const onProgress = (line: string): void => void process.stderr.write(`slipway: ${line}\n`);

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
  const images = [...(await harnessImages(onProgress)), await slipwayImage()];
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

/** The Dockerfile's image, in a file. */
async function slipwayImage(): Promise<string> {
  const output = join(cacheDirectory(process.env), "archives", "slipway-e2e.tar");
  await buildImage({ tag: SLIPWAY_IMAGE, output, pull: false, onProgress });
  return output;
}
