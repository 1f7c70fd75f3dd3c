/** /healthz, /readyz and /metrics on a port of their own. */
import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { Registry } from "prom-client";

/** Returns undefined while all is well, else what is wrong, in one sentence. Must not wait. */
export type Check = () => string | undefined;

export interface HealthOptions {
  /** 0 takes a free one. */
  port: number;
  host?: string;
  /** By name. A failure of these restarts the process. */
  live: ReadonlyMap<string, Check>;
  /** By name. A failure of these keeps clients away. */
  ready: ReadonlyMap<string, Check>;
  /** By name. What /readyz tells besides: a failure of these keeps nobody away. */
  told?: ReadonlyMap<string, Check>;
  registry: Registry;
  /** Called before each scrape. */
  beforeScrape?: () => void;
}

export interface HealthServer {
  readonly port: number;
  close(): Promise<void>;
}

/** A probe or a scrape is one short request. */
const REQUEST_TIMEOUT = 10_000;
const MAX_CONNECTIONS = 64;

/** Listens. Rejects if the port is taken. */
export async function startHealth(options: HealthOptions): Promise<HealthServer> {
  const { live, ready, told, registry, beforeScrape } = options;
  const server = createServer(
    { requestTimeout: REQUEST_TIMEOUT, maxHeaderSize: 8192 },
    (request, response) => {
      const path = request.url?.split("?", 1)[0];
      if (request.method !== "GET" && request.method !== "HEAD") answer(response, 405, "Only GET\n");
      else if (path === "/healthz" || path === "/livez") report(response, live);
      else if (path === "/readyz") report(response, ready, told);
      else if (path === "/metrics") {
        beforeScrape?.();
        registry.metrics().then(
          (text) => answer(response, 200, text, registry.contentType),
          (error: unknown) => answer(response, 500, `${String(error)}\n`),
        );
      } else answer(response, 404, "There are /healthz, /readyz and /metrics\n");
    },
  );
  server.maxConnections = MAX_CONNECTIONS;
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(options.port, options.host, resolve);
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

function report(
  response: ServerResponse,
  checks: ReadonlyMap<string, Check>,
  told: ReadonlyMap<string, Check> = new Map(),
): void {
  let healthy = true;
  const lines = [...checks].map(([name, check]) => {
    const wrong = check();
    healthy &&= wrong === undefined;
    return wrong === undefined ? `[+] ${name}\n` : `[-] ${name}: ${wrong}\n`;
  });
  for (const [name, check] of told) {
    const wrong = check();
    lines.push(wrong === undefined ? `[+] ${name}\n` : `[!] ${name}: ${wrong}\n`);
  }
  answer(response, healthy ? 200 : 503, `${lines.join("")}${healthy ? "ok" : "not ok"}\n`);
}

function answer(
  response: ServerResponse,
  status: number,
  text: string,
  type = "text/plain; charset=utf-8",
): void {
  response.writeHead(status, { "content-type": type, "cache-control": "no-store" }).end(text);
}
