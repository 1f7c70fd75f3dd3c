import { expect, test } from "vitest";
import { startHealth } from "./health.ts";
import { createMetrics, observeProcess } from "./metrics.ts";

test("probes say what is wrong, and metrics are rendered with what they were brought up to date with", async () => {
  const metrics = createMetrics();
  const end = observeProcess(metrics.registry, { role: "test", version: "1.2.3" });
  let wrong: string | undefined = "nodes: not listed yet";
  const server = await startHealth({
    port: 0,
    host: "127.0.0.1",
    live: new Map([["process", () => undefined]]),
    ready: new Map([["caches", () => wrong]]),
    registry: metrics.registry,
    beforeScrape: () => metrics.leader("manager", true),
  });
  const get = async (path: string): Promise<[number, string]> => {
    const response = await fetch(`http://127.0.0.1:${server.port}${path}`);
    return [response.status, await response.text()];
  };
  expect(await get("/healthz")).toEqual([200, "[+] process\nok\n"]);
  expect(await get("/readyz")).toEqual([503, "[-] caches: nodes: not listed yet\nnot ok\n"]);
  wrong = undefined;
  expect((await get("/readyz"))[0]).toBe(200);
  expect((await get("/other"))[0]).toBe(404);
  const [status, text] = await get("/metrics");
  expect(status).toBe(200);
  expect(text).toContain('leader_election_master_status{name="manager"} 1');
  expect(text).toContain('slipway_build_info{role="test",version="1.2.3"');
  expect(text).toMatch(/^process_resident_memory_bytes \d{7,}$/m);
  await server.close();
  end();
});
