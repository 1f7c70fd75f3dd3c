/** The last etcd with a v2 API, from Debian, as the other side of comparisons. */
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { temporaryDirectory } from "../../hack/plane/plane.ts";
import { freePorts, isPortTaken } from "../../hack/plane/ports.ts";
import { Child, removeAtExit } from "../../hack/plane/process.ts";
import { waitUntil } from "../../hack/plane/wait.ts";
import { tool } from "../../hack/tools.ts";
import { send } from "./served.ts";

export interface OldEtcd {
  port: number;
  /** Index of its store now: its own membership has written some. */
  index(): Promise<number>;
  stop(): Promise<void>;
}

const READY_WITHIN = 30_000;
const PORT_ATTEMPTS = 5;

export async function startOldEtcd(): Promise<OldEtcd> {
  const command = await tool("etcd-3.4");
  for (let attempt = 1; ; attempt++) {
    try {
      return await start(command);
    } catch (error) {
      if (attempt >= PORT_ATTEMPTS || !isPortTaken(String(error))) throw error;
    }
  }
}

async function start(command: string): Promise<OldEtcd> {
  const directory = temporaryDirectory("etcd-3.4");
  const cleanup = removeAtExit(directory);
  const [port = 0, peer = 0] = await freePorts(2);
  const [client, peers] = [`http://127.0.0.1:${port}`, `http://127.0.0.1:${peer}`];
  mkdirSync(join(directory, "data"), { mode: 0o700 });
  const child = await Child.start({
    ...{ name: "etcd 3.4", command, logFile: join(directory, "log"), env: { PATH: process.env.PATH } },
    args: [
      ...["--enable-v2", "--name=old", `--data-dir=${join(directory, "data")}`],
      ...[
        `--listen-client-urls=${client}`,
        `--advertise-client-urls=${client}`,
        `--listen-peer-urls=${peers}`,
      ],
      ...[`--initial-advertise-peer-urls=${peers}`, `--initial-cluster=old=${peers}`],
    ],
  });
  const index = async (): Promise<number> => {
    const { headers } = await send(port, { path: "/v2/keys/" });
    return Number(headers["x-etcd-index"]);
  };
  // The cluster's version is the last thing that it writes by itself.
  await waitUntil(async () => (await send(port, { path: "/version" })).body.includes('"etcdcluster":"3.4.'), {
    ...{ what: "etcd 3.4 has a cluster version", deadline: READY_WITHIN, hopeless: () => child.obituary() },
  });
  return {
    port,
    index,
    stop: async () => {
      await child.kill();
      cleanup.forget();
      rmSync(directory, { recursive: true, force: true, maxRetries: 3 });
    },
  };
}
