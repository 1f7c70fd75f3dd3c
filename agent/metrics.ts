/** Metrics and probes of one agent, on a port of their own. prom-client is loaded only when they are asked for. */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import type { Agent } from "./agent.ts";

export interface MetricsServer {
  port: number;
  close(): Promise<void>;
}

/** `address` is `:PORT` or `HOST:PORT`. `/readyz` answers 200 while there is a session, `/healthz` always. */
export async function serveMetrics(address: string, agent: Agent): Promise<MetricsServer> {
  const [, host, port] = /^(.*):(\d{1,5})$/.exec(address) ?? [];
  if (port === undefined) throw new Error(`${address}: [HOST]:PORT expected`);
  const { Gauge, Registry } = await import("prom-client");
  const registry = new Registry();
  const registers = [registry];
  const connected = new Gauge({
    name: "slipway_agent_connected",
    help: "1 while the agent has a session with a gateway.",
    registers,
  });
  const step = new Gauge({
    name: "slipway_agent_step",
    help: "1 for what the agent does and why.",
    labelNames: ["step", "reason"],
    registers,
  });
  const memory = new Gauge({
    name: "slipway_agent_resident_memory_bytes",
    help: "Resident memory of the agent's process.",
    registers,
  });
  const server = createServer((request, response) => {
    const answer = async (): Promise<void> => {
      if (request.url === "/healthz") response.writeHead(200).end("ok\n");
      else if (request.url === "/readyz") response.writeHead(agent.connected ? 200 : 503).end("\n");
      else if (request.url === "/metrics") {
        connected.set(agent.connected ? 1 : 0);
        memory.set(process.memoryUsage.rss());
        step.reset();
        if (agent.observed) step.set({ step: agent.observed.step, reason: agent.observed.reason }, 1);
        response.writeHead(200, { "content-type": registry.contentType }).end(await registry.metrics());
      } else response.writeHead(404).end();
    };
    answer().catch(() => response.destroy());
  });
  server.requestTimeout = 10_000;
  server.maxConnections = 32;
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(Number(port), host === "" ? undefined : host, resolve);
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
