/**
 * A reference machine: a disk image, firmware, one boot at a time, a power switch and the
 * dead man's timer of its host. The agent that runs is the one that the slot holds.
 */
import { randomUUID } from "node:crypto";
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import type { Server } from "node:net";
import { dirname, join } from "node:path";
import { type BootEvent, record } from "./boot-log.ts";
import { type MachineConfig, paths } from "./config.ts";
import { type Answer, type Request, serveControl } from "./control.ts";
import { chooseSlot } from "./firmware.ts";
import { unpackOs, versionOf } from "./os.ts";
import type { System } from "./system.ts";

export type PowerState = "off" | "booting" | "on";

/** What may strike when the agent asks the host for something; each is a verb too. */
const TRAP_FAULTS = ["freeze-agent", "kill-agent", "replace-agent", "power-off"] as const;
export type TrapFault = (typeof TRAP_FAULTS)[number];

export class Machine {
  readonly #config: MachineConfig;
  readonly #paths: ReturnType<typeof paths>;
  readonly #system: System;
  #power: PowerState = "off";
  /** Raised by each power event: what an older boot still does then has no effect. */
  #boot = 0;
  #bootId = "";
  #slot = "";
  #partition = "";
  #version = "";
  #deadMan: NodeJS.Timeout | undefined;
  #trap: { verb: string; fault: TrapFault } | undefined;
  #server: Server | undefined;

  constructor(config: MachineConfig, system: System) {
    this.#config = config;
    this.#paths = paths(config.directory);
    this.#system = system;
  }

  /** Opens the control socket; the power stays off. */
  async open(): Promise<void> {
    const hook = join(import.meta.dirname, "hook.mjs");
    writeFileSync(
      this.#paths.hook,
      `#!/bin/sh\nexec '${process.execPath}' '${hook}' '${this.#paths.control}' "$@"\n`,
    );
    chmodSync(this.#paths.hook, 0o755);
    writeFileSync(this.#paths.machineId, `${this.#config.machineId}\n`);
    this.#system.prepare();
    rmSync(this.#paths.control, { force: true });
    this.#server = await serveControl(this.#paths.control, (request) => this.#handle(request));
  }

  async close(): Promise<void> {
    await this.#powerOff("power");
    this.#server?.close();
  }

  async #handle({ verb, args }: Request): Promise<Answer> {
    const done = { ok: true, message: "" };
    if (this.#trap?.verb === verb) {
      const { fault } = this.#trap;
      this.#trap = undefined;
      await this.#handle({ verb: fault, args: [] });
      if (fault === "power-off") return { ok: false, message: "the power was cut" };
      if (fault !== "freeze-agent") return { ok: false, message: "the agent ended before it was done" };
    }
    switch (verb) {
      case "arm-deadman":
        return this.#arm(Number(args[0]));
      case "disarm-deadman":
        clearTimeout(this.#deadMan);
        this.#deadMan = undefined;
        return done;
      case "reboot":
        setImmediate(() => void this.#cycle("reboot"));
        return done;
      case "unit-active":
        return { ok: await this.#system.unitActive(args[0] ?? ""), message: "inactive" };
      case "power-on":
        if (this.#power === "off") void this.#powerOn();
        return done;
      case "power-off":
        await this.#powerOff("power");
        return done;
      case "kill-agent":
        await this.#system.agent?.kill();
        return done;
      case "replace-agent":
        // It may take a while, and the caller may be the agent itself.
        this.#system.replaceAgent().catch((error: unknown) => {
          process.stderr.write(`${this.#config.name} could not replace its agent: ${String(error)}\n`);
        });
        return done;
      case "freeze-agent":
        this.#system.agent?.signal("SIGSTOP");
        return done;
      case "trap": {
        const [at = "", fault] = args;
        const known = TRAP_FAULTS.find((each) => each === fault);
        if (known === undefined) {
          return { ok: false, message: `trap VERB ${TRAP_FAULTS.join("|")} expected` };
        }
        this.#trap = { verb: at, fault: known };
        return done;
      }
      case "thaw-agent":
        this.#system.agent?.signal("SIGCONT");
        return done;
      case "status":
        return {
          ...done,
          value: {
            power: this.#power,
            bootId: this.#bootId,
            slot: this.#slot,
            version: this.#version,
            armed: this.#deadMan !== undefined,
            agentPid: this.#system.agent?.pid,
          },
        };
      default:
        return { ok: false, message: `this machine does not know "${verb}"` };
    }
  }

  #arm(seconds: number): Answer {
    if (!(seconds > 0)) return { ok: false, message: `"${seconds}" is no number of seconds` };
    clearTimeout(this.#deadMan);
    this.#deadMan = setTimeout(() => {
      this.#deadMan = undefined;
      if (this.#power !== "off") void this.#cycle("dead-man");
    }, seconds * 1000);
    return { ok: true, message: "" };
  }

  #record(event: BootEvent): void {
    record(this.#paths.bootLog, event);
  }

  async #cycle(cause: "reboot" | "dead-man" | "panic"): Promise<void> {
    const boot = await this.#powerOff(cause);
    setTimeout(() => {
      if (this.#boot === boot) void this.#powerOn();
    }, this.#config.offTime);
  }

  async #powerOff(cause: "reboot" | "power" | "dead-man" | "panic"): Promise<number> {
    const boot = ++this.#boot;
    if (this.#power !== "off") this.#record({ time: Date.now(), event: "off", cause });
    this.#power = "off";
    await this.#system.stop();
    return boot;
  }

  async #powerOn(): Promise<void> {
    const boot = ++this.#boot;
    this.#power = "booting";
    try {
      const { slot, partition, content } = chooseSlot(this.#paths.disk);
      const files = await unpackOs(content);
      if (boot !== this.#boot) return;
      this.#slot = slot;
      this.#partition = partition;
      this.#version = versionOf(files);
      this.#bootId = randomUUID();
      this.#record({
        time: Date.now(),
        event: "boot",
        slot,
        partition,
        bootId: this.#bootId,
        version: this.#version,
      });
      rmSync(this.#paths.root, { recursive: true, force: true });
      for (const [path, data] of files) {
        const file = join(this.#paths.root, path);
        mkdirSync(dirname(file), { recursive: true });
        writeFileSync(file, data);
      }
      writeFileSync(this.#paths.bootId, `${this.#bootId}\n`);
      this.#clearMarker();
    } catch (error) {
      if (boot !== this.#boot) return;
      this.#record({ time: Date.now(), event: "stuck", message: String(error) });
      if (String(error).includes("no such partition")) return;
      await this.#cycle("panic");
      return;
    }
    setTimeout(() => {
      if (boot === this.#boot) void this.#userSpace();
    }, this.#config.bootTime);
  }

  /** A reboot is what the marker asks for, and /run forgets it; one that says `stays` is set again by what set it. */
  #clearMarker(): void {
    const { sentinel } = this.#paths;
    if (existsSync(sentinel) && readFileSync(sentinel, "utf8").trim() !== "stays") rmSync(sentinel);
  }

  async #userSpace(): Promise<void> {
    this.#power = "on";
    this.#record({ time: Date.now(), event: "up", bootId: this.#bootId });
    await this.#system.start({ bootId: this.#bootId, version: this.#version, partition: this.#partition });
  }
}
