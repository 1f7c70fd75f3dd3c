/** Verbs of updateservicectl about apps, packages, channels and groups, by protocol suite: what each is answered, and what kubectl then sees. */
import { createHash } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Channel, channel } from "../../api/channel.ts";
import { LOOK_ANNOTATION, PACKAGE_ANNOTATION, PRODUCT_ANNOTATION } from "../../api/labels.ts";
import { API_VERSION, type KubeObject } from "../../api/meta.ts";
import { type Release, release } from "../../api/release.ts";
import { updateGroup } from "../../api/update-group.ts";
import { file, refusal, UpdateServiceRoom, WAIT } from "../../test/coreupdate/service.ts";
import { ChannelListResp, Group, PublicPackageList } from "../../test/coreupdate/wire.ts";

let room: UpdateServiceRoom;
beforeAll(async () => {
  room = await UpdateServiceRoom.open();
});
afterAll(() => room?.close());

describe("app", () => {
  test("create, list, update and delete", async () => {
    expect(await room.alice.appCreate(`{${room.app.toUpperCase()}}`, "Harbor", "Linux for ships")).toEqual({
      ...{ id: room.app, label: "Harbor", description: "Linux for ships" },
    });
    expect(await room.alice.appUpdate(room.app, "Harbor OS", "Linux for ships")).toMatchObject({
      label: "Harbor OS",
    });
    expect((await room.bob.appList()).items).toContainEqual({
      ...{ id: room.app, label: "Harbor OS", description: "Linux for ships" },
    });
    const spare = room.own("spare");
    await room.alice.appCreate(spare, "", "");
    expect(await room.alice.appDelete(spare)).toMatchObject({ id: spare });
    expect(await refusal(room.alice.appDelete(spare))).toContain(`404 There is no application ${spare}`);
  });
});

describe("package", () => {
  test("create makes a Release that kubectl sees, and list shows it", async () => {
    const sent = file("the payload", "https://files.test/os/1.0.0/update.gz");
    room.remember(release, `${room.app}-1.0.0`);
    const stored = await room.alice.packageCreate(room.app, "1.0.0", sent);
    expect(stored).toMatchObject({ ...sent, appId: room.app, version: "1.0.0" });
    expect(Date.parse(stored.dateCreated)).toBeGreaterThan(0);
    const { spec, metadata } = await room.here.admin.get<Release>(release, { name: `${room.app}-1.0.0` });
    expect(spec).toMatchObject({ version: "1.0.0", product: room.app });
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
    expect(await room.alice.packageCreate(room.app, "1.0.0", sent)).toMatchObject(sent);
    expect(await refusal(room.alice.packageCreate(room.app, "1.0.0", { ...sent, size: "12" }))).toMatch(
      /^409 Release .* never changes/,
    );
    for (const version of ["1.2.0", "1.10.0"]) await room.pack(version);
    const list = await room.bob.packageList(room.app);
    expect(list.items.map(({ version }) => version)).toEqual(["1.10.0", "1.2.0", "1.0.0"]);
    expect(list.total).toBe(3);
    const page = await room.bob.packageList(room.app, { limit: "1", skip: "1" });
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
    expect(await refusal(room.alice.packageCreate(room.app, "9.9.9", sent))).toContain(message);
  });

  test("delete removes one that nothing needs", async () => {
    await room.pack("0.9.0");
    await room.follow("old", "0.9.0");
    expect(await refusal(room.alice.packageDelete(room.app, "0.9.0"))).toBe(
      `409 Channel ${room.own("old")} needs version 0.9.0: move it first.`,
    );
    expect(await room.alice.channelDelete(room.app, room.own("old"))).toMatchObject({
      label: room.own("old"),
      appId: room.app,
    });
    expect(await room.alice.packageDelete(room.app, "0.9.0")).toMatchObject({ version: "0.9.0" });
    expect(await refusal(room.alice.packageDelete(room.app, "0.9.0"))).toMatch(
      /^404 There is no package 0\.9\.0/,
    );
  });
});

describe("channel", () => {
  test("create, list and update move a Channel", async () => {
    const label = await room.follow("stable", "1.0.0");
    const stored = await room.here.admin.get<Channel>(channel, { name: label });
    expect(stored.spec.release).toBe(`${room.app}-1.0.0`);
    expect(stored.metadata.annotations?.[PRODUCT_ANNOTATION]).toBe(room.app);
    expect(await room.alice.channelUpdate(room.app, label, "1.2.0", true)).toMatchObject({
      ...{ label, version: "1.2.0", publish: true, appId: room.app },
    });
    expect((await room.here.admin.get<Channel>(channel, { name: label })).spec.release).toBe(
      `${room.app}-1.2.0`,
    );
    // The CLI leaves `publish` out where it is false.
    expect(await room.alice.channelUpdate(room.app, label, "1.2.0")).toMatchObject({ publish: false });
    expect((await room.bob.channelList(room.app)).items).toMatchObject([
      { label, version: "1.2.0", publish: false },
    ]);
    expect(await refusal(room.alice.channelUpdate(room.app, label, "7.7.7"))).toMatch(
      /^404 There is no package 7\.7\.7/,
    );
    expect(await refusal(room.alice.channelCreate(room.app, label, "1.0.0"))).toContain(
      "409 There is a channel",
    );
    expect(await refusal(room.alice.channelCreate(room.app, "Not a name", "1.0.0"))).toContain(
      "400 Not a name",
    );
  });

  test("create before there is a package, as the getting started guide does it", async () => {
    const label = await room.follow("early", "3.0.0");
    expect((await room.bob.channelList(room.app)).items).toContainEqual(
      expect.objectContaining({ label, version: "3.0.0", appId: room.app }),
    );
    await room.pack("3.0.0");
    expect((await room.here.admin.get<Channel>(channel, { name: label })).spec.release).toBe(
      `${room.app}-3.0.0`,
    );
  });

  test("what is published is told to whoever asks, and nothing else", async () => {
    const label = await room.follow("public", "1.10.0", true);
    const read = async (what: string) => (await fetch(`${room.url}/_ah/api/update/v1/public/${what}`)).json();
    const { items } = PublicPackageList.parse(await read("packages"));
    const mine = items.filter(({ AppId }) => AppId === room.app);
    // What `package download` compares with the file.
    const { url, size, sha1Sum } = file("payload 1.10.0", "https://files.test/1.10.0/update.gz");
    expect(mine).toMatchObject([{ packages: [{ version: "1.10.0", url, size, sha1Sum, appId: room.app }] }]);
    expect(mine[0]?.packages).toHaveLength(1);
    const listed = ChannelListResp.parse(await read("channels")).items;
    expect(listed.filter(({ appId }) => appId === room.app).map((one) => one.label)).toEqual([label]);
  });
});

describe("group", () => {
  test("create, list, pause, unpause, update and delete are what kubectl sees", async () => {
    const label = room.own("stable");
    const id = await room.group("fleet", label, "The Fleet");
    const { spec } = await room.groupNow(id);
    expect(spec).toMatchObject({ channel: label, windows: "Always", paused: false });
    expect(spec.machines).toBeDefined();
    const shown = {
      id,
      appId: room.app,
      channelId: label,
      label: "The Fleet",
      updatesPaused: false,
      updatePercent: 100,
    };
    expect((await room.bob.groupList(room.app)).items).toMatchObject([shown]);
    expect(await room.alice.groupPause(room.app, id)).toMatchObject({ ...shown, updatesPaused: true });
    expect((await room.groupNow(id)).spec.paused).toBe(true);
    expect(await room.alice.groupUnpause(room.app, id)).toMatchObject(shown);
    expect((await room.groupNow(id)).spec.paused).toBe(false);
    const moved = await room.alice.groupChange(room.app, id, {
      label: "Ships",
      channelId: room.own("public"),
    });
    expect(moved).toMatchObject({ label: "Ships", channelId: room.own("public") });
    expect((await room.groupNow(id)).spec.channel).toBe(room.own("public"));
    expect(await refusal(room.alice.channelDelete(room.app, room.own("public")))).toContain(
      `409 Groups follow channel`,
    );
    expect(await refusal(room.alice.groupChange(room.app, id, { channelId: "nowhere" }))).toContain(
      "404 There is no channel",
    );
    expect(await refusal(room.alice.groupCreate(room.app, label, id, ""))).toContain("409 There is a group");
    expect(await refusal(room.alice.groupCreate(room.app, label, "Under_score", ""))).toContain(
      "400 Under_score can't name",
    );
    expect(await room.alice.groupDelete(room.app, id)).toMatchObject({ id });
    expect((await room.bob.groupList(room.app)).items).toEqual([]);
  });

  test("a change by kubectl is read at once by both gateways", async () => {
    const id = await room.group("both", room.own("stable"));
    const patch = { type: "merge", body: { spec: { paused: true } } } as const;
    await room.here.admin.patch(updateGroup, { name: id }, patch, { fieldManager: "kubectl-patch" });
    for (const at of [room.gateway, room.other]) {
      const reader = room.client(at, "bob");
      const paused = async () =>
        (await reader.groupList(room.app)).items.find((one) => one.id === id)?.updatesPaused;
      await expect.poll(paused, WAIT).toBe(true);
    }
    expect(await room.alice.groupUnpause(room.app, id)).toMatchObject({ updatesPaused: false });
  });

  test("the rate of the first clients is the group's rate", async () => {
    const id = await room.group("rated", room.own("stable"));
    const body = { id, updateCount: "2", updateInterval: "60", updatePooling: true };
    await room.alice.groupChange(room.app, id, body);
    expect((await room.groupNow(id)).spec.rate).toEqual({ updates: 2, period: "1m" });
    // A later client does not know these fields, and takes nothing away.
    await room.alice.groupPause(room.app, id);
    expect((await room.groupNow(id)).spec.rate).toEqual({ updates: 2, period: "1m" });
  });

  test("the OEM blacklist is the OEMs that the group excludes", async () => {
    const id = await room.group("oems", room.own("stable"));
    expect(await room.alice.groupExclude(room.app, id, "ami, azure,ami")).toMatchObject({
      oemBlacklist: "ami,azure",
    });
    const excluded = async () => (await room.groupNow(id)).spec.machines?.excludedOEMs;
    expect(await excluded()).toEqual(["ami", "azure"]);
    // Another verb sends it back as it was read; a client from before there was one does not, and takes nothing away.
    await room.alice.groupPause(room.app, id);
    const old = { id, channelId: room.own("stable"), label: id };
    await room.alice.call(Group, "PATCH", `apps/${room.app}/groups/${id}`, { body: old });
    expect(await excluded()).toEqual(["ami", "azure"]);
    expect(await refusal(room.alice.groupExclude(room.app, id, "ami;azure"))).toBe(
      "400 ami;azure is no OEM such as ami: they have commas between.",
    );
    expect(await room.alice.groupExclude(room.app, id, "")).toMatchObject({ oemBlacklist: "" });
    expect((await room.groupNow(id)).spec.machines).toMatchObject({
      excludedOEMs: [],
      authentication: "Secret",
    });
  });

  test("percent holds the group at a stage", async () => {
    const id = await room.group("held", room.own("stable"));
    expect(await room.alice.groupPercent(room.app, id, 30)).toMatchObject({ id, updatePercent: 30 });
    expect((await room.groupNow(id)).spec.stages).toMatchObject([{ count: "30%", soak: "99999h" }]);
    expect(await room.alice.groupPercent(room.app, id, 60)).toMatchObject({ updatePercent: 60 });
    expect((await room.groupNow(id)).spec.stages).toMatchObject([{ count: "60%" }]);
    expect(await room.alice.groupPercent(room.app, id, 100)).toMatchObject({ updatePercent: 100 });
    expect((await room.groupNow(id)).spec.stages).toEqual([]);
    expect(await room.alice.groupPercent(room.app, id, 0)).toMatchObject({ updatePercent: 0 });
    const { stages, paused } = (await room.groupNow(id)).spec;
    expect([stages, paused]).toMatchObject([[{ nodeSelector: {}, soak: "99999h" }], false]);
    // Go leaves 0 out of what it sends back.
    expect(await room.alice.groupPause(room.app, id)).toMatchObject({ updatePercent: 0 });
    expect(await room.alice.groupUnpause(room.app, id)).toMatchObject({ updatePercent: 0 });
    expect(await refusal(room.alice.groupPercent(room.app, id, 0.5))).toContain(
      "400 A stage has whole percents",
    );
    expect(await refusal(room.alice.groupPercent(room.app, id, 101))).toContain(
      "400 A percentage is at most 100",
    );
  });
});

describe("upstream", () => {
  const url = "https://up.test/v1/update/";
  /** A Channel that follows; gives its name. */
  async function following(title: string, spec: object, fieldManager?: string): Promise<string> {
    const name = room.own(title);
    room.remember(channel, name);
    const upstream = { url, product: room.app, track: "stable" };
    const made = {
      ...{ apiVersion: API_VERSION, kind: "Channel", metadata: { name } },
      spec: { upstream, ...spec },
    };
    if (fieldManager === undefined) await room.here.admin.create(channel, made);
    else await room.here.admin.apply(channel, made, { fieldManager });
    await expect.poll(async () => (await listed(name))?.url, WAIT).toBe(url);
    return name;
  }
  const listed = async (name: string) =>
    (await room.bob.upstreamList()).items.find(({ label }) => label === name);
  const idOf = async (name: string): Promise<number> => (await listed(name))?.id ?? 0;
  const now = (name: string) => room.here.admin.get<Channel>(channel, { name });

  test("update and delete are those of the Channel that follows", async () => {
    const name = await following("follows", { release: `${room.app}-1.0.0` });
    const id = await idOf(name);
    expect(id).toBeGreaterThan(0);
    expect(await room.alice.upstreamUpdate(id, "https://other.test", name)).toEqual({
      ...{ id, label: name, url: "https://other.test/v1/update/" },
    });
    expect((await now(name)).spec.upstream).toMatchObject({
      ...{ url: "https://other.test/v1/update/", product: room.app, track: "stable" },
    });
    expect(await listed(name)).toMatchObject({ url: "https://other.test/v1/update/" });
    for (const [refused, answer] of [
      [() => room.bob.upstreamUpdate(id, url), "403 bob may not patch channels.slipway.dev"],
      [() => room.bob.upstreamDelete(id), "403 bob may not patch channels.slipway.dev"],
      [() => room.alice.upstreamUpdate(id, "ftp://other.test/"), "400 --url starts with http"],
      [() => room.alice.upstreamUpdate(id, url, "other"), `400 The label of an upstream is the name`],
      [() => room.alice.upstreamUpdate(7, url), "404 There is no upstream 7"],
    ] as const) {
      expect(await refusal(refused())).toContain(answer);
    }
    expect(await room.alice.upstreamDelete(id)).toMatchObject({ id, label: name });
    expect((await now(name)).spec).toEqual({ release: `${room.app}-1.0.0` });
    expect(await listed(name)).toBeUndefined();
    expect(await refusal(room.alice.upstreamDelete(id))).toContain("404 There is no upstream");
  });

  test("sync is a new word for each Channel that follows; create says what to write instead", async () => {
    const name = await following("asked", {});
    expect(await refusal(room.bob.upstreamSync())).toContain("403 bob may not patch channels.slipway.dev");
    const { status, detail } = await room.alice.upstreamSync();
    expect([status, detail]).toEqual(["ok", expect.stringContaining(name)]);
    const word = async () => (await now(name)).metadata.annotations?.[LOOK_ANNOTATION];
    expect(Date.parse((await word()) ?? "")).toBeGreaterThan(0);
    expect(await refusal(room.alice.upstreamCreate(url))).toMatch(/^501 An upstream belongs to a Channel/);
    expect(await refusal(room.alice.upstreamDelete(await idOf(name)))).toContain(
      `409 Channel ${name} points at no Release yet`,
    );
  });

  test("a URL that stands in a Secret is not shown, and not changed", async () => {
    const name = room.own("secret");
    room.remember(channel, name);
    const upstream = { urlKey: "two", product: room.app, track: "stable" };
    await room.here.admin.create(channel, {
      ...{ apiVersion: API_VERSION, kind: "Channel", metadata: { name } },
      spec: { upstream },
    } as KubeObject);
    await expect.poll(async () => (await listed(name))?.url, WAIT).toBe("(urlKey two)");
    expect(await refusal(room.alice.upstreamUpdate(await idOf(name), url))).toContain(
      `409 The URL of Channel ${name} is the entry two of a Secret`,
    );
  });

  test("what GitOps declares is 409", async () => {
    const name = await following("declared", { release: `${room.app}-1.0.0` }, "kustomize-controller");
    const id = await idOf(name);
    expect(await refusal(room.alice.upstreamUpdate(id, "https://other.test/"))).toBe(
      `409 spec.upstream.url of Channel ${name} belongs to kustomize-controller: change it there.`,
    );
    expect(await refusal(room.alice.upstreamDelete(id))).toBe(
      `409 spec.upstream of Channel ${name} belongs to kustomize-controller: change it there.`,
    );
    expect((await now(name)).spec.upstream?.url).toBe(url);
  });
});
