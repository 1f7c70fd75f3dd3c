/** Payloads over a real socket, from a real directory. */
import { createHash } from "node:crypto";
import { writeFileSync } from "node:fs";
import { mkdir, mkdtemp, open, rename, rm, symlink, writeFile } from "node:fs/promises";
import { request as httpRequest } from "node:http";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buffer } from "node:stream/consumers";
import { afterAll, afterEach, beforeAll, expect, it, vi } from "vitest";
import { type Clock, systemClock } from "../../ports/clock.ts";
import { jsonLogger, type Logger, silentLogger } from "../../ports/log.ts";
import { VirtualClock } from "../../runtime/virtual-clock.ts";
import { type EdgeLimits, type EdgeServer, startEdge } from "../edge/server.ts";
import { PayloadFolder } from "./folder.ts";
import type { PayloadLimits } from "./limits.ts";
import { payloadRoute } from "./route.ts";

const data = Buffer.from(Array.from({ length: 300_000 }, (_, at) => (at * 7919) >> 3));
const etag = `"${createHash("sha256").update(data).digest("hex")}"`;
const LARGE = 64 * 1024 * 1024;

let directory = "";
let edge: EdgeServer | undefined;
const route = { downloads: () => 0 };
const failures: string[] = [];

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "slipway-payloads-"));
  await mkdir(join(directory, "served/os/amd64"), { recursive: true });
  await writeFile(join(directory, "served/os/amd64/update.gz"), data);
  await writeFile(join(directory, "served/large"), Buffer.alloc(LARGE, 5));
  await writeFile(join(directory, "secret"), "secret");
  await symlink(join(directory, "secret"), join(directory, "served/link"));
  await symlink(directory, join(directory, "served/up"));
});
afterEach(async () => {
  await edge?.stop(0);
  edge = undefined;
});
afterAll(() => rm(directory, { recursive: true }));

async function serve(
  limits: Partial<EdgeLimits> = {},
  own: Partial<PayloadLimits> = {},
  folders: readonly string[] = ["served"],
  { clock = systemClock, log = silentLogger }: { clock?: Clock; log?: Logger } = {},
): Promise<number> {
  failures.length = 0;
  const payloads = payloadRoute({
    sources: folders.map((name) => new PayloadFolder(join(directory, name), systemClock)),
    limits: own,
    ...{ clock, log },
    failed: (place) => failures.push(place),
  });
  route.downloads = () => payloads.downloads;
  edge = await startEdge({
    ...{ listen: { host: "127.0.0.1", port: 0 }, routes: [payloads], clock: systemClock, log: silentLogger },
    ...{ meter: { answered: () => {} }, limits },
  });
  return edge.port;
}

interface Got {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  body: Buffer;
}

/** With the path as it is given: fetch would mend it. */
function get(port: number, path: string, headers: Record<string, string> = {}, method = "GET"): Promise<Got> {
  return new Promise((resolve, reject) => {
    const request = httpRequest({ host: "127.0.0.1", port, path, method, headers, agent: false });
    request.once("error", reject);
    request.once("response", (response) => {
      buffer(response).then(
        (body) => resolve({ status: response.statusCode ?? 0, headers: response.headers, body }),
        reject,
      );
    });
    request.end();
  });
}
const UPDATE = "/payloads/os/amd64/update.gz";

it("serves a file whole, with its exact size and its hash", async () => {
  const port = await serve();
  const { status, headers, body } = await get(port, UPDATE);
  expect(status).toBe(200);
  expect(headers).toMatchObject({ etag, "content-length": `${data.length}`, "accept-ranges": "bytes" });
  expect(body.equals(data)).toBe(true);
  const head = await get(port, UPDATE, { range: "bytes=5-6" }, "HEAD");
  expect(head).toMatchObject({ status: 200, headers: { etag, "content-length": `${data.length}` } });
  expect(head.body).toHaveLength(0);
  expect(route.downloads()).toBe(0);
});

it("goes on where a download stopped", async () => {
  const port = await serve();
  const first = await get(port, UPDATE, { range: "bytes=0-122" });
  expect(first).toMatchObject({
    ...{ status: 206, headers: { "content-range": `bytes 0-122/${data.length}`, "content-length": "123" } },
  });
  const rest = await get(port, UPDATE, { range: "bytes=123-", "if-range": etag });
  expect(rest.status).toBe(206);
  expect(Buffer.concat([first.body, rest.body]).equals(data)).toBe(true);
  expect((await get(port, UPDATE, { range: "bytes=1-1", "if-range": '"old"' })).body).toHaveLength(
    data.length,
  );
  const behind = await get(port, UPDATE, { range: `bytes=${data.length}-` });
  expect(behind).toMatchObject({ status: 416, headers: { "content-range": `bytes */${data.length}` } });
  expect(await get(port, UPDATE, { "if-none-match": etag })).toMatchObject({
    status: 304,
    headers: { etag },
  });
});

it("tells a file that took the place of another by another hash", async () => {
  const port = await serve();
  const path = join(directory, "served/changing");
  await writeFile(path, "one");
  const one = await get(port, "/payloads/changing");
  await writeFile(`${path}.new`, "two");
  await rename(`${path}.new`, path);
  const two = await get(port, "/payloads/changing");
  expect(two.headers["etag"]).not.toBe(one.headers["etag"]);
  expect(two.body.toString()).toBe("two");
});

it("tells a file that was written over at once, in the same size, by another hash", async () => {
  const port = await serve();
  const path = join(directory, "served/rewritten");
  writeFileSync(path, "");
  const handle = await open(path);
  const stat = handle.stat.bind(handle);
  // As NFS servers and kernels before 6.13 keep times: those of this machine are too fine to show it.
  const coarse = vi
    .spyOn(Object.getPrototypeOf(handle) as typeof handle, "stat")
    .mockImplementation(async () => {
      const times = await stat({ bigint: true });
      const second = (times.ctimeNs / 1_000_000_000n) * 1_000_000_000n;
      return Object.assign(times, { ctimeNs: second, mtimeNs: second });
    });
  try {
    for (const text of ["one", "two", "one", "two"]) {
      writeFileSync(path, text);
      const { headers } = await get(port, "/payloads/rewritten");
      expect(headers["etag"]).toBe(`"${createHash("sha256").update(text).digest("hex")}"`);
    }
  } finally {
    coarse.mockRestore();
    await handle.close();
  }
});

it("asks the next place where one can't be read, and says so", async () => {
  const port = await serve({}, {}, ["missing", "served"]);
  expect(await get(port, UPDATE)).toMatchObject({ status: 200, headers: { etag } });
  expect(failures).toEqual(["directory"]);
});

it("does not say that there is no such payload where a place of them can't be read", async () => {
  const port = await serve({}, {}, ["served", "missing"]);
  const { status, headers, body } = await get(port, "/payloads/os/amd64/other.gz");
  expect({ status, headers }).toMatchObject({ status: 503, headers: { "retry-after": "60" } });
  expect(body.toString()).toBe("The directory of payloads can't be read. Go on later.\n");
  expect(await get(port, UPDATE)).toMatchObject({ status: 200 });
  expect(failures).toEqual(["directory"]);
  expect(route.downloads()).toBe(0);
});

it.each([
  "/payloads",
  "/payloads/",
  "/payloads/os",
  "/payloads/os/",
  "/payloads//os/amd64/update.gz",
  "/payloads/os/amd64/update.gz/",
  "/payloads/os/amd64/update.gz/more",
  "/payloads/../secret",
  "/payloads/os/../../secret",
  "/payloads/%2e%2e/secret",
  "/payloads/os%2famd64%2fupdate.gz",
  "/payloads/./os/amd64/update.gz",
  "/payloads/link",
  "/payloads/up/secret",
  "/payloads/.hidden",
  "/payloads/os\\amd64",
  "/payloads/a%00b",
  `/payloads/${"a/".repeat(20)}a`,
  `/payloads/${"a".repeat(300)}`,
  "/payloadsos/amd64/update.gz",
])("finds nothing at %s", async (path) => {
  const port = await serve();
  expect(await get(port, path)).toMatchObject({ status: 404 });
  expect(route.downloads()).toBe(0);
});

it("tells of a place that is down once a minute, with no more of a path than tells what is asked for", async () => {
  const clock = new VirtualClock();
  const lines: string[] = [];
  const log = jsonLogger(clock, (line) => lines.push(line));
  const port = await serve({}, {}, ["nowhere"], { clock, log });
  const path = `/${"long".repeat(50)}`.repeat(8);
  for (let n = 0; n < 5; n += 1) expect(await get(port, `/payloads${path}`)).toMatchObject({ status: 503 });
  expect(lines).toHaveLength(1);
  expect(JSON.parse(lines[0] ?? "")).toMatchObject({ place: "directory", path: path.slice(1, 201) });
  await clock.advance(60_000);
  await get(port, UPDATE);
  expect(lines).toHaveLength(2);
  expect(failures).toHaveLength(6);
});

it("takes nothing but GET and HEAD", async () => {
  const port = await serve();
  for (const method of ["POST", "PUT", "DELETE"])
    expect(await get(port, UPDATE, {}, method)).toMatchObject({ status: 405 });
});

/** A client that asks, reads the beginning of the answer, and no more. */
function stalled(port: number): Promise<{ readOn: () => Promise<number>; leave: () => void }> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("error", reject);
    const closed = new Promise<number>((done) => socket.once("close", () => done(socket.bytesRead)));
    socket.write("GET /payloads/large HTTP/1.1\r\nHost: a\r\n\r\n");
    socket.once("data", () => {
      socket.pause();
      socket.removeAllListeners("error");
      socket.on("error", () => {});
      const readOn = (): Promise<number> => {
        socket.resume();
        return closed;
      };
      resolve({ readOn, leave: () => void socket.destroy() });
    });
  });
}

it("reads no further than a slow client does, and cuts off one that takes nothing", async () => {
  const port = await serve({ pieceTimeout: 200 });
  const before = process.memoryUsage().arrayBuffers;
  const { leave } = await stalled(port);
  // What is not read lies in the kernel, and one piece in the process.
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(LARGE / 4);
  await vi.waitFor(() => expect(route.downloads()).toBe(0), { timeout: 20_000, interval: 10 });
  leave();
});

it("gives back the place of a client that leaves", async () => {
  const port = await serve({}, { downloads: 2 });
  const pair = await Promise.all([stalled(port), stalled(port)]);
  expect(await get(port, UPDATE)).toMatchObject({ status: 503, headers: { "retry-after": "60" } });
  pair[0]?.leave();
  await vi.waitFor(() => expect(route.downloads()).toBe(1), { timeout: 20_000, interval: 10 });
  expect(await get(port, UPDATE)).toMatchObject({ status: 200 });
  pair[1]?.leave();
});

it("lets one network have its share only", async () => {
  const port = await serve({}, { perNetwork: 1 });
  const one = await stalled(port);
  expect(await get(port, UPDATE)).toMatchObject({ status: 503 });
  one.leave();
});

it("ends downloads when it stops", async () => {
  const port = await serve();
  const { readOn } = await stalled(port);
  await edge?.stop(100);
  edge = undefined;
  expect(await readOn()).toBeLessThan(LARGE);
});
