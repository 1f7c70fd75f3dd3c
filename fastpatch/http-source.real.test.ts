/** Mirrors that misbehave on real sockets. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { systemClock } from "../ports/clock.ts";
import {
  installOptions,
  makeRelease,
  noise,
  SLOT_A,
  smallMachine,
  type TestRelease,
  UNSIGNED,
} from "../test/crash/small-machine.ts";
import { openEngine } from "./engine.ts";
import { type HttpSource, httpSource } from "./http-source.ts";
import type { ByteRange } from "./source.ts";

const bytes = noise(300_000, 1);
type Answer = (request: IncomingMessage, response: ServerResponse) => void;

let source: HttpSource;
const servers: Server[] = [];

beforeEach(() => {
  source = httpSource({ stallTimeout: 200 });
});
afterEach(async () => {
  source.close();
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
});

async function serve(answer: Answer): Promise<string> {
  const server = createServer(answer);
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** What a good server does. */
function ranged(object: Buffer): Answer {
  return (request, response) => {
    const match = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "");
    if (match === null) {
      response.end(object);
      return;
    }
    const [start, end] = [Number(match[1]), Math.min(Number(match[2]), object.length - 1)];
    response.writeHead(206, {
      "content-range": `bytes ${start}-${end}/${object.length}`,
      "content-length": end - start + 1,
    });
    response.end(object.subarray(start, end + 1));
  };
}

async function read(
  url: string,
  range: Partial<ByteRange> = {},
  signal = new AbortController().signal,
): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const part of source.fetch(
    url,
    { offset: 0, length: bytes.length, total: bytes.length, ...range },
    signal,
  )) {
    parts.push(part);
  }
  return Buffer.concat(parts);
}

describe("one request", () => {
  test("fetches all, or a range", async () => {
    const url = await serve(ranged(bytes));
    expect((await read(url)).equals(bytes)).toBe(true);
    expect((await read(url, { offset: 1000, length: 77 })).equals(bytes.subarray(1000, 1077))).toBe(true);
  });

  test("takes the start of an object from a server that ignores ranges, and says so further on", async () => {
    const url = await serve((_request, response) => void response.end(bytes));
    expect((await read(url, { length: 100 })).equals(bytes.subarray(0, 100))).toBe(true);
    await expect(read(url, { offset: 1, length: 100 })).rejects.toMatchObject({ kind: "rangeIgnored" });
  });

  test("ends a connection that it does not use", async () => {
    const url = await serve(ranged(bytes));
    for (const server of servers) server.keepAliveTimeout = 0;
    source.close();
    source = httpSource({ stallTimeout: 200, idleTimeout: 50 });
    expect((await read(url)).length).toBe(bytes.length);
    const open = (): Promise<number> =>
      new Promise((resolve, reject) =>
        servers[0]?.getConnections((error, count) => (error ? reject(error) : resolve(count))),
      );
    await expect.poll(open, { timeout: 10_000 }).toBe(0);
  });

  test("asks once more where a kept connection ends as it is used again", async () => {
    const used = new WeakSet<object>();
    let resets = 0;
    const url = await serve((request, response) => {
      if (used.has(request.socket)) {
        resets++;
        request.socket.resetAndDestroy();
        return;
      }
      used.add(request.socket);
      ranged(bytes)(request, response);
    });
    expect((await read(url, { offset: 10, length: 20 })).length).toBe(20);
    expect((await read(url, { offset: 10, length: 20 })).length).toBe(20);
    expect(resets).toBe(1);
  });

  test.each<[string, Answer, object]>([
    ["an error", (_request, response) => void response.writeHead(503).end(), { kind: "status" }],
    ["an object that is too small", ranged(bytes.subarray(1)), { kind: "tooShort" }],
    ["an object that is too large", ranged(Buffer.concat([bytes, Buffer.alloc(1)])), { kind: "tooLong" }],
    [
      "too little without a length",
      (_request, response) => {
        response.write(bytes.subarray(0, 1000));
        response.end();
      },
      { kind: "tooShort" },
    ],
    [
      "a connection that breaks",
      (_request, response) => {
        response.writeHead(200, { "content-length": bytes.length });
        response.write(bytes.subarray(0, 1000), () => response.socket?.resetAndDestroy());
      },
      { kind: "network", message: "the connection was closed early" },
    ],
    ["nothing at all", () => {}, { kind: "stalled" }],
    [
      "silence in the middle",
      (_request, response) =>
        void response.writeHead(200, { "content-length": bytes.length }).write(bytes.subarray(0, 1000)),
      { kind: "stalled" },
    ],
    [
      "another range",
      (_request, response) =>
        void response.writeHead(206, { "content-range": `bytes 5-9/${bytes.length}` }).end("abcde"),
      { kind: "refused" },
    ],
    [
      "another encoding",
      (_request, response) => void response.writeHead(200, { "content-encoding": "gzip" }).end("x"),
      { kind: "refused" },
    ],
    ["a redirect to nowhere", (_request, response) => void response.writeHead(302).end(), { kind: "status" }],
    [
      "a redirect without end",
      (_request, response) => void response.writeHead(302, { location: "/" }).end(),
      { kind: "status" },
    ],
    [
      "a redirect to a file",
      (_request, response) => void response.writeHead(302, { location: "file:///etc/passwd" }).end(),
      { kind: "refused" },
    ],
  ])("%s is a clear error", async (_name, answer, error) => {
    await expect(read(await serve(answer))).rejects.toMatchObject({ name: "SourceError", ...error });
  });

  test("a dribble counts as stalled", async () => {
    const url = await serve((_request, response) => {
      response.writeHead(200, { "content-length": bytes.length });
      const timer = setInterval(() => response.write("x"), 20);
      response.on("close", () => clearInterval(timer));
    });
    await expect(read(url)).rejects.toMatchObject({ kind: "stalled" });
  });

  test("nobody there is a network error", async () => {
    const url = await serve(ranged(bytes));
    servers[0]?.closeAllConnections();
    await new Promise((resolve) => servers.shift()?.close(resolve));
    await expect(read(url)).rejects.toMatchObject({ kind: "network" });
  });

  test("follows a redirect with its range", async () => {
    const target = await serve(ranged(bytes));
    const url = await serve(
      (_request, response) => void response.writeHead(307, { location: `${target}/object` }).end(),
    );
    expect((await read(url, { offset: 10, length: 20 })).equals(bytes.subarray(10, 30))).toBe(true);
  });

  test("an abort ends it with the signal's reason, and a consumer may leave", async () => {
    const url = await serve(ranged(bytes));
    const abort = new AbortController();
    abort.abort(new Error("stop"));
    await expect(read(url, {}, abort.signal)).rejects.toThrow("stop");
    for await (const chunk of source.fetch(
      url,
      { offset: 0, length: bytes.length, total: bytes.length },
      new AbortController().signal,
    )) {
      expect(chunk.length).toBeGreaterThan(0);
      break;
    }
    expect((await read(url, { length: 10 })).length).toBe(10);
  });
});

describe("an installation", () => {
  const image = noise(600_000, 2);

  /** The same release on mirrors that answer as told; `good` is an honest answer for the file. */
  async function published(
    mirrors: ((file: "image" | "manifest", good: Answer) => Answer)[],
  ): Promise<TestRelease> {
    const release = await makeRelease("2.0.0", image);
    const object = release.objects.get("http://one/2.0.0/image.zst") ?? Buffer.alloc(0);
    const origins = await Promise.all(
      mirrors.map((mirror) => {
        const files = {
          image: mirror("image", ranged(object)),
          manifest: mirror("manifest", ranged(release.built.manifestObject)),
        };
        return serve((request, response) =>
          files[request.url === "/image" ? "image" : "manifest"](request, response),
        );
      }),
    );
    const { target } = release;
    const blob = (file: "image" | "manifest") => ({
      ...target[file],
      urls: origins.map((origin) => `${origin}/${file}`),
    });
    return { ...release, target: { ...target, image: blob("image"), manifest: blob("manifest") } };
  }

  async function install({ target, image: whole }: TestRelease): Promise<boolean> {
    const machine = await smallMachine(await makeRelease("1.0.0", noise(100_000, 3)));
    const engine = await openEngine({
      disk: machine.disk,
      runningPartition: SLOT_A,
      clock: systemClock,
      source,
      trust: UNSIGNED,
    });
    await engine.install(target, installOptions());
    const { offset } = machine.slots.B;
    return machine.bytes.subarray(offset, offset + whole.length).equals(whole);
  }

  test("gets past a liar, a mirror that sends too much, one that is dead and one that ignores ranges", async () => {
    const liar = (file: "image" | "manifest", good: Answer): Answer =>
      file === "manifest" ? good : ranged(noise(600_000, 99));
    const release = await published([
      liar,
      () => (_request, response) => void response.end(Buffer.alloc(2_000_000)),
      () => (request) => void request.socket.destroy(),
      (file) => (_request, response) => {
        const object = release.objects.get(`http://one/2.0.0/${file}.zst`);
        response.end(object);
      },
    ]);
    expect(await install(release)).toBe(true);
  });

  test("names what each mirror did where none is any good", async () => {
    const release = await published([
      () => (_request, response) => void response.end(Buffer.alloc(2_000_000)),
      () => (_request, response) => void response.writeHead(301, { location: "gopher://x/" }).end(),
    ]);
    await expect(install(release)).rejects.toThrow(/has 2000000 bytes.*redirected to gopher/s);
  });
});
