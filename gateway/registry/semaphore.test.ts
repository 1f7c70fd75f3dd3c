/** locksmith's semaphores over a real socket, as its client reads and writes them, beside the slots of FleetLock. */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { BudgetGate, GroupGate } from "../../coordination/records.ts";
import { MachineCredentials, type ShownCredentials } from "../../pki/machine-credentials.ts";
import { type Ask, type Served, send, serveRegistry } from "../../test/registry/served.ts";
import { LedRoom, request } from "../../test/slots/led-room.ts";
import { groupOf } from "./semaphore.ts";

const credentials = new MachineCredentials([Buffer.alloc(32, 1)]);
const secret = credentials.secret("fleet") ?? "";
const ROOT = "/coreos.com/updateengine/rebootlock";
const KEY = `${ROOT}/groups/g/semaphore`;
const ID = "0123456789abcdef0123456789abcdef";

interface Semaphore {
  semaphore: number;
  max: number;
  holders: string[] | null;
}

/** What was asked of Kubernetes, and what it says. */
let asked: [string, number][];
let said: string;
let metered: string[];
let led: LedRoom;
let served: Served;

async function gates(group: Partial<GroupGate> = {}, budget: Partial<BudgetGate> = {}): Promise<void> {
  const machines = { budgets: ["group/g", "budget/b/zone=a"], needs: 60_000, open: false };
  await led.room.writeGates(led.leader, led.gates({ machines, ...group }, { max: 2, ...budget }));
}

beforeEach(async () => {
  led = await LedRoom.create();
  await gates();
  [asked, said, metered] = [[], "done", []];
  served = await serveRegistry(led.port, {
    ...{ clock: led.clock, coordination: led.room },
    setMax: async (group, max) => {
      asked.push([group, max]);
      return said;
    },
    meter: (call, outcome) => metered.push(`${call} ${outcome}`),
  });
});
afterEach(() => served.close());

/** What Go's client does: reads, changes, writes by index. */
async function locksmith(change: (semaphore: Semaphore) => Semaphore, key = KEY) {
  const { node } = JSON.parse((await served.ask(key)).body) as {
    node: { value: string; modifiedIndex: number };
  };
  return write(change(JSON.parse(node.value) as Semaphore), node.modifiedIndex, key);
}
const write = (value: Semaphore, index: number, key = KEY) =>
  served.ask(key, {
    method: "PUT",
    form: new URLSearchParams({ value: JSON.stringify(value), prevIndex: String(index) }).toString(),
  });
const lock = (id: string) => (of: Semaphore) => ({
  ...of,
  semaphore: of.semaphore - 1,
  holders: [...(of.holders ?? []), id].toSorted(),
});
const unlock = (id: string) => (of: Semaphore) => ({
  ...of,
  semaphore: of.semaphore + 1,
  holders: (of.holders ?? []).filter((h) => h !== id),
});
async function shown(key = KEY): Promise<Semaphore> {
  return JSON.parse(
    (JSON.parse((await served.ask(key)).body) as { node: { value: string } }).node.value,
  ) as Semaphore;
}

describe("a semaphore", () => {
  it("is there before anybody makes it", async () => {
    const made = await served.ask(KEY, {
      method: "PUT",
      form: `prevExist=false&value=${encodeURIComponent('{"semaphore":1,"max":1,"holders":null}')}`,
    });
    expect(made).toMatchObject({ status: 412, body: expect.stringContaining('"errorCode":105') });
    expect((await served.ask(KEY)).body).toContain(
      String.raw`"value":"{\"semaphore\":2,\"max\":2,\"holders\":null}"`,
    );
  });

  it("is taken and given back, under the machine's own identity", async () => {
    expect(await locksmith(lock(ID))).toMatchObject({
      status: 200,
      body: expect.stringContaining('"action":"compareAndSwap"'),
    });
    expect(await shown()).toEqual({ semaphore: 1, max: 2, holders: [ID] });
    expect([...(await led.room.readFleet()).grants.keys()]).toEqual([ID]);
    expect((await locksmith(lock("other"))).status).toBe(200);
    expect(await shown()).toEqual({ semaphore: 0, max: 2, holders: [ID, "other"] });
    expect((await locksmith(unlock(ID))).status).toBe(200);
    expect(await shown()).toEqual({ semaphore: 1, max: 2, holders: ["other"] });
    expect(metered).toEqual(["lock granted", "lock granted", "unlock freed"]);
  });

  it("counts who holds a slot by another protocol, and Nodes that are away, and names neither", async () => {
    await led.room.takeForeign({ uid: ID, name: ID, group: "g", protocol: "FleetLock", nonce: "n" });
    // Whom locksmithd finds among the holders it unlocks before anything else, for ever.
    expect(await shown()).toEqual({ semaphore: 1, max: 2, holders: null });
    await gates({}, { unavailable: ["n1"] });
    expect(await shown()).toEqual({ semaphore: 0, max: 2, holders: null });
    expect((await locksmith(lock(ID))).status).toBe(200);
    expect((await led.room.readForeign("g")).holders).toMatchObject([{ words: ["FleetLock", "Locksmith"] }]);
    expect((await locksmith(unlock(ID))).status).toBe(200);
    expect((await led.room.readForeign("g")).holders).toMatchObject([{ uid: ID, words: ["FleetLock"] }]);
  });

  it("is there for the reboot of a machine that has the slot by its update, and for no other", async () => {
    await gates({}, { max: 1 });
    const machine = { id: ID, group: "g", product: "p", version: "1", track: "g", board: "", oem: "" };
    await led.room.takeUpdate({
      ...{ uid: ID, name: ID, group: "g", nonce: "n", release: "r", version: "2", threshold: 1 },
      machine: { ...machine, alias: "", bootId: "b", firstSeen: 0, lastSeen: 0, failed: [] },
    });
    expect(await shown()).toEqual({ semaphore: 1, max: 1, holders: null });
    expect(await locksmith(lock("other"))).toMatchObject({
      status: 412,
      body: expect.stringContaining('"errorCode":101'),
    });
    expect((await locksmith(lock(ID))).status).toBe(200);
    expect(await shown()).toEqual({ semaphore: 0, max: 1, holders: [ID] });
    expect((await locksmith(unlock(ID))).status).toBe(200);
    expect((await led.room.readForeign("g")).holders).toMatchObject([{ uid: ID, words: ["Omaha"] }]);
    await gates({ open: false }, { max: 1 });
    expect(await shown()).toEqual({ semaphore: 0, max: 1, holders: null });
  });

  it.each<[string, Partial<GroupGate>]>([
    ["a closed window", { open: false }],
    ["a pause", { paused: true }],
    ["a halt", { halted: true }],
  ])("shows 0 in %s, so that clients come again by themselves", async (_, group) => {
    await gates(group);
    expect(await shown()).toMatchObject({ semaphore: 0, max: "paused" in group ? 0 : 2 });
    expect(await locksmith(lock(ID))).toMatchObject({
      status: 412,
      body: expect.stringContaining('"errorCode":101'),
    });
  });

  it("is refused like a lost compare where somebody was faster", async () => {
    const stale = { semaphore: 1, max: 2, holders: [ID] };
    expect(await write(stale, 7)).toMatchObject({
      status: 412,
      body: expect.stringMatching(/"errorCode":101.*\[7 != \d+\]/),
    });
    expect(await shown()).toMatchObject({ holders: null });
  });

  it("has its max set, or a sentence why not", async () => {
    const raise = (of: Semaphore) => ({ ...of, max: 5, semaphore: 5 });
    expect(await locksmith(raise)).toMatchObject({ status: 200 });
    expect(asked).toEqual([["g", 5]]);
    said = "spec.maxUnavailable of UpdateGroup g belongs to argocd";
    expect(await locksmith(raise)).toMatchObject({
      status: 403,
      body: expect.stringContaining("belongs to argocd"),
    });
  });

  it("shows a max of 0 while its group is paused", async () => {
    await gates({ paused: true });
    expect(await shown()).toEqual({ semaphore: 0, max: 0, holders: null });
    expect((await locksmith((of) => ({ ...of, max: 2, semaphore: 2 }))).status).toBe(200);
    expect(asked).toEqual([["g", 2]]);
  });

  it.each<[string, Omit<Ask, "path">, number, number]>([
    ["deleted", { method: "DELETE" }, 403, 209],
    ["set without a compare", { method: "PUT", form: "value=x" }, 403, 209],
    ["made a queue", { method: "POST", form: "value=x" }, 403, 209],
    ["watched", { form: "wait=true" }, 403, 209],
  ])("can't be %s", async (_, ask, status, code) => {
    expect(await served.ask(KEY, ask)).toMatchObject({
      status,
      body: expect.stringContaining(`"errorCode":${code}`),
    });
  });

  it("changes by one holder at a time", async () => {
    expect((await locksmith((of) => ({ ...of, holders: ["a", "b"] }))).status).toBe(403);
    expect((await locksmith((of) => ({ ...of, max: 1, holders: ["a"] }))).status).toBe(403);
    expect((await locksmith((of) => ({ ...of, holders: ["a\nb"] }))).status).toBe(400);
  });

  it("of a group that gives none is not found, with the reason", async () => {
    await gates({ machines: undefined });
    expect(await served.ask(KEY)).toMatchObject({
      status: 404,
      body: expect.stringContaining("gives no slots"),
    });
    expect(await served.ask(`${ROOT}/semaphore`)).toMatchObject({
      status: 404,
      body: expect.stringContaining("group default"),
    });
  });
});

describe("a Node", () => {
  const pool = (agent: boolean, group = "g") =>
    led.room.putIdentities(
      led.leader,
      new Map([[ID, { uid: "n1", name: "node-1", node: { group, agent } }]]),
    );
  const refused = (cause: string) => ({
    status: 412,
    body: expect.stringMatching(new RegExp(`"errorCode":101.*${cause}`)),
  });
  const phase = async () => (await led.room.readFleet()).grants.get("n1")?.phase.phase;
  const take = async () => {
    const requested = { protocol: "Locksmith", boot: "b1" } as const;
    const taken = await led.room.takeGrant(led.leader, request({ requested }));
    if (taken.outcome !== "granted") throw new Error(taken.why.message);
    return taken.token;
  };

  beforeEach(() => gates({}, { max: 1 }));

  it("is a holder once the manager gave it a slot of its own budgets and drained it, until it says that it is back", async () => {
    await pool(false);
    expect(await locksmith(lock(ID))).toMatchObject(refused("node-1 waits for its slot"));
    const { requests, grants } = await led.room.readFleet();
    expect(requests.get("n1")).toMatchObject({ protocol: "Locksmith", group: "g" });
    expect(grants.size).toBe(0);
    const token = await take();
    // Its own place fills the budget: at a count of 0 its client would not ask again.
    expect(await shown()).toEqual({ semaphore: 1, max: 1, holders: null });
    expect(await locksmith(lock("other"))).toMatchObject(refused("allows 1 unavailable"));
    expect(await locksmith(lock(ID))).toMatchObject(refused("is being drained"));
    await led.room.markDrained(led.leader, "n1", token);
    expect((await locksmith(lock(ID))).status).toBe(200);
    expect(await phase()).toBe("Committed");
    expect(await shown()).toEqual({ semaphore: 0, max: 1, holders: [ID] });
    expect((await locksmith(unlock(ID))).status).toBe(200);
    expect(await phase()).toBe("Returned");
    expect(await shown()).toMatchObject({ holders: null });
    expect(await led.room.release(led.leader, "n1", token)).toBe("done");
    expect(await shown()).toEqual({ semaphore: 1, max: 1, holders: null });
    expect(metered).toEqual([
      "lock WaitingForTurn",
      "lock WaitingForBudget",
      "lock Draining",
      "lock granted",
      "unlock freed",
    ]);
  });

  it("may ask while others fill the budget, so that it keeps its place in the line", async () => {
    await pool(false);
    await locksmith(lock(ID));
    await gates({}, { max: 1, unavailable: ["n2"] });
    expect(await shown()).toEqual({ semaphore: 1, max: 1, holders: null });
    led.pass(61_000);
    await gates({}, { max: 1, unavailable: ["n2"] });
    expect(await locksmith(lock(ID))).toMatchObject(refused("node-1 waits for its slot"));
    expect((await led.room.readFleet()).requests.get("n1")?.seenAt).toBe(led.clock.now());
    led.pass(721_000);
    await gates({}, { max: 1, unavailable: ["n2"] });
    expect(await shown()).toMatchObject({ semaphore: 0 });
  });

  it("is refused where our agent runs, and in another group than its own", async () => {
    await pool(true);
    expect(await locksmith(lock(ID))).toMatchObject(
      refused("runs Slipway's agent.*turn off locksmithd there"),
    );
    await pool(false, "h");
    expect(await locksmith(lock(ID))).toMatchObject(refused("UpdateGroup h selects"));
    const { requests, grants } = await led.room.readFleet();
    expect([requests.size, grants.size]).toEqual([0, 0]);
    expect(metered).toEqual(["lock agent", "lock other_group"]);
  });

  it("gives back what it took before anybody knew that it is one", async () => {
    expect((await locksmith(lock(ID))).status).toBe(200);
    await pool(true);
    expect(await shown()).toEqual({ semaphore: 0, max: 1, holders: [ID] });
    expect((await locksmith(unlock(ID))).status).toBe(200);
    expect((await led.room.readFleet()).grants.size).toBe(0);
  });
});

it("knows the group in a key", () => {
  expect(
    ["/semaphore", "/groups/db%2Fa+b/semaphore", "/groups/%zz/semaphore", "/groups/g", "/other"].map((rest) =>
      groupOf(ROOT + rest),
    ),
  ).toEqual([...["default", "db/a b", undefined, undefined, undefined]]);
});

describe("a key space", () => {
  const basic = (user: string, password: string) => ({
    authorization: `Basic ${Buffer.from(`${user}:${password}`).toString("base64")}`,
  });
  let closed: Served;
  beforeEach(async () => {
    const route = {
      open: undefined,
      accepts: (name: string, shown: ShownCredentials) => name === "fleet" && shown.secret === secret,
    };
    closed = await serveRegistry(led.port, { clock: led.clock, coordination: led.room, route });
  });
  afterEach(() => closed.close());

  it.each<[string, string, Record<string, string>, number]>([
    ["its secret in the path", `/registry/${secret}/v2/keys/`, {}, 200],
    ["its name and secret", "/v2/keys/", basic("fleet", secret), 200],
    ["nothing", "/v2/keys/", {}, 401],
    ["nothing, in a path", "/registry", {}, 401],
    ["another secret", `/registry/${"x".repeat(32)}/v2/keys/`, {}, 401],
    ["another name", "/v2/keys/", basic("other", secret), 401],
    ["another password", "/v2/keys/", basic("fleet", "x"), 401],
  ])("is shown %s", async (_, path, headers, status) => {
    expect((await send(closed.port, { path, headers })).status).toBe(status);
  });

  it("tells etcdctl the endpoint that it came by", async () => {
    const base = `/registry/${secret}`;
    const { body } = await send(closed.port, {
      path: `${base}/v2/members`,
      headers: { host: "registry:80" },
    });
    expect(JSON.parse(body)).toMatchObject({ members: [{ clientURLs: [`http://registry:80${base}`] }] });
    expect((await send(closed.port, { path: `${base}/v2/machines`, headers: { host: "r" } })).body).toBe(
      `http://r${base}`,
    );
    expect((await send(closed.port, { path: `${base}/version` })).body).toContain("3.4");
    expect(await send(closed.port, { path: `${base}/v2/keys//a?x=1` })).toMatchObject({
      ...{ status: 301, headers: { location: `${base}/v2/keys/a?x=1` } },
    });
    expect((await send(closed.port, { path: `${base}/v2/stats/self` })).status).toBe(404);
    expect((await send(closed.port, { path: `${base}/v2/keys/a`, method: "PATCH" })).status).toBe(405);
  });

  it("without a secret serves semaphores of open groups only", async () => {
    const route = { isOpen: () => false };
    const open = await serveRegistry(led.port, { clock: led.clock, coordination: led.room, route });
    expect((await open.ask(KEY)).status).toBe(200);
    expect((await open.ask(KEY, { method: "PUT", form: "value=x&prevIndex=1" })).status).toBe(403);
    await open.close();
  });
});
