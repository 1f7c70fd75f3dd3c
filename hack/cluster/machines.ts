/** Machines of a cluster: their disks, processes and switches. */

import { createHash } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { type BootEvent, readBootLog } from "../machine/boot-log.ts";
import { type MachineConfig, paths } from "../machine/config.ts";
import { type Answer, callControl } from "../machine/control.ts";
import type { TrapFault } from "../machine/machine.ts";
import { Child } from "../plane/process.ts";
import { waitUntil } from "../plane/wait.ts";
import type { Watched } from "./observer.ts";

const MAIN = resolve(import.meta.dirname, "../machine/main.ts");
const START_WITHIN = 20_000;

export interface MachineStatus {
  power: "off" | "booting" | "on";
  bootId: string;
  slot: string;
  version: string;
  armed: boolean;
  agentPid: number | undefined;
}

/** 32 hex digits, from the name: the same machine in every run. */
export function machineIdOf(name: string): string {
  return createHash("sha256").update(`slipway machine ${name}`).digest("hex").slice(0, 32);
}

export class MachineHandle implements Watched {
  readonly config: MachineConfig;
  readonly paths: ReturnType<typeof paths>;
  #child: Child | undefined;

  constructor(config: MachineConfig) {
    this.config = config;
    this.paths = paths(config.directory);
  }

  get name(): string {
    return this.config.name;
  }

  get zone(): string {
    return this.config.zone;
  }

  get bootLog(): string {
    return this.paths.bootLog;
  }

  /** Starts the machine's process; its power stays off. The disk must exist. */
  async start(): Promise<void> {
    mkdirSync(this.config.directory, { recursive: true });
    const file = `${this.config.directory}/config.json`;
    writeFileSync(file, JSON.stringify(this.config));
    const child = await Child.start({
      name: this.config.name,
      command: process.execPath,
      args: ["--max-semi-space-size=2", MAIN, file],
      logFile: `${this.config.directory}/machine.log`,
      env: { PATH: process.env["PATH"], NODE_COMPILE_CACHE: process.env["NODE_COMPILE_CACHE"] },
    });
    this.#child = child;
    await waitUntil(async () => (await this.call("status")).ok, {
      what: `machine ${this.config.name} answers`,
      deadline: START_WITHIN,
      hopeless: () => child.obituary(),
    });
  }

  call(verb: string, ...args: string[]): Promise<Answer> {
    return callControl(this.paths.control, verb, args);
  }

  async powerOn(): Promise<void> {
    await this.call("power-on");
  }

  /** Cuts the power; nothing on the machine has a chance to say anything. */
  async powerOff(): Promise<void> {
    await this.call("power-off");
  }

  /** At the agent's next `verb` of the host hook, before the host does anything for it, `fault` strikes; once. */
  async trap(verb: "arm-deadman" | "reboot", fault: TrapFault): Promise<void> {
    await this.call("trap", verb, fault);
  }

  /** As an updater that needs a reboot; `stays`: the reboot does not clear the marker. */
  requireReboot(options: { stays?: boolean } = {}): void {
    writeFileSync(this.paths.sentinel, options.stays === true ? "stays\n" : "");
  }

  async status(): Promise<MachineStatus> {
    return (await this.call("status")).value as MachineStatus;
  }

  events(): BootEvent[] {
    return readBootLog(this.paths.bootLog);
  }

  async stop(): Promise<void> {
    await this.#child?.stop();
  }
}
