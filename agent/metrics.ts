/** Metrics and probes of one agent, on a port of their own. prom-client is loaded only when they are asked for. */
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import type { Gauge as GaugeType, Registry } from "prom-client";
import { observeCertificates } from "../pki/certificate-expiry.ts";
import { parseAddress } from "../ports/address.ts";
import type { Agent } from "./agent.ts";

export interface MetricsServer {
  port: number;
  close(): Promise<void>;
}

export interface MetricsOptions extends RegistryOptions {
  /** `:PORT` or `HOST:PORT`. */
  address: string;
}

interface RegistryOptions {
  agent: Pick<Agent, "connected" | "observed">;
  version: string;
  /** File with the machine's own client certificate, PEM; absent where tokens are used. */
  identity?: string;
}

/** `/readyz` answers 200 while there is a session, `/healthz` always. */
export async function serveMetrics(options: MetricsOptions): Promise<MetricsServer> {
  const { address, agent } = options;
  const { host, port } = parseAddress(address);
  const registry = await agentRegistry(options);
  const server = createServer((request, response) => {
    const answer = async (): Promise<void> => {
      if (request.url === "/healthz") response.writeHead(200).end("ok\n");
      else if (request.url === "/readyz") response.writeHead(agent.connected ? 200 : 503).end("\n");
      else if (request.url === "/metrics") {
        response.writeHead(200, { "content-type": registry.contentType }).end(await registry.metrics());
      } else response.writeHead(404).end();
    };
    answer().catch(() => response.destroy());
  });
  server.requestTimeout = 10_000;
  server.maxConnections = 32;
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, host, resolve);
  });
  return {
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** What an agent tells Prometheus, read from `agent` at each scrape. */
export async function agentRegistry({ agent, version, identity }: RegistryOptions): Promise<Registry> {
  const { Counter, Gauge, Registry } = await import("prom-client");
  const registry = new Registry();
  const registers = [registry];
  const gauge = (name: string, help: string, read: () => number | undefined): void => {
    const own: GaugeType = new Gauge({
      name,
      help,
      registers,
      collect() {
        own.reset();
        const value = read();
        if (value === undefined) own.remove();
        else own.set(value);
      },
    });
  };
  const build = new Gauge({
    name: "slipway_build_info",
    help: "Always 1; the labels say what runs.",
    labelNames: ["role", "version", "node"],
    registers,
  });
  build.set({ role: "agent", version, node: process.version }, 1);
  gauge("slipway_agent_connected", "1 while the agent has a session with a gateway.", () =>
    agent.connected ? 1 : 0,
  );
  const step: GaugeType = new Gauge({
    name: "slipway_agent_step",
    help: "1 for what the agent does and why.",
    labelNames: ["step", "reason"],
    registers,
    collect() {
      step.reset();
      if (agent.observed) step.set({ step: agent.observed.step, reason: agent.observed.reason }, 1);
    },
  });
  gauge(
    "slipway_agent_progress_ratio",
    "Share of its step that is done; absent where the step has no progress.",
    () => {
      const { doneBytes = 0n, totalBytes = 0n } = agent.observed ?? {};
      return totalBytes === 0n ? undefined : Number(doneBytes) / Number(totalBytes);
    },
  );
  gauge("slipway_agent_reboot_required", "1 while the machine asks for a reboot (driver sentinel).", () =>
    agent.observed === undefined ? undefined : agent.observed.rebootRequired ? 1 : 0,
  );
  gauge("process_start_time_seconds", "When the process started, in Unix time.", () =>
    Math.floor(performance.timeOrigin / 1000),
  );
  gauge("process_resident_memory_bytes", "Resident memory.", () => process.memoryUsage.rss());
  const cpu = new Counter({
    name: "process_cpu_seconds_total",
    help: "CPU time, user and system.",
    registers,
    collect() {
      const { user, system } = process.cpuUsage();
      cpu.reset();
      cpu.inc((user + system) / 1e6);
    },
  });
  if (identity !== undefined) {
    observeCertificates({ Gauge }, registry, async () => {
      // Not there before the machine has joined.
      const pem = await readFile(identity, "utf8").catch(() => undefined);
      return pem === undefined ? [] : [["machine", pem]];
    });
  }
  return registry;
}
