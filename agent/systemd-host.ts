/** A host with systemd. Reboots go through logind, so that its inhibitors are honoured (systemctl(1), --check-inhibitors). */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { systemdDeadMan } from "./dead-man.ts";
import { readMachineId } from "./hook-host.ts";
import type { Host, RebootMethod } from "./host.ts";
import { type Commands, hostArchitecture, httpOk, runAllowed, runProgram } from "./host-command.ts";

const DEADLINE = 30_000;

const verbs: Record<RebootMethod, string> = { Reboot: "reboot", Kexec: "kexec", SoftReboot: "soft-reboot" };

export interface SystemdHostOptions {
  /** Where the host's file system is seen: "/" on the host itself, "/host" in a container that mounts it there. */
  root: string;
  /** Default: the kernel's (random(4)). */
  bootIdFile: string;
  /** Default: /etc/machine-id below `root`. */
  machineIdFile: string | undefined;
  commands: Commands;
  /** Where the machine's own services listen, for HTTP checks of the loopback. */
  localAddress: string;
}

export async function openSystemdHost(options: SystemdHostOptions): Promise<Host> {
  const { root, commands, localAddress } = options;
  const systemctl = root === "/" ? ["systemctl"] : ["chroot", root, "systemctl"];
  const deadMan = systemdDeadMan(root, systemctl);
  const id = (await readFile(options.bootIdFile, "utf8")).trim();
  return {
    machineId: await readMachineId(options.machineIdFile ?? join(root, "etc/machine-id")),
    architecture: hostArchitecture(),
    boot: { id, softReboots: await softReboots(systemctl) },
    armDeadMan: (seconds) => deadMan.arm(seconds),
    disarmDeadMan: () => deadMan.disarm(),
    reboot: async (method) => {
      const argv = [...systemctl, "--no-block", "--check-inhibitors=yes", verbs[method]];
      const { code, stderr } = await runProgram(argv, DEADLINE);
      // No answer is no refusal: the machine may be on its way down.
      if (code !== 0 && code !== undefined) {
        throw new Error(`logind refused to reboot: ${stderr.trim().slice(-500) || `exit code ${code}`}`);
      }
    },
    unitActive: async (unit) =>
      (await runProgram([...systemctl, "is-active", "--quiet", "--", unit], DEADLINE)).code === 0,
    runCommand: (name, timeoutMs) => runAllowed(commands, name, timeoutMs),
    httpOk: (url, timeoutMs) => httpOk(url, timeoutMs, localAddress),
  };
}

/** The property SoftRebootsCount (org.freedesktop.systemd1(5)); a systemd without it counts none. */
async function softReboots(systemctl: readonly string[]): Promise<number> {
  const { stdout } = await runProgram(
    [...systemctl, "show", "--property=SoftRebootsCount", "--value"],
    DEADLINE,
  );
  const text = stdout.trim();
  return /^\d+$/.test(text) ? Number(text) : 0;
}
