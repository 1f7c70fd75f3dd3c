/** A Channel that follows a second Slipway: a real gateway over real etcd, asked over a socket; then servers that answer badly. */
import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type RequestListener, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, test, vi } from "vitest";
import { type Channel, ChannelSpec, channel as channelKind } from "../../api/channel.ts";
import { LOOK_ANNOTATION } from "../../api/labels.ts";
import { API_VERSION } from "../../api/meta.ts";
import { type Release, release as releaseKind } from "../../api/release.ts";
import type { Coordination, Leadership } from "../../coordination/coordination.ts";
import { createCoordination } from "../../coordination/create.ts";
import type { EtcdPort } from "../../coordination/etcd.ts";
import { connectEtcd } from "../../coordination/etcd3-port.ts";
import { openGate } from "../../coordination/fixtures.ts";
import type { GroupGate, Offered } from "../../coordination/records.ts";
import { fakeReviews } from "../../gateway/fake-cluster.ts";
import { type Gateway, startGateway } from "../../gateway/gateway.ts";
import { renderResponse } from "../../gateway/omaha/response.ts";
import { type EtcdCluster, startEtcd } from "../../hack/plane/etcd.ts";
import { systemClock as clock } from "../../ports/clock.ts";
import { silentLogger as log } from "../../ports/log.ts";
import { systemRandom as random } from "../../ports/random.ts";
import { readAnswer } from "../../proto/omaha/answer.ts";
import { renderAsk } from "../../proto/omaha/ask.ts";
import { isApiError } from "../../runtime/client.ts";
import { loadKubeConfig } from "../../runtime/kubeconfig.ts";
import { createManager } from "../../runtime/manager.ts";
import { createMetrics } from "../../runtime/metrics.ts";
import { createRestClient, type RestClient } from "../../runtime/rest-client.ts";
import { channelWatches, createChannelReconciler } from "../channel/controller.ts";
import { httpCaller } from "../http/caller.ts";
import { UpstreamReconciler, upstreamWatches } from "./controller.ts";

const run = `r${random.uuid().slice(0, 8)}`;
const LABELS = { "slipway.test/run": run };
const WITHIN = { timeout: 20_000, interval: 50 };
const PRODUCT = "e96281a6-d1af-4bde-9a0a-97b76e56dc57";
const sha256 = (digit: string): string => digit.repeat(64);

let cluster: EtcdCluster;
let etcd: EtcdPort;
let room: Coordination;
let leader: Leadership;
let gateway: Gateway;
let directory = "";
let api: RestClient;
const stop = new AbortController();
let running: Promise<void>;
const servers: Server[] = [];
/** By `urlKey`. */
const urls = new Map<string, string>();

const offered = (version: string): Offered => ({
  ...{ release: `os-${version}`, version, codebases: ["https://images.test/{version}"], extras: [] },
  payload: { name: "update.gz", size: 100, sha256: sha256("a") },
});

/** As the upstream's manager would write it. */
async function publish(way: Offered[], gate: Partial<GroupGate> = {}): Promise<void> {
  const validUntil = clock.now() + 30_000;
  await room.writeGates(leader, {
    groups: [
      openGate("workers", validUntil, {
        ...{ open: false, machines: { budgets: ["group/workers"], needs: 60_000, open: true } },
        ...gate,
      }),
    ],
    budgets: [{ budget: "group/workers", max: 1, unavailable: [], validUntil }],
    offers: [
      {
        ...{ group: "workers", tracks: ["workers", "stable"], product: PRODUCT, ways: { amd64: way } },
        ...{ share: 0, threshold: 1, validUntil },
      },
    ],
  });
}

beforeAll(async () => {
  cluster = await startEtcd();
  directory = await mkdtemp(join(tmpdir(), "slipway-upstream-"));
  etcd = connectEtcd({ endpoints: cluster.endpoints, clock, random });
  room = createCoordination({ etcd, clock, random, log });
  const epoch = await room.raiseEpoch(await room.readEpoch(), true);
  if (epoch === undefined) throw new Error("nobody leads");
  leader = epoch;
  await publish([offered("1.0.0"), offered("2.0.0")]);
  gateway = await startGateway({
    ...{ client: fakeReviews, etcd, coordination: room, clock, random, log },
    ...{ listen: { host: "127.0.0.1", port: 0 }, certificateDirectory: directory, hosts: ["127.0.0.1"] },
    ...{ serviceAccounts: ["slipway-system:slipway-agent"], audience: "slipway", name: "up" },
    edge: { listen: { host: "127.0.0.1", port: 0 }, tls: false, keys: [], etcd },
  });
  api = createRestClient(loadKubeConfig(inject("kubeconfig")), { clock, random, rate: 1000, burst: 1000 });
  const reporter = { controller: "slipway.dev/test", instance: run };
  const common = { client: api, clock, random, log };
  const manager = createManager({ ...common, watches: api.watches, metrics: createMetrics(), reporter });
  const stores = {
    channels: manager.store<Channel>(channelKind, { labelSelector: `slipway.test/run=${run}` }),
    releases: manager.store<Release>(releaseKind),
  };
  const deps = { ...common, stores, recorder: manager.events };
  const upstreams = new UpstreamReconciler({
    ...{ ...deps, http: httpCaller(clock), looked: (name) => channels.enqueue(name) },
    urls: async (key) => urls.get(key),
  });
  const channels = manager.controller(
    "channel",
    createChannelReconciler({ ...deps, upstream: (name) => upstreams.conditions(name) }),
    { watches: channelWatches(stores) },
  );
  manager.controller("upstream", upstreams, { watches: upstreamWatches(stores) });
  running = manager.start(stop.signal);
});

afterEach(async () => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    server.close();
  }
  const { items: made } = await api.list<Release>(releaseKind);
  for (const { metadata } of made) if (metadata.name.startsWith(run)) await api.delete(releaseKind, metadata);
  const { items } = await api.list(channelKind, { labelSelector: `slipway.test/run=${run}` });
  for (const { metadata } of items) await api.delete(channelKind, metadata);
});

afterAll(async () => {
  stop.abort(new Error("the tests are done"));
  await running;
  await gateway?.stop();
  await api.close();
  await etcd?.close();
  await cluster?.stop();
  await rm(directory, { recursive: true });
});

const urlOf = (port: number | undefined): string => `http://127.0.0.1:${port}/v1/update/`;

async function follow(part: string, url: string, more: object = {}, spec: object = {}): Promise<string> {
  const name = `${run}-${part}`;
  const upstream = { url, product: PRODUCT, track: "stable", ...more };
  await api.create<Channel>(channelKind, {
    ...{ apiVersion: API_VERSION, kind: "Channel", metadata: { name, labels: LABELS } },
    spec: ChannelSpec.parse({ upstream, ...spec }),
  });
  return name;
}

/** A change of what is asked for: it is asked at once. */
const change = (name: string, upstream: object): Promise<Channel> =>
  api.patch(channelKind, { name }, { type: "merge", body: { spec: { upstream } } });

const read = (name: string): Promise<Channel> => api.get<Channel>(channelKind, { name });
const releaseOf = (name: string): Promise<Release> => api.get<Release>(releaseKind, { name });

async function condition(name: string, type: string, wanted: object): Promise<void> {
  await vi.waitFor(async () => {
    const { status } = await read(name);
    expect(status?.conditions?.find((one) => one.type === type)).toMatchObject(wanted);
  }, WITHIN);
}

async function serve(listener: RequestListener): Promise<string> {
  const server = createServer(listener);
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return urlOf((server.address() as AddressInfo).port);
}

/** An answer as ours are, for one version. */
const answer = (version: string, digit = "a"): string => {
  const payload = { name: "update.gz", size: 100, sha256: sha256(digit) };
  const check = { version, codebases: ["https://images.test/x/"], payload, extras: [] } as const;
  return renderResponse(
    {
      apps: [
        {
          appId: PRODUCT,
          ping: false,
          check: { ...check, codebases: ["https://images.test/x/"] },
          events: 0,
        },
      ],
    },
    clock.now(),
  );
};

describe("a channel that follows another Slipway", () => {
  // Gates are good for 30 s.
  beforeEach(() => publish([offered("1.0.0"), offered("2.0.0")]));

  test("makes its releases, and is no machine there", async () => {
    const name = await follow("declare", urlOf(gateway.edgePort));
    await condition(name, "UpstreamFollowed", { status: "True", reason: "UpstreamFollowed" });
    await condition(name, "UpstreamReachable", { status: "True" });
    const [stone, target] = [await releaseOf(`${name}-1.0.0-amd64`), await releaseOf(`${name}-2.0.0-amd64`)];
    expect(stone.spec).toMatchObject({ steppingStone: true, version: "1.0.0", product: PRODUCT });
    expect(target.spec).toMatchObject({
      steppingStone: false,
      omaha: [
        {
          codebases: ["https://images.test/2.0.0/"],
          payload: { name: "update.gz", size: 100, sha256: sha256("a") },
        },
      ],
    });
    expect(target.metadata.ownerReferences).toMatchObject([{ kind: "Channel", name }]);
    expect((await read(name)).spec.release).toBeUndefined();
    // Its stages let nobody in, its one slot is free, and nobody was written down.
    const fleet = await room.readFleet();
    expect(fleet.budgets.get("group/workers")?.holders.size ?? 0).toBe(0);
    expect(fleet.grants.size).toBe(0);
  });

  test("points at the newest where it is asked to, until somebody else says where it points", async () => {
    const name = await follow("promote", urlOf(gateway.edgePort), { follow: "Promote" });
    await vi.waitFor(async () => expect((await read(name)).spec.release).toBe(`${name}-2.0.0-amd64`), WITHIN);
    await vi.waitFor(
      async () => expect((await read(name)).status?.current).toBe(`${name}-2.0.0-amd64`),
      WITHIN,
    );
    await api.patch(
      channelKind,
      { name },
      { type: "merge", body: { spec: { release: `${name}-1.0.0-amd64` } } },
    );
    await change(name, { interval: "61m" });
    await condition(name, "UpstreamFollowed", { status: "False", reason: "UpstreamNotApplied" });
    expect((await read(name)).spec.release).toBe(`${name}-1.0.0-amd64`);
  });

  test("has its URL from the manager, and tells nothing of it", async () => {
    const hidden = "s3cret";
    urls.set("two", `${urlOf(gateway.edgePort)}${hidden}`);
    const name = await follow("hidden", "", { url: undefined, urlKey: "two" });
    await condition(name, "UpstreamFollowed", { status: "True", reason: "UpstreamFollowed" });
    expect((await releaseOf(`${name}-2.0.0-amd64`)).spec.version).toBe("2.0.0");
    for (const [text, message] of [
      [undefined, /^The manager has no URL two: /],
      [`ftp://${hidden}`, /^What the manager has as two is no URL/],
      [`http://127.0.0.1:1/${hidden}`, /^The upstream gave no answer/],
    ] as const) {
      if (text === undefined) urls.delete("two");
      else urls.set("two", text);
      const body = { metadata: { annotations: { [LOOK_ANNOTATION]: String(text) } } };
      await api.patch(channelKind, { name }, { type: "merge", body });
      await condition(name, "UpstreamReachable", {
        status: "False",
        message: expect.stringMatching(message),
      });
      expect(JSON.stringify((await read(name)).status)).not.toContain(hidden);
    }
  });

  test("asks at once when a person says a new word", async () => {
    let asked = 0;
    const url = await serve((from, to) => {
      from.resume();
      asked += 1;
      to.end(answer("1.0.0"));
    });
    const name = await follow("look", url);
    await condition(name, "UpstreamFollowed", { status: "True" });
    for (const word of ["one", "two"]) {
      const said = asked;
      const body = { metadata: { annotations: { [LOOK_ANNOTATION]: word } } };
      await api.patch(channelKind, { name }, { type: "merge", body });
      await vi.waitFor(() => expect(asked).toBeGreaterThan(said), WITHIN);
    }
  });

  test("gets nothing of a group that is paused there", async () => {
    await publish([offered("3.0.0")], { paused: true });
    const product = PRODUCT;
    const ask = { product, track: "stable", board: "amd64-usr", version: "0.0.0", machineId: run };
    await vi.waitFor(async () => {
      const answered = await fetch(urlOf(gateway.edgePort), { method: "POST", body: renderAsk(ask) });
      expect(readAnswer(await answered.text())).toEqual({ is: "nothing" });
    }, WITHIN);
    const name = await follow("paused", urlOf(gateway.edgePort));
    await condition(name, "UpstreamFollowed", {
      status: "True",
      message: "The upstream offers nothing now.",
    });
    await publish([offered("1.0.0"), offered("2.0.0")]);
  });
});

describe("a channel whose upstream", () => {
  test.each<[string, RequestListener, string, RegExp]>([
    ["answers 500", (_, to) => void to.writeHead(500).end("no"), "UpstreamUnreachable", /status 500/],
    [
      "sends it elsewhere",
      (_, to) => void to.writeHead(302, { location: "/" }).end(),
      "UpstreamUnreachable",
      /302/,
    ],
    ["hangs up", (from) => void from.socket.destroy(), "UpstreamUnreachable", /gave no answer/],
    ["is a page", (_, to) => void to.end("<html></html>"), "UpstreamInvalid", /no XML/],
    [
      "sends without end",
      (_, to) => void to.end("x".repeat(1_000_000)),
      "UpstreamUnreachable",
      /larger than/,
    ],
    [
      "leads on without end",
      (
        (n) => (_, to) =>
          void to.end(answer(`1.0.${++n}`))
      )(0),
      "UpstreamInvalid",
      /more than 16 versions/,
    ],
    [
      "serves no such product",
      (_, to) => void to.end(`<response><app appid="x" status="error-unknownApplication"/></response>`),
      "UpstreamRefused",
      /error-unknownApplication/,
    ],
  ])("%s says so, and goes on by itself", async (what, listener, reason, message) => {
    let bad = true;
    const url = await serve((from, to) => {
      from.resume();
      if (bad) listener(from, to);
      else to.end(answer("1.0.0"));
    });
    const name = await follow(`bad-${what.replaceAll(" ", "-")}`, url);
    await condition(name, "UpstreamReachable", {
      ...{ status: "False", reason, message: expect.stringMatching(message) },
    });
    bad = false;
    await change(name, { interval: "61m" });
    await condition(name, "UpstreamReachable", { status: "True" });
    expect((await releaseOf(`${name}-1.0.0-amd64`)).spec.version).toBe("1.0.0");
  });

  test("changes what a version is, or goes back, is not followed", async () => {
    let said = answer("2.0.0");
    const url = await serve((from, to) => {
      from.resume();
      to.end(said);
    });
    const name = await follow("differs", url, { follow: "Promote" });
    await vi.waitFor(async () => expect((await read(name)).spec.release).toBe(`${name}-2.0.0-amd64`), WITHIN);
    said = answer("2.0.0", "b");
    await change(name, { interval: "61m" });
    await condition(name, "UpstreamFollowed", { status: "False", reason: "UpstreamDiffers" });
    said = answer("1.0.0");
    await change(name, { interval: "62m" });
    await condition(name, "UpstreamFollowed", { status: "False", reason: "UpstreamOlder" });
    expect((await releaseOf(`${name}-2.0.0-amd64`)).spec.omaha?.[0]?.payload.sha256).toBe(sha256("a"));
    await expect(releaseOf(`${name}-1.0.0-amd64`)).rejects.toSatisfy((error) =>
      isApiError(error, "NotFound"),
    );
    expect((await read(name)).spec.release).toBe(`${name}-2.0.0-amd64`);
  });
});

test("a channel that lost its upstream says nothing of it any more", async () => {
  const url = await serve((_, to) => void to.writeHead(500).end());
  const name = await follow("lost", url, {}, { release: "none" });
  await condition(name, "UpstreamReachable", { status: "False" });
  await api.patch(channelKind, { name }, { type: "merge", body: { spec: { upstream: null } } });
  await vi.waitFor(async () => {
    const { status } = await read(name);
    expect(status?.conditions?.map(({ type }) => type)).toEqual(["Accepted"]);
  }, WITHIN);
});
