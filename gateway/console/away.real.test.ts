/** The console while the Kubernetes API gives no answer: it shows what it knew, and changes nothing. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { updateGroup } from "../../api/update-group.ts";
import { type FaultProxy, startFaultProxy } from "../../hack/plane/fault-proxy.ts";
import { Desk, Events, OPERATOR, SENTINEL, WAIT } from "../../test/console/desk.ts";

let desk: Desk;
let proxy: FaultProxy;
let operator: string;
let cookie: string;

beforeAll(async () => {
  desk = await Desk.open({
    kubeconfig: async (here) => {
      proxy = await startFaultProxy({ port: here.port });
      return await here.through(proxy);
    },
  });
  operator = await desk.person("operator", OPERATOR);
  await desk.ready(operator);
  const entry = await desk.ask("/api/v1/session", {
    ...{ method: "POST", body: { token: operator }, headers: { "x-slipway-request": "1" } },
  });
  cookie = (entry.headers.get("set-cookie") ?? "").split(";", 1)[0] ?? "";
});

afterAll(async () => {
  await proxy.refuse(false);
  await desk.close();
  await proxy.close();
});

test("reads say how old they are, writes are refused, and all is well again afterwards", async () => {
  const group = await desk.declare(updateGroup, "away", {
    ...{ ...SENTINEL, nodeSelector: { matchLabels: { a: "away" } } },
  });
  const { name } = group.metadata;
  const list = () => desk.ask("/api/v1/groups?limit=1000", { cookie });
  const names = async () => (await list()).json.items.map((item: { name: string }) => item.name);
  await expect.poll(names, WAIT).toContain(name);
  await expect.poll(async () => (await list()).json.stale, WAIT).toBeUndefined();
  const events = await Events.open(desk, "/api/v1/events?topics=groups", operator);
  await expect.poll(() => events.of("snapshot").length, WAIT).toBeGreaterThan(0);
  await proxy.refuse(true);
  proxy.reset();
  // The age is told once the API server has been away for longer than it is asked.
  await expect
    .poll(async () => (await list()).json.stale, { ...WAIT, timeout: 60_000 })
    .toContain("the Kubernetes API");
  expect(await names()).toContain(name);
  await expect.poll(() => events.of("freshness").at(-1)?.data.stale, WAIT).toBeDefined();
  const write = await desk.ask(`/api/v1/groups/${name}/pause`, {
    ...{ method: "POST", cookie, body: {}, headers: { "x-slipway-request": "1" } },
  });
  expect(write).toMatchObject({ status: 503, json: { error: "Unavailable" } });
  expect(write.json.message).toContain("Nothing is changed on old knowledge");
  // Whose right nobody knows yet can't be let in on trust.
  expect((await desk.ask("/api/v1/groups", { token: "unknown" })).status).toBe(503);
  await proxy.refuse(false);
  await expect.poll(async () => (await list()).json.stale, { ...WAIT, timeout: 60_000 }).toBeUndefined();
  await expect.poll(() => events.of("freshness").at(-1)?.data.stale, WAIT).toBeUndefined();
  events.close();
}, 180_000);
