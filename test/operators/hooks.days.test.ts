/** What others do to a node before and after its reboot: a label, a Job, a call; through deaths of the manager. */
import { readFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { parseAllDocuments } from "yaml";
import { HOOK_RUN_ANNOTATION } from "../../api/labels.ts";
import type { KubeObject } from "../../api/meta.ts";
import type { NodeUpdate } from "../../api/node-update.ts";
import type { Job, Node } from "../../runtime/core.ts";
import { type Day, days, machines } from "../bad-days/day.ts";

const day = days({ machines: machines(2), limits: { total: 1, perZone: 1 } });

const LABEL = "example.org/before-reboot";
const ANSWER = "example.org/replicas-moved";

interface Told {
  node: string;
  hook: string;
  phase: string;
  grant: string;
}

let server: Server;
let url: string;
const told: Told[] = [];
/** What each hook is answered, by its name. */
const words = new Map<string, { status: number; body: string }>();

beforeAll(async () => {
  server = createServer((request, response) => {
    let body = "";
    request.setEncoding("utf8").on("data", (text: string) => (body += text));
    request.on("end", () => {
      const call = JSON.parse(body) as Told;
      told.push(call);
      const { status, body: said } = words.get(call.hook) ?? { status: 204, body: "" };
      response.writeHead(status).end(said);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook`;
});

afterAll(() => {
  server.close();
});

/** The role for Jobs as the chart renders it, for the manager of this cluster, and two templates. */
async function prepare({ cluster }: Day): Promise<void> {
  const golden = readFileSync(join(import.meta.dirname, "../chart/golden/renamed.yaml"), "utf8");
  const role = parseAllDocuments(golden)
    .map((document) => document.toJS() as (KubeObject & { rules?: object[] }) | null)
    .find((object) => object?.kind === "Role" && object.metadata.name === "harbor-manager-hooks");
  expect(role?.rules).toHaveLength(2);
  const [apiGroup, metadata] = ["rbac.authorization.k8s.io", { name: "hooks", namespace: "default" }];
  const template = (name: string, annotations: Record<string, string>) => ({
    apiVersion: "batch/v1",
    kind: "CronJob",
    metadata: { name, namespace: "default" },
    spec: {
      schedule: "0 0 1 1 *",
      suspend: true,
      jobTemplate: {
        spec: {
          template: {
            metadata: { annotations },
            spec: { restartPolicy: "Never", containers: [{ name: "x", image: "x.test/x" }] },
          },
        },
      },
    },
  });
  await cluster.apply(
    { apiVersion: `${apiGroup}/v1`, kind: "Role", metadata, rules: role?.rules },
    {
      apiVersion: `${apiGroup}/v1`,
      kind: "RoleBinding",
      metadata,
      roleRef: { apiGroup, kind: "Role", name: "hooks" },
      subjects: [{ apiGroup, kind: "User", name: "slipway-manager" }],
    },
    template("noout", {}),
    template("endless", { "slipway.dev/play": "pending" }),
  );
}

async function jobs({ cluster }: Day): Promise<Job[]> {
  const text = await cluster.plane.kubectl(["get", "jobs", "--namespace", "default", "-o", "json"]);
  return (JSON.parse(text) as { items: Job[] }).items;
}

async function labelled({ cluster }: Day): Promise<string[]> {
  const nodes = await cluster.list<Node>("nodes");
  return nodes
    .filter(({ metadata }) => LABEL in (metadata.labels ?? {}))
    .map(({ metadata }) => metadata.name);
}

/** What a DaemonSet does that the label selects. */
async function answer(today: Day): Promise<void> {
  for (const name of await labelled(today))
    await today.cluster.plane.kubectl(["annotate", "--overwrite", `node/${name}`, `${ANSWER}=true`]);
}

async function waiting(today: Day, word: RegExp): Promise<NodeUpdate | undefined> {
  const all = await today.nodeUpdates();
  return all.find(({ status }) => status?.reason === "HookRunning" && word.test(status.message ?? ""));
}

async function killManager({ cluster }: Day): Promise<void> {
  for (const manager of cluster.managers) {
    await manager.kill();
    await manager.start();
  }
}

const nameOf = (found: NodeUpdate | undefined): string => found?.metadata.name ?? "";

test("no reboot before a label, a Job and a call say done, no slot free before the call after it does; a manager that takes over goes on from there", async () => {
  const today = day();
  await prepare(today);
  const label = { key: LABEL, answers: [ANSWER] };
  const job = { namespace: "default", cronJob: "noout", onNode: true };
  const common = { timeout: "3m", onFailure: "Stop" };
  const before = [
    { name: "replicas", label, ...common },
    { name: "noout", job, ...common },
    { name: "desk", http: { url }, ...common },
  ];
  words.set("desk", { status: 202, body: "the desk sleeps" });
  words.set("back", { status: 202, body: "not well yet" });
  // An answer from long ago is none.
  for (const name of ["node-01", "node-02"])
    await today.cluster.plane.kubectl(["annotate", `node/${name}`, `${ANSWER}=true`]);
  await today.declare({ hooks: { before, after: [{ name: "back", http: { url }, ...common }] } });
  await today.publish("1.1.0");

  let first = "";
  await today.waitFor("a drained node waits for its annotation", async () => {
    first = nameOf(await waiting(today, /Hook replicas .*waits for annotation example.org\/replicas-moved/));
    return first !== "";
  });
  expect(await labelled(today)).toEqual([first]);
  expect(await jobs(today)).toEqual([]);
  await killManager(today);
  await answer(today);
  await today.waitFor("the Job is done, and the desk is asked", async () =>
    Boolean(await waiting(today, /Hook desk .*it answered 202: the desk sleeps/)),
  );
  expect(await labelled(today)).toEqual([]);
  const [made, ...others] = await jobs(today);
  expect(others).toEqual([]);
  expect(made?.metadata.annotations?.[HOOK_RUN_ANNOTATION]).toMatch(/\/Before\/noout$/);
  expect(made?.status?.conditions).toContainEqual(expect.objectContaining({ type: "Complete" }));
  await killManager(today);
  await today.waitFor("the new manager asks the desk", async () => {
    const calls = told.length;
    await today.waitFor("a call", () => told.length > calls);
    return Boolean(await waiting(today, /Hook desk/));
  });
  expect(today.booted("1.1.0")).toEqual([]);

  words.set("desk", { status: 204, body: "" });
  await today.waitFor("the machine is back, and its slot waits for a hook", async () =>
    Boolean(await waiting(today, /Hook back .*after the reboot: it answered 202: not well yet/)),
  );
  expect(today.booted("1.1.0")).toEqual([first]);
  const node = await today.cluster.get<Node>("nodes", first);
  expect(node?.spec?.unschedulable).toBe(true);
  expect(await today.etcdKeys("grants/")).toHaveLength(1);
  await killManager(today);
  words.set("back", { status: 200, body: "" });
  await today.waitFor("both machines are done", async () => {
    await answer(today);
    const all = await today.nodeUpdates();
    return all.every(({ status }) => status?.running === "1.1.0" && status.grant === undefined);
  });

  // One slot and one Job for each node, though three managers died.
  expect(await jobs(today)).toHaveLength(2);
  for (const name of ["node-01", "node-02"]) {
    const own = told.filter((call) => call.node === name);
    expect(new Set(own.map(({ grant }) => grant)).size).toBe(1);
    expect(new Set(own.map(({ hook, phase }) => `${hook} ${phase}`))).toEqual(
      new Set(["desk Before", "back After"]),
    );
  }
  for (const { metadata } of await today.cluster.list<Node>("nodes")) {
    expect(metadata.labels).not.toHaveProperty([LABEL]);
    expect(metadata.annotations).not.toHaveProperty([ANSWER]);
  }
  await today.rest();
});

test("a hook that refuses gives the slot back, with its reason; once it does not, the rollout goes on", async () => {
  const today = day();
  words.set("desk", { status: 409, body: "no quorum" });
  const http = { name: "desk", http: { url }, onFailure: "Stop" };
  await today.declare({ hooks: { before: [http], after: [] } });
  await today.publish("1.2.0");
  let refused = "";
  await today.waitFor("a node gave its slot back", async () => {
    const all = await today.nodeUpdates();
    const found = all.find(({ status }) =>
      status?.transitions?.some(
        ({ reason, message }) => reason === "HookFailed" && message.includes("no quorum"),
      ),
    );
    refused = nameOf(found);
    return refused !== "";
  });
  expect(today.booted("1.2.0")).toEqual([]);
  const update = await today.nodeUpdate(refused);
  expect(update?.status?.failed).toBeUndefined();
  expect(await today.events(refused)).toContainEqual({
    reason: "HookFailed",
    note: expect.stringContaining("failed before the reboot: it answered 409: no quorum"),
  });
  words.set("desk", { status: 204, body: "" });
  await today.waitUntilDone("1.2.0");
  await today.rest();
});

test("a Job that runs when the slot is given back goes with its Pods, and one in a namespace that is not allowed says so", async () => {
  const today = day();
  const { plane } = today.cluster;
  const job = { namespace: "default", cronJob: "endless" };
  await today.declare({
    hooks: { before: [{ name: "endless", job, timeout: "3m", onFailure: "Stop" }], after: [] },
  });
  await today.publish("1.3.0");
  let held = "";
  await today.waitFor("a Job runs", async () => {
    held = nameOf(await waiting(today, /Job default\/slipway-endless-\w+ is not over yet/));
    return held !== "";
  });
  await today.waitFor("its Pod is there", async () =>
    (await plane.kubectl(["get", "pods", "-o", "name"])).includes("slipway-endless-"),
  );
  await today.declare({ paused: true });
  await today.waitFor("Job and Pod are gone", async () => {
    const text = await plane.kubectl(["get", "jobs,pods", "-o", "name"]);
    return !text.includes("slipway-endless-");
  });
  const elsewhere = { namespace: "kube-system", cronJob: "endless" };
  await today.declare({
    paused: false,
    hooks: { before: [{ name: "endless", job: elsewhere, timeout: "5s", onFailure: "Continue" }], after: [] },
  });
  await today.waitUntilDone("1.3.0");
  const events = [...(await today.events("node-01")), ...(await today.events("node-02"))];
  const failed = events.filter(({ reason, note }) => reason === "HookFailed" && note.includes("forbidden"));
  expect(failed.length).toBeGreaterThan(0);
  await today.rest();
});

test("a hook that fails after the reboot counts against the release, halts the group, and holds no slot", async () => {
  const today = day();
  words.set("back", { status: 503, body: "still not well" });
  const back = { name: "back", http: { url }, timeout: "5s", onFailure: "Stop" };
  await today.declare({ failureThreshold: 1, hooks: { before: [], after: [back] } });
  await today.publish("1.4.0");
  await today.waitFor("the group halts", async () => {
    const group = await today.group();
    return (
      group?.status?.conditions?.some(({ type, status }) => type === "Halted" && status === "True") === true
    );
  });
  const [failure] = (await today.group())?.status?.failures ?? [];
  expect(failure).toMatchObject({
    reason: "HookFailed",
    message: expect.stringContaining("it was not done within 5s: it gives no answer (it answered 503"),
  });
  expect(today.booted("1.4.0")).toEqual([failure?.node]);
  await today.rest();
});
