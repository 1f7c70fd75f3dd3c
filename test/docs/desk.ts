/**
 * A place where the pages' commands are run as they stand: a control plane without nodes of flesh, an
 * etcd, a folder that looks like a clone, and on the PATH what a reader has there. Of a page's words only
 * names of objects and addresses are replaced.
 */
import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import type { Coordination } from "../../coordination/coordination.ts";
import { createCoordination } from "../../coordination/create.ts";
import { connectEtcd } from "../../coordination/etcd3-port.ts";
import { hashJoinToken } from "../../gateway/agents/join.ts";
import { Service } from "../../hack/cluster/service.ts";
import { buildScript } from "../../hack/kubectl-plugin/build.ts";
import { type EtcdCluster, startEtcd } from "../../hack/plane/etcd.ts";
import { type Plane, startPlane } from "../../hack/plane/plane.ts";
import { freePorts } from "../../hack/plane/ports.ts";
import { waitUntil } from "../../hack/plane/wait.ts";
import { tools } from "../../hack/tools.ts";
import { systemClock } from "../../ports/clock.ts";
import { silentLogger } from "../../ports/log.ts";
import { systemRandom } from "../../ports/random.ts";
import { ROOT } from "./page.ts";
import { filled, MACHINE } from "./stand-ins.ts";

const DEADLINE = 100_000;

export interface Ran {
  code: number;
  output: string;
}

export class Desk {
  readonly plane: Plane;
  readonly etcd: EtcdCluster;
  readonly folder: string;
  readonly #path: string;
  #manager: Service | undefined;

  private constructor(plane: Plane, etcd: EtcdCluster, folder: string, path: string) {
    this.plane = plane;
    this.etcd = etcd;
    this.folder = folder;
    this.#path = path;
  }

  static async start(): Promise<Desk> {
    const programs = await tools(["kubectl", "helm", "etcdctl"]);
    const [plane, etcd] = await Promise.all([startPlane({ components: [] }), startEtcd()]);
    const folder = mkdtempSync(join(tmpdir(), "slipway-desk-"));
    const bin = join(folder, ".bin");
    mkdirSync(bin);
    for (const name of ["charts", "docs", "crds"]) symlinkSync(join(ROOT, name), join(folder, name));
    for (const name of ["kubectl", "etcdctl"] as const) symlinkSync(programs[name], join(bin, name));
    writeFileSync(join(folder, "harbor.squashfs"), Buffer.alloc(64 * 1024, "harbor"));
    const script = (name: string, ...lines: string[]): void =>
      writeFileSync(join(bin, name), `#!/bin/bash\n${lines.join("\n")}\n`, { mode: 0o755 });
    const main = `exec ${process.execPath} ${join(ROOT, "main.ts")}`;
    script("slipway", `${main} "$@"`);
    script("npm", `[ "$1 $2 $3" = "run slipway --" ] || exit 64`, `${main} "\${@:4}"`);
    // Nothing becomes ready without kubelets, and no hook ends.
    script(
      "helm",
      `args=(); for arg in "$@"; do [ "$arg" = --wait ] || args+=("$arg"); done`,
      `exec ${programs.helm} "\${args[@]}" --no-hooks`,
    );
    await buildScript(folder);
    const path = [bin, join(folder, "bin"), dirname(process.execPath), "/usr/bin", "/bin"];
    return new Desk(plane, etcd, folder, path.join(delimiter));
  }

  async stop(): Promise<void> {
    await this.#manager?.stop();
    await Promise.all([this.plane.stop(), this.etcd.stop()]);
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** Starts a manager; it ends with the desk. */
  async manage(): Promise<void> {
    const [port] = await freePorts(1);
    const address = `127.0.0.1:${port}`;
    this.#manager = new Service("manager", this.folder, address, [
      ...["manager", "--kubeconfig", this.plane.kubeconfig, "--etcd", this.etcd.endpoints.join()],
      ...["--metrics", address, "--leader-elect-namespace", "slipway-system"],
    ]);
    await this.#manager.start();
    await this.#manager.ready();
  }

  /** Lets the machine ID join, as an agent would. */
  async join(): Promise<void> {
    const create = "slipway join-token create --group GROUP --etcd https://etcd-0.example.org:2379";
    const { output } = await this.run(create);
    const [token = ""] = output.split("\n", 1);
    await this.#coordinate(async (coordination) => {
      const joined = await coordination.spendJoinToken(hashJoinToken(token), MACHINE);
      if (joined === undefined) throw new Error(`no join token was made: ${output}`);
    });
  }

  /** Lets locksmithd on a Node ask for its reboot, as a gateway is asked, until the manager gives it a slot. */
  async nodeAsks(name: string, group: string): Promise<void> {
    const uid = await this.plane.kubectl(["get", "node", name, "-o", "jsonpath={.metadata.uid}"]);
    await this.#coordinate(async (coordination) => {
      await coordination.requestReboot({ uid, name, group, protocol: "Locksmith" });
      const phase = ["get", "nodeupdate", name, "-o", "jsonpath={.status.grant.phase}"];
      await waitUntil(async () => (await this.plane.kubectl(phase)) !== "", {
        what: `${name} holds a slot`,
        deadline: DEADLINE,
        interval: 200,
      });
    });
  }

  async #coordinate(work: (coordination: Coordination) => Promise<void>): Promise<void> {
    const ports = { clock: systemClock, random: systemRandom };
    const etcd = connectEtcd({ endpoints: this.etcd.endpoints, ...ports });
    try {
      await work(createCoordination({ etcd, ...ports, log: silentLogger }));
    } finally {
      await etcd.close();
    }
  }

  /** A block of a page, in one shell that ends at the first failure. */
  run(text: string): Promise<Ran> {
    const [endpoint = ""] = this.etcd.endpoints;
    const script = filled(text).replaceAll("https://etcd-0.example.org:2379", endpoint);
    const env = {
      HOME: this.folder,
      PATH: this.#path,
      KUBECONFIG: this.plane.kubeconfig,
      ETCDCTL_ENDPOINTS: endpoint,
    };
    return new Promise((fulfil) => {
      const args = ["--norc", "-eu", "-o", "pipefail", "-c", script];
      execFile("/bin/bash", args, { cwd: this.folder, env, timeout: DEADLINE }, (error, stdout, stderr) => {
        const code = error === null ? 0 : typeof error.code === "number" ? error.code : -1;
        fulfil({ code, output: `${stdout}${stderr}` });
      });
    });
  }
}
