/**
 * Each verb of updateservicectl, by protocol suite (test/coreupdate/client.ts), against a whole gateway with a real
 * API server, RBAC and etcd: what it is answered, and what kubectl then sees.
 */
import { createHash, randomBytes } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { stringify } from "yaml";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { type Channel, channel } from "../../api/channel.ts";
import type { Resource } from "../../api/kind.ts";
import { PACKAGE_ANNOTATION, PRODUCT_ANNOTATION } from "../../api/labels.ts";
import { API_VERSION, type KubeObject } from "../../api/meta.ts";
import { nodeUpdate } from "../../api/node-update.ts";
import { type Release, release } from "../../api/release.ts";
import { type UpdateGroup, updateGroup } from "../../api/update-group.ts";
import { createCoordination } from "../../coordination/create.ts";
import type { Coordination, Leadership } from "../../coordination/coordination.ts";
import type { EtcdPort } from "../../coordination/etcd.ts";
import { connectEtcd } from "../../coordination/etcd3-port.ts";
import { type EtcdCluster, startEtcd } from "../../hack/plane/etcd.ts";
import { silentLogger } from "../../ports/log.ts";
import { ports, RealNamespace } from "../../runtime/test-namespace.ts";
import { CallError, UpdateServiceClient } from "../../test/coreupdate/client.ts";
import { ClientHistoryResp, Rollout as EmptyRollout } from "../../test/coreupdate/wire.ts";
import { OmahaMachine } from "../../test/omaha/machine.ts";
import { type Gateway, startGateway } from "../gateway.ts";

const WAIT = { timeout: 20_000, interval: 20 };
const LOOP = { host: "127.0.0.1", port: 0 };
const RBAC = "rbac.authorization.k8s.io";
const role: Resource = {
  ...{ group: RBAC, version: "v1", kind: "ClusterRole", plural: "clusterroles", namespaced: false },
};
const binding: Resource = { ...role, kind: "ClusterRoleBinding", plural: "clusterrolebindings" };
const KEYS = { alice: randomBytes(16).toString("hex"), bob: randomBytes(16).toString("hex") };

let here: RealNamespace;
let etcd: EtcdCluster;
let port: EtcdPort;
let manager: Coordination;
let leader: Leadership;
let gateway: Gateway;
let other: Gateway;
let alice: UpdateServiceClient;
let bob: UpdateServiceClient;
/** Of this run: an application of its own. */
let app: string;
/** Names of objects, so that runs side by side don't meet. */
let own: (name: string) => string;
const made: [Resource, string][] = [];

const now = (): number => Math.floor(ports.clock.now() / 1000);
const client = (at: Gateway, user: "alice" | "bob", more: object = {}): UpdateServiceClient =>
  new UpdateServiceClient({ port: at.edgePort ?? 0, user, key: KEYS[user], now, ...more });

async function start(name: string): Promise<Gateway> {
  return await startGateway({
    client: here.admin,
    etcd: port,
    coordination: createCoordination({ etcd: port, ...ports, log: silentLogger }),
    listen: LOOP,
    edge: {
      ...{ listen: LOOP, tls: false, keys: [] },
      coreupdate: {
        ...{ usersFile: join(here.directory, "users.yaml"), etcd: port, client: here.admin },
        ...{ access: here.admin.access, watches: here.admin.watches },
      },
    },
    certificateDirectory: join(here.directory, "pki"),
    ...{ hosts: ["localhost"], serviceAccounts: ["a:b"], audience: "slipway", name },
    ...{ drainWithin: 1000, ...ports, log: silentLogger },
  });
}

beforeAll(async () => {
  here = await RealNamespace.open();
  etcd = await startEtcd();
  port = connectEtcd({ endpoints: etcd.endpoints, ...ports });
  manager = createCoordination({ etcd: port, ...ports, log: silentLogger });
  const raised = await manager.raiseEpoch(await manager.readEpoch(), true);
  if (raised === undefined) throw new Error("nobody else leads here");
  leader = raised;
  app = `e96281a6-d1af-4bde-9a0a-${here.name.slice(-8).padStart(12, "0")}`;
  own = (name) => `${name}-${here.name.slice(-8)}`;
  const users = [
    { name: "alice", token: KEYS.alice, as: "alice", groups: [own("operators")] },
    { name: "bob", token: KEYS.bob, as: "bob", groups: [own("readers")] },
  ];
  await writeFile(join(here.directory, "users.yaml"), stringify({ users }));
  for (const [name, verbs] of [
    ["operators", ["list", "create", "patch", "delete"]],
    ["readers", ["list"]],
  ] as const) {
    const metadata = { name: own(name) };
    const rules = [{ apiGroups: ["slipway.dev"], resources: ["*"], verbs }];
    await create(role, { apiVersion: `${RBAC}/v1`, kind: "ClusterRole", metadata, ...{ rules } });
    await create(binding, {
      ...{ apiVersion: `${RBAC}/v1`, kind: "ClusterRoleBinding", metadata },
      ...{ roleRef: { apiGroup: RBAC, kind: "ClusterRole", name: own(name) } },
      ...{ subjects: [{ apiGroup: RBAC, kind: "Group", name: own(name) }] },
    });
  }
  [gateway, other] = [await start("one"), await start("two")];
  [alice, bob] = [client(gateway, "alice"), client(gateway, "bob")];
  for (const at of [gateway, other]) {
    const reader = client(at, "bob");
    await vi.waitFor(() => reader.appList(), WAIT);
  }
});

afterAll(async () => {
  await Promise.all([gateway?.stop(), other?.stop()]);
  for (const [resource, name] of made.toReversed()) await here.admin.delete(resource, { name });
  await port?.close();
  await etcd?.stop();
  await here?.close();
});

async function create(resource: Resource, object: KubeObject): Promise<void> {
  made.push([resource, object.metadata.name]);
  await here.admin.create(resource, object);
}

/** What a call is refused with. */
async function refusal(call: Promise<unknown>): Promise<string> {
  const error = await call.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!(error instanceof CallError)) throw new Error(`it is not refused: ${String(error)}`);
  return `${error.code} ${error.message}`;
}

const groupNow = (name: string) => here.admin.get<UpdateGroup>(updateGroup, { name });

/** As `package create --file --url --meta --release-notes` sends it. */
function file(content: string, url: string) {
  const sum = (kind: string): string => createHash(kind).update(content).digest("base64");
  return {
    ...{ url, size: String(content.length), sha1Sum: sum("sha1"), sha256Sum: sum("sha256") },
    ...{ metadataSize: "1024", metadataSignatureRsa: "c2lnbmF0dXJl", releaseNotes: "Better." },
  };
}

/** A package, and the Release that is to be removed again. */
async function pack(version: string): Promise<void> {
  made.push([release, `${app}-${version}`]);
  await alice.packageCreate(
    app,
    version,
    file(`payload ${version}`, `https://files.test/${version}/update.gz`),
  );
}

async function follow(label: string, version: string, publish = false): Promise<string> {
  made.push([channel, own(label)]);
  await alice.channelCreate(app, own(label), version, publish);
  return own(label);
}

async function group(id: string, label: string, title = ""): Promise<string> {
  made.push([updateGroup, own(id)]);
  await alice.groupCreate(app, label, own(id), title);
  return own(id);
}

describe("app", () => {
  test("create, list, update and delete", async () => {
    expect(await alice.appCreate(`{${app.toUpperCase()}}`, "Harbor", "Linux for ships")).toEqual({
      ...{ id: app, label: "Harbor", description: "Linux for ships" },
    });
    expect(await alice.appUpdate(app, "Harbor OS", "Linux for ships")).toMatchObject({ label: "Harbor OS" });
    expect((await bob.appList()).items).toContainEqual({
      ...{ id: app, label: "Harbor OS", description: "Linux for ships" },
    });
    const spare = own("spare");
    await alice.appCreate(spare, "", "");
    expect(await alice.appDelete(spare)).toMatchObject({ id: spare });
    expect(await refusal(alice.appDelete(spare))).toContain(`404 There is no application ${spare}`);
  });
});

describe("package", () => {
  test("create makes a Release that kubectl sees, and list shows it", async () => {
    const sent = file("the payload", "https://files.test/os/1.0.0/update.gz");
    made.push([release, `${app}-1.0.0`]);
    const stored = await alice.packageCreate(app, "1.0.0", sent);
    expect(stored).toMatchObject({ ...sent, appId: app, version: "1.0.0" });
    expect(Date.parse(stored.dateCreated)).toBeGreaterThan(0);
    const { spec, metadata } = await here.admin.get<Release>(release, { name: `${app}-1.0.0` });
    expect(spec).toMatchObject({ version: "1.0.0", product: app });
    expect(spec.omaha).toMatchObject([
      {
        ...{ architecture: "amd64", codebases: ["https://files.test/os/1.0.0/"] },
        payload: {
          ...{ name: "update.gz", size: 11 },
          sha256: createHash("sha256").update("the payload").digest("hex"),
        },
      },
    ]);
    expect(JSON.parse(metadata.annotations?.[PACKAGE_ANNOTATION] ?? "")).toMatchObject({
      ...{ sha1Sum: sent.sha1Sum, releaseNotes: "Better." },
    });
    // `package create bulk`, run again.
    expect(await alice.packageCreate(app, "1.0.0", sent)).toMatchObject(sent);
    expect(await refusal(alice.packageCreate(app, "1.0.0", { ...sent, size: "12" }))).toMatch(
      /^409 Release .* never changes/,
    );
    for (const version of ["1.2.0", "1.10.0"]) await pack(version);
    const list = await bob.packageList(app);
    expect(list.items.map(({ version }) => version)).toEqual(["1.10.0", "1.2.0", "1.0.0"]);
    expect(list.total).toBe(3);
    const page = await bob.packageList(app, { limit: "1", skip: "1" });
    expect([page.total, page.items.map(({ version }) => version)]).toEqual([3, ["1.2.0"]]);
  });

  test.each([
    ["no URL", { url: "" }, "400 A package needs the --url"],
    ["a URL without a file", { url: "https://files.test/" }, "400 A package needs the --url"],
    ["nothing in it", { size: "0" }, "400 The size 0 is none of a payload"],
    ["no hash", { sha256Sum: "" }, "400 sha256Sum is no SHA-256 in base64"],
    ["a hash in hex", { sha256Sum: "ab".repeat(32) }, "400 sha256Sum is no SHA-256 in base64"],
  ])("with %s is refused", async (_, wrong, message) => {
    const sent = { ...file("x", "https://files.test/x/update.gz"), ...wrong };
    expect(await refusal(alice.packageCreate(app, "9.9.9", sent))).toContain(message);
  });

  test("delete removes one that nothing needs", async () => {
    await pack("0.9.0");
    await follow("old", "0.9.0");
    expect(await refusal(alice.packageDelete(app, "0.9.0"))).toBe(
      `409 Channel ${own("old")} needs version 0.9.0: move it first.`,
    );
    expect(await alice.channelDelete(app, own("old"))).toMatchObject({ label: own("old"), appId: app });
    expect(await alice.packageDelete(app, "0.9.0")).toMatchObject({ version: "0.9.0" });
    expect(await refusal(alice.packageDelete(app, "0.9.0"))).toMatch(/^404 There is no package 0\.9\.0/);
  });
});

describe("channel", () => {
  test("create, list and update move a Channel", async () => {
    const label = await follow("stable", "1.0.0");
    const stored = await here.admin.get<Channel>(channel, { name: label });
    expect(stored.spec.release).toBe(`${app}-1.0.0`);
    expect(stored.metadata.annotations?.[PRODUCT_ANNOTATION]).toBe(app);
    expect(await alice.channelUpdate(app, label, "1.2.0", true)).toMatchObject({
      ...{ label, version: "1.2.0", publish: true, appId: app },
    });
    expect((await here.admin.get<Channel>(channel, { name: label })).spec.release).toBe(`${app}-1.2.0`);
    // The CLI leaves `publish` out where it is false.
    expect(await alice.channelUpdate(app, label, "1.2.0")).toMatchObject({ publish: false });
    expect((await bob.channelList(app)).items).toMatchObject([{ label, version: "1.2.0", publish: false }]);
    expect(await refusal(alice.channelUpdate(app, label, "7.7.7"))).toMatch(
      /^404 There is no package 7\.7\.7/,
    );
    expect(await refusal(alice.channelCreate(app, label, "1.0.0"))).toContain("409 There is a channel");
    expect(await refusal(alice.channelCreate(app, "Not a name", "1.0.0"))).toContain("400 Not a name");
  });

  test("create before there is a package, as the getting started guide does it", async () => {
    const label = await follow("early", "3.0.0");
    expect((await bob.channelList(app)).items).toContainEqual(
      expect.objectContaining({ label, version: "3.0.0", appId: app }),
    );
    await pack("3.0.0");
    expect((await here.admin.get<Channel>(channel, { name: label })).spec.release).toBe(`${app}-3.0.0`);
  });

  test("what is published is told to whoever asks, and nothing else", async () => {
    const label = await follow("public", "1.10.0", true);
    const answer = await fetch(`http://127.0.0.1:${gateway.edgePort}/_ah/api/update/v1/public/packages`);
    const { items } = (await answer.json()) as {
      items: { AppId: string; packages: { version: string }[] }[];
    };
    const mine = items.filter(({ AppId }) => AppId === app);
    expect(mine.map(({ packages }) => packages.map(({ version }) => version))).toEqual([["1.10.0"]]);
    const channels = await fetch(`http://127.0.0.1:${gateway.edgePort}/_ah/api/update/v1/public/channels`);
    const listed = ((await channels.json()) as { items: { label: string; appId: string }[] }).items;
    expect(listed.filter(({ appId }) => appId === app).map((one) => one.label)).toEqual([label]);
  });
});

describe("group", () => {
  test("create, list, pause, unpause, update and delete are what kubectl sees", async () => {
    const label = own("stable");
    const id = await group("fleet", label, "The Fleet");
    const { spec } = await groupNow(id);
    expect(spec).toMatchObject({ channel: label, windows: "Always", paused: false });
    expect(spec.machines).toBeDefined();
    const shown = {
      id,
      appId: app,
      channelId: label,
      label: "The Fleet",
      updatesPaused: false,
      updatePercent: 100,
    };
    expect((await bob.groupList(app)).items).toMatchObject([shown]);
    expect(await alice.groupPause(app, id)).toMatchObject({ ...shown, updatesPaused: true });
    expect((await groupNow(id)).spec.paused).toBe(true);
    expect(await alice.groupUnpause(app, id)).toMatchObject(shown);
    expect((await groupNow(id)).spec.paused).toBe(false);
    const moved = await alice.groupChange(app, id, { label: "Ships", channelId: own("public") });
    expect(moved).toMatchObject({ label: "Ships", channelId: own("public") });
    expect((await groupNow(id)).spec.channel).toBe(own("public"));
    expect(await refusal(alice.channelDelete(app, own("public")))).toContain(`409 Groups follow channel`);
    expect(await refusal(alice.groupChange(app, id, { oemBlacklist: "ami" }))).toContain(
      "400 A group has no OEM",
    );
    expect(await refusal(alice.groupChange(app, id, { channelId: "nowhere" }))).toContain(
      "404 There is no channel",
    );
    expect(await refusal(alice.groupCreate(app, label, id, ""))).toContain("409 There is a group");
    expect(await refusal(alice.groupCreate(app, label, "Under_score", ""))).toContain(
      "400 Under_score can't name",
    );
    expect(await alice.groupDelete(app, id)).toMatchObject({ id });
    expect((await bob.groupList(app)).items).toEqual([]);
  });

  test("a change by kubectl is read at once by both gateways", async () => {
    const id = await group("both", own("stable"));
    const patch = { type: "merge", body: { spec: { paused: true } } } as const;
    await here.admin.patch(updateGroup, { name: id }, patch, { fieldManager: "kubectl-patch" });
    for (const at of [gateway, other]) {
      const reader = client(at, "bob");
      const paused = async () =>
        (await reader.groupList(app)).items.find((one) => one.id === id)?.updatesPaused;
      await expect.poll(paused, WAIT).toBe(true);
    }
    expect(await alice.groupUnpause(app, id)).toMatchObject({ updatesPaused: false });
  });

  test("the rate of the first clients is the group's rate", async () => {
    const id = await group("rated", own("stable"));
    const body = { id, updateCount: "2", updateInterval: "60", updatePooling: true };
    await alice.groupChange(app, id, body as never);
    expect((await groupNow(id)).spec.rate).toEqual({ updates: 2, period: "1m" });
    // A later client does not know these fields, and takes nothing away.
    await alice.groupPause(app, id);
    expect((await groupNow(id)).spec.rate).toEqual({ updates: 2, period: "1m" });
  });

  test("percent holds the group at a stage", async () => {
    const id = await group("held", own("stable"));
    expect(await alice.groupPercent(app, id, 30)).toMatchObject({ id, updatePercent: 30 });
    expect((await groupNow(id)).spec.stages).toMatchObject([{ count: "30%", soak: "99999h" }]);
    expect(await alice.groupPercent(app, id, 60)).toMatchObject({ updatePercent: 60 });
    expect((await groupNow(id)).spec.stages).toMatchObject([{ count: "60%" }]);
    expect(await alice.groupPercent(app, id, 100)).toMatchObject({ updatePercent: 100 });
    expect((await groupNow(id)).spec.stages).toEqual([]);
    expect(await refusal(alice.groupPercent(app, id, 0))).toContain("updateservicectl group pause");
    expect(await refusal(alice.groupPercent(app, id, 101))).toContain("400 A percentage is at most 100");
  });
});

describe("rollout", () => {
  test("create linear, get, deactivate and activate", async () => {
    const id = await group("rolled", own("stable"));
    expect((await alice.rolloutGet(app, id)).rollout).toEqual([]);
    await alice.rolloutLinear(app, id, 400, 100);
    const frames = [25, 50, 75].map((percent) => ({ percent, duration: 100n }));
    expect((await alice.rolloutGet(app, id)).rollout).toEqual([...frames, { percent: 100, duration: 0n }]);
    expect((await groupNow(id)).spec.stages).toMatchObject(
      ["25%", "50%", "75%"].map((count) => ({ count, soak: "1m40s" })),
    );
    const shown = async () => (await alice.groupList(app)).items.find((one) => one.id === id);
    expect(await shown()).toMatchObject({ rolloutActive: true, updatePercent: 25 });
    await pass(id, 1);
    await expect.poll(async () => (await shown())?.updatePercent, WAIT).toBe(50);
    // A pause in the middle sends back the percentage that was read, and moves nothing.
    await alice.groupPause(app, id);
    await alice.groupUnpause(app, id);
    expect(await alice.rolloutActive(app, id, false)).toEqual({ appId: app, groupId: id, active: false });
    expect((await groupNow(id)).spec.stages).toMatchObject([
      { count: "25%" },
      { count: "50%", soak: "99999h" },
    ]);
    expect((await alice.rolloutGet(app, id)).rollout).toEqual([...frames, { percent: 100, duration: 0n }]);
    expect(await shown()).toMatchObject({ rolloutActive: false, updatePercent: 50 });
    expect(await alice.rolloutActive(app, id, true)).toMatchObject({ active: true });
    expect((await groupNow(id)).spec.stages).toMatchObject(
      ["25%", "50%", "75%"].map((count) => ({ count, soak: "1m40s" })),
    );
    // Twice is once.
    expect(await alice.rolloutActive(app, id, true)).toMatchObject({ active: true });
  });

  test("a day in frames of a minute is sixteen stages, never ahead", async () => {
    const id = await group("day", own("stable"));
    await alice.rolloutLinear(app, id, 86_400, 60);
    const { stages } = (await groupNow(id)).spec;
    expect(stages.length).toBeLessThanOrEqual(16);
    const total = (await alice.rolloutGet(app, id)).rollout.reduce((sum, { duration }) => sum + duration, 0n);
    // The last of its 1440 frames has 100 % already.
    expect(total).toBe(86_340n);
  });

  test("what is no rollout is refused", async () => {
    const id = await group("wrong", own("stable"));
    const set = (frames: object[]) =>
      refusal(
        alice.call(EmptyRollout, "POST", `apps/${app}/groups/${id}/rollout`, { body: { rollout: frames } }),
      );
    expect(await set([])).toContain("400 A rollout needs at least one frame");
    expect(
      await set([
        { percent: 50, duration: "1" },
        { percent: 20, duration: "1" },
      ]),
    ).toContain("rise from 0");
    expect(await set([{ percent: 50, duration: "1" }])).toContain(
      "The last frame of a rollout has 100 percent",
    );
    expect(await set([{ percent: 100, duration: "-5" }])).toContain("number of seconds");
    expect(await set([{ percent: 100, duration: "x" }])).toMatch(/^400 rollout\.0\.duration/);
    expect(await refusal(alice.rolloutActive(app, id, true))).toContain("has no rollout");
  });

  /** Writes the status as a manager would that let `count` stages pass. */
  async function pass(name: string, count: number): Promise<void> {
    const { spec } = await groupNow(name);
    const at = new Date(ports.clock.now()).toISOString();
    const stages = spec.stages.map((stage, i) => ({
      ...{ name: stage.name, size: 0, verified: 0 },
      ...(i <= count ? { openedAt: at } : {}),
      ...(i < count ? { passedAt: at } : {}),
    }));
    const body = { status: { stages } };
    await here.admin.patch(updateGroup, { name }, { type: "merge", body }, { subresource: "status" });
  }
});

describe("what GitOps declares", () => {
  test("is a clear 409, and stays as it is", async () => {
    const id = own("git");
    made.push([updateGroup, id]);
    const declared = {
      ...{ apiVersion: API_VERSION, kind: "UpdateGroup", metadata: { name: id } },
      spec: {
        ...{ channel: own("stable"), paused: false, windows: "Always", machines: {} },
        ...{ nodeSelector: { matchLabels: { git: id } }, stages: [{ name: "canary", count: "10%" }] },
      },
    } as unknown as KubeObject;
    await here.admin.apply(updateGroup, declared, { fieldManager: "kustomize-controller" });
    const there = async () => (await alice.groupList(app)).items.some((one) => one.id === id);
    await expect.poll(there, WAIT).toBe(true);
    expect(await refusal(alice.groupPause(app, id))).toContain(
      `409 spec.paused of UpdateGroup ${id} belongs to kustomize-controller: change it there.`,
    );
    expect(await refusal(alice.groupPercent(app, id, 50))).toBe(
      `409 spec.stages of UpdateGroup ${id} belongs to kustomize-controller: change it there.`,
    );
    expect(await refusal(alice.groupDelete(app, id))).toBe(
      `409 UpdateGroup ${id} belongs to kustomize-controller: delete it there.`,
    );
    const { spec, metadata } = await groupNow(id);
    expect([spec.paused, spec.stages.map(({ name }) => name)]).toEqual([false, ["canary"]]);
    expect(metadata.deletionTimestamp).toBeUndefined();
    // What it doesn't declare may be set.
    expect(await alice.groupChange(app, id, { label: "From Git" })).toMatchObject({ label: "From Git" });
  });

  test("stages that somebody made by hand are not overwritten", async () => {
    const id = await group("hand", own("stable"));
    const body = { spec: { stages: [{ name: "canary", count: 1 }] } };
    const patch = { type: "merge", body } as const;
    await here.admin.patch(updateGroup, { name: id }, patch, { fieldManager: "kubectl-edit" });
    const refused = async () => await refusal(alice.groupPercent(app, id, 50)).catch(() => "");
    await expect.poll(refused, WAIT).toContain("has stages of its own (canary)");
    expect((await groupNow(id)).spec.stages).toMatchObject([{ name: "canary" }]);
  });
});

describe("rights", () => {
  test("are those of the Kubernetes user, for each verb", async () => {
    const id = await group("rights", own("stable"));
    const forbidden: [string, () => Promise<unknown>][] = [
      ["bob may not create releases.slipway.dev", () => bob.appCreate(own("bobs"), "", "")],
      [
        "bob may not create releases.slipway.dev",
        () => bob.packageCreate(app, "8.0.0", file("x", "https://f.test/x")),
      ],
      ["bob may not delete releases.slipway.dev", () => bob.packageDelete(app, "1.2.0")],
      ["bob may not create channels.slipway.dev", () => bob.channelCreate(app, own("bobs"), "1.0.0")],
      ["bob may not patch channels.slipway.dev", () => bob.channelUpdate(app, own("stable"), "1.0.0")],
      ["bob may not delete channels.slipway.dev", () => bob.channelDelete(app, own("stable"))],
      [
        "bob may not create updategroups.slipway.dev",
        () => bob.groupCreate(app, own("stable"), own("bobs"), ""),
      ],
      ["bob may not patch updategroups.slipway.dev", () => bob.groupPause(app, id)],
      ["bob may not patch updategroups.slipway.dev", () => bob.groupPercent(app, id, 10)],
      ["bob may not patch updategroups.slipway.dev", () => bob.rolloutLinear(app, id, 100, 10)],
      ["bob may not delete updategroups.slipway.dev", () => bob.groupDelete(app, id)],
    ];
    for (const [message, call] of forbidden) expect(await refusal(call())).toContain(`403 ${message}`);
    expect((await groupNow(id)).spec).toMatchObject({ paused: false, stages: [] });
  });
});

describe("admin-user, upstream, database and upload", () => {
  test("users are listed, and made elsewhere", async () => {
    expect((await bob.adminUserList()).users).toEqual([
      { user: "alice", token: "" },
      { user: "bob", token: "" },
    ]);
    for (const call of [() => alice.adminUserCreate("eve"), () => alice.adminUserDelete("bob")]) {
      expect(await refusal(call())).toMatch(/^409 Users and their keys are lines of a Secret/);
    }
  });

  test("upstreams are none, and say so", async () => {
    expect((await alice.upstreamList()).items).toEqual([]);
    for (const call of [() => alice.upstreamCreate("https://up.test"), () => alice.upstreamSync()]) {
      expect(await refusal(call())).toMatch(/^501 /);
    }
  });

  test("a backup is a list that kubectl applies", async () => {
    const answer = await alice.get("/db/backup");
    expect(answer.status).toBe(200);
    const { kind, items } = JSON.parse(answer.body) as { kind: string; items: KubeObject[] };
    expect(kind).toBe("List");
    const mine = items.find(({ metadata }) => metadata.name === own("stable"));
    expect(mine).toMatchObject({
      apiVersion: API_VERSION,
      kind: "Channel",
      spec: { release: `${app}-1.2.0` },
    });
    expect(Object.keys(mine?.metadata ?? {})).toEqual(["name", "annotations"]);
    expect((await fetch(`http://127.0.0.1:${gateway.edgePort}/db/backup`)).status).toBe(401);
  });

  test("paths of the CLI beside the API are answered with what to do", async () => {
    const ask = async (path: string) => {
      const answer = await fetch(`http://127.0.0.1:${gateway.edgePort}${path}`);
      return `${answer.status} ${await answer.text()}`;
    };
    expect(await ask("/admin/v1/init")).toMatch(/^501 There is no database/);
    expect(await ask("/package-upload")).toMatch(/^501 Files are not uploaded here/);
  });
});

describe("signatures", () => {
  const code = async (call: Promise<unknown>) => (await refusal(call)).split(" ", 1)[0];

  test("another key, another user, no signature: 401", async () => {
    const options = { port: gateway.edgePort ?? 0, now };
    for (const wrong of [
      { user: "alice", key: KEYS.bob },
      { user: "mallory", key: KEYS.alice },
    ]) {
      expect(await code(new UpdateServiceClient({ ...options, ...wrong }).appList())).toBe("401");
    }
    const bare = await fetch(`http://127.0.0.1:${gateway.edgePort}/_ah/api/update/v1/apps`);
    expect([bare.status, bare.headers.get("www-authenticate")]).toEqual([401, "Hawk"]);
  });

  test("a clock that is off is told the time", async () => {
    const late = new UpdateServiceClient({
      ...{ port: gateway.edgePort ?? 0, user: "alice", key: KEYS.alice },
      now: () => now() - 3600,
    });
    expect(await refusal(late.appList())).toMatch(
      /^401 The client's clock and the gateway's differ by 3\d{3} s/,
    );
    const { headers } = await late.get("/_ah/api/update/v1/apps?alt=json");
    expect(headers["www-authenticate"]).toMatch(/^Hawk ts="\d+", tsm="[^"]+", error="Stale timestamp"$/);
  });

  test("a write that is made again is refused, at every gateway; a read at its own", async () => {
    const id = await group("replay", own("stable"));
    await alice.groupPause(app, id);
    const write = alice.last;
    if (write === undefined) throw new Error("nothing was sent");
    expect((await alice.send(write)).status).toBe(401);
    // The port is signed: the other gateway stands behind the same address.
    const twin = new UpdateServiceClient({
      ...{ port: other.edgePort ?? 0, user: "alice", key: KEYS.alice, now },
    });
    const target = write.target;
    const signed = { ...write, authorization: twin.header(write.method, target) };
    expect((await twin.send(signed)).status).toBe(200);
    expect((await twin.send(signed)).headers["www-authenticate"]).toBe('Hawk error="Invalid nonce"');
    await alice.appList();
    if (alice.last === undefined) throw new Error("nothing was sent");
    expect((await alice.send(alice.last)).headers["www-authenticate"]).toBe('Hawk error="Invalid nonce"');
  });

  test("clients that put the whole URL into the request line are served", async () => {
    const old = client(gateway, "alice", { wholeUrl: true });
    expect((await old.appList()).items.length).toBeGreaterThan(0);
    expect(await old.adminUserDelete("a@b").catch((error: unknown) => String(error))).toContain("Secret");
  });

  test("what is no call of the API is 404, and asks for a signature first", async () => {
    const path = "/_ah/api/update/v1/nothing/here?alt=json";
    expect((await alice.get(path)).status).toBe(404);
    expect((await fetch(`http://127.0.0.1:${gateway.edgePort}${path}`)).status).toBe(401);
  });
});

describe("instance, and the graphs", () => {
  test("machines that speak Omaha, and nodes, are counted and have a history", async () => {
    const id = await group("seen", own("stable"));
    await offer(id, "1.2.0");
    const post = async (xml: string): Promise<string> => {
      const url = `http://127.0.0.1:${gateway.edgePort}/v1/update/`;
      const answer = await fetch(url, { method: "POST", headers: { "content-type": "text/xml" }, body: xml });
      return await answer.text();
    };
    const machines = [1, 2].map((number) => new OmahaMachine(number, "1.0.0", post));
    for (const machine of machines) Object.assign(machine, { appid: app, track: id });
    const [one, two] = machines as [OmahaMachine, OmahaMachine];
    await expect.poll(async () => (await one.check()).does, WAIT).toBe("update");
    await one.install();
    one.reboot("1.2.0");
    await one.check();
    await two.check();
    await two.fail(37);
    const name = own("node");
    await create(nodeUpdate, {
      ...{ apiVersion: API_VERSION, kind: "NodeUpdate", metadata: { name } },
      ...{ spec: { nodeName: name, group: id, release: `${app}-1.2.0` } },
    } as KubeObject);
    const transitions = [
      { step: "Idle", time: "2027-01-15T08:00:00Z", reason: "Updated", message: "" },
      { step: "Staging", time: "2027-01-15T07:50:00Z", reason: "Staging", message: "" },
    ];
    const status = { running: "1.2.0", machineId: "f".repeat(32), connected: true, transitions };
    const patch = { type: "merge", body: { status } } as const;
    await here.admin.patch(nodeUpdate, { name }, patch, { subresource: "status" });

    const list = async () => (await bob.instanceListUpdates({ groupId: id, appId: app })).items;
    const found = async () =>
      (await list()).map(({ clientId, version }) => `${clientId} ${version}`).toSorted();
    const all = [`${one.id} 1.2.0`, `${two.id} 1.0.0`, `${"f".repeat(32)} 1.2.0`];
    await expect.poll(found, WAIT).toEqual(all.toSorted());
    const failed = (await list()).find(({ clientId }) => clientId === two.id);
    expect(failed).toMatchObject({ eventType: "3", eventResult: "0", errorCode: "37", oem: "qemu" });
    expect(Math.abs(Date.parse(failed?.lastSeen ?? "") - ports.clock.now())).toBeLessThan(60_000);
    expect((await bob.instanceListAppVersions({ groupId: id })).items).toEqual([
      { appId: app, groupId: id, version: "1.0.0", count: 1 },
      { appId: app, groupId: id, version: "1.2.0", count: 2 },
    ]);
    const later = { groupId: id, dateStart: String(now() + 600) };
    expect((await bob.instanceListUpdates(later)).items).toEqual([]);

    const history = await bob.call(ClientHistoryResp, "GET", "client/history", {
      query: { clientId: one.id },
    });
    expect(history.items.map(({ eventType, eventResult }) => `${eventType}:${eventResult}`)).toEqual([
      ...["3:2", "3:1", "14:1", "13:1"],
    ]);
    const node = await bob.call(ClientHistoryResp, "GET", "client/history", { query: { clientId: name } });
    expect(node.items.map(({ eventType, dateTime }) => [eventType, dateTime])).toEqual([
      ["3", 1_800_000_000n],
      ["13", 1_799_999_400n],
    ]);

    await gateway.stop();
    const reader = client(other, "bob");
    const versions = await reader.groupRollup("versions", app, id);
    const sum = (values: { count: bigint }[]) => values.reduce((total, { count }) => total + count, 0n);
    const counts = Object.fromEntries(
      versions.items.map(({ version, values }) => [version, Number(sum(values))]),
    );
    expect(counts["1.2.0"]).toBe(1);
    expect(counts["1.0.0"]).toBeGreaterThanOrEqual(6);
    const events = await reader.groupRollup("events", app, id, now() - 7200, now() + 60, 3600);
    const kinds = events.items.map(({ version, type, result }) => `${version} ${type}:${result}`);
    expect(kinds).toEqual(expect.arrayContaining(["1.0.0 13:1", "1.0.0 3:1", "1.2.0 3:2", "1.0.0 3:0"]));
    expect(await refusal(reader.groupRollup("events", app, id, 0, 0, 7))).toContain("400 Start and end");
    expect((await reader.groupRollup("events", app, id, 1, 2)).items).toEqual([]);
  });

  /** What a manager would let the group's machines have now. */
  async function offer(name: string, version: string): Promise<void> {
    const validUntil = ports.clock.now() + 29_000;
    const sha256 = "ab".repeat(32);
    const offered = {
      ...{ release: `${app}-${version}`, version, codebases: ["https://files.test/"], extras: [] },
      payload: { name: "update.gz", size: 100, sha256 },
    };
    await manager.writeGates(leader, {
      groups: [
        {
          ...{ group: name, paused: false, halted: false, deleting: false, quarantined: [], open: true },
          ...{ openUntil: null, freezesAt: null, validUntil },
          machines: { budgets: [`group/${name}`], needs: 60_000, open: true },
        },
      ],
      budgets: [{ budget: `group/${name}`, max: 10, unavailable: [], validUntil }],
      offers: [
        {
          ...{ group: name, tracks: [name], product: app, ways: { amd64: [offered] } },
          ...{ share: 1, threshold: 100, validUntil },
        },
      ],
    });
  }
});
