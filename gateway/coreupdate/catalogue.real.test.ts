/** Verbs of updateservicectl about apps, packages, channels and groups, by protocol suite: what each is answered, and what kubectl then sees. */
import { createHash } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Channel, channel } from "../../api/channel.ts";
import { PACKAGE_ANNOTATION, PRODUCT_ANNOTATION } from "../../api/labels.ts";
import { type Release, release } from "../../api/release.ts";
import { updateGroup } from "../../api/update-group.ts";
import { file, refusal, UpdateServiceRoom, WAIT } from "../../test/coreupdate/service.ts";
import { ChannelListResp, PublicPackageList } from "../../test/coreupdate/wire.ts";

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
    expect(await refusal(room.alice.groupChange(room.app, id, { oemBlacklist: "ami" }))).toContain(
      "400 A group has no OEM",
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

  test("percent holds the group at a stage", async () => {
    const id = await room.group("held", room.own("stable"));
    expect(await room.alice.groupPercent(room.app, id, 30)).toMatchObject({ id, updatePercent: 30 });
    expect((await room.groupNow(id)).spec.stages).toMatchObject([{ count: "30%", soak: "99999h" }]);
    expect(await room.alice.groupPercent(room.app, id, 60)).toMatchObject({ updatePercent: 60 });
    expect((await room.groupNow(id)).spec.stages).toMatchObject([{ count: "60%" }]);
    expect(await room.alice.groupPercent(room.app, id, 100)).toMatchObject({ updatePercent: 100 });
    expect((await room.groupNow(id)).spec.stages).toEqual([]);
    expect(await refusal(room.alice.groupPercent(room.app, id, 0))).toContain("updateservicectl group pause");
    expect(await refusal(room.alice.groupPercent(room.app, id, 101))).toContain(
      "400 A percentage is at most 100",
    );
  });
});
