/** FleetLock over a real socket: what its clients send and take for yes or no (facts of zincati, airlock, poseidon/fleetlock). */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { MachineCredentials } from "../../pki/machine-credentials.ts";
import { systemClock } from "../../ports/clock.ts";
import { silentLogger } from "../../ports/log.ts";
import { SeededRandom } from "../../test/sim/random.ts";
import { LedRoom, must, request } from "../../test/slots/led-room.ts";
import { type EdgeServer, startEdge } from "../edge/server.ts";
import { SlotLine } from "../slots/line.ts";
import { fleetLockRoute } from "./route.ts";

const credentials = new MachineCredentials([Buffer.alloc(32, 1)]);
const secret = credentials.secret("g") ?? "";
/** As Zincati makes them: 32 hexadecimal digits. */
const ID = "de35106b6ec24688b63afddaa156679b";

let led: LedRoom;
let edge: EdgeServer;
let open = false;
const kinds: string[] = [];

beforeEach(async () => {
  led = await LedRoom.create();
  open = false;
  kinds.length = 0;
  await led.room.writeGates(
    led.leader,
    led.gates({ machines: { budgets: ["group/g", "budget/b/zone=a"], needs: 60_000, open } }),
  );
  const line = new SlotLine({ coordination: led.room, clock: led.clock, random: new SeededRandom(3) });
  const route = fleetLockRoute({
    ...{
      coordination: led.room,
      clock: led.clock,
      line,
      credentials,
      isOpen: () => open,
      log: silentLogger,
      hold: 0,
    },
    meter: (call, kind) => kinds.push(`${call} ${kind}`),
  });
  const meter = { answered: () => {} };
  edge = await startEdge({
    ...{
      listen: { host: "127.0.0.1", port: 0 },
      routes: [route],
      clock: systemClock,
      log: silentLogger,
      meter,
    },
  });
});
afterEach(() => edge.stop(1000));

interface Ask {
  path?: string;
  method?: string;
  headers?: Record<string, string>;
  body?: string | object;
}

/** Undefined headers and no content type, as Zincati sends it. */
async function ask({ path = "pre-reboot", method = "POST", headers, body }: Ask = {}) {
  const base = `http://127.0.0.1:${edge.port}/fleetlock/`;
  const url = path.startsWith("/") ? new URL(path, base) : new URL(`${secret}/v1/${path}`, base);
  const content = body ?? { client_params: { id: ID, group: "g" } };
  const response = await fetch(url, {
    method,
    headers: { "fleet-lock-protocol": "true", ...headers },
    ...(method === "GET" ? {} : { body: typeof content === "string" ? content : JSON.stringify(content) }),
  });
  const text = await response.text();
  return { status: response.status, body: text === "" ? undefined : (JSON.parse(text) as unknown) };
}
const client = (id: string, group = "g") => ({ client_params: { id, group } });

describe("the two calls", () => {
  it("lock recursively, and unlock what is held, or not", async () => {
    expect((await ask()).status).toBe(200);
    expect((await ask()).status).toBe(200);
    expect(await ask({ body: client("other") })).toMatchObject({
      status: 423,
      body: { kind: "failed_lock_semaphore_full", value: expect.stringContaining("allows 1 unavailable") },
    });
    expect((await ask({ path: "steady-state", body: client("other") })).status).toBe(200);
    expect((await led.room.readFleet()).grants.size).toBe(1);
    expect((await ask({ path: "steady-state" })).status).toBe(200);
    expect((await ask({ path: "steady-state" })).status).toBe(200);
    expect((await ask({ body: client("other") })).status).toBe(200);
    expect(kinds).toEqual([
      "pre-reboot granted",
      "pre-reboot held",
      "pre-reboot failed_lock_semaphore_full",
      "steady-state none",
      "steady-state freed",
      "steady-state none",
      "pre-reboot granted",
    ]);
  });

  it("answer that etcd is away with an error that clients repeat", async () => {
    led.fates = Array.from({ length: 20 }, () => "lost" as const);
    expect(await ask()).toMatchObject({ status: 503, body: { kind: "failed_lock_unavailable" } });
  });
});

describe("what is refused", () => {
  it.each<[string, Ask, number, string]>([
    ["no header", { headers: { "fleet-lock-protocol": "" } }, 400, "missing_header"],
    ["another header", { headers: { "fleet-lock-protocol": "TRUE" } }, 400, "missing_header"],
    ["GET", { method: "GET" }, 405, "method_not_allowed"],
    ["another call", { path: `/fleetlock/${secret}/v1/other` }, 404, "not_found"],
    ["another version", { path: `/fleetlock/${secret}/v2/pre-reboot` }, 404, "not_found"],
    ["no body", { body: "" }, 400, "invalid_body"],
    ["no JSON", { body: "{" }, 400, "invalid_body"],
    ["null", { body: "null" }, 400, "invalid_client_params"],
    ["no parameters", { body: {} }, 400, "invalid_client_params"],
    ["no id", { body: client("") }, 400, "invalid_client_params"],
    ["a long id", { body: client("x".repeat(257)) }, 400, "invalid_client_params"],
    ["an id with a line break", { body: client("a\nb") }, 400, "invalid_client_params"],
    [
      "an id that is a number",
      { body: { client_params: { id: 1, group: "g" } } },
      400,
      "invalid_client_params",
    ],
    ["no group", { body: client(ID, "") }, 400, "invalid_client_params"],
    ["a group with a slash", { body: client(ID, "a/b") }, 400, "invalid_client_params"],
    ["the secret of another group", { body: client(ID, "h") }, 403, "unauthorized"],
    ["no secret", { path: "/fleetlock/v1/pre-reboot" }, 401, "unauthorized"],
    ["another secret", { path: `/fleetlock/${"x".repeat(32)}/v1/pre-reboot` }, 403, "unauthorized"],
  ])("%s", async (_, request, status, kind) => {
    expect(await ask(request)).toMatchObject({ status, body: { kind } });
    expect((await led.room.readFleet()).grants.size).toBe(0);
  });

  it("a body that is too long, unread", async () => {
    const response = await fetch(`http://127.0.0.1:${edge.port}/fleetlock/v1/pre-reboot`, {
      method: "POST",
      body: "x".repeat(1 << 20),
    }).catch(() => undefined);
    expect([413, undefined]).toContain(response?.status);
  });
});

describe("what is shown", () => {
  const bare = "/fleetlock/v1/pre-reboot";

  it("may be a bearer token", async () => {
    expect((await ask({ path: bare, headers: { authorization: `Bearer ${secret}` } })).status).toBe(200);
  });

  it("may be the machine's own, which serves no other", async () => {
    const own = credentials.secret("g", ID) ?? "";
    expect((await ask({ path: `/fleetlock/${own}/v1/pre-reboot` })).status).toBe(200);
    expect((await ask({ path: `/fleetlock/${own}/v1/pre-reboot`, body: client("b") })).status).toBe(403);
  });

  it("need be nothing where the group is open", async () => {
    open = true;
    expect((await ask({ path: bare })).status).toBe(200);
  });

  it("may be of the key before, while it is still there", () => {
    const next = new MachineCredentials([Buffer.alloc(32, 2), Buffer.alloc(32, 1)]);
    expect(next.accepts({ secret }, "g", ID)).toBe(true);
    expect(next.secret("g")).not.toBe(secret);
    expect(() => new MachineCredentials([Buffer.alloc(16)])).toThrow(/16 bytes/);
    expect(new MachineCredentials([]).accepts({ secret }, "g", ID)).toBe(false);
  });
});

it("knows a machine that came by its machine id before by the id that Zincati sends", async () => {
  const machineId = "0123456789abcdef0123456789abcdef";
  const machine = { group: "g", product: "p", version: "1", track: "g", board: "", oem: "", alias: "" };
  const times = { bootId: "b", firstSeen: 0, lastSeen: 0, failed: [] };
  await led.room.putForeignMachine(machineId, { id: machineId, ...machine, ...times });
  const zincati = "583627a932274834a8ebd99f4ed41c0d";
  expect((await ask({ body: client(zincati) })).status).toBe(200);
  expect([...(await led.room.readFleet()).grants.keys()]).toEqual([machineId]);
  expect((await ask({ path: "steady-state", body: client(zincati) })).status).toBe(200);
  expect((await led.room.readFleet()).grants.size).toBe(0);
});

describe("a Node", () => {
  const pool = (agent: boolean, group = "g") =>
    led.room.putIdentities(
      led.leader,
      new Map([[ID, { uid: "n1", name: "node-1", node: { group, agent } }]]),
    );

  it("is told yes once the manager gave it a slot and drained it, and gives that back", async () => {
    await pool(false);
    expect(await ask()).toMatchObject({ status: 423, body: { kind: "failed_lock_waiting_for_turn" } });
    const requested = { protocol: "FleetLock", boot: "b1" } as const;
    const taken = await led.room.takeGrant(led.leader, request({ requested }));
    if (taken.outcome !== "granted") throw new Error(taken.why.message);
    expect(await ask()).toMatchObject({ status: 423, body: { kind: "failed_lock_draining" } });
    await led.room.markDrained(led.leader, "n1", taken.token);
    expect((await ask()).status).toBe(200);
    expect((await ask()).status).toBe(200);
    expect([...(await led.room.readFleet()).grants.keys()]).toEqual(["n1"]);
    expect((await ask({ path: "steady-state" })).status).toBe(200);
    expect((await led.room.readFleet()).grants.get("n1")?.phase.phase).toBe("Returned");
    expect((await ask({ path: "steady-state" })).status).toBe(200);
  });

  it("gives back what it took before anybody knew that it is a Node", async () => {
    expect((await ask()).status).toBe(200);
    await pool(false);
    expect((await ask({ path: "steady-state" })).status).toBe(200);
    expect((await led.room.readFleet()).grants.size).toBe(0);
  });

  it("is told that it has what it took before anybody knew that it is a Node", async () => {
    expect((await ask()).status).toBe(200);
    await pool(false);
    expect((await ask()).status).toBe(200);
    expect(kinds).toEqual(["pre-reboot granted", "pre-reboot held"]);
  });

  it("gives back what it asked for although an agent of ours runs there by now", async () => {
    const requested = { protocol: "FleetLock", boot: "b1" } as const;
    const taken = await led.room.takeGrant(led.leader, request({ requested }));
    if (taken.outcome !== "granted") throw new Error(taken.why.message);
    await led.room.markDrained(led.leader, "n1", taken.token);
    await pool(false);
    expect((await ask()).status).toBe(200);
    await pool(true);
    expect((await ask({ path: "steady-state" })).status).toBe(200);
    expect((await led.room.readFleet()).grants.get("n1")?.phase.phase).toBe("Returned");
  });

  it("leaves the slot that its agent asked for alone, also after a rebuild", async () => {
    await led.granted();
    const from = await led.room.readEpoch();
    const { grant, token } = must((await led.room.readFleet()).grants.get("n1"));
    const { uid, node, group, release, budgets, nonce, at } = grant;
    const kept = {
      uid,
      node,
      group,
      release,
      budgets,
      nonce,
      at,
      phase: "Committed",
      supersedes: token,
    } as const;
    led.leader = must(await led.room.rebuild(from, [kept]));
    await pool(true);
    expect((await ask({ path: "steady-state" })).status).toBe(200);
    expect((await led.room.readFleet()).grants.get("n1")?.phase.phase).toBe("Committed");
  });

  it("is refused where our agent runs, and in another group than its own", async () => {
    await pool(true);
    expect(await ask()).toMatchObject({ status: 409, body: { kind: "failed_lock_agent" } });
    expect((await ask({ path: "steady-state" })).status).toBe(200);
    await pool(false, "h");
    expect(await ask()).toMatchObject({ status: 409, body: { kind: "failed_lock_other_group" } });
    expect((await led.room.readFleet()).requests.size).toBe(0);
  });
});

it("keeps ids apart from the identities of Nodes", async () => {
  const node = "8f8b0c2e-6a3b-4b43-9e3c-0d9a3f6f1a11";
  expect((await ask({ body: client(node) })).status).toBe(200);
  expect([...(await led.room.readFleet()).grants.keys()]).toEqual([`foreign/${node}`]);
});
