/**
 * The box that a real cluster lives in, from outside: namespaces for network, mounts and
 * processes, without a default route. Programs are run inside of it; nothing survives it.
 */
import { type ChildProcess, spawn } from "node:child_process";
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { onPath } from "../plane/process.ts";
import { waitUntil, within } from "../plane/wait.ts";
import { ToolError } from "../tools/cache.ts";
import { debianTree } from "../tools/tree.ts";
import { type Tool, tools } from "../tools.ts";

const SCRIPT = join(import.meta.dirname, "box.sh");
const CGROUPS = "/sys/fs/cgroup";
/** Of cgroup v1, what runc and kubelet ask for. */
const HIERARCHIES = ["cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "systemd"];
/** What runs in every box. A box has no network: what is missing is made before. */
const PROGRAMS: readonly Tool[] = [
  ...(["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl"] as const),
  ...(["kubelet", "kube-proxy", "containerd", "containerd-shim-runc-v2", "ctr", "coredns"] as const),
];
const READY_WITHIN = 20_000;
const GONE_WITHIN = 30_000;
const PREFIX = "slipway-box-";

/** What a program inside of the box is told about it. */
export interface BoxFacts {
  /** Name of its cgroups, below each hierarchy. */
  cgroup: string;
  hierarchies: string[];
  /** Its files: removed with it. */
  directory: string;
  /** Archives of the images that every node has. */
  images: readonly string[];
}

/** The environment variable that names the file with the facts; set inside of a box. */
export const BOX_VARIABLE = "SLIPWAY_BOX";

/** The facts, where this process runs in a box. */
export function boxFacts(): BoxFacts {
  const file = process.env[BOX_VARIABLE];
  if (file === undefined) {
    throw new Error("the real cluster runs in a box of its own: start this by `npm run e2e`");
  }
  return JSON.parse(readFileSync(file, "utf8")) as BoxFacts;
}

export class Box {
  /** Ends the whole box when it is killed; seen from outside. */
  readonly outerPid: number;
  readonly facts: BoxFacts;
  readonly #keeper: ChildProcess;
  readonly #gone: Promise<unknown>;

  private constructor(keeper: ChildProcess, gone: Promise<unknown>, outerPid: number, facts: BoxFacts) {
    this.#keeper = keeper;
    this.#gone = gone;
    this.outerPid = outerPid;
    this.facts = facts;
  }

  /** `images` are archives of the images that its nodes will have; they can get no others. `tools`: what else will run in it. */
  static async start(options: {
    images: readonly string[];
    tools?: readonly Tool[];
    onProgress?: (line: string) => void;
  }): Promise<Box> {
    checkMachine();
    const { onProgress } = options;
    const quiet = onProgress === undefined ? {} : { onProgress };
    await tools([...PROGRAMS, ...(options.tools ?? [])], quiet);
    const tree = await debianTree("node", quiet);
    const directory = mkdtempSync(join(tmpdir().length > 40 ? "/tmp" : tmpdir(), PREFIX));
    const facts = {
      cgroup: basename(directory),
      hierarchies: HIERARCHIES,
      directory,
      images: options.images,
    };
    mkdirSync(join(directory, "tmp"));
    writeFileSync(join(directory, "facts.json"), JSON.stringify(facts));
    const log = openSync(join(directory, "box.log"), "a");
    // A session of its own: whatever ends this process, the box's end of the pipe says so, and the box ends.
    const keeper = spawn("sh", [SCRIPT, facts.cgroup, directory, tree], {
      stdio: ["pipe", log, log],
      detached: true,
      env: { PATH: `${process.env["PATH"] ?? ""}:/usr/sbin:/usr/bin:/sbin:/bin` },
    });
    closeSync(log);
    let ended = false;
    const gone = new Promise<void>((resolve) => {
      keeper.once("error", () => resolve());
      keeper.once("exit", () => {
        ended = true;
        resolve();
      });
    });
    keeper.stdin?.on("error", () => undefined);
    const words = (): string => readFileSync(join(directory, "box.log"), "utf8").trim();
    writeFileSync(join(directory, "keep"), "");
    try {
      const files = ["ready", "inner.pid"].map((file) => join(directory, file));
      await waitUntil(() => files.every((file) => existsSync(file)), {
        what: "the box is there",
        deadline: READY_WITHIN,
        hopeless: () => (ended ? `its last words: ${words()}` : undefined),
      });
    } catch (error) {
      keeper.stdin?.end();
      await gone;
      rmSync(directory, { recursive: true, force: true });
      throw error;
    }
    rmSync(join(directory, "keep"));
    const outerPid = Number(readFileSync(join(directory, "outer.pid"), "utf8"));
    return new Box(keeper, gone, outerPid, facts);
  }

  /** Runs a program in the box with this process's terminal; gives its exit code. */
  async run(command: string, args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<number> {
    const init = readFileSync(join(this.facts.directory, "inner.pid"), "utf8").trim();
    const enter = ["--target", init, "--net", "--mount", "--pid", `--wd=${process.cwd()}`, "--"];
    const child = spawn("nsenter", [...enter, command, ...args], {
      stdio: "inherit",
      env: {
        ...process.env,
        ...env,
        // What processes in the box leave behind goes with it.
        TMPDIR: join(this.facts.directory, "tmp"),
        [BOX_VARIABLE]: join(this.facts.directory, "facts.json"),
      },
    });
    return await new Promise((resolve, reject) => {
      child.once("error", reject);
      child.once("exit", (code) => resolve(code ?? 1));
    });
  }

  /** Ends everything in the box and waits until nothing of it is left; `keepLogs` leaves its files. */
  async stop(options: { keepLogs?: boolean } = {}): Promise<void> {
    const { directory } = this.facts;
    if (options.keepLogs === true) writeFileSync(join(directory, "keep"), "");
    this.#keeper.stdin?.end();
    await within(GONE_WITHIN, "the box is gone", this.#gone);
    if (options.keepLogs === true) process.stderr.write(`slipway: logs are kept in ${directory}\n`);
  }
}

/** Throws `ToolError`: one sentence about what is missing for real nodes. */
export function checkMachine(): void {
  if (process.getuid?.() !== 0) {
    throw new ToolError("Real nodes need namespaces, mounts and cgroups: run this as root.");
  }
  if (existsSync(join(CGROUPS, "cgroup.controllers"))) {
    throw new ToolError(
      "Real nodes are built for cgroup v1, and this machine has v2: boot it with systemd.unified_cgroup_hierarchy=0, or use `npm run demo` without --real.",
    );
  }
  const mounted = existsSync(CGROUPS) ? readdirSync(CGROUPS) : [];
  const missing = HIERARCHIES.filter((name) => !mounted.includes(name));
  if (missing.length > 0) {
    throw new ToolError(
      `Real nodes need the cgroup hierarchies ${missing.join(", ")} at ${CGROUPS}: mount them.`,
    );
  }
  for (const program of ["unshare", "nsenter", "losetup", "mount"]) {
    if (onPath(program, `${process.env["PATH"] ?? ""}:/usr/sbin:/sbin`) === undefined) {
      throw new ToolError(`${program} is missing: install Debian's util-linux and mount.`);
    }
  }
}
