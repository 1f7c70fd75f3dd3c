/**
 * `npm run image [-- --tag NAME --output FILE --pull]`: builds the Dockerfile without a Docker
 * daemon, and writes the image into a file that `docker load`, `ctr images import` and
 * `podman load` read. Needs root. With --pull the base images come from their registries.
 */
import { resolve } from "node:path";
import { parseArgs } from "node:util";
import { ToolError } from "../tools/cache.ts";
import { buildImage } from "./build.ts";

const { values } = parseArgs({
  options: {
    tag: { type: "string", default: "slipway.test/slipway:dev" },
    output: { type: "string", default: "dist/slipway-image.tar" },
    pull: { type: "boolean", default: false },
  },
});

try {
  const { tag, output, pull } = values;
  const onProgress = (line: string): void => void process.stderr.write(`slipway: ${line}\n`);
  const image = await buildImage({ tag, output: resolve(output), pull, onProgress });
  process.stdout.write(`${tag} ${image.id}: ${(image.bytes / 2 ** 20).toFixed(1)} MiB in ${output}\n`);
} catch (error) {
  if (!(error instanceof ToolError)) throw error;
  process.stderr.write(`slipway: ${error.message}\n`);
  process.exitCode = 1;
}
