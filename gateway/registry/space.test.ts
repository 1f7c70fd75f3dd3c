/** A key space over a simulated etcd and a real socket: what is lost on the way, what ends, what gateways see of each other. */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type Served, type ServedOptions, serveRegistry } from "../../test/registry/served.ts";
import { LedRoom } from "../../test/slots/led-room.ts";

let led: LedRoom;
const open: Served[] = [];

async function gateway(options: ServedOptions = {}): Promise<Served> {
  const served = await serveRegistry(led.port, { clock: led.clock, coordination: led.room, ...options });
  open.push(served);
  return served;
}

beforeEach(async () => {
  led = await LedRoom.create();
});
afterEach(async () => {
  await Promise.all(open.splice(0).map((served) => served.close()));
});

const put = (at: Served, path: string, form: string) => at.ask(path, { method: "PUT", form });
const node = (body: string) => (JSON.parse(body) as { node: Record<string, unknown> }).node;

describe("a write", () => {
  it("is known to each gateway, and not to the fleet", async () => {
    const [one, other] = [await gateway(), await gateway()];
    let hints = 0;
    const watch = led.room.watchFleet(() => hints++);
    await put(one, "/a/b", "value=1");
    expect(node((await other.ask("/a/b")).body)).toMatchObject({ value: "1", modifiedIndex: 1 });
    await put(other, "/a/b", "value=2");
    expect(node((await one.ask("/a/b", { form: "quorum=true" })).body)).toMatchObject({
      value: "2",
      modifiedIndex: 2,
    });
    expect(hints).toBeLessThanOrEqual(1);
    watch.close();
  });

  it("whose answer is lost happens once", async () => {
    const one = await gateway();
    await put(one, "/a", "value=0");
    led.fates = ["unanswered"];
    expect(await put(one, "/a", "value=1&prevValue=0")).toMatchObject({ status: 200 });
    led.fates = ["lost"];
    expect(await put(one, "/a", "value=2&prevValue=1")).toMatchObject({ status: 200 });
    led.fates = ["late"];
    expect(await put(one, "/a", "value=3&prevValue=2")).toMatchObject({ status: 200 });
    for (const land of led.land.splice(0)) land();
    const { body, headers } = await one.ask("/a", { form: "quorum=true" });
    expect(node(body)).toMatchObject({ value: "3", modifiedIndex: 4 });
    expect(headers["x-etcd-index"]).toBe("4");
  });

  it("is refused by what is, not by a copy that lags behind", async () => {
    const [one, other] = [await gateway(), await gateway()];
    await put(one, "/a", "value=1");
    await other.ask("/a");
    await one.ask("/a", { method: "DELETE" });
    expect((await put(other, "/a", "value=2&prevExist=false")).status).toBe(201);
  });

  it("that etcd does not answer is an error that clients repeat", async () => {
    const one = await gateway();
    await one.ask("/");
    led.fates = Array.from({ length: 20 }, () => "lost" as const);
    expect(await put(one, "/a", "value=1")).toMatchObject({
      status: 500,
      body: expect.stringContaining('"errorCode":300'),
    });
  });
});

describe("an end", () => {
  it("comes in the order of time, as events, by whoever looks first", async () => {
    const [one, other] = [await gateway(), await gateway()];
    await put(one, "/dir/late", "value=1&ttl=20");
    await put(one, "/early", "value=1&ttl=10");
    await put(one, "/with", "dir=true&ttl=15");
    await put(one, "/with/it", "value=1&ttl=17");
    led.pass(30_000);
    expect((await other.ask("/early")).status).toBe(404);
    const events: string[] = [];
    for (const since of [5, 6, 7]) {
      const [line = ""] = [await (await other.poll(`/?wait=true&recursive=true&waitIndex=${since}`)).next()];
      const { action, node: of } = JSON.parse(line) as {
        action: string;
        node: { key: string; modifiedIndex: number };
      };
      events.push(`${action} ${of.key} ${of.modifiedIndex}`);
    }
    expect(events).toEqual(["expire /early 5", "expire /with 6", "expire /dir/late 7"]);
    expect((await one.ask("/with/it")).status).toBe(404);
  });

  it("is told to who waits, without anybody asking", async () => {
    const one = await gateway();
    await put(one, "/a", "value=1&ttl=10");
    const poll = await one.poll("/a?wait=true");
    expect(poll.headers["x-etcd-index"]).toBe("1");
    led.pass(10_500);
    expect(JSON.parse((await poll.next()) ?? "")).toMatchObject({
      action: "expire",
      node: { key: "/a" },
      prevNode: { value: "1" },
    });
    expect(await poll.next()).toBeUndefined();
  });

  it("of more than fit into one transaction comes all the same", async () => {
    const one = await gateway();
    for (let i = 0; i < 50; i++) await put(one, `/k${i}`, "value=1&ttl=10");
    led.pass(20_000);
    expect(node((await one.ask("/")).body)).toEqual({ dir: true });
    expect((await one.ask("/")).headers["x-etcd-index"]).toBe("100");
  });
});

describe("a poll", () => {
  it("hears of what another gateway wrote", async () => {
    const [one, other] = [await gateway(), await gateway()];
    const poll = await one.poll("/dir?wait=true&recursive=true&stream=true");
    await put(other, "/dir/a", "value=1");
    led.pass(10);
    expect(JSON.parse((await poll.next()) ?? "")).toMatchObject({ action: "set", node: { key: "/dir/a" } });
    await other.ask("/dir", { method: "DELETE", form: "recursive=true" });
    led.pass(10);
    expect(JSON.parse((await poll.next()) ?? "")).toMatchObject({ action: "delete", node: { key: "/dir" } });
    poll.close();
  });

  it("below a directory hears of its end; of hidden keys only who names them", async () => {
    const one = await gateway();
    await put(one, "/dir/a/b", "value=1");
    const [leaf, above, hidden] = [
      await one.poll("/dir/a/b?wait=true"),
      await one.poll("/h?wait=true&recursive=true"),
      await one.poll("/h/_x?wait=true"),
    ];
    await put(one, "/h/_x", "value=1");
    await put(one, "/h/x", "value=2");
    expect(JSON.parse((await hidden.next()) ?? "")).toMatchObject({ node: { key: "/h/_x" } });
    expect(JSON.parse((await above.next()) ?? "")).toMatchObject({ node: { key: "/h/x" } });
    await one.ask("/dir", { method: "DELETE", form: "recursive=true" });
    expect(JSON.parse((await leaf.next()) ?? "")).toMatchObject({ action: "delete", node: { key: "/dir" } });
  });

  it("for what is no longer known is error 401, after a thousand events", async () => {
    const one = await gateway();
    for (let i = 0; i < 1003; i++) await put(one, "/a", `value=${i}`);
    expect(await one.ask("/a?wait=true&waitIndex=3")).toMatchObject({
      status: 400,
      body: expect.stringMatching(
        /"errorCode":401.*"cause":"the requested history has been cleared \[4\/3\]","index":1003/,
      ),
    });
    const oldest = await one.poll("/a?wait=true&waitIndex=4");
    expect(JSON.parse((await oldest.next()) ?? "")).toMatchObject({ node: { value: "3", modifiedIndex: 4 } });
    expect([...led.etcd.records.keys()].filter((key) => key.includes("/events/"))).toHaveLength(1000);
  });

  it("that is given up leaves nothing", async () => {
    const one = await gateway();
    const poll = await one.poll("/a?wait=true");
    expect(one.space.watching).toBe(1);
    poll.close();
    await expect.poll(() => one.space.watching).toBe(0);
  });

  it("ends when the gateway stops", async () => {
    const one = await gateway();
    const poll = await one.poll("/a?wait=true");
    await one.close();
    expect(await poll.next().catch(() => undefined)).toBeUndefined();
  });
});

describe("a limit", () => {
  it.each<[string, string, string, RegExp]>([
    ["of keys", "/d/e/f", "value=1", /3 keys/],
    ["of a value", "/a", `value=${"x".repeat(200)}`, /100 bytes as JSON/],
    ["of depth", "/a/b/c/d/e", "value=1", /4 parts/],
    ["of a key", `/${"k".repeat(100)}`, "value=1", /50 bytes/],
  ])("%s is a refusal that clients print", async (_, path, form, why) => {
    const one = await gateway({ limits: { keys: 5, value: 100, depth: 4, path: 50, bytes: 1000 } });
    for (const key of ["/1", "/2", "/3"]) await put(one, key, "value=1");
    expect(await put(one, path, form)).toMatchObject({ status: 403, body: expect.stringMatching(why) });
    expect((await one.ask("/")).headers["x-etcd-index"]).toBe("3");
  });

  it("of bytes still lets a key become smaller, or go", async () => {
    const one = await gateway({ limits: { bytes: 100 } });
    await put(one, "/a", `value=${"x".repeat(90)}`);
    expect((await put(one, "/b", "value=0123456789")).status).toBe(403);
    expect((await put(one, "/a", "value=0")).status).toBe(200);
    expect((await put(one, "/b", "value=0123456789")).status).toBe(201);
    expect((await one.ask("/a", { method: "DELETE" })).status).toBe(200);
  });
});

it("after a snapshot was restored answers nothing of what is gone", async () => {
  const [one, other] = [await gateway(), await gateway()];
  await put(one, "/a", "value=1");
  await other.ask("/a");
  const before = led.etcd.snapshot();
  for (let i = 0; i < 3; i++) await put(one, "/b", `value=${i}`);
  expect(node((await other.ask("/b?quorum=true")).body)).toMatchObject({ value: "2" });
  const poll = await other.poll("/b?wait=true");
  led.etcd.restore(before);
  expect(await other.ask("/b?quorum=true")).toMatchObject({
    status: 500,
    body: expect.stringContaining("300"),
  });
  expect(await poll.next()).toBeUndefined();
  // Past the old revision only the chain of the events tells that they are of another history.
  const again = await gateway();
  for (let i = 0; i < 3; i++) await put(again, "/c", `value=${i}`);
  expect((await other.ask("/b?quorum=true")).status).toBe(404);
  expect((await one.ask("/b?quorum=true")).status).toBe(404);
  expect(node((await one.ask("/c")).body)).toMatchObject({ value: "2", modifiedIndex: 4 });
});
