import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, expect, test } from "vitest";
import { systemClock } from "../ports/clock.ts";
import type { ApiConfig } from "./kubeconfig.ts";
import { createTransport, type Transport } from "./transport.ts";

let server: Server;
let transport: Transport;
let refused: number;
const random = { next: () => 0, uuid: () => "" };

/** A server that speaks HTTP/1.1 only, as some proxies do. */
async function serve(
  handler: (request: IncomingMessage, response: ServerResponse) => void,
  limits: { rate?: number; burst?: number } = {},
): Promise<void> {
  refused = 0;
  server = createServer(handler);
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  const { port } = server.address() as AddressInfo;
  const config: ApiConfig = {
    namespace: undefined,
    credentials: () =>
      Promise.resolve({
        server: `http://127.0.0.1:${port}/prefix`,
        ca: undefined,
        cert: undefined,
        key: undefined,
        servername: undefined,
        verify: true,
        headers: { authorization: `Bearer token-${refused}` },
        fingerprint: "one",
      }),
    refuse: () => {
      refused += 1;
    },
  };
  transport = createTransport(config, { clock: systemClock, random, ...limits });
}

afterEach(async () => {
  await transport.close();
  server.closeAllConnections();
  server.close();
});

function status(code: number, fields: object = {}): string {
  return JSON.stringify({ kind: "Status", code, message: `status ${code}`, ...fields });
}

test("a call that was refused for now is repeated, whatever its method, and no more than four times", async () => {
  const seen: string[] = [];
  await serve((request, response) => {
    seen.push(`${request.method} ${request.url}`);
    const enough = request.url?.includes("never") !== true && seen.length > 2;
    const code = enough ? 200 : seen.length % 2 === 0 ? 503 : 429;
    response.writeHead(code, { "retry-after": "0" }).end(enough ? "{}" : status(code));
  });
  expect(
    await transport.call({ method: "POST", path: "/x", body: {}, query: { a: 1, b: undefined } }),
  ).toEqual({});
  expect(seen).toEqual(Array.from({ length: 3 }, () => "POST /prefix/x?a=1"));
  seen.length = 0;
  await expect(transport.call({ method: "POST", path: "/never", body: {} })).rejects.toMatchObject({
    status: 429,
  });
  expect(seen).toHaveLength(5);
  seen.length = 0;
  const once = transport.call({ method: "POST", path: "/never", body: {}, once: true });
  await expect(once).rejects.toMatchObject({ status: 429 });
  expect(seen).toHaveLength(1);
});

test("an error that says nothing about when to come back is not repeated, nor is a PodDisruptionBudget's", async () => {
  let calls = 0;
  await serve((request, response) => {
    calls += 1;
    const causes = [
      { reason: "DisruptionBudget", message: "The disruption budget guard needs 1 healthy pods" },
    ];
    const code = request.url === "/prefix/evict" ? 429 : 503;
    const body = status(code, code === 429 ? { details: { causes, retryAfterSeconds: 10 } } : {});
    response.writeHead(code).end(body);
  });
  await expect(transport.call({ method: "GET", path: "/x" })).rejects.toMatchObject({
    kind: "Unavailable",
    message: "status 503",
  });
  await expect(transport.call({ method: "POST", path: "/evict", body: {} })).rejects.toMatchObject({
    kind: "TooManyRequests",
    retryAfter: 10_000,
    causes: ["DisruptionBudget: The disruption budget guard needs 1 healthy pods"],
  });
  expect(calls).toBe(2);
});

test("a refused token is read again and the call repeated once", async () => {
  const tokens: (string | undefined)[] = [];
  await serve((request, response) => {
    tokens.push(request.headers.authorization);
    const good = request.headers.authorization === "Bearer token-1";
    response.writeHead(good ? 200 : 401).end(good ? "{}" : status(401));
  });
  await transport.call({ method: "DELETE", path: "/x" });
  expect(tokens).toEqual(["Bearer token-0", "Bearer token-1"]);
});

test("a server that does not answer is given up at the deadline", async () => {
  await serve(() => {});
  const call = transport.call({ method: "GET", path: "/x", deadline: 50 });
  await expect(call).rejects.toMatchObject({ kind: "Timeout", message: "GET /x: no answer in time" });
});

test("lines are put together whatever the chunks, and a proxy's page is an error in one line", async () => {
  const text = '{"a":"ü"}\n\n{"b":"→"}\n{"half';
  await serve((request, response) => {
    if (request.url === "/prefix/page") {
      response.writeHead(502).end("<html>bad gateway\n</html>");
      return;
    }
    const bytes = Buffer.from(text);
    let at = 0;
    const next = (): void => {
      if (at < bytes.length) response.write(bytes.subarray(at, ++at), next);
      else response.end();
    };
    next();
  });
  const lines: string[] = [];
  for await (const line of transport.lines({ method: "GET", path: "/x" })) lines.push(line);
  expect(lines).toEqual(['{"a":"ü"}', '{"b":"→"}']);
  await expect(transport.lines({ method: "GET", path: "/page" }).next()).rejects.toMatchObject({
    kind: "Unavailable",
    message: "502: <html>bad gateway",
  });
});

test("calls beyond the burst wait for their turn, and a connection is kept for each call under way only", async () => {
  let most = 0;
  let open = 0;
  await serve(
    (_request, response) => {
      open += 1;
      most = Math.max(most, open);
      setImmediate(() => {
        open -= 1;
        response.end("{}");
      });
    },
    { rate: 200, burst: 20 },
  );
  await Promise.all(Array.from({ length: 40 }, () => transport.call({ method: "GET", path: "/x" })));
  expect(most).toBeLessThanOrEqual(8);
});

test("an urgent call overtakes those that wait for the rate limit", async () => {
  await serve((_request, response) => response.end("{}"), { rate: 1, burst: 1 });
  const order: string[] = [];
  const call = async (name: string, urgent: boolean): Promise<void> => {
    await transport.call({ method: "GET", path: `/${name}`, urgent });
    order.push(name);
  };
  await call("first", false);
  await Promise.all([call("waiting", false), call("lease", true)]);
  expect(order).toEqual(["first", "lease", "waiting"]);
});
