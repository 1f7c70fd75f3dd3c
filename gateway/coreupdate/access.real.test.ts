/** Who may do what through CoreUpdate's API, and how a request shows who made it; by protocol suite. */
import { readdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { API_VERSION, type KubeObject } from "../../api/meta.ts";
import { release } from "../../api/release.ts";
import { type Answer, UpdateServiceClient } from "../../test/coreupdate/client.ts";
import { file, now, refusal, UpdateServiceRoom } from "../../test/coreupdate/service.ts";
import { ErrorReply, GenerateUuidResp } from "../../test/coreupdate/wire.ts";

let room: UpdateServiceRoom;
beforeAll(async () => {
  room = await UpdateServiceRoom.open("1.0.0", "1.2.0");
});
afterAll(() => room?.close());

describe("rights", () => {
  test("are those of the Kubernetes user, for each verb", async () => {
    const id = await room.group("rights", room.own("stable"));
    const forbidden: [string, () => Promise<unknown>][] = [
      ["bob may not create releases.slipway.dev", () => room.bob.appCreate(room.own("bobs"), "", "")],
      [
        "bob may not create releases.slipway.dev",
        () => room.bob.packageCreate(room.app, "8.0.0", file("x", "https://f.test/x")),
      ],
      ["bob may not delete releases.slipway.dev", () => room.bob.packageDelete(room.app, "1.2.0")],
      [
        "bob may not create channels.slipway.dev",
        () => room.bob.channelCreate(room.app, room.own("bobs"), "1.0.0"),
      ],
      [
        "bob may not patch channels.slipway.dev",
        () => room.bob.channelUpdate(room.app, room.own("stable"), "1.0.0"),
      ],
      ["bob may not delete channels.slipway.dev", () => room.bob.channelDelete(room.app, room.own("stable"))],
      [
        "bob may not create updategroups.slipway.dev",
        () => room.bob.groupCreate(room.app, room.own("stable"), room.own("bobs"), ""),
      ],
      ["bob may not patch updategroups.slipway.dev", () => room.bob.groupPause(room.app, id)],
      ["bob may not patch updategroups.slipway.dev", () => room.bob.groupPercent(room.app, id, 10)],
      ["bob may not patch updategroups.slipway.dev", () => room.bob.rolloutLinear(room.app, id, 100, 10)],
      ["bob may not delete updategroups.slipway.dev", () => room.bob.groupDelete(room.app, id)],
    ];
    for (const [message, call] of forbidden) expect(await refusal(call())).toContain(`403 ${message}`);
    expect((await room.groupNow(id)).spec).toMatchObject({ paused: false, stages: [] });
  });
});

describe("admin-user, upstream, database and upload", () => {
  test("users are listed, and made elsewhere", async () => {
    expect((await room.bob.adminUserList()).users).toEqual([
      { user: "alice", token: "" },
      { user: "bob", token: "" },
    ]);
    for (const call of [() => room.alice.adminUserCreate("eve"), () => room.alice.adminUserDelete("bob")]) {
      expect(await refusal(call())).toMatch(/^409 Users and their keys are lines of a Secret/);
    }
  });

  test("a backup is a list that kubectl applies", async () => {
    const answer = await room.alice.get("/db/backup");
    expect(answer.status).toBe(200);
    const { kind, items } = JSON.parse(answer.body) as { kind: string; items: KubeObject[] };
    expect(kind).toBe("List");
    const mine = items.find(({ metadata }) => metadata.name === room.own("stable"));
    expect(mine).toMatchObject({
      apiVersion: API_VERSION,
      kind: "Channel",
      spec: { release: `${room.app}-1.2.0` },
    });
    expect(Object.keys(mine?.metadata ?? {})).toEqual(["name", "annotations"]);
    expect((await fetch(`${room.url}/db/backup`)).status).toBe(401);
  });

  test("paths of the CLI beside the API are answered with what to do", async () => {
    const ask = async (path: string) => {
      const answer = await fetch(`${room.url}${path}`);
      return `${answer.status} ${await answer.text()}`;
    };
    expect(await ask("/admin/v1/init")).toMatch(/^501 There is no database/);
    const other = await fetch(`http://127.0.0.1:${room.other.edgePort}/package-upload`, { method: "POST" });
    expect(`${other.status} ${await other.text()}`).toMatch(/^501 Files are not uploaded here/);
  });
});

describe("package upload", () => {
  const content = Buffer.from("payload 3.0.0 ".repeat(20_000));
  /** As `package create` names it whose file goes to the gateway. */
  async function pack(version: string, of: Buffer): Promise<string> {
    const name = `${room.app}_${version}_update.gz`;
    room.remember(release, `${room.app}-${version}`);
    await room.alice.packageCreate(room.app, version, file(of.toString(), `${room.url}/payloads/${name}`));
    return name;
  }
  const fetched = async (name: string, at = room.url) => {
    const answer = await fetch(`${at}/payloads/${name}`);
    return { status: answer.status, body: Buffer.from(await answer.arrayBuffer()) };
  };
  const refused = async (call: Promise<Answer>) => {
    const { status, body } = await call;
    return `${status} ${ErrorReply.parse(JSON.parse(body)).error.message}`;
  };

  test("puts a package's file where machines fetch it, at every gateway, and again does nothing", async () => {
    const name = await pack("3.0.0", content);
    expect((await fetched(name)).status).toBe(404);
    for (let n = 0; n < 2; n += 1) {
      const { status, body } = await room.alice.packageUpload(name, content);
      expect([status, JSON.parse(body)]).toMatchObject([200, { name, size: content.length }]);
    }
    for (const at of [room.url, `http://127.0.0.1:${room.other.edgePort}`]) {
      expect((await fetched(name, at)).body.equals(content)).toBe(true);
    }
    expect(await readdir(room.payloads)).toEqual([name]);
  });

  test("keeps nothing of what is no package's file, is another's, or comes of who may not", async () => {
    const name = await pack("3.0.1", content);
    const longer = Buffer.concat([content, Buffer.from("!")]);
    const other = Buffer.from(content);
    other[7] = 0;
    expect(await refused(room.alice.packageUpload("info.json", content))).toContain(
      "409 No package has a file info.json: make it first",
    );
    expect(await refused(room.alice.packageUpload("../users.yaml", content))).toContain("409 No package has");
    for (const wrong of [longer, other, content.subarray(1), Buffer.alloc(0)]) {
      expect(await refused(room.alice.packageUpload(name, wrong))).toContain("409 It is not the file");
    }
    expect(await refused(room.bob.packageUpload(name, content))).toContain("403 bob may not create releases");
    const mallory = room.client(room.gateway, "alice", { key: room.keys.bob });
    expect((await mallory.packageUpload(name, content)).status).toBe(401);
    expect((await fetched(name)).status).toBe(404);
    expect((await readdir(room.payloads)).filter((one) => one !== `${room.app}_3.0.0_update.gz`)).toEqual([]);
  });

  test("takes no name from another file, whatever that is for", async () => {
    const [one, two] = [Buffer.from("one"), Buffer.from("two")];
    const name = `${room.own("shared")}.gz`;
    for (const [version, of] of [
      ["3.1.0", one],
      ["3.1.1", two],
    ] as const) {
      room.remember(release, `${room.app}-${version}`);
      await room.alice.packageCreate(room.app, version, file(of.toString(), `${room.url}/payloads/${name}`));
    }
    await writeFile(join(room.payloads, name), "put there by hand");
    const taken = `409 There is another file ${name} in the directory of payloads`;
    expect(await refused(room.alice.packageUpload(name, one))).toContain(taken);
    expect((await fetched(name)).body.toString()).toBe("put there by hand");
    await rm(join(room.payloads, name));
    expect((await room.alice.packageUpload(name, one)).status).toBe(200);
    expect(await refused(room.alice.packageUpload(name, two))).toContain(taken);
    expect((await fetched(name)).body.toString()).toBe("one");
  });
});

describe("signatures", () => {
  const code = async (call: Promise<unknown>) => (await refusal(call)).split(" ", 1)[0];

  test("another key, another user, no signature: 401", async () => {
    const options = { port: room.gateway.edgePort ?? 0, now };
    for (const wrong of [
      { user: "alice", key: room.keys.bob },
      { user: "mallory", key: room.keys.alice },
    ]) {
      expect(await code(new UpdateServiceClient({ ...options, ...wrong }).appList())).toBe("401");
    }
    const bare = await fetch(`${room.url}/_ah/api/update/v1/apps`);
    expect([bare.status, bare.headers.get("www-authenticate")]).toEqual([401, "Hawk"]);
  });

  test("a clock that is off is told the time", async () => {
    const late = new UpdateServiceClient({
      ...{ port: room.gateway.edgePort ?? 0, user: "alice", key: room.keys.alice },
      now: () => now() - 3600,
    });
    expect(await refusal(late.appList())).toMatch(
      /^401 The client's clock and the gateway's differ by 3\d{3} s/,
    );
    const { headers } = await late.get("/_ah/api/update/v1/apps?alt=json");
    expect(headers["www-authenticate"]).toMatch(/^Hawk ts="\d+", tsm="[^"]+", error="Stale timestamp"$/);
  });

  test("a write that is made again is refused, at every gateway; a read at its own", async () => {
    const id = await room.group("replay", room.own("stable"));
    const { alice } = room;
    await alice.groupPause(room.app, id);
    const write = alice.last;
    if (write === undefined) throw new Error("nothing was sent");
    expect((await alice.send(write)).status).toBe(401);
    // The port is signed: the other gateway stands behind the same address.
    const twin = new UpdateServiceClient({
      ...{ port: room.other.edgePort ?? 0, user: "alice", key: room.keys.alice, now },
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
    const old = room.client(room.gateway, "alice", { wholeUrl: true });
    expect((await old.appList()).items.length).toBeGreaterThan(0);
    expect(await old.adminUserDelete("a@b").catch((error: unknown) => String(error))).toContain("Secret");
  });

  test("an id is made where a client asks for one", async () => {
    const { uuid } = await room.bob.call(GenerateUuidResp, "GET", "util/uuid");
    expect(uuid).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4/);
  });

  test("what is no call of the API is 404, and asks for a signature first", async () => {
    const path = "/_ah/api/update/v1/nothing/here?alt=json";
    expect((await room.alice.get(path)).status).toBe(404);
    expect((await fetch(`${room.url}${path}`)).status).toBe(401);
  });
});
