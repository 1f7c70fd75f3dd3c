/** What people ask for: that a hook is heard before a machine goes down, and that one machine reboots now. */
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, expect, test } from "vitest";
import { days, machines } from "../bad-days/day.ts";

const day = days({ machines: machines(2), limits: { total: 1, perZone: 1 } });

let server: Server;
let hook: string;
/** What the desk says, and whom it was asked about. */
let word: { status: number; body: string };
const asked: { node: string; group: string; release: string }[] = [];

beforeAll(async () => {
  server = createServer((request, response) => {
    let body = "";
    request.setEncoding("utf8").on("data", (text: string) => (body += text));
    request.on("end", () => {
      asked.push(JSON.parse(body) as (typeof asked)[number]);
      response.writeHead(word.status).end(word.body);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  hook = `http://127.0.0.1:${(server.address() as AddressInfo).port}/may-reboot`;
});

afterAll(() => {
  server.close();
});

test("a hook that says no keeps the group up and costs no budget; once it says yes, the rollout goes on", async () => {
  const today = day();
  word = { status: 423, body: "the backup runs" };
  await today.declare({ blockers: [{ name: "desk", http: { url: hook } }] });
  await today.publish("1.1.0");
  await today.waitFor("a node is blocked and says by what", async () =>
    (await today.nodeUpdates()).some(
      ({ status }) =>
        status?.reason === "Blocked" &&
        /Blocker desk .*since .*: the backup runs\.$/.test(status.message ?? ""),
    ),
  );
  expect(await today.etcdKeys("grants/")).toEqual([]);
  expect(today.booted("1.1.0")).toEqual([]);
  expect(asked[0]).toMatchObject({ group: "harbor", release: expect.stringContaining("1.1.0") });
  word = { status: 204, body: "" };
  await today.waitUntilDone("1.1.0");
  await today.rest();
});

test("a person asks on the Node for a reboot: it waits for no window, happens once, and is written down", async () => {
  const today = day();
  const { cluster } = today;
  await today.declare({ windows: "OnlyInWindows", blockers: [] });
  await cluster.plane.kubectl(["delete", "rebootwindows", "--all"]);
  await today.waitFor("no window is open", async () => {
    const group = await today.group();
    return group?.status?.gate?.open === false;
  });
  const before = today.boots("node-01");
  await cluster.plane.kubectl(["annotate", "node/node-01", "slipway.dev/reboot=new firmware"]);
  await today.waitFor("it rebooted, and the word is used up", async () => {
    const update = await today.nodeUpdate("node-01");
    const node = await cluster.get("nodes", "node-01");
    return (
      today.boots("node-01") > before &&
      update?.status?.grant === undefined &&
      update?.metadata.annotations?.["slipway.dev/reboot"] === undefined &&
      node?.metadata.annotations?.["slipway.dev/reboot"] === undefined
    );
  });
  const update = await today.nodeUpdate("node-01");
  expect(update?.status?.running).toBe("1.1.0");
  expect(update?.status?.transitions?.map(({ message }) => message)).toContain(
    "A person asked for a reboot now: new firmware.",
  );
  expect(await today.events("node-01")).toContainEqual({
    reason: "Granting",
    note: "A person asked for a reboot now: new firmware.",
  });
  const journal = await cluster.etcd.etcdctl(["get", "/slipway/journal/", "--prefix", "--print-value-only"]);
  expect(journal).toContain("A person asked for a reboot now: new firmware.");
  expect(today.boots("node-01")).toBe(before + 1);
  expect(today.boots("node-02")).toBe(0);
  await today.rest();
});
