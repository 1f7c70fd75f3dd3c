import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { freePorts } from "../../hack/plane/ports.ts";
import { systemClock } from "../../ports/clock.ts";
import { jsonLogger } from "../../ports/log.ts";
import { PODS } from "../../runtime/core.ts";
import { RealNamespace } from "../../runtime/test-namespace.ts";
import { group } from "../fixtures.ts";
import { httpCaller } from "../http/caller.ts";
import { Prober } from "./prober.ts";

let namespace: RealNamespace;
let server: Server;
let url: string;
/** What the server answers; undefined: nothing, ever. */
let answer: { status: number; body: string; headers?: Record<string, string> } | undefined;
let asked: { method: string; path: string; body: string }[];
const signal = AbortSignal.timeout(60_000);
const asker = { name: "a", node: "blocked-node", release: "os-1.1.0" };

beforeAll(async () => {
  namespace = await RealNamespace.open();
  server = createServer((request, response) => {
    let body = "";
    request.setEncoding("utf8").on("data", (text: string) => (body += text));
    request.on("end", () => {
      asked.push({ method: request.method ?? "", path: request.url ?? "", body });
      if (answer !== undefined) response.writeHead(answer.status, answer.headers).end(answer.body);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});

afterAll(async () => {
  server.closeAllConnections();
  server.close();
  await namespace.close();
});

beforeEach(() => {
  asked = [];
  answer = undefined;
});

function prober(): Prober {
  return new Prober({
    client: namespace.admin,
    http: httpCaller(systemClock),
    clock: systemClock,
    log: jsonLogger(systemClock, () => undefined),
  });
}

const pool = (...blockers: object[]) => group("pool", { blockers });

test("a hook is told of the node, and its word blocks; the same since when at the next asking", async () => {
  const probing = prober();
  const watched = pool({ name: "hook", http: { url: `${url}/may-i` } });
  answer = { status: 423, body: "the\nbackup runs" };
  const why = await probing.ask(watched, asker, signal);
  expect(why?.message).toMatch(/^Blocker hook of UpdateGroup pool: it says no since .*Z: the backup runs\.$/);
  expect(asked).toEqual([
    {
      method: "POST",
      path: "/may-i",
      body: JSON.stringify({ node: "a", group: "pool", release: "os-1.1.0" }),
    },
  ]);
  expect(await probing.ask(watched, asker, signal)).toEqual(why);
  answer = { status: 204, body: "" };
  expect(await probing.ask(watched, asker, signal)).toBeUndefined();
  answer = { status: 200, body: "x".repeat(5000) };
  expect(await probing.ask(watched, asker, signal)).toBeUndefined();
});

test.each([
  ["an error", { status: 500, body: "" }, /answered 500/],
  ["a redirect", { status: 302, body: "", headers: { location: "http://169.254.169.254/" } }, /answered 302/],
  ["silence", undefined, /no answer within 1 s/],
])("%s is a failure, which blocks", async (_what, given, cause) => {
  answer = given;
  const watched = pool({ name: "hook", http: { url }, timeout: "1s" });
  expect(await prober().ask(watched, asker, signal)).toMatchObject({
    reason: "BlockerFailed",
    message: expect.stringMatching(cause),
  });
  expect(asked).toHaveLength(1);
});

test("what follows a question mark in a URL may be a secret, and is told to nobody", async () => {
  const secret = "?token=s3cret";
  answer = { status: 500, body: "" };
  const hook = await prober().ask(
    pool({ name: "hook", http: { url: `${url}/may-i${secret}` } }),
    asker,
    signal,
  );
  expect(asked[0]?.path).toBe(`/may-i${secret}`);
  const alerts = await prober().ask(
    pool({ name: "alerts", alerts: { url: `${url}${secret}` } }),
    asker,
    signal,
  );
  const [port] = await freePorts(1);
  const nobody = `http://127.0.0.1:${port}/${secret}`;
  const away = await prober().ask(pool({ name: "hook", http: { url: nobody } }), asker, signal);
  for (const why of [hook, alerts, away]) {
    expect(why?.reason).toBe("BlockerFailed");
    expect(why?.message).not.toContain("s3cret");
  }
});

test("Prometheus that can't be reached blocks, or not, as the group says", async () => {
  const [port] = await freePorts(1);
  const nobody = `http://127.0.0.1:${port}`;
  const alerts = { url: nobody };
  expect(await prober().ask(pool({ name: "alerts", alerts }), asker, signal)).toMatchObject({
    reason: "BlockerFailed",
    message: expect.stringContaining("ECONNREFUSED"),
  });
  expect(
    await prober().ask(pool({ name: "alerts", alerts, onFailure: "Allow" }), asker, signal),
  ).toBeUndefined();
});

test("alerts are read as Prometheus tells them, for plans and for the one that asks", async () => {
  const probing = prober();
  const watched = pool({ name: "alerts", alerts: { url: `${url}/` } });
  const labels = { alertname: "KubeAPIDown", severity: "critical" };
  const alert = {
    labels,
    annotations: {},
    state: "firing",
    activeAt: "2026-11-23T02:50:00.5Z",
    value: "1e+00",
  };
  answer = { status: 200, body: JSON.stringify({ status: "success", data: { alerts: [alert] } }) };
  await probing.look([watched], signal);
  expect(asked).toMatchObject([{ method: "GET", path: "/api/v1/alerts" }]);
  expect(probing.readings().get("pool")?.get("alerts")).toEqual({
    kind: "alerts",
    alerts: [{ name: "KubeAPIDown", labels, state: "firing", since: Date.parse("2026-11-23T02:50:00.5Z") }],
  });
  expect((await probing.ask(watched, asker, signal))?.message).toContain("alert KubeAPIDown fires");
  answer = { status: 200, body: "<html>" };
  expect((await probing.ask(watched, asker, signal))?.message).toContain("answered no JSON");
  const none = JSON.stringify({ status: "success", data: { alerts: [] } });
  answer = { status: 200, body: none + " ".repeat(4 * 1024 * 1024) };
  expect((await probing.ask(watched, asker, signal))?.message).toContain("larger than 4194304 bytes");
});

test("a hook is not asked while nodes only wait", async () => {
  const probing = prober();
  await probing.look([pool({ name: "hook", http: { url } })], signal);
  expect(asked).toEqual([]);
});

test("a Pod that the selector finds blocks its node, until it is gone", async () => {
  const { admin, name } = namespace;
  const pod = {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name: "backup", namespace: name, labels: { app: "backup", tier: "data" } },
    spec: { nodeName: "blocked-node", containers: [{ name: "x", image: "x.test/x" }] },
  };
  await admin.create(PODS, pod);
  const selector = {
    matchLabels: { app: "backup" },
    matchExpressions: [
      { key: "tier", operator: "In", values: ["data", "web"] },
      { key: "canary", operator: "DoesNotExist" },
    ],
  };
  const watched = pool({ name: "pods", pods: { namespace: name, selector } });
  const probing = prober();
  expect((await probing.ask(watched, asker, signal))?.message).toMatch(
    /Pod \S+\/backup runs here since .*Z\.$/,
  );
  expect(await probing.ask(watched, { ...asker, node: "another" }, signal)).toBeUndefined();
  await probing.look([watched], signal);
  expect(probing.readings().get("pool")?.get("pods")).toMatchObject({ pods: [{ node: "blocked-node" }] });
  await admin.delete(PODS, { name: "backup", namespace: name });
});
