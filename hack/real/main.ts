/**
 * Three real nodes, until Ctrl-C: `node hack/bootstrap.mjs hack/real/main.ts [IMAGE-FILE...]`, as
 * root. Image files are what `npm run image` writes. In a box (see box.ts) that is there already it
 * starts the nodes in that.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { BOX_VARIABLE, Box, boxFacts } from "./box.ts";
import { RealCluster } from "./cluster.ts";
import { harnessImages } from "./images.ts";

const NODES = [
  { name: "node-1", zone: "east" },
  { name: "node-2", zone: "north" },
  { name: "node-3", zone: "west" },
];

const begin = performance.now();
const onProgress = (line: string): void => {
  process.stdout.write(`${((performance.now() - begin) / 1000).toFixed(1).padStart(5)} s  ${line}\n`);
};

if (process.env[BOX_VARIABLE] === undefined) await outside();
else await inside();

async function outside(): Promise<void> {
  const images = [...(await harnessImages(onProgress)), ...process.argv.slice(2)];
  const box = await Box.start({ images, onProgress });
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => void box.stop());
  try {
    process.exitCode = await box.run(process.execPath, [import.meta.filename]);
  } finally {
    await box.stop();
  }
}

async function inside(): Promise<void> {
  const cluster = await RealCluster.start({ machines: NODES, onProgress });
  process.stdout.write(`\n${await cluster.kubectl(["get", "nodes", "-o", "wide"])}\n`);
  process.stdout.write(`In the box (nsenter -n -m -p -t INNER): KUBECONFIG=${cluster.plane.kubeconfig}\n`);
  writeFileSync(join(boxFacts().directory, "cluster-ready"), "");
  await new Promise((resolve) => {
    for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, resolve);
  });
  await cluster.stop();
  process.exit(0);
}
