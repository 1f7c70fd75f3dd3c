/**
 * A place where the pages' commands are run as they stand: a control plane without nodes of flesh, an
 * etcd, a folder that looks like a clone, and on the PATH what a reader has there. Of a page's words only
 * names of objects and addresses are replaced.
 */
import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { createCoordination } from "../../coordination/create.ts";
import { connectEtcd } from "../../coordination/etcd3-port.ts";
import { hashJoinToken } from "../../gateway/agents/join.ts";
import { buildScript } from "../../hack/kubectl-plugin/build.ts";
import { type EtcdCluster, startEtcd } from "../../hack/plane/etcd.ts";
import { type Plane, startPlane } from "../../hack/plane/plane.ts";
import { tools } from "../../hack/tools.ts";
import { systemClock } from "../../ports/clock.ts";
import { silentLogger } from "../../ports/log.ts";
import { systemRandom } from "../../ports/random.ts";
import { ROOT } from "./page.ts";

const DEADLINE = 100_000;

export interface Ran {
  code: number;
  output: string;
}

/** Of a plain machine. */
const MACHINE = "0123456789abcdef0123456789abcdef";

/** What stands for something in a page -> what there is here. The first that fits counts. */
const WORDS: readonly [RegExp, string][] = [
  [/ --watch\b/g, ""],
  [/ --etcd-(?:ca|cert|key) \S+/g, ""],
  [/\bKEY=VALUE\b/g, "rack=r1"],
  [/\bNODE\b/g, "docs-node"],
  [/\bGROUP\b/g, "docs-group"],
  [/\bCHANNEL\b/g, "docs-channel"],
  [/\bRELEASE\b/g, "docs-1.0.0"],
  [/\bIMAGE\b/g, "harbor.squashfs"],
  [/\bDIRECTORY\b/g, "out/docs"],
  [/\bURL\b/g, "https://images.example.org/docs"],
  [/\bVERSION\b/g, "2.0.0"],
  [/\bNAME\b/g, "docs"],
  [/\bID\b/g, MACHINE],
];

export class Desk {
  readonly plane: Plane;
  readonly etcd: EtcdCluster;
  readonly folder: string;
  readonly #path: string;

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
    await Promise.all([this.plane.stop(), this.etcd.stop()]);
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** Lets the machine ID join, as an agent would. */
  async join(): Promise<void> {
    const create = "slipway join-token create --group GROUP --etcd https://etcd-0.example.org:2379";
    const { output } = await this.run(create);
    const [token = ""] = output.split("\n", 1);
    const etcd = connectEtcd({ endpoints: this.etcd.endpoints, clock: systemClock, random: systemRandom });
    try {
      const coordination = createCoordination({
        etcd,
        clock: systemClock,
        random: systemRandom,
        log: silentLogger,
      });
      const joined = await coordination.spendJoinToken(hashJoinToken(token), MACHINE);
      if (joined === undefined) throw new Error(`no join token was made: ${output}`);
    } finally {
      await etcd.close();
    }
  }

  /** A block of a page, in one shell that ends at the first failure. */
  run(text: string): Promise<Ran> {
    const [endpoint = ""] = this.etcd.endpoints;
    const script = [...WORDS, [/https:\/\/etcd-0\.example\.org:2379/g, endpoint] as const].reduce(
      (so, [word, instead]) => so.replaceAll(word, instead),
      text,
    );
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
