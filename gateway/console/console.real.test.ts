/** The JSON API on a real API server and etcd: who gets in, what RBAC lets them do, and what they see. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { channel } from "../../api/channel.ts";
import { nodeUpdate } from "../../api/node-update.ts";
import { release } from "../../api/release.ts";
import { type UpdateGroup, updateGroup } from "../../api/update-group.ts";
import { Budget, listOf, Waiting } from "../../console/contract.ts";
import { SnapshotPart, topics } from "../../console/events.ts";
import { Desk, Events, OPERATOR, releaseOf, SENTINEL, VIEWER, WAIT } from "../../test/console/desk.ts";

let desk: Desk;
let viewer: string;
let operator: string;
const OURS = { "x-slipway-request": "1" };

beforeAll(async () => {
  desk = await Desk.open();
  viewer = await desk.person("viewer", VIEWER);
  operator = await desk.person("operator", OPERATOR);
  await desk.ready(viewer);
});

afterAll(() => desk.close());

async function group(name: string, spec: object = {}, options: object = {}): Promise<UpdateGroup> {
  const selects = { nodeSelector: { matchLabels: { "example.org/a": desk.name(name).slice(0, 60) } } };
  return await desk.declare<UpdateGroup>(updateGroup, name, { ...SENTINEL, ...selects, ...spec }, options);
}

function spec(name: string): Promise<UpdateGroup["spec"]> {
  return desk.here.admin.get<UpdateGroup>(updateGroup, { name: desk.name(name) }).then((found) => found.spec);
}

async function shown(name: string): Promise<boolean> {
  const { json } = await desk.ask("/api/v1/groups?limit=1000", { token: viewer });
  return json.items.some((item: { name: string }) => item.name === desk.name(name));
}

async function signIn(token: string): Promise<string> {
  const answer = await desk.ask("/api/v1/session", { method: "POST", body: { token }, headers: OURS });
  expect(answer.status).toBe(200);
  return (answer.headers.get("set-cookie") ?? "").split(";", 1)[0] ?? "";
}

describe("who gets in", () => {
  test("nobody without a token or a session, and nobody with a wrong one", async () => {
    expect(await desk.ask("/api/v1/groups")).toMatchObject({ status: 401, json: { error: "SignInNeeded" } });
    expect((await desk.ask("/api/v1/groups", { token: "wrong" })).status).toBe(401);
    expect((await desk.ask("/api/v1/groups", { cookie: "slipway=AAAA" })).status).toBe(401);
  });

  test("who may not list UpdateGroups reads nothing, and can't sign in", async () => {
    const stranger = await desk.person("stranger", []);
    const why = {
      error: "Forbidden",
      message: expect.stringContaining("may not list updategroups") as string,
    };
    for (const path of ["groups", "machines", "releases", "activity", "events", "fleet"])
      expect(await desk.ask(`/api/v1/${path}`, { token: stranger })).toMatchObject({
        status: 403,
        json: why,
      });
    const entry = await desk.ask("/api/v1/session", {
      ...{ method: "POST", body: { token: stranger }, headers: OURS },
    });
    expect(entry).toMatchObject({ status: 403, json: why });
    expect(entry.headers.get("set-cookie")).toBeNull();
  });

  test("a token becomes a cookie that scripts can't read, and is nowhere in it", async () => {
    const answer = await desk.ask("/api/v1/session", {
      ...{ method: "POST", body: { token: viewer }, headers: OURS },
    });
    const cookie = answer.headers.get("set-cookie") ?? "";
    const [, age] = /^slipway=[\w-]+; Path=\/; Max-Age=(\d+); HttpOnly; SameSite=Strict$/.exec(cookie) ?? [];
    // As long as the token, which is one of an hour.
    expect(Number(age)).toBeGreaterThan(3000);
    expect(Number(age)).toBeLessThanOrEqual(3600);
    const me = await desk.ask("/api/v1/me", { cookie: cookie.split(";", 1)[0] ?? "" });
    expect(me.json).toMatchObject({
      user: `system:serviceaccount:${desk.here.name}:viewer`,
      may: { pause: false, promote: false, steal: false },
    });
    const left = Date.parse(me.json.expiresAt) - Date.now();
    expect(left).toBeGreaterThan(0);
    expect(left).toBeLessThanOrEqual(3_600_000);
    const out = await desk.ask("/api/v1/session", { method: "DELETE", headers: OURS });
    expect(out.status).toBe(204);
    expect(out.headers.get("set-cookie")).toContain("Max-Age=0");
  });

  test("what one may is what RBAC says", async () => {
    const { json } = await desk.ask("/api/v1/me", { token: operator });
    expect(json.may).toMatchObject({ pause: true, promote: true, rollback: true, assign: false });
  });
});

describe("writes", () => {
  test("by a session need the page's header, and come from nowhere else", async () => {
    const { metadata } = await group("csrf");
    await expect.poll(() => shown("csrf"), WAIT).toBe(true);
    const cookie = await signIn(operator);
    const pause = (headers: Record<string, string>) =>
      desk.ask(`/api/v1/groups/${metadata.name}/pause`, { method: "POST", cookie, body: {}, headers });
    for (const headers of [
      {},
      { ...OURS, origin: "https://evil.example.org" },
      { ...OURS, "sec-fetch-site": "cross-site" },
      { ...OURS, origin: "null" },
    ] as Record<string, string>[])
      expect(await pause(headers)).toMatchObject({ status: 403, json: { error: "Forbidden" } });
    expect((await spec("csrf")).paused).toBe(false);
    expect((await pause({ ...OURS, origin: desk.origin })).status).toBe(200);
    expect((await spec("csrf")).paused).toBe(true);
  });

  test("RBAC decides, and the journal says who it was", async () => {
    const { metadata } = await group("rbac");
    await expect.poll(() => shown("rbac"), WAIT).toBe(true);
    const path = `/api/v1/groups/${metadata.name}/pause`;
    expect(await desk.ask(path, { method: "POST", token: viewer, body: {} })).toMatchObject({
      status: 403,
      json: { error: "Forbidden", message: expect.stringContaining("may not patch") as string },
    });
    expect((await spec("rbac")).paused).toBe(false);
    expect((await desk.ask(path, { method: "POST", token: operator, body: {} })).json).toMatchObject({
      message: `UpdateGroup ${metadata.name} is paused.`,
      kubectl: `kubectl slipway rollout pause ${metadata.name}`,
    });
    const user = `system:serviceaccount:${desk.here.name}:operator`;
    const told = async () =>
      (await desk.ask(`/api/v1/activity?group=${metadata.name}`, { token: viewer })).json.items[0]?.by;
    await expect.poll(told, WAIT).toBe(user);
  });

  test("a field of GitOps is a 409 with its owner, until the person takes it", async () => {
    const { metadata } = await group("owned", { paused: false }, { manager: "kustomize-controller" });
    await expect.poll(() => shown("owned"), WAIT).toBe(true);
    const path = `/api/v1/groups/${metadata.name}/pause`;
    const refused = await desk.ask(path, { method: "POST", token: operator, body: {} });
    expect(refused).toMatchObject({
      status: 409,
      json: { error: "Owned", owner: "kustomize-controller", field: "spec.paused" },
    });
    expect((await desk.ask(path, { method: "POST", token: operator, body: { force: true } })).status).toBe(
      200,
    );
    expect((await spec("owned")).paused).toBe(true);
  });

  test("a channel is promoted; a release that is quarantined is not given out", async () => {
    const [one, two] = [
      await desk.declare(release, "one", releaseOf("1.0.0")),
      await desk.declare(release, "two", releaseOf("2.0.0")),
    ];
    const stable = await desk.declare(channel, "stable", { release: one.metadata.name });
    const path = `/api/v1/channels/${stable.metadata.name}/promote`;
    const promote = (to: string) =>
      desk.ask(path, { method: "POST", token: operator, body: { release: to } });
    await expect.poll(async () => (await promote(two.metadata.name)).status, WAIT).toBe(200);
    const stored = await desk.here.admin.get<typeof stable & { spec: { release: string } }>(
      channel,
      stable.metadata,
    );
    expect(stored.spec.release).toBe(two.metadata.name);
    expect(await promote(desk.name("three"))).toMatchObject({ status: 404, json: { error: "NotFound" } });
    const now = new Date().toISOString();
    const bad = { type: "Quarantined", status: "True", reason: "ReleaseQuarantined", message: "It failed." };
    await desk.declare(release, "one", releaseOf("1.0.0"), {
      status: { conditions: [{ ...bad, lastTransitionTime: now }] },
    });
    await expect
      .poll(async () => (await promote(one.metadata.name)).json.message, WAIT)
      .toContain("It failed.");
  });

  test("what is asked for wrongly is told, and nothing is done", async () => {
    const path = "/api/v1/groups/x/pause";
    const ask = (body: unknown) => desk.ask(path, { method: "POST", token: operator, body });
    expect((await ask({ forced: true })).json).toMatchObject({ error: "Invalid" });
    expect((await ask([])).status).toBe(400);
    expect((await ask("x".repeat(70_000))).status).toBe(413);
    expect((await desk.ask("/api/v1/groups?limit=0", { token: viewer })).status).toBe(400);
    expect((await desk.ask("/api/v1/groups?nonsense=1", { token: viewer })).status).toBe(400);
    expect((await desk.ask("/api/v1/groups?continue=AAAA", { token: viewer })).status).toBe(400);
    expect((await desk.ask("/api/v1/nothing", { token: viewer })).status).toBe(404);
    expect((await desk.ask("/api/v1/groups", { method: "POST", token: viewer })).status).toBe(405);
  });
});

describe("reads", () => {
  test("lists come in pages, and machines by filters", async () => {
    await group("paged", {}, {});
    const names = Array.from({ length: 7 }, (_, i) => `m${i}`);
    for (const [i, name] of names.entries()) {
      const status = { step: i === 6 ? "Failed" : "Idle", running: "1.0.0", zone: i % 2 === 0 ? "a" : "b" };
      const nodeSpec = {
        nodeName: desk.name(name),
        nodeUID: `uid-${desk.name(name)}`,
        group: desk.name("paged"),
      };
      await desk.declare(nodeUpdate, name, nodeSpec, { status });
    }
    const list = async (
      more = "",
    ): Promise<{ items: { name: string; uid: string }[]; total: number; continue?: string }> =>
      (await desk.ask(`/api/v1/machines?group=${desk.name("paged")}${more}`, { token: viewer })).json;
    await expect.poll(async () => (await list()).total, WAIT).toBe(7);
    const seen: string[] = [];
    let next: string | undefined;
    do {
      const page = await list(`&limit=3${next === undefined ? "" : `&continue=${next}`}`);
      expect(page.total).toBe(7);
      seen.push(...page.items.map(({ name }) => name));
      next = page.continue;
    } while (next !== undefined);
    expect(seen).toEqual(names.map((name) => desk.name(name)));
    expect((await list("&state=Failed,Suspect")).total).toBe(1);
    expect((await list("&zone=b")).total).toBe(3);
    expect((await list("&version=2.0.0")).total).toBe(0);
    const [first] = (await list("&limit=1")).items;
    const story = await desk.ask(`/api/v1/machines/${first?.uid ?? ""}`, { token: viewer });
    expect(story.json).toMatchObject({
      machine: { name: first?.name, zone: "a" },
      kubectl: `kubectl slipway why ${first?.name ?? ""}`,
    });
    const { json } = await desk.ask("/api/v1/versions", { token: viewer });
    expect(json.series.map(({ version }: { version: string }) => version)).toContain("1.0.0");
  });

  test("a slot's queue has the machines without our agent, in the order of their line", async () => {
    const { metadata } = await group("queue", { machines: {} });
    const [name, ids] = [`group/${metadata.name}`, Array.from({ length: 12 }, (_, n) => `box-${12 - n}`)];
    await desk.askForSlots(metadata.name, [name], ids);
    const read = async (path: string): Promise<unknown> => (await desk.ask(path, { token: viewer })).json;
    const queue = async () =>
      listOf(Budget)
        .parse(await read("/api/v1/budgets?limit=1000"))
        .items.find((one) => one.name === name);
    await expect.poll(async () => (await queue())?.waiting, WAIT).toBe(11);
    expect((await queue())?.queue.map(({ machine, protocol }) => `${machine} ${protocol}`)).toEqual(
      ids.slice(1, 9).map((id) => `${id} FleetLock`),
    );
    const page = listOf(Waiting).parse(await read(`/api/v1/waiting?group=${metadata.name}&limit=5`));
    expect([page.total, page.items.map(({ machine }) => machine)]).toEqual([11, ids.slice(1, 6)]);
  });

  test("the page comes with a policy, and only once", async () => {
    const page = await desk.ask("/groups/x");
    expect(page).toMatchObject({ status: 200, json: "<p>the page</p>" });
    expect(page.headers.get("content-security-policy")).toContain("default-src 'self'");
    expect(page.headers.get("content-security-policy")).toContain("frame-ancestors 'none'");
    expect(page.headers.get("x-content-type-options")).toBe("nosniff");
    const headers = { "if-none-match": page.headers.get("etag") ?? "" };
    expect(await desk.ask("/", { headers })).toMatchObject({ status: 304, json: "" });
    expect((await desk.ask("/none.js")).status).toBe(404);
    expect((await desk.ask("/openapi.json")).json.openapi).toBe("3.1.0");
  });
});

describe("the stream", () => {
  const PATH = "/api/v1/events?topics=groups,budgets";

  test("begins with all that there is, and goes on with what changes", async () => {
    const { metadata } = await group("streamed");
    await expect.poll(() => shown("streamed"), WAIT).toBe(true);
    const events = await Events.open(desk, PATH, viewer);
    const parts = () => events.of("snapshot").filter(({ data }) => data.end);
    await expect.poll(() => parts().map(({ data }) => data.topic), WAIT).toEqual(["groups", "budgets"]);
    expect(JSON.stringify(events.of("snapshot"))).toContain(metadata.name);
    for (const { data } of events.of("snapshot")) {
      const { topic, items } = SnapshotPart.parse(data);
      for (const item of items) topics[topic].item.parse(item);
    }
    await desk.ask(`/api/v1/groups/${metadata.name}/pause`, { method: "POST", token: operator, body: {} });
    const changed = () => events.of("change").flatMap(({ data }) => data.changes.groups?.put ?? []);
    await expect
      .poll(changed, WAIT)
      .toContainEqual(expect.objectContaining({ name: metadata.name, state: "Paused" }));
    events.close();
  });

  test("who comes back gets what they missed, and nothing else", async () => {
    const { metadata } = await group("missed");
    await expect.poll(() => shown("missed"), WAIT).toBe(true);
    const before = await Events.open(desk, PATH, viewer);
    await expect.poll(() => before.lastId, WAIT).toBeDefined();
    before.close();
    await desk.ask(`/api/v1/groups/${metadata.name}/pause`, { method: "POST", token: operator, body: {} });
    const paused = async () =>
      (await desk.ask("/api/v1/groups?limit=1000", { token: viewer })).json.items.find(
        ({ name }: { name: string }) => name === metadata.name,
      )?.state;
    await expect.poll(paused, WAIT).toBe("Paused");
    const after = await Events.open(desk, PATH, viewer, before.lastId);
    await expect.poll(() => JSON.stringify(after.of("change")), WAIT).toContain(metadata.name);
    expect(after.of("snapshot")).toEqual([]);
    after.close();
    const lost = await Events.open(desk, PATH, viewer, "00000000-1");
    await expect.poll(() => lost.of("snapshot").length, WAIT).toBeGreaterThan(0);
    lost.close();
  });
});

test("whoever guesses tokens is slowed down, and keeps out nobody who has one", async () => {
  const guess = (n: number) => desk.ask("/api/v1/me", { token: `guess-${n}` });
  const answers: number[] = [];
  for (let n = 0; n < 30; n++) answers.push((await guess(n)).status);
  expect(answers).toContain(401);
  expect(answers.at(-1)).toBe(429);
  const behind = { "x-forwarded-for": "127.0.0.1, 198.51.100.7" };
  expect((await desk.ask("/api/v1/me", { token: "mistyped", headers: behind })).status).toBe(401);
  expect((await desk.ask("/api/v1/me", { token: viewer })).status).toBe(200);
  const late = await desk.person("late", VIEWER);
  expect((await desk.ask("/api/v1/me", { token: late })).status).toBe(200);
});
