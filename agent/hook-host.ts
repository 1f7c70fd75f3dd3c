/**
 * A host behind one executable, for systems without systemd and for the reference machine:
 *
 *   HOOK arm-deadman SECONDS | disarm-deadman | reboot METHOD | unit-active NAME
 *
 * Exit code 0 is success (for `unit-active`: active); the reason of a failure is read
 * from stderr.
 */
import { readFile } from "node:fs/promises";
import type { Host } from "./host.ts";
import { type Commands, hostArchitecture, httpOk, mustRun, runAllowed, runProgram } from "./host-command.ts";

/** Deadline of one call of the hook, ms. */
const DEADLINE = 30_000;

export interface HookHostOptions {
  hook: string;
  /** `BOOT_ID` or `BOOT_ID SOFT_REBOOTS`. */
  bootIdFile: string;
  machineIdFile: string;
  commands: Commands;
  /** Where the machine's own services listen, for HTTP checks of the loopback. */
  localAddress: string;
}

export async function openHookHost(options: HookHostOptions): Promise<Host> {
  const { hook, bootIdFile, machineIdFile, commands, localAddress } = options;
  const [id = "", soft = "0"] = (await readFile(bootIdFile, "utf8")).trim().split(/\s+/);
  if (id === "" || !/^\d+$/.test(soft)) {
    throw new Error(`${bootIdFile}: a boot id expected, and optionally the number of soft reboots`);
  }
  return {
    machineId: await readMachineId(machineIdFile),
    architecture: hostArchitecture(),
    boot: { id, softReboots: Number(soft) },
    armDeadMan: async (seconds) => {
      await mustRun([hook, "arm-deadman", String(seconds)], DEADLINE);
    },
    disarmDeadMan: async () => {
      await mustRun([hook, "disarm-deadman"], DEADLINE);
    },
    reboot: async (method) => {
      const { code, stderr } = await runProgram([hook, "reboot", method], DEADLINE);
      // No answer is no refusal: the machine may be on its way down.
      if (code !== 0 && code !== undefined) {
        throw new Error(`the host refused to reboot: ${stderr.trim().slice(-500) || `exit code ${code}`}`);
      }
    },
    unitActive: async (unit) => (await runProgram([hook, "unit-active", unit], DEADLINE)).code === 0,
    runCommand: (name, timeoutMs) => runAllowed(commands, name, timeoutMs),
    httpOk: (url, timeoutMs) => httpOk(url, timeoutMs, localAddress),
  };
}

/** machine-id(5): 32 lower-case hex digits. */
export async function readMachineId(file: string): Promise<string> {
  const id = (await readFile(file, "utf8")).trim();
  if (!/^[0-9a-f]{32}$/.test(id)) {
    throw new Error(`${file}: 32 lower-case hex digits expected (machine-id(5))`);
  }
  return id;
}
