/**
 * A reference machine: a disk image, firmware, one boot at a time, a power switch and the
 * dead man's timer of its host. The agent that runs is the one that the slot holds.
 */
import { randomUUID } from "node:crypto";
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import type { Server } from "node:net";
import { dirname, join } from "node:path";
import { nodeEnvironment, nodeFlags } from "../../agent/node-flags.ts";
import { Child } from "../plane/process.ts";
import { type BootEvent, record } from "./boot-log.ts";
import { type MachineConfig, paths } from "./config.ts";
import { type Answer, type Request, serveControl } from "./control.ts";
import { chooseSlot } from "./firmware.ts";
import type { Kubelet } from "./kubelet.ts";
import { AGENT, OS_RELEASE, SERVICE, unpackOs, versionOf } from "./os.ts";

/** As systemd's Restart=always with RestartSec. */
const RESTART_AFTER = 1_000;
/** How often a machine without its agent's Pod asks for a token. */
const TOKEN_RETRY = 1_000;

export type PowerState = "off" | "booting" | "on";

export class Machine {
  readonly #config: MachineConfig;
  readonly #paths: ReturnType<typeof paths>;
  readonly #kubelet: Kubelet | undefined;
  #power: PowerState = "off";
  /** Raised by each power event: what an older boot still does then has no effect. */
  #boot = 0;
  #bootId = "";
  #slot = "";
  #partition = "";
  #version = "";
  #agent: Child | undefined;
  #service: Child | undefined;
  #deadMan: NodeJS.Timeout | undefined;
  #trap: { verb: string; fault: "freeze-agent" | "power-off" } | undefined;
  #server: Server | undefined;

  constructor(config: MachineConfig, kubelet: Kubelet | undefined) {
    this.#config = config;
    this.#paths = paths(config.directory);
    this.#kubelet = kubelet;
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
    writeFileSync(this.#paths.commands, "{}\n");
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
        return { ok: args[0] === "harbor.service" && this.#service?.exit === undefined, message: "inactive" };
      case "power-on":
        if (this.#power === "off") void this.#powerOn();
        return done;
      case "power-off":
        await this.#powerOff("power");
        return done;
      case "kill-agent":
        await this.#agent?.kill();
        return done;
      case "freeze-agent":
        this.#agent?.signal("SIGSTOP");
        return done;
      case "trap": {
        const [at = "", fault] = args;
        if (fault !== "freeze-agent" && fault !== "power-off") {
          return { ok: false, message: "trap VERB freeze-agent|power-off expected" };
        }
        this.#trap = { verb: at, fault };
        return done;
      }
      case "thaw-agent":
        this.#agent?.signal("SIGCONT");
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
            agentPid: this.#agent?.pid,
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
    this.#kubelet?.stop();
    const [agent, service] = [this.#agent, this.#service];
    this.#agent = undefined;
    this.#service = undefined;
    await Promise.all([agent?.kill(), service?.kill()]);
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
      if (boot === this.#boot) void this.#userSpace(boot);
    }, this.#config.bootTime);
  }

  /** A reboot is what the marker asks for, and /run forgets it; one that says `stays` is set again by what set it. */
  #clearMarker(): void {
    const { sentinel } = this.#paths;
    if (existsSync(sentinel) && readFileSync(sentinel, "utf8").trim() !== "stays") rmSync(sentinel);
  }

  async #userSpace(boot: number): Promise<void> {
    this.#power = "on";
    this.#record({ time: Date.now(), event: "up", bootId: this.#bootId });
    this.#kubelet?.start({ bootId: this.#bootId, version: this.#version });
    void this.#run(boot, "service", [
      join(this.#paths.root, SERVICE),
      this.#config.address,
      String(this.#config.servicePort),
    ]);
    if (this.#kubelet !== undefined) await this.#token(boot);
    if (boot === this.#boot)
      void this.#run(boot, "agent", [join(this.#paths.root, AGENT), ...this.#agentArguments()]);
  }

  /** Starts a process of this boot, again whenever it ends, until the power goes off. */
  async #run(boot: number, what: "agent" | "service", args: string[]): Promise<void> {
    while (boot === this.#boot) {
      const child = await Child.start({
        name: `${this.#config.name} ${what}`,
        command: process.execPath,
        args: [...nodeFlags, ...args],
        logFile: this.#paths.log,
        env: { PATH: process.env["PATH"], ...nodeEnvironment(this.#paths.cache) },
      });
      if (boot !== this.#boot) {
        await child.kill();
        return;
      }
      if (what === "agent") this.#agent = child;
      else this.#service = child;
      await child.exited;
      await new Promise((resolve) => setTimeout(resolve, RESTART_AFTER));
    }
  }

  async #token(boot: number): Promise<void> {
    while (boot === this.#boot) {
      try {
        const token = await this.#kubelet?.agentToken();
        if (token !== undefined) {
          writeFileSync(this.#paths.token, token, { mode: 0o600 });
          return;
        }
      } catch (error) {
        process.stderr.write(`${this.#config.name} got no token for its agent: ${String(error)}\n`);
        // One of an earlier boot still does: the control plane may be away while machines boot.
        if (existsSync(this.#paths.token)) return;
      }
      await new Promise((resolve) => setTimeout(resolve, TOKEN_RETRY));
    }
  }

  #agentArguments(): string[] {
    const config = this.#config;
    const identity =
      config.kubeconfig !== undefined
        ? ["--token-file", this.#paths.token]
        : ["--join-token-file", config.joinToken ?? "", "--identity-dir", this.#paths.identity];
    const sentinel = config.driver === "sentinel" ? ["--sentinel-file", this.#paths.sentinel] : [];
    return [
      ...["--disk", this.#paths.disk, "--boot-slot", this.#partition],
      ...["--os-release", join(this.#paths.root, OS_RELEASE)],
      ...["--driver", config.driver, ...sentinel],
      ...["--gateway", config.gateway, "--ca", config.gatewayCa, ...identity],
      ...["--host", "hook", "--hook", this.#paths.hook, "--local-address", config.address],
      ...["--boot-id", this.#paths.bootId, "--machine-id", this.#paths.machineId],
      ...["--trust", config.trust, "--commands", this.#paths.commands],
      ...(config.agentMetrics === undefined ? [] : ["--metrics", config.agentMetrics]),
    ];
  }
}
