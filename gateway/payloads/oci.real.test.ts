/** Payloads in a real registry: anonymous, by password, by token. */
import { createHash } from "node:crypto";
import { createServer, type OutgoingHttpHeaders } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { type Clock, systemClock as clock } from "../../ports/clock.ts";
import { silentLogger as log } from "../../ports/log.ts";
import {
  type Authentication,
  CREDENTIALS,
  type DockerRegistry,
  startRegistry,
} from "../../test/payloads/docker-registry.ts";
import { type EdgeServer, startEdge } from "../edge/server.ts";
import { OciRepository } from "./oci.ts";
import { payloadRoute } from "./route.ts";

const data = Buffer.from(Array.from({ length: 3_000_000 }, (_, at) => (at * 7919) >> 5));
const etag = `"${createHash("sha256").update(data).digest("hex")}"`;
const UPDATE = "/payloads/os-1.0.0/amd64/update.gz";
const closers: (() => Promise<void> | void)[] = [];

afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});

async function registry(auth: Authentication): Promise<DockerRegistry> {
  const started = await startRegistry(auth);
  closers.push(() => started.stop());
  await started.push("flatcar/os", "os-1.0.0-amd64", {
    "update.gz": data,
    "oem-qemu.gz": Buffer.from("oem"),
  });
  return started;
}

async function gateway(url: string, credentials?: string, time: Clock = clock): Promise<string> {
  const source = new OciRepository({
    ...{ repository: `${url}/flatcar/os`, clock: time },
    ...(credentials === undefined ? {} : { credentials: () => credentials }),
  });
  const edge: EdgeServer = await startEdge({
    ...{ listen: { host: "127.0.0.1", port: 0 }, clock, log, meter: { answered: () => {} } },
    routes: [payloadRoute({ sources: [source], clock, log, failed: () => {} })],
  });
  closers.push(async () => {
    await edge.stop(0);
    source.close();
  });
  return `http://127.0.0.1:${edge.port}`;
}

async function get(base: string, path: string, headers: Record<string, string> = {}) {
  const answer = await fetch(`${base}${path}`, { headers });
  return { status: answer.status, headers: answer.headers, body: Buffer.from(await answer.arrayBuffer()) };
}

describe("a payload in a registry", () => {
  it.each<[Authentication, string | undefined]>([
    ["none", undefined],
    ["basic", CREDENTIALS],
    ["token", CREDENTIALS],
  ])("is served whole and in parts, with authentication %s", async (auth, credentials) => {
    const base = await gateway((await registry(auth)).url, credentials);
    const whole = await get(base, UPDATE);
    expect(whole.status).toBe(200);
    expect(whole.headers.get("etag")).toBe(etag);
    expect(whole.headers.get("content-length")).toBe(`${data.length}`);
    expect(whole.body.equals(data)).toBe(true);
    const rest = await get(base, UPDATE, { range: "bytes=1234567-", "if-range": etag });
    expect(rest.status).toBe(206);
    expect(rest.headers.get("content-range")).toBe(`bytes 1234567-2999999/3000000`);
    expect(rest.body.equals(data.subarray(1_234_567))).toBe(true);
    expect((await get(base, "/payloads/os-1.0.0/amd64/oem-qemu.gz")).body.toString()).toBe("oem");
  });

  it("is not there under another name, tag or place", async () => {
    const base = await gateway((await registry("none")).url);
    for (const path of [
      "os-1.0.0/amd64/other.gz",
      "os-1.0.0/arm64/update.gz",
      "os/amd64/x/update.gz",
      "../x/y",
    ])
      expect((await get(base, `/payloads/${path}`)).status).toBe(404);
  });

  it("is served on after its token ended", async () => {
    const started = await registry("token");
    let later = 0;
    const moved = { ...clock, monotonic: () => clock.monotonic() + later };
    const base = await gateway(started.url, CREDENTIALS, moved);
    expect((await get(base, UPDATE)).body.equals(data)).toBe(true);
    expect((await get(base, UPDATE, { range: "bytes=5-9" })).body.equals(data.subarray(5, 10))).toBe(true);
    expect(started.tokens()).toBe(1);
    later = 295_000;
    expect((await get(base, UPDATE, { range: "bytes=5-9" })).body.equals(data.subarray(5, 10))).toBe(true);
    expect(started.tokens()).toBe(2);
  });

  it.each<[Authentication, string | undefined]>([
    ["basic", undefined],
    ["basic", "harbor:wrong"],
    ["token", "harbor:wrong"],
  ])("is not served where the registry (%s) refuses %s", async (auth, credentials) => {
    const base = await gateway((await registry(auth)).url, credentials);
    const { status, headers } = await get(base, UPDATE);
    expect(status).toBe(503);
    expect(headers.get("retry-after")).toBe("60");
  });

  it("is not served while the registry is away, or answers with something else", async () => {
    expect((await get(await gateway("http://127.0.0.1:1"), UPDATE)).status).toBe(503);
    for (const body of ["<html>", "{}", "x".repeat(2_000_000)]) {
      const server = createServer((_, response) => void response.end(body));
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
      closers.push(() => {
        server.closeAllConnections();
        server.close();
      });
      const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
      expect((await get(await gateway(url), UPDATE)).status).toBe(503);
    }
  });

  it("goes to no other server with the password", async () => {
    const seen: (string | undefined)[] = [];
    const listen = async (
      answer: (url: string) => { status: number; headers: OutgoingHttpHeaders; body: string },
    ) => {
      const server = createServer((request, response) => {
        seen.push(request.headers.authorization);
        const { status, headers, body } = answer(request.url ?? "");
        response.writeHead(status, headers).end(body);
      });
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
      closers.push(() => {
        server.closeAllConnections();
        server.close();
      });
      return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    };
    const store = await listen(() => ({ status: 200, headers: {}, body: "data" }));
    const layer = { digest: `sha256:${createHash("sha256").update("data").digest("hex")}`, size: 4 };
    const manifest = JSON.stringify({
      layers: [{ ...layer, annotations: { "org.opencontainers.image.title": "update.gz" } }],
    });
    const front = await listen((url) =>
      url.includes("/blobs/")
        ? { status: 307, headers: { location: `${store}/blob` }, body: "" }
        : seen.at(-1) === undefined
          ? { status: 401, headers: { "www-authenticate": 'Basic realm="x"' }, body: "" }
          : { status: 200, headers: {}, body: manifest },
    );
    expect((await get(await gateway(front, CREDENTIALS), UPDATE)).body.toString()).toBe("data");
    const basic = `Basic ${Buffer.from(CREDENTIALS).toString("base64")}`;
    expect(seen).toEqual([undefined, basic, basic, undefined]);
  });
});
