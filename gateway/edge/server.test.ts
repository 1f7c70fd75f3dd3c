/** The port of machines without our agent over real sockets: what bad and impatient clients get. */
import { connect, type Socket } from "node:net";
import { afterEach, expect, it, vi } from "vitest";
import { systemClock } from "../../ports/clock.ts";
import { silentLogger } from "../../ports/log.ts";
import { TrustedProxies } from "./client-address.ts";
import { type EdgeLimits, type EdgeServer, plain, type Route, startEdge } from "./server.ts";

const PATIENCE = { timeout: 10_000, interval: 5 };
const edges: EdgeServer[] = [];
const sockets: Socket[] = [];
const answered: [string, number][] = [];

async function serve(
  answer: Route["answer"],
  limits: Partial<EdgeLimits> = {},
  proxies?: TrustedProxies,
): Promise<EdgeServer> {
  const edge = await startEdge({
    ...(proxies === undefined ? {} : { proxies }),
    ...{ listen: { host: "127.0.0.1", port: 0 }, clock: systemClock, log: silentLogger, limits },
    routes: [{ prefix: "/a", maxBody: 100, answer }],
    meter: { answered: (route, status) => answered.push([route, status]) },
  });
  edges.push(edge);
  return edge;
}

/** What the server says until it closes, and the socket. */
function dial(edge: EdgeServer, text: string): { socket: Socket; said: () => string; closed: () => boolean } {
  let [said, closed] = ["", false];
  const socket = connect(edge.port, "127.0.0.1");
  sockets.push(socket);
  socket.on("data", (chunk) => (said += chunk.toString()));
  socket.on("close", () => (closed = true));
  socket.on("error", () => {});
  socket.write(text);
  return { socket, said: () => said, closed: () => closed };
}

afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  await Promise.all(edges.splice(0).map((edge) => edge.stop(1000)));
  answered.length = 0;
});

const HEAD = "POST /a/b?x=1&y=%20 HTTP/1.1\r\nhost: h\r\n";

it("gives a route the request as it was sent", async () => {
  const edge = await serve(async (request) => {
    const { method, path, search, query, body, peer } = request;
    return plain(
      200,
      JSON.stringify([method, path, search, query.get("y"), body.toString(), peer, request.header("z")]),
    );
  });
  const { said } = dial(
    edge,
    `${HEAD}z: 1\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n3\r\n ho\r\n0\r\n\r\n`,
  );
  await vi.waitUntil(() => said().includes("]"), PATIENCE);
  expect(JSON.parse(said().slice(said().indexOf("[")))).toEqual([
    ...["POST", "/a/b", "x=1&y=%20", " ", "hi ho", "127.0.0.1", "1"],
  ]);
});

it("believes a proxy of ours whom it stands in front of, and nobody else", async () => {
  const answer: Route["answer"] = async ({ peer }) => plain(200, `peer ${peer}.`);
  const named = `${HEAD}x-forwarded-for: 1.1.1.1\r\nX-Forwarded-For: 198.51.100.1\r\ncontent-length: 0\r\n\r\n`;
  const behind = dial(await serve(answer, {}, new TrustedProxies(["127.0.0.0/8"])), named);
  const direct = dial(await serve(answer), named);
  await vi.waitUntil(() => /peer .*\./.test(behind.said()) && /peer .*\./.test(direct.said()), PATIENCE);
  expect(behind.said()).toContain("peer 198.51.100.1.");
  expect(direct.said()).toContain("peer 127.0.0.1.");
});

it("answers two requests of one connection, and reads no body that is too long, however it comes", async () => {
  const edge = await serve(async ({ body }) => plain(200, `got ${body.length}\n`));
  const two = dial(
    edge,
    `${HEAD}content-length: 2\r\n\r\nhi${HEAD}content-length: 100\r\n\r\n${"x".repeat(100)}`,
  );
  await vi.waitUntil(() => two.said().includes("got 100"), PATIENCE);
  expect(two.said()).toContain("got 2\n");
  const told = dial(edge, `${HEAD}content-length: 101\r\n\r\n`);
  const chunked = dial(edge, `${HEAD}transfer-encoding: chunked\r\n\r\nff\r\n${"x".repeat(255)}\r\n`);
  for (const { said, closed } of [told, chunked]) {
    await vi.waitUntil(closed, PATIENCE);
    expect(said()).toMatch(/^HTTP\/1.1 413 [^]*connection: close[^]*At most 100 bytes/);
  }
});

it("answers nothing to who leaves in the middle of a request", async () => {
  const asked = vi.fn(async () => plain(200, "yes\n"));
  const edge = await serve(asked);
  const half = dial(edge, `${HEAD}content-length: 50\r\n\r\nhalf`);
  half.socket.end();
  await vi.waitUntil(half.closed, PATIENCE);
  const whole = dial(edge, `${HEAD}content-length: 0\r\n\r\n`);
  await vi.waitUntil(() => whole.said().includes("yes"), PATIENCE);
  expect(asked).toHaveBeenCalledTimes(1);
  expect(answered).toEqual([["/a", 200]]);
});

it("tells a route that waits when its client has gone, and when the server stops", async () => {
  const reasons: string[] = [];
  const edge = await serve(
    ({ gone, query }) =>
      new Promise((resolve) => {
        gone.addEventListener("abort", () => {
          reasons.push(query.get("who") ?? "");
          resolve(plain(200, "late\n"));
        });
        waiting += 1;
      }),
  );
  let waiting = 0;
  const leaves = dial(edge, `GET /a?who=leaves HTTP/1.1\r\nhost: h\r\n\r\n`);
  const stays = dial(edge, `GET /a?who=stays HTTP/1.1\r\nhost: h\r\n\r\n`);
  await vi.waitUntil(() => waiting === 2, PATIENCE);
  leaves.socket.destroy();
  await vi.waitUntil(() => reasons.length === 1, PATIENCE);
  await edge.stop(5000);
  expect(reasons).toEqual(["leaves", "stays"]);
  await vi.waitUntil(stays.closed, PATIENCE);
  expect(stays.said()).toContain("late");
});

it("answers 503 at once beyond what it answers at the same time", async () => {
  const held: (() => void)[] = [];
  const edge = await serve(() => new Promise((resolve) => held.push(() => resolve(plain(200, "ok\n")))), {
    requests: 2,
  });
  const first = [0, 1].map(() => dial(edge, `${HEAD}content-length: 0\r\n\r\n`));
  await vi.waitUntil(() => held.length === 2, PATIENCE);
  const third = dial(edge, `${HEAD}content-length: 0\r\n\r\n`);
  await vi.waitUntil(() => third.said().includes("503"), PATIENCE);
  expect(third.said()).toContain("retry-after: 60");
  for (const release of held) release();
  await vi.waitUntil(() => first.every(({ said }) => said().includes("200 OK")), PATIENCE);
});

it("gives a route that streams the body as it comes, and cuts off who sends nothing more, there and elsewhere", async () => {
  const got: string[] = [];
  const routes: Route[] = [
    {
      ...{ prefix: "/s", maxBody: 0, streams: true },
      answer: async (request) => {
        for await (const piece of request.arriving()) got.push(piece.toString());
        return plain(200, `${request.body.length} before, ${got.join()} then\n`);
      },
    },
    { prefix: "/a", maxBody: 100, answer: async () => plain(200, "never\n") },
  ];
  const listen = async (limits: Partial<EdgeLimits>): Promise<EdgeServer> => {
    const edge = await startEdge({
      ...{ listen: { host: "127.0.0.1", port: 0 }, clock: systemClock, log: silentLogger, limits, routes },
      meter: { answered: () => {} },
    });
    edges.push(edge);
    return edge;
  };
  const head = (path: string) => `POST ${path} HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n`;
  const whole = dial(await listen({}), `${head("/s")}2\r\nhi\r\n`);
  await vi.waitUntil(() => got.length === 1, PATIENCE);
  whole.socket.write("1\r\n!\r\n0\r\n\r\n");
  await vi.waitUntil(() => whole.said().includes("0 before, hi,! then"), PATIENCE);
  const impatient = await listen({ pieceTimeout: 20, requestTimeout: 20 });
  for (const path of ["/s", "/a"]) {
    const slow = dial(impatient, `${head(path)}2\r\nhi\r\n`);
    await vi.waitUntil(slow.closed, PATIENCE);
    expect(slow.said()).toBe("");
  }
  // Who is never silent for long, and comes with nothing much.
  const dripping = dial(await listen({ pieceTimeout: 100, slowest: 1_000_000 }), head("/s"));
  const drip = setInterval(() => dripping.socket.write("1\r\n.\r\n"), 5);
  try {
    await vi.waitUntil(dripping.closed, PATIENCE);
  } finally {
    clearInterval(drip);
  }
  expect(dripping.said()).toBe("");
});

it("ends a large answer that nobody takes", async () => {
  const gone: AbortSignal[] = [];
  const answer: Route["answer"] = async (request) => {
    gone.push(request.gone);
    return { status: 200, body: Buffer.alloc(32 * 1024 * 1024) };
  };
  const edge = await serve(answer, { pieceTimeout: 20 });
  const { socket } = dial(edge, "GET /a HTTP/1.1\r\nhost: h\r\n\r\n");
  socket.pause();
  await vi.waitUntil(() => gone[0]?.aborted === true, PATIENCE);
});

it("gives a large answer whole, with its length in bytes, and to HEAD the length alone", async () => {
  // Nearly a megabyte, of fewer characters.
  const body = Array.from({ length: 75_000 }, (_, n) => `é${n % 10}ü${n % 7}ßàç/`).join("");
  const edge = await serve(async () => plain(200, body));
  const url = `http://127.0.0.1:${edge.port}/a`;
  for (const method of ["GET", "HEAD", "GET"]) {
    const answer = await fetch(url, { method });
    const { headers } = answer;
    expect([headers.get("content-length"), headers.get("transfer-encoding")]).toEqual([
      ...[String(Buffer.byteLength(body)), null],
    ]);
    expect((await answer.text()) === (method === "HEAD" ? "" : body)).toBe(true);
  }
});
