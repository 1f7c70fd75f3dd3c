import { create } from "@bufbuild/protobuf";
import { expect, it } from "vitest";
import { ObservedSchema } from "../proto/gen/agent_pb.ts";
import { serveMetrics } from "./metrics.ts";

it("an agent's metrics and probes say whether it has a session and what it does", async () => {
  const observed = create(ObservedSchema, { step: "Idle", reason: "Current" });
  let connected = false;
  const agent = {
    observed,
    get connected() {
      return connected;
    },
  };
  const server = await serveMetrics({ address: "127.0.0.1:0", agent, version: "1.2.3" });
  const get = (path: string): Promise<Response> => fetch(`http://127.0.0.1:${server.port}${path}`);
  try {
    expect((await get("/readyz")).status).toBe(503);
    connected = true;
    expect((await get("/readyz")).status).toBe(200);
    expect((await get("/healthz")).status).toBe(200);
    expect((await get("/other")).status).toBe(404);
    const text = await (await get("/metrics")).text();
    expect(text).toContain("slipway_agent_connected 1");
    expect(text).toContain('slipway_agent_step{step="Idle",reason="Current"} 1');
  } finally {
    await server.close();
  }
  await expect(serveMetrics({ address: "nonsense", agent, version: "1.2.3" })).rejects.toThrow(
    "PORT expected",
  );
});
