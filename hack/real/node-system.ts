/** A node with containers as the system of a machine: see node.sh for what one boot is. */
import { existsSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { createConnection } from "node:net";
import { join } from "node:path";
import { type MachineConfig, type NodeConfig, paths } from "../machine/config.ts";
import type { BootedSlot, System } from "../machine/system.ts";
import { Child } from "../plane/process.ts";
import { waitUntil } from "../plane/wait.ts";

const SCRIPT = join(import.meta.dirname, "node.sh");
const HOOK = join(import.meta.dirname, "../machine/hook.mjs");
const CGROUPS = "/sys/fs/cgroup";
const GONE_WITHIN = 20_000;
const CONNECT_WITHIN = 1_000;
const KUBELET_PORT = 10250;

export class NodeSystem implements System {
  readonly #config: MachineConfig;
  readonly #node: NodeConfig;
  #child: Child | undefined;
  #boot = 0;

  constructor(config: MachineConfig, node: NodeConfig) {
    this.#config = config;
    this.#node = node;
  }

  /** A hook that runs in a container without a shell, with the control socket beside it. */
  prepare(): void {
    const socket = "process.argv.splice(2, 0, `${import.meta.dirname}/control.sock`);";
    const text = `#!/usr/local/bin/node\n${socket}\n${readFileSync(HOOK, "utf8")}`;
    writeFileSync(join(this.#config.directory, "node-hook"), text, { mode: 0o755 });
  }

  async start({ partition }: BootedSlot): Promise<void> {
    const boot = ++this.#boot;
    const { name, directory, address, servicePort, labels = {}, zone } = this.#config;
    const { slice, hierarchies, cable, routes, settings, programs } = this.#node;
    const all = { ...labels, "topology.kubernetes.io/zone": zone };
    // What a boot loader tells the kernel.
    writeFileSync(join(directory, "cmdline"), `slipway.slot=${partition}\n`);
    const child = await Child.start({
      name,
      command: "sh",
      args: [SCRIPT, "slice"],
      logFile: paths(directory).log,
      env: {
        PATH: "/usr/sbin:/usr/bin:/sbin:/bin",
        NODE: name,
        DIRECTORY: directory,
        SLICE: slice,
        HIERARCHIES: hierarchies.join(" "),
        ADDRESS: address,
        VETH: cable,
        ROUTES: routes.join(" "),
        SETTINGS: settings,
        PROGRAMS: programs.join(" "),
        SERVICE_PORT: String(servicePort),
        LABELS: Object.entries(all)
          .map(([key, value]) => `${key}=${value}`)
          .join(","),
      },
    });
    if (boot === this.#boot) this.#child = child;
    else await child.kill();
  }

  /** The kernel ends the processes one after the other: the power is off when none is left. */
  async stop(): Promise<void> {
    this.#boot += 1;
    const child = this.#child;
    this.#child = undefined;
    await child?.kill();
    const slices = this.#node.hierarchies.map((hierarchy) => join(CGROUPS, hierarchy, this.#node.slice));
    await waitUntil(() => slices.every((slice) => !hasProcesses(slice)), {
      what: `all processes of ${this.#config.name} are gone`,
      deadline: GONE_WITHIN,
      interval: 10,
    });
    for (const slice of slices) removeCgroup(slice);
  }

  /** Units are what node.sh starts; one is active while it accepts connections. */
  unitActive(unit: string): Promise<boolean> {
    const port = { "harbor.service": this.#config.servicePort, "kubelet.service": KUBELET_PORT }[unit];
    if (port === undefined) return Promise.resolve(false);
    return new Promise((resolve) => {
      const socket = createConnection(port, this.#config.address);
      const end = (active: boolean): void => {
        socket.destroy();
        resolve(active);
      };
      socket.setTimeout(CONNECT_WITHIN, () => end(false));
      socket.once("connect", () => end(true));
      socket.once("error", () => end(false));
    });
  }

  /** It is a container's. */
  async replaceAgent(): Promise<void> {}

  get agent(): undefined {
    return undefined;
  }
}

function folders(cgroup: string): string[] {
  return readdirSync(cgroup, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => join(cgroup, entry.name));
}

function hasProcesses(cgroup: string): boolean {
  if (!existsSync(cgroup)) return false;
  if (readFileSync(join(cgroup, "cgroup.procs"), "utf8") !== "") return true;
  return folders(cgroup).some(hasProcesses);
}

function removeCgroup(cgroup: string): void {
  if (!existsSync(cgroup)) return;
  folders(cgroup).forEach(removeCgroup);
  rmdirSync(cgroup);
}
