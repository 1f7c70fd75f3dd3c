/** From one cluster over a directory into another place: a real API server, real gateways' payloads, real sockets. */
import { createHash } from "node:crypto";
import { mkdir, mkdtemp, readFile, rename, rm, symlink, truncate, writeFile } from "node:fs/promises";
import { createServer, type RequestListener, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, inject, test } from "vitest";
import { type Channel, channel } from "../../api/channel.ts";
import type { Resource } from "../../api/kind.ts";
import { API_VERSION } from "../../api/meta.ts";
import { type Release, ReleaseSpec, release } from "../../api/release.ts";
import { type EdgeServer, startEdge } from "../../gateway/edge/server.ts";
import { PayloadFolder } from "../../gateway/payloads/folder.ts";
import { payloadRoute } from "../../gateway/payloads/route.ts";
import { systemClock as clock } from "../../ports/clock.ts";
import { silentLogger as log } from "../../ports/log.ts";
import { systemRandom as random } from "../../ports/random.ts";
import { loadKubeConfig } from "../../runtime/kubeconfig.ts";
import { createRestClient, type RestClient } from "../../runtime/rest-client.ts";
import { payloadKeys, writePayload } from "../../test/payloads/payload-writer.ts";
import { fakeIo } from "../fake-io.ts";
import { runPlugin } from "../program.ts";

const run = `m${random.uuid().slice(0, 8)}`;
const vendor = payloadKeys();
const payloadOf = (fill: number): Buffer =>
  writePayload({
    blobs: Array.from({ length: 20 }, (_, at) => Buffer.alloc(50_000, at + fill)),
    signers: [{ key: vendor.privateKey, version: 2 }],
  });
const [update, oem] = [payloadOf(1), payloadOf(2)];
const sha256 = (data: Buffer): string => createHash("sha256").update(data).digest("hex");

let folder = "";
let api: RestClient;
const edges: EdgeServer[] = [];
const servers: Server[] = [];
const at = (name: string): string => join(folder, name);

beforeAll(async () => {
  api = createRestClient(loadKubeConfig(inject("kubeconfig")), { clock, random, rate: 1000, burst: 1000 });
  folder = await mkdtemp(join(tmpdir(), "slipway-mirror-"));
  await mkdir(at("served/os"), { recursive: true });
  await writeFile(at("served/os/update.gz"), update);
  await writeFile(at("served/os/oem-qemu.gz"), oem);
  await writeFile(at("vendor.pem"), vendor.pem);
  await writeFile(at("other.pem"), payloadKeys().pem);
});
afterEach(async () => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    server.close();
  }
  await Promise.all(edges.splice(0).map((edge) => edge.stop(0)));
  await forget(release);
  await forget(channel);
});
afterAll(async () => {
  await api.close();
  await rm(folder, { recursive: true });
});

async function forget(kind: Resource): Promise<void> {
  const { items } = await api.list(kind);
  for (const { metadata } of items) if (metadata.name.startsWith(run)) await api.delete(kind, metadata);
}

/** `kubectl slipway mirror`. */
async function mirror(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  const io = fakeIo({ env: { KUBECONFIG: inject("kubeconfig") } });
  const code = await runPlugin(["mirror", ...args], io);
  return { code, ...io.written };
}

async function gateway(directory: string): Promise<string> {
  const edge = await startEdge({
    ...{ listen: { host: "127.0.0.1", port: 0 }, clock, log, meter: { answered: () => {} } },
    routes: [payloadRoute({ sources: [new PayloadFolder(directory, clock)], clock, log, failed: () => {} })],
  });
  edges.push(edge);
  return `http://127.0.0.1:${edge.port}`;
}

async function serve(listener: RequestListener): Promise<string> {
  const server = createServer(listener);
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

async function declare(part: string, codebase: string, more: object = {}): Promise<string> {
  const name = `${run}-${part}`;
  const omaha = {
    ...{ architecture: "amd64", codebases: [codebase] },
    payload: { name: "update.gz", size: update.length, sha256: sha256(update) },
    extras: [{ name: "oem-qemu.gz", size: oem.length, sha256: sha256(oem) }],
  };
  await api.create<Release>(release, {
    ...{ apiVersion: API_VERSION, kind: "Release", metadata: { name } },
    spec: ReleaseSpec.parse({ version: "2.0.0", product: run, omaha: [omaha], ...more }),
  });
  return name;
}
const releaseOf = (name: string): Promise<Release> => api.get<Release>(release, { name });

describe("a mirror", () => {
  test("carries a channel's release and its stepping stones to another gateway", async () => {
    const url = await gateway(at("served"));
    const name = await declare("target", "{gateway}/payloads/os/");
    const stone = await declare("stone", `${url}/payloads/os/`, { version: "1.0.0", steppingStone: true });
    await declare("newer", `${url}/payloads/os/`, { version: "3.0.0", steppingStone: true });
    await api.create<Channel>(channel, {
      ...{
        apiVersion: API_VERSION,
        kind: "Channel",
        metadata: { name: `${run}-c` },
        spec: { release: name },
      },
    });
    const key = ["--key", at("vendor.pem")];
    expect((await mirror("save", at("m1"), "--channel", `${run}-c`)).err).toContain(
      "give the base of its URLs",
    );
    const saved = await mirror("save", at("m1"), "--channel", `${run}-c`, "--gateway", url, ...key);
    expect(saved).toMatchObject({ code: 0, err: "" });
    const again = await mirror("save", at("m1"), "--release", name, "--gateway", url);
    expect(again.out).toContain(`${name}/amd64/update.gz: was there`);

    await forget(release);
    const loaded = await mirror("load", at("m1"), "--to", at("m1-served"), ...key);
    expect(loaded).toMatchObject({ code: 0, err: "" });
    expect((await releaseOf(stone)).spec.steppingStone).toBe(true);
    const [payload] = (await releaseOf(name)).spec.omaha ?? [];
    expect(payload?.codebases).toEqual(["{gateway}/payloads/{name}/{architecture}/"]);
    const there = await gateway(at("m1-served"));
    const got = await fetch(`${there}/payloads/${name}/amd64/oem-qemu.gz`);
    expect(Buffer.from(await got.arrayBuffer()).equals(oem)).toBe(true);
    const { items } = await api.list<Release>(release);
    expect(items.filter(({ metadata }) => metadata.name.startsWith(run))).toHaveLength(2);
    expect((await mirror("load", at("m1"))).out).toContain(`release.slipway.dev/${name} was there`);
  });

  test("goes on where a save broke off", async () => {
    const ranges: (string | undefined)[] = [];
    let whole = false;
    const url = await serve((request, response) => {
      const data = request.url?.endsWith("oem-qemu.gz") === true ? oem : update;
      const { range } = request.headers;
      ranges.push(range);
      const first = Number(/^bytes=(\d+)-/.exec(range ?? "")?.[1] ?? 0);
      const status = range === undefined ? 200 : 206;
      response.writeHead(status, {
        "content-length": data.length - first,
        ...(range === undefined
          ? {}
          : { "content-range": `bytes ${first}-${data.length - 1}/${data.length}` }),
      });
      const rest = data.subarray(first);
      if (whole) response.end(rest);
      else response.write(rest.subarray(0, 100_000), () => response.destroy());
    });
    const name = await declare("broken", `${url}/`);
    const broken = await mirror("save", at("m2"), "--release", name);
    expect(broken).toMatchObject({ code: 1 });
    expect(broken.err).toContain("can't be fetched");
    // Nothing can be loaded of what is half there.
    expect((await mirror("load", at("m2"))).err).toContain("its save did not end");
    whole = true;
    ranges.length = 0;
    expect(await mirror("save", at("m2"), "--release", name)).toMatchObject({ code: 0 });
    expect(Number(/^bytes=(\d+)-/.exec(ranges[0] ?? "")?.[1])).toBeGreaterThan(0);
    expect((await mirror("load", at("m2"), "--check")).out).toContain("2 files of 1 Releases are right");
  });

  test("keeps what is half there apart from every file that a Release may name", async () => {
    await writeFile(at("served/os/oem-qemu.gz.part"), update);
    const omaha = {
      ...{ architecture: "amd64", codebases: [`${await gateway(at("served"))}/payloads/os/`] },
      payload: { name: "update.gz", size: update.length, sha256: sha256(update) },
      extras: [
        { name: "oem-qemu.gz.part", size: update.length, sha256: sha256(update) },
        { name: "oem-qemu.gz", size: oem.length, sha256: sha256(oem) },
      ],
    };
    const name = await declare("parts", "https://a.test/", { omaha: [omaha] });
    expect(await mirror("save", at("m5"), "--release", name)).toMatchObject({ code: 0 });
    expect((await mirror("load", at("m5"), "--check")).out).toContain("3 files of 1 Releases are right");
  });

  test("takes the next place where one serves something else", async () => {
    const bad = await serve((_, response) => void response.end(Buffer.alloc(update.length)));
    const good = await gateway(at("served"));
    const omaha = {
      ...{ architecture: "amd64", codebases: [`${bad}/`, `${good}/payloads/os/`], extras: [] },
      payload: { name: "update.gz", size: update.length, sha256: sha256(update) },
    };
    const name = await declare("lying", `${bad}/`, { omaha: [omaha] });
    expect(await mirror("save", at("m3"), "--release", name)).toMatchObject({ code: 0 });
    const saved = await readFile(at(`m3/payloads/${name}/amd64/update.gz`));
    expect(saved.equals(update)).toBe(true);
  });

  test("takes no payload that another vendor signed", async () => {
    const url = await gateway(at("served"));
    const name = await declare("signed", `${url}/payloads/os/`);
    const other = ["--key", at("other.pem")];
    expect((await mirror("save", at("m4"), "--release", name, ...other)).err).toContain("by this key");
    expect(await mirror("save", at("m4"), "--release", name)).toMatchObject({ code: 0 });
    expect((await mirror("load", at("m4"), "--check", ...other)).err).toContain("nothing was done");
  });
});

describe("what can't be loaded changes nothing", () => {
  async function saved(part: string): Promise<{ name: string; directory: string; file: string }> {
    const name = await declare(part, `${await gateway(at("served"))}/payloads/os/`);
    const directory = at(part);
    expect(await mirror("save", directory, "--release", name)).toMatchObject({ code: 0 });
    await forget(release);
    return { name, directory, file: join(directory, "payloads", name, "amd64/update.gz") };
  }

  test.each<[string, (file: string) => Promise<void>, RegExp]>([
    ["a byte that changed", (file) => writeFile(file, Buffer.alloc(update.length)), /has the SHA-256/],
    ["a file that is shorter", (file) => truncate(file, 100), /has 100 bytes/],
    ["a file that is missing", (file) => rm(file), /is missing/],
    [
      "a link to the file",
      async (file) => {
        await rename(file, `${file}.away`);
        await symlink(`${file}.away`, file);
      },
      /is no file/,
    ],
  ])("%s", async (what, damage, message) => {
    const { name, directory, file } = await saved(what.replaceAll(" ", "-"));
    await damage(file);
    const to = `${directory}-to`;
    const { code, err } = await mirror("load", directory, "--to", to);
    expect(code).toBe(1);
    expect(err).toMatch(message);
    await expect(releaseOf(name)).rejects.toThrow(/not found/);
    await expect(readFile(join(to, name, "amd64/oem-qemu.gz"))).rejects.toThrow(/ENOENT/);
  });

  test("an index that names what lies elsewhere, or is none", async () => {
    const { directory } = await saved("index");
    const path = join(directory, "index.json");
    const text = await readFile(path, "utf8");
    const { format, releases } = JSON.parse(text) as { format: number; releases: object[] };
    for (const wrong of [
      text.replace('"update.gz"', '"../../../../vendor.pem"'),
      text.replace(`"${run}-index"`, '"../up"'),
      text.replace('"format": 1', '"format": 2'),
      text.slice(0, 50),
      "[]",
      JSON.stringify({ format, releases: [...releases, ...releases] }),
    ]) {
      await writeFile(path, wrong);
      expect((await mirror("load", directory, "--check")).err).toMatch(/no index of a mirror|no JSON/);
    }
  });

  test("another Release of that name", async () => {
    const { name, directory } = await saved("taken");
    const omaha = {
      architecture: "amd64",
      codebases: ["https://a.test/"],
      payload: { name: "update.gz", size: 1, sha256: sha256(oem) },
    };
    await declare("taken", "https://a.test/", { omaha: [omaha] });
    const { err } = await mirror("load", directory, "--to", at("taken-to"));
    expect(err).toContain(`there is another Release ${name}`);
    await expect(readFile(join(at("taken-to"), name, "amd64/update.gz"))).rejects.toThrow(/ENOENT/);
  });
});
