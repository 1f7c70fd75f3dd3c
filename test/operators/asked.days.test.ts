/** What people ask of a group: hooks, a reboot now, a taint while nodes wait, time for load balancers. */
import { createHmac } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { EXCLUDE_LABEL, PENDING_TAINT } from "../../api/labels.ts";
import { rebootWindow } from "../../hack/demo/manifests.ts";
import type { Node } from "../../runtime/core.ts";
import { days, machines } from "../bad-days/day.ts";

const day = days({ machines: machines(2), limits: { total: 1, perZone: 1 } });

let server: Server;
let hook: string;
let webhook: string;
const notices: { body: string; signature: string }[] = [];
/** What the desk says, and whom it was asked about. */
let word: { status: number; body: string };
const asked: { node: string; group: string; release: string }[] = [];

beforeAll(async () => {
  server = createServer((request, response) => {
    let body = "";
    request.setEncoding("utf8").on("data", (text: string) => (body += text));
    request.on("end", () => {
      if (request.url === "/notices") {
        notices.push({ body, signature: String(request.headers["slipway-signature"]) });
        response.writeHead(204).end();
        return;
      }
      asked.push(JSON.parse(body) as (typeof asked)[number]);
      response.writeHead(word.status).end(word.body);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  [hook, webhook] = [`${base}/may-reboot`, `${base}/notices`];
});

afterAll(() => {
  server.close();
});

test("a hook that says no keeps the group up and costs no budget; once it says yes, the rollout goes on, and a webhook hears of its end", async () => {
  const today = day();
  word = { status: 423, body: "the backup runs" };
  const { webhookKeys } = today.cluster;
  mkdirSync(webhookKeys);
  writeFileSync(join(webhookKeys, "desk"), "s3cret\n");
  await today.declare({
    blockers: [{ name: "desk", http: { url: hook } }],
    notifications: { url: webhook, signingKey: "desk" },
  });
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
  await today.waitFor("the webhook is told that it is done", () =>
    notices.some(({ body }) => (JSON.parse(body) as { event: string }).event === "Done"),
  );
  for (const { body, signature } of notices) {
    expect(signature).toBe(`sha256=${createHmac("sha256", "s3cret").update(body).digest("hex")}`);
  }
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

test("nodes that wait are tainted, one that drains is out of load balancers first, and nothing of it stays", async () => {
  const today = day();
  const { cluster } = today;
  const nodes = (): Promise<Node[]> => cluster.list<Node>("nodes");
  const isTainted = ({ spec }: Node): boolean =>
    spec?.taints?.some(({ key, effect }) => key === PENDING_TAINT && effect === "PreferNoSchedule") === true;
  const isExcluded = ({ metadata }: Node): boolean => metadata.labels?.[EXCLUDE_LABEL] !== undefined;
  await cluster.plane.kubectl(["label", "node/node-02", `${EXCLUDE_LABEL}=theirs`]);
  await today.declare({ preferNoSchedule: true, excludeFromLoadBalancers: { wait: "3s" } });
  await today.publish("1.2.0");
  await today.waitFor("both nodes wait for a window, tainted", async () => (await nodes()).every(isTainted));
  expect((await nodes()).filter(isExcluded).map(({ metadata }) => metadata.name)).toEqual(["node-02"]);
  await cluster.apply(rebootWindow);
  let waited = "";
  await today.waitFor("node-01 leaves load balancers before its Pods leave", async () => {
    const node = (await nodes()).find(({ metadata }) => metadata.name === "node-01");
    waited = (await today.nodeUpdate("node-01"))?.status?.reason ?? "";
    return node !== undefined && isExcluded(node) && waited === "LeavingLoadBalancers";
  });
  await today.waitUntilDone("1.2.0");
  await today.waitFor("no taint stays", async () => !(await nodes()).some(isTainted));
  const labels = (await nodes()).map(({ metadata }) => metadata.labels?.[EXCLUDE_LABEL]);
  expect(new Set(labels)).toEqual(new Set(["theirs", undefined]));
  await today.rest();
});
