/** A system without containers: the slot's service and agent as processes, and the part of a kubelet that the control plane sees. */
import { existsSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { nodeEnvironment, nodeFlags } from "../../agent/node-flags.ts";
import { Child } from "../plane/process.ts";
import { type MachineConfig, paths } from "./config.ts";
import type { Kubelet } from "./kubelet.ts";
import { AGENT, OS_RELEASE, SERVICE } from "./os.ts";
import type { BootedSlot, System } from "./system.ts";

/** As systemd's Restart=always with RestartSec. */
const RESTART_AFTER = 1_000;
/** Between SIGTERM and SIGKILL: terminationGracePeriodSeconds of the chart's DaemonSet, ms. */
const AGENT_GRACE = 30_000;
/** How often a machine without its agent's Pod asks for a token. */
const TOKEN_RETRY = 1_000;

export class ProcessSystem implements System {
  readonly #config: MachineConfig;
  readonly #paths: ReturnType<typeof paths>;
  readonly #kubelet: Kubelet | undefined;
  /** Raised by each start and stop: what an older boot still does then has no effect. */
  #boot = 0;
  #partition = "";
  #agent: Child | undefined;
  #service: Child | undefined;

  constructor(config: MachineConfig, kubelet: Kubelet | undefined) {
    this.#config = config;
    this.#paths = paths(config.directory);
    this.#kubelet = kubelet;
  }

  prepare(): void {
    writeFileSync(this.#paths.commands, "{}\n");
  }

  async start({ bootId, version, partition }: BootedSlot): Promise<void> {
    const boot = ++this.#boot;
    this.#partition = partition;
    this.#kubelet?.start({ bootId, version });
    void this.#run(boot, "service", [
      join(this.#paths.root, SERVICE),
      this.#config.address,
      String(this.#config.servicePort),
    ]);
    if (this.#kubelet !== undefined) await this.#token(boot);
    if (boot === this.#boot)
      void this.#run(boot, "agent", [join(this.#paths.root, AGENT), ...this.#agentArguments()]);
  }

  async stop(): Promise<void> {
    this.#boot += 1;
    this.#kubelet?.stop();
    const [agent, service] = [this.#agent, this.#service];
    this.#agent = undefined;
    this.#service = undefined;
    await Promise.all([agent?.kill(), service?.kill()]);
  }

  async replaceAgent(): Promise<void> {
    const agent = this.#agent;
    await this.#kubelet?.deleteAgentPod();
    if (this.#kubelet !== undefined) rmSync(this.#paths.token, { force: true });
    await agent?.stop(AGENT_GRACE);
  }

  async unitActive(unit: string): Promise<boolean> {
    return unit === "harbor.service" && this.#service?.exit === undefined;
  }

  get agent(): Child | undefined {
    return this.#agent;
  }

  /** Starts a process of this boot, again whenever it ends, until the power goes off. */
  async #run(boot: number, what: "agent" | "service", args: string[]): Promise<void> {
    while (boot === this.#boot) {
      // A Pod's token is there before its container.
      const waits = what === "agent" && this.#kubelet !== undefined && !existsSync(this.#paths.token);
      if (waits) await this.#token(boot);
      if (boot !== this.#boot) return;
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
