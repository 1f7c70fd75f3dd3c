/**
 * docs/getting-started.md as a reader has it, on a real node: its blocks are run as they stand, from the
 * install to the reboot. Only names of images, and what a machine without systemd needs, differ.
 */
import { execFile } from "node:child_process";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import type { NodeUpdate } from "../../api/node-update.ts";
import { buildScript } from "../../hack/kubectl-plugin/build.ts";
import { waitUntil } from "../../hack/plane/wait.ts";
import { RealCluster } from "../../hack/real/cluster.ts";
import { tools } from "../../hack/tools.ts";
import type { Node, Pod } from "../../runtime/core.ts";
import { blocksOf, ROOT } from "../docs/page.ts";

const PAGE = "docs/getting-started.md";
const NODE = "node-1";
const BLOCK_WITHIN = 6 * 60_000;
const REBOOTED_WITHIN = 4 * 60_000;

/** What differs from a reader's: images that are there, and a host without systemd. */
const VALUES = {
  image: { pullPolicy: "Never" },
  etcd: {
    image: { repository: "slipway.test/etcd", tag: "1", pullPolicy: "Never" },
    command: ["/usr/local/bin/etcd"],
  },
  agent: {
    host: { kind: "hook", hook: "/host/opt/slipway/hook" },
    extraArgs: ["--boot-id=/host/proc/sys/kernel/random/boot_id"],
  },
};

let cluster: RealCluster;
let path: string;
const say = (line: string): void => void process.stderr.write(`${new Date().toISOString()} ${line}\n`);

beforeAll(async () => {
  cluster = await RealCluster.start({ machines: [{ name: NODE, zone: "east" }], onProgress: say });
  const { kubectl, helm } = await tools(["kubectl", "helm"]);
  const bin = join(cluster.directory, "bin");
  mkdirSync(bin, { recursive: true });
  symlinkSync(kubectl, join(bin, "kubectl"));
  const values = join(cluster.directory, "values.json");
  writeFileSync(values, JSON.stringify(VALUES));
  const script = `#!/bin/bash
case $1 in install | upgrade) set -- "$@" --values ${values} ;; esac
exec ${helm} "$@"
`;
  writeFileSync(join(bin, "helm"), script, { mode: 0o755 });
  await buildScript(cluster.directory);
  path = [bin, dirname(process.execPath), "/usr/bin", "/bin"].join(delimiter);
});
afterEach(async ({ task }) => {
  if (task.result?.state !== "fail") return;
  const looks = [
    ["get", "pods", "--all-namespaces", "-o", "wide"],
    ["get", "nodes,nodeupdates", "-o", "yaml"],
    ...["manager", "gateway", "agent"].map((component) => [
      ...["logs", "--namespace", "slipway-system", "--prefix", "--tail=30"],
      ...["-l", `app.kubernetes.io/component=${component}`],
    ]),
  ];
  for (const look of looks) say(await cluster.kubectl(look).catch(String));
});
afterAll(async () => await cluster?.stop());

/** Runs the one block of the page that has `words`, and gives its output. */
async function run(words: string): Promise<string> {
  const found = blocksOf(PAGE).filter(({ language, text }) => language === "sh" && text.includes(words));
  expect(found, `blocks of ${PAGE} with ${words}`).toHaveLength(1);
  const text = (found[0]?.text ?? "")
    .replaceAll("slipway.example.org/slipway", "slipway.test/slipway")
    .replaceAll("image.tag=0.1.0", "image.tag=e2e")
    .replaceAll(" --watch", "")
    .replaceAll(/\bNODE\b/g, NODE);
  say(text.trim());
  const env = { PATH: path, HOME: cluster.directory, KUBECONFIG: cluster.plane.kubeconfig };
  const begin = performance.now();
  return await new Promise((fulfil, reject) => {
    const args = ["--norc", "-eu", "-o", "pipefail", "-c", text];
    execFile("/bin/bash", args, { cwd: ROOT, env, timeout: BLOCK_WITHIN }, (error, stdout, stderr) => {
      say(`${stdout}${stderr}\n${((performance.now() - begin) / 1000).toFixed(1)} s`);
      if (error === null) fulfil(stdout);
      else reject(new Error(`${text}: ${stderr}`));
    });
  });
}

async function get<T>(...args: string[]): Promise<T> {
  return JSON.parse(await cluster.kubectl(["get", ...args, "-o", "json"])) as T;
}

test("it installs, and everything is there", async () => {
  await run("helm install");
  expect(await run("helm test")).toContain("a manager leads");
  expect(await run("slipway doctor")).toContain("no group has taken up a node yet");
});

test("a node in a group is rebooted once it is asked for, and is well again", async () => {
  await run("pool=canary\n");
  const settled = async (): Promise<NodeUpdate | undefined> => {
    const { items } = await get<{ items: NodeUpdate[] }>("nodeupdates");
    return items.find(({ status }) => status?.reason === "NoRebootRequired" && status.grant === undefined);
  };
  await waitUntil(async () => (await settled()) !== undefined, {
    what: "nothing is asked of the node",
    deadline: REBOOTED_WITHIN,
    interval: 500,
  });
  const { status: before } = await get<Node>("node", NODE);
  const [agent] = (
    await get<{ items: Pod[] }>(
      ...["pods", "--namespace", "slipway-system", "-l", "app.kubernetes.io/component=agent"],
    )
  ).items;
  // `touch` is of the node; from here it is the agent's Pod that has the node's file system.
  await cluster.kubectl([
    ...["exec", "--namespace", "slipway-system", agent?.metadata.name ?? "", "--"],
    ...["/usr/local/bin/node", "-e", 'fs.writeFileSync("/host/run/reboot-required", "")'],
  ]);
  const begin = performance.now();
  await waitUntil(
    async () => {
      const { status } = await get<Node>("node", NODE);
      return status?.nodeInfo?.bootID !== before?.nodeInfo?.bootID && (await settled()) !== undefined;
    },
    { what: "the node has rebooted and is well", deadline: REBOOTED_WITHIN, interval: 500 },
  );
  say(`rebooted in ${((performance.now() - begin) / 1000).toFixed(1)} s`);
  expect(await run("slipway why")).toContain(`${NODE} needs nothing: it asks for no reboot.`);
  const { spec } = await get<Node>("node", NODE);
  expect(spec?.unschedulable ?? false).toBe(false);
});
