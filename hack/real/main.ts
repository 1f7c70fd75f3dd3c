/**
 * Three real nodes, until Ctrl-C: `node hack/bootstrap.mjs hack/real/main.ts [IMAGE-FILE...]`, as
 * root. Image files are what `npm run image` writes. In a box (see box.ts) that is there already it
 * starts the nodes in that.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { tools } from "../tools.ts";
import { BOX_VARIABLE, Box, boxFacts } from "./box.ts";
import { RealCluster } from "./cluster.ts";
import { harnessImages } from "./images.ts";
import { NODE_VALUES } from "./installation.ts";

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
  const box = await Box.start({ images, tools: ["helm"], onProgress });
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
  writeFileSync(join(boxFacts().directory, "cluster-ready"), "");
  process.stdout.write(await howToLook(cluster));
  await new Promise((resolve) => {
    for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, resolve);
  });
  await cluster.stop();
  process.exit(0);
}

/** Lines for a shell of root outside of the box. */
async function howToLook({ directory, plane }: RealCluster): Promise<string> {
  const facts = boxFacts();
  const pid = readFileSync(join(facts.directory, "inner.pid"), "utf8").trim();
  const { kubectl, helm } = await tools(["kubectl", "helm"]);
  const path = [...new Set([kubectl, helm, process.execPath].map((program) => dirname(program)))].join(":");
  const values = join(directory, "values.json");
  writeFileSync(values, JSON.stringify(NODE_VALUES, undefined, 2));
  const box = `nsenter -t ${pid} -n -m -p`;
  // Each boot has other processes: those of the node's cgroup are looked for when the line is run.
  const shells = NODES.map(({ name }) => {
    const first = `$(head -n 1 /sys/fs/cgroup/pids/${facts.cgroup}/${name}/cgroup.procs)`;
    return `${name}: ${box} -- sh -c 'nsenter -t ${first} -n -m -u -i -- sh'\n`;
  });
  return `
A shell in the box, with kubectl, helm and this folder:
${box} --wd=${process.cwd()} -- env PATH="${path}:$PATH" KUBECONFIG=${plane.kubeconfig} bash
A shell on a node:
${shells.join("")}What helm install must be told of these nodes, beside the name of an image that you gave: --values ${values}
`;
}
