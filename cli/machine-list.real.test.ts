/** `kubectl slipway machines`, the line in `locks list`, and `why` of a machine without our agent: over a real API server, etcd, and a gateway that serves the console by TLS. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, inject, test, vi } from "vitest";
import { parse, stringify } from "yaml";
import { nodeUpdate } from "../api/node-update.ts";
import { rebootBudget } from "../api/reboot-budget.ts";
import { type UpdateGroup, updateGroup } from "../api/update-group.ts";
import { operations } from "../console/operations.ts";
import { CONFIG_MAPS, SERVICES } from "../runtime/core.ts";
import { Desk, SENTINEL, VIEWER, WAIT } from "../test/console/desk.ts";
import { reading, readList } from "./console-api.ts";
import { fakeIo } from "./fake-io.ts";
import { runPlugin } from "./program.ts";

const AGENT = "11112222333344445555666677778888";
/** Of machines that ask by Omaha. */
const ids = [1, 2, 3].map((n) => String(n).repeat(32));

let desk: Desk;
let group: string;
let token: string;
let kubeconfig: string;

beforeAll(async () => {
  desk = await Desk.open({ tls: true });
  const { metadata } = await desk.declare<UpdateGroup>(updateGroup, "list", {
    ...{ ...SENTINEL, nodeSelector: { matchLabels: { a: "list" } }, machines: {} },
  });
  group = metadata.name;
  await desk.declare(
    nodeUpdate,
    "agent",
    { machineRef: { machineId: AGENT, labels: { rack: "r1" } }, group },
    { status: { step: "Idle", running: "1.0.0", connected: true } },
  );
  for (const [index, id] of ids.entries())
    await desk.omahaMachine(id, { group, version: `2.0.${index}`, alias: `till-${index}` });
  token = await desk.person("viewer", [
    ...VIEWER,
    { group: "", resources: ["services", "configmaps", "nodes"], verbs: ["get", "list"] },
  ]);
  kubeconfig = kubeconfigOfViewer();
  // A gateway that has just begun says that it is behind.
  await vi.waitFor(async () => {
    const { out, err } = await list("--kind", "foreign");
    expect([out, err]).toEqual([expect.stringContaining("till-2"), ""]);
  }, WAIT);
});

afterAll(() => desk.close());

/** The cluster of the tests, with a token. */
function kubeconfigOfViewer(): string {
  const config = parse(desk.here.kubeconfig) as { users: { user: object }[] };
  for (const one of config.users) one.user = { token };
  const path = join(desk.here.directory, "viewer.yaml");
  writeFileSync(path, stringify(config));
  return path;
}

async function plugin(args: readonly string[], env: Record<string, string> = {}) {
  const io = fakeIo({ env: { KUBECONFIG: kubeconfig, ...env } });
  const code = await runPlugin(args, io);
  return { code, ...io.written };
}

const run = (args: readonly string[], env: Record<string, string> = {}) =>
  plugin(["machines", "--group", group, ...args], env);

const byUrl = () => [
  ...["--console", `https://localhost:${desk.gateway.consolePort}`],
  ...["--console-ca", join(desk.certificates, "ca.crt")],
];

const list = (...args: string[]) => run([...byUrl(), ...args]);

const why = (...args: string[]) => plugin(["why", ...args, ...byUrl()]);

test("both kinds, by a URL of the console", async () => {
  const { code, out, err } = await list();
  expect([code, err]).toEqual([0, ""]);
  const lines = out.trim().split("\n");
  expect(lines).toHaveLength(5);
  expect(lines[1]).toMatch(/^agent-\S+ +list-\S+ +agent +1\.0\.0 .* connected$/);
  expect(lines[2]).toMatch(/^till-0 +list-\S+ +Omaha +2\.0\.0 +- +Idle .* \d+m?s?$/);
  const json = JSON.parse((await list("--running", "2.0.1", "-o", "json")).out) as object;
  expect(json).toMatchObject({ total: 1, items: [{ name: "till-1", kind: "foreign", uid: ids[1] }] });
  const { name } = desk.here;
  expect((await list("-o", "name")).out).toBe(
    [`nodeupdate.slipway.dev/agent-${name}`, ...ids.map((id) => `machine/${id}`), ""].join("\n"),
  );
});

test("as many as one asks for, and how many more there are", async () => {
  const { out, err } = await list("--limit", "2");
  expect(out).toContain("till-0");
  expect(out).not.toContain("till-1");
  expect(err).toMatch(/^note: 2 more: --limit lists more than 2/);
  const one = await list("--limit", "1");
  expect(one.out).not.toContain("till-0");
  expect(one.err).toContain("3 more");
  expect((await list("--limit", "0")).err).toContain("A number from 1 to 200000");
  expect((await list("--state", "Failed,Asleep")).err).toContain("Asleep is no state: Idle,");
  expect((await list("--selector", "a=b")).err).toContain("have no labels");
  expect((await run(["--selector", "a=b"])).err).toBe("No machines found\n");
});

test("pages are followed to the end, or as far as one asks", async () => {
  const access = {
    origin: `https://localhost:${desk.gateway.consolePort}`,
    ca: readFileSync(join(desk.certificates, "ca.crt"), "utf8"),
    token,
  };
  const read = (limit: number) =>
    reading(access, fakeIo(), (ask) =>
      readList(ask, operations.listMachines, { group, kind: "foreign" }, limit, 1),
    );
  const all = await read(500);
  expect(all.items.map(({ name }) => name)).toEqual(["till-0", "till-1", "till-2"]);
  expect((await read(2)).items).toEqual(all.items.slice(0, 2));
  expect((await read(2)).total).toBe(3);
});

test("through kubectl port-forward, to whom the gateways' authority signed", async () => {
  const { admin, name: namespace, directory } = desk.here;
  const bin = join(directory, "bin");
  mkdirSync(bin);
  // A port-forward needs a kubelet: this one says that it listens where the gateway does.
  const said = `Forwarding from 127.0.0.1:${desk.gateway.consolePort} -> 7445`;
  const script = `#!/bin/sh\necho "$@" >"${directory}/args"\necho "${said}"\nexec sleep 600\n`;
  writeFileSync(join(bin, "kubectl"), script, { mode: 0o755 });
  const forwarded = () => run(["--namespace", namespace], { PATH: `${bin}:/usr/bin:/bin` });

  const off = await forwarded();
  expect([off.code, off.out]).toEqual([0, expect.stringContaining(`agent-${namespace}`)]);
  expect(off.out).not.toContain("till-");
  expect(off.err).toContain(`no gateway in namespace ${namespace} serves the console`);

  const labels = { "app.kubernetes.io/part-of": "slipway", "app.kubernetes.io/component": "console" };
  await admin.create(SERVICES, {
    ...{ apiVersion: "v1", kind: "Service", metadata: { name: "ship-console", namespace, labels } },
    spec: { ports: [{ name: "console", port: 8443, appProtocol: "https" }] },
  } as never);
  expect((await forwarded()).err).toContain(`ConfigMap ${namespace}/ship-gateway-ca`);
  const trust = desk.here.configMap("ship-gateway-ca", {
    "ca.crt": readFileSync(join(desk.certificates, "ca.crt"), "utf8"),
  });
  await admin.create(CONFIG_MAPS, trust);
  expect(await forwarded()).toMatchObject({ code: 0, err: "", out: expect.stringContaining("till-2") });
  expect(readFileSync(join(directory, "args"), "utf8")).toBe(
    `port-forward --address 127.0.0.1 --namespace ${namespace} service/ship-console :8443\n`,
  );
  // Somebody else's certificate gets no token.
  const other = parse(desk.here.kubeconfig) as {
    clusters: { cluster: { "certificate-authority-data": string } }[];
  };
  const ca = Buffer.from(other.clusters[0]?.cluster["certificate-authority-data"] ?? "", "base64").toString();
  await admin.apply(CONFIG_MAPS, { ...trust, data: { "ca.crt": ca } } as never, {
    ...{ fieldManager: "test", force: true },
  });
  expect((await forwarded()).err).toMatch(
    /not listed, because the console at \S+ gives no answer \(.*certificate/,
  );
});

test("who is not let in sees those with our agent, and is told why the others are missing", async () => {
  const wrong = await list("--token", "wrong");
  expect(wrong.out).toContain("agent-");
  expect([wrong.code, wrong.err]).toEqual([
    1,
    expect.stringContaining("the console does not know the token"),
  ]);
  // The administrator of the tests has a client certificate.
  const none = await run([], { KUBECONFIG: inject("kubeconfig") });
  expect(none.out).toContain("agent-");
  expect([none.code, none.err]).toEqual([0, expect.stringContaining("the kubeconfig's user has no token")]);
});

test("who waits without our agent stands in the queue of each budget, in the order of the line", async () => {
  const { name } = desk.here;
  const labels = { site: name };
  const { metadata: shared } = await desk.declare(rebootBudget, "site", {
    ...{ nodeSelector: { matchLabels: labels }, maxUnavailable: 1 },
  });
  const holders = [{ machine: "box-9", protocol: "FleetLock", since: "2026-01-01T00:00:00Z" }];
  const { metadata: line } = await desk.declare<UpdateGroup>(
    updateGroup,
    "line",
    { ...SENTINEL, nodeSelector: { matchLabels: { a: "line" } }, machines: { labels } },
    { status: { machines: { incarnation: "i", held: 1, holders } } },
  );
  const budgets = [`group/${line.name}`, `budget/${shared.name}`];
  await desk.askForSlots(line.name, budgets, ["box-9", "box-2", "box-1", ids[0] ?? ""]);
  const locks = (...args: string[]) => plugin(["locks", "list", ...args]);
  const rows = async (): Promise<string[]> => {
    const lines = (await locks(...byUrl())).out.split("\n");
    return budgets.map((budget) => lines.find((row) => row.startsWith(`${budget} `)) ?? "");
  };
  const [age, row] = [
    String.raw`\(FleetLock \S+\)`,
    expect.stringMatching(/ box-9 \(FleetLock \S+\) .*box-2 \(FleetLock/) as string,
  ];
  await expect.poll(rows, WAIT).toEqual([row, row]);
  for (const each of await rows())
    expect(each).toMatch(new RegExp(`box-9 ${age} +box-2 ${age}, box-1 ${age} and till-0 ${age}$`));

  const found = JSON.parse((await locks("-o", "json", ...byUrl())).out) as { budget: string }[];
  expect(found.filter(({ budget }) => budgets.includes(budget))).toMatchObject(
    budgets.toSorted().map((budget) => ({
      ...{ budget, holders: [{ node: "box-9" }], inLine: 3 },
      line: [{ machine: "box-2", group: line.name }, { machine: "box-1" }, { uid: ids[0] }],
    })),
  );
  const access = {
    origin: `https://localhost:${desk.gateway.consolePort}`,
    ca: readFileSync(join(desk.certificates, "ca.crt"), "utf8"),
    token,
  };
  const pages = await reading(access, fakeIo(), (read) => readList(read, operations.listWaiting, {}, 100, 1));
  expect(pages.items?.map(({ machine }) => machine)).toEqual(["box-2", "box-1", "till-0"]);
  const wrong = await locks(...byUrl(), "--token", "wrong");
  expect(wrong.code).toBe(0);
  expect(wrong.out).toContain("box-9");
  expect(wrong.out).not.toContain("box-2");
  expect(wrong.err).toContain("wait is not shown, because the console does not know the token");
});

test("why a machine without our agent is offered nothing, by its id and by its alias", async () => {
  const id = "4".repeat(32);
  const { metadata } = await desk.declare<UpdateGroup>(updateGroup, "closed", {
    ...{ ...SENTINEL, nodeSelector: { matchLabels: { a: "closed" } }, machines: {}, paused: true },
  });
  const closed = metadata.name;
  const event = { at: Date.parse("2026-01-05T10:00:00Z"), type: 3, result: 0, code: 44, version: "3.0.0" };
  await desk.omahaMachine(id, {
    ...{ group: closed, version: "3.0.0", alias: "lane-7" },
    ...{ history: [{ ...event, onDemand: false }] },
    why: { reason: "Paused", message: `group ${closed} is paused` },
  });
  for (const one of ["lane-8a", "lane-8b"]) await desk.omahaMachine(one, { group: closed, alias: "lane-8" });
  await vi.waitFor(async () => expect((await why("lane-8")).err).toContain("2 machines"), WAIT);

  const text = await why("lane-7");
  expect([text.code, text.err]).toEqual([0, ""]);
  expect(text.out).toMatch(
    new RegExp(`^lane-7 runs 3\\.0\\.0 and is offered nothing: group ${closed} is paused\\.\n`),
  );
  for (const part of [
    `its machine id is ${id}`,
    `was told nothing new (Paused): group ${closed} is paused`,
    "RolledBack: it told the event 3:0 with the code 44 of Omaha while it ran 3.0.0, since 2026-01-05T10:00:00Z",
    `kubectl slipway rollout resume ${closed}`,
  ])
    expect(text.out).toContain(part);
  expect(text.out).toMatch(/asked last, by Omaha, at 20\S+ \(\d+s ago\)\n/);
  const json = await why(id, "-o", "json");
  expect(JSON.parse(json.out)).toMatchObject({ name: "lane-7", situation: "Paused" });
  expect((await why(id, "-o", "name")).out).toBe("Paused\n");
  // With our agent no console is asked.
  expect((await plugin(["why", AGENT])).out).toContain(`agent-${desk.here.name}`);

  const { code, out, err } = await why("lane-8");
  expect([code, out]).toEqual([1, ""]);
  expect(err).toContain("there is no Node, NodeUpdate or machine id lane-8, and 2 machines");
  expect(err).toContain(`lane-8a (group ${closed}) and lane-8b (group ${closed})`);
  expect((await why("lane")).err).toContain("did you mean lane-7, lane-8?");
});

test("where no console tells, why says so, and that no node has the name", async () => {
  const none = "there is no Node, NodeUpdate or machine id lane-7 ";
  const off = await plugin(["why", "lane-7", "--namespace", "nowhere"]);
  expect([off.code, off.out]).toEqual([1, ""]);
  expect(off.err).toContain(none);
  expect(off.err).toContain(
    "because no gateway in namespace nowhere serves the console: set gateway.console",
  );
  const stranger = await why("lane-7", "--token", "wrong");
  expect(stranger.err).toContain(none);
  expect(stranger.err).toContain("the console does not know the token: give another one by --token");
  const closed = await plugin(["why", "lane-7", "--console", "http://127.0.0.1:1"]);
  expect(closed.err).toContain(none);
  expect(closed.err).toMatch(/gives no answer \(.*\): see that its gateways are up/);
});
