import { createHmac } from "node:crypto";
import { createServer, type IncomingHttpHeaders, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, beforeEach, expect, test, vi } from "vitest";
import { Hook, type HookPhase } from "../../api/hook.ts";
import type { NodeUpdate } from "../../api/node-update.ts";
import { freePorts } from "../../hack/plane/ports.ts";
import { type Clock, systemClock } from "../../ports/clock.ts";
import { jsonLogger } from "../../ports/log.ts";
import { CRON_JOBS, JOBS, type Job, NODES, type Node, PODS } from "../../runtime/core.ts";
import { RealNamespace } from "../../runtime/test-namespace.ts";
import { INCARNATION, nodeUpdate } from "../fixtures.ts";
import { httpCaller } from "../http/caller.ts";
import { type Asker, keyOfRun } from "./asker.ts";
import { jobName } from "./run-name.ts";
import { HookRunner } from "./runner.ts";

const NODE = "hooked-node";
const LABEL = "example.org/before-reboot";
const ANSWER = "example.org/ready";
const signal = AbortSignal.timeout(120_000);

let namespace: RealNamespace;
let server: Server;
let url: string;
let answer: { status: number; body: string; headers?: Record<string, string> };
let asked: { body: string; headers: IncomingHttpHeaders }[];
/** Milliseconds by which the clock runs ahead. */
let ahead: number;
const clock: Clock = { ...systemClock, monotonic: () => systemClock.monotonic() + ahead };

beforeAll(async () => {
  namespace = await RealNamespace.open();
  server = createServer((request, response) => {
    let body = "";
    request.setEncoding("utf8").on("data", (text: string) => (body += text));
    request.on("end", () => {
      asked.push({ body, headers: request.headers });
      if (request.url === "/hangs") return;
      response.writeHead(answer.status, answer.headers);
      if (request.url === "/endless") response.write(answer.body);
      else response.end(answer.body);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  await namespace.admin.create(NODES, { apiVersion: "v1", kind: "Node", metadata: { name: NODE } });
  await template("waits", { suspend: true });
  await template("runs-by-itself", { suspend: false });
});

afterAll(async () => {
  server.closeAllConnections();
  server.close();
  await namespace.admin.delete(NODES, { name: NODE });
  await namespace.close();
});

beforeEach(() => {
  asked = [];
  ahead = 0;
});

/** A CronJob whose Pods nobody plays: no node fits. */
async function template(name: string, spec: object): Promise<void> {
  const pod = {
    restartPolicy: "Never",
    nodeSelector: { nowhere: "" },
    containers: [{ name: "x", image: "x.test/x" }],
  };
  const jobTemplate = { spec: { backoffLimit: 0, template: { spec: pod } } };
  await namespace.admin.create(CRON_JOBS, {
    apiVersion: "batch/v1",
    kind: "CronJob",
    metadata: { name, namespace: namespace.name },
    spec: { schedule: "0 0 1 1 *", jobTemplate, ...spec },
  } as never);
}

const runner = (keys: Record<string, string> = {}): HookRunner =>
  new HookRunner({
    client: namespace.admin,
    http: httpCaller(systemClock),
    keys: (name) => Promise.resolve(keys[name]),
    clock,
    log: jsonLogger(systemClock, () => undefined),
  });

const readNode = (): Promise<Node> => namespace.admin.get<Node>(NODES, { name: NODE });

async function asker(hook: object, phase: HookPhase = "Before", grant = "n-1"): Promise<Asker> {
  const node = await readNode();
  const made: NodeUpdate = nodeUpdate(NODE, "pool", "os-1.1.0");
  made.spec = { ...made.spec, nodeUID: node.metadata.uid };
  // The owner must exist, or the garbage collector takes the Job away.
  delete made.metadata.uid;
  return {
    hook: Hook.parse({ name: "hook", onFailure: "Stop", ...hook }),
    phase,
    nodeUpdate: made,
    node,
    group: "pool",
    release: "os-1.1.0",
    grant,
    token: { incarnation: INCARNATION, revision: 7 },
  };
}

const annotate = (annotations: Record<string, string>): Promise<Node> =>
  namespace.admin.patch<Node>(NODES, { name: NODE }, { type: "merge", body: { metadata: { annotations } } });

test("a label is set, old answers go, others answer, and nothing of it stays", async () => {
  const hooks = runner();
  const hook = { label: { key: LABEL, answers: [ANSWER], failed: "no" } };
  await annotate({ [ANSWER]: "true" });
  const asks = await asker(hook);
  expect(await hooks.look(asks, signal)).toMatchObject({ answer: { kind: "unasked" } });
  await hooks.begin(asks, signal);
  const node = await readNode();
  expect(node.metadata.labels).toMatchObject({ [LABEL]: "true" });
  expect(node.metadata.annotations).not.toHaveProperty([ANSWER]);
  expect(await hooks.look({ ...asks, node }, signal)).toMatchObject({ answer: { kind: "pending" } });
  await annotate({ [ANSWER]: "true" });
  // Another manager that asks once more loses no answer.
  await runner().begin(asks, signal);
  const answered = await asker(hook);
  expect(await runner().look(answered, signal)).toMatchObject({ answer: { kind: "done" } });
  await hooks.end(answered, signal);
  const { labels = {}, annotations = {} } = (await readNode()).metadata;
  expect(labels).not.toHaveProperty([LABEL]);
  expect(annotations).not.toHaveProperty([ANSWER]);
});

test("a call is told of the run and signed, asked again after 5 s while it is not yet done, and once more by another manager", async () => {
  const hooks = runner({ desk: "s3cret" });
  const asks = await asker({ http: { url, signingKey: "desk" } }, "After");
  answer = { status: 202, body: "40\n%" };
  const pending = { answer: { kind: "pending", message: "it answered 202: 40 %" } };
  expect(await hooks.look(asks, signal)).toMatchObject(pending);
  expect(JSON.parse(asked[0]?.body ?? "")).toEqual({
    node: NODE,
    group: "pool",
    release: "os-1.1.0",
    hook: "hook",
    phase: "After",
    grant: "n-1",
  });
  const signature = createHmac("sha256", "s3cret")
    .update(asked[0]?.body ?? "")
    .digest("hex");
  expect(asked[0]?.headers["slipway-signature"]).toBe(`sha256=${signature}`);
  answer = { status: 204, body: "" };
  expect(await hooks.look(asks, signal)).toMatchObject(pending);
  expect(asked).toHaveLength(1);
  ahead = 5000;
  expect(await hooks.look(asks, signal)).toMatchObject({ answer: { kind: "done" } });
  expect(await runner({ desk: "s3cret" }).look(asks, signal)).toMatchObject({ answer: { kind: "done" } });
  expect(asked.map(({ body }) => body)).toEqual(Array(3).fill(asked[0]?.body));
});

test("an endpoint that hangs holds no look up, is called once at a time, and is no answer in the end", async () => {
  const hooks = runner();
  const asks = await asker({ http: { url: `${url}/hangs` }, timeout: "3s" });
  const first = await hooks.look(asks, signal);
  expect(first.answer).toBeUndefined();
  await hooks.look(asks, signal);
  expect(asked).toHaveLength(1);
  await vi.waitFor(
    async () =>
      expect((await hooks.look(asks, signal)).answer).toEqual({
        kind: "silent",
        cause: "no answer within 3 s",
      }),
    { timeout: 20_000 },
  );
  expect(asked).toHaveLength(1);
});

test("time counts only as far as this manager looked", async () => {
  const hooks = runner();
  const asks = await asker({ http: { url } });
  answer = { status: 202, body: "" };
  expect((await hooks.look(asks, signal)).watched).toBe(0);
  ahead = 3_600_000;
  expect((await hooks.look(asks, signal)).watched).toBe(15_000);
  const next = await hooks.look({ ...asks, grant: "n-2" }, signal);
  expect(next.watched).toBe(0);
});

test.each<[string, { status: number; headers?: Record<string, string> }, string]>([
  ["a refusal", { status: 409 }, "failed"],
  ["a redirect", { status: 302, headers: { location: "http://169.254.169.254/" } }, "failed"],
  ["an error", { status: 503 }, "silent"],
  ["too many calls", { status: 429 }, "silent"],
  ["another way of done", { status: 200 }, "done"],
])("%s", async (_what, given, kind) => {
  answer = { body: "word", ...given };
  const { answer: said } = await runner().look(await asker({ http: { url } }), signal);
  expect(said).toMatchObject(
    kind === "done" ? { kind } : { kind, cause: `it answered ${given.status}: word` },
  );
  expect(asked).toHaveLength(1);
});

test.each([
  [200, { kind: "done" }],
  [202, { kind: "pending", message: `it answered 202: ${"x".repeat(300)}` }],
  [409, { kind: "failed", cause: `it answered 409: ${"x".repeat(300)}` }],
])("an answer of %i that does not end is cut off, and its status counts", async (status, expected) => {
  answer = { status, body: "x".repeat(5000) };
  const { answer: said } = await runner().look(await asker({ http: { url: `${url}/endless` } }), signal);
  expect(said).toEqual(expected);
});

test("nobody there, and a key that is not there, are no answer; nothing is sent unsigned", async () => {
  const [port] = await freePorts(1);
  const gone = await runner().look(await asker({ http: { url: `http://127.0.0.1:${port}` } }), signal);
  expect(gone.answer).toMatchObject({ kind: "silent", cause: expect.stringContaining("ECONNREFUSED") });
  const bare = await runner().look(await asker({ http: { url, signingKey: "desk" } }), signal);
  expect(bare.answer).toMatchObject({
    kind: "silent",
    cause: expect.stringContaining("no webhook key desk"),
  });
  expect(asked).toEqual([]);
});

test("one Job for each run, whoever asks and how often; it goes with its Pods when it is given up", async () => {
  const { admin, name } = namespace;
  const job = { namespace: name, cronJob: "waits" };
  const asks = await asker({ job });
  const [one, other] = [runner(), runner()];
  expect(await one.look(asks, signal)).toMatchObject({ answer: { kind: "unasked" } });
  await one.begin(asks, signal);
  await other.begin(asks, signal);
  const key = { namespace: name, name: jobName(keyOfRun(asks), "hook") };
  const made = await admin.get<Job>(JOBS, key);
  expect(await other.look(asks, signal)).toMatchObject({
    answer: { kind: "pending", message: `Job ${name}/${key.name} is not over yet` },
  });
  expect((await admin.list<Job>(JOBS, { namespace: name })).items).toHaveLength(1);
  const pods = async () => (await admin.list(PODS, { namespace: name })).items.length;
  await vi.waitFor(async () => expect(await pods()).toBe(1), { timeout: 20_000, interval: 200 });
  await other.end(asks, signal);
  await vi.waitFor(async () => expect(await pods()).toBe(0), { timeout: 40_000, interval: 200 });
  expect((await admin.list<Job>(JOBS, { namespace: name })).items).toEqual([]);
  await other.begin(asks, signal);
  expect((await admin.get<Job>(JOBS, key)).metadata.uid).not.toBe(made.metadata.uid);
  await other.end(asks, signal);
});

test("a Job that is not over in time fails, by the Job controller's word", async () => {
  const asks = await asker({ job: { namespace: namespace.name, cronJob: "waits" }, timeout: "1s" }, "After");
  const hooks = runner();
  await hooks.begin(asks, signal);
  await vi.waitFor(
    async () =>
      expect((await hooks.look(asks, signal)).answer).toMatchObject({
        kind: "failed",
        cause: expect.stringMatching(/Job .* failed: DeadlineExceeded/),
      }),
    { timeout: 40_000, interval: 200 },
  );
  // It is over, and stays for its logs.
  await hooks.end(asks, signal);
  const key = { namespace: namespace.name, name: jobName(keyOfRun(asks), "hook") };
  expect((await namespace.admin.get<Job>(JOBS, key)).metadata.deletionTimestamp).toBeUndefined();
});

test.each([
  ["missing", {}, /^CronJob .*\/missing does not exist$/],
  ["runs-by-itself", {}, /^CronJob .*\/runs-by-itself is not suspended/],
])("no Job is made of the CronJob %s", async (cronJob, more, cause) => {
  const asks = await asker({ job: { namespace: namespace.name, cronJob }, ...more }, "Before", cronJob);
  const hooks = runner();
  await hooks.begin(asks, signal);
  expect((await hooks.look(asks, signal)).answer).toEqual({
    kind: "failed",
    cause: expect.stringMatching(cause),
  });
});

test("a Job of somebody else's is neither an answer nor deleted", async () => {
  const { admin, name } = namespace;
  const asks = await asker({ job: { namespace: name, cronJob: "waits" } }, "Before", "theirs");
  const key = { namespace: name, name: jobName(keyOfRun(asks), "hook") };
  const pod = {
    restartPolicy: "Never",
    nodeSelector: { nowhere: "" },
    containers: [{ name: "x", image: "x" }],
  };
  await admin.create<Job>(JOBS, {
    apiVersion: "batch/v1",
    kind: "Job",
    metadata: key,
    spec: { template: { spec: pod } },
  });
  const hooks = runner();
  await hooks.begin(asks, signal);
  expect((await hooks.look(asks, signal)).answer).toMatchObject({
    kind: "failed",
    cause: `Job ${name}/${key.name} is not of Slipway`,
  });
  await hooks.end(asks, signal);
  expect((await admin.get<Job>(JOBS, key)).metadata.deletionTimestamp).toBeUndefined();
});

test("a plain machine can carry no label, and says so", async () => {
  const asks = await asker({ label: { key: LABEL, answers: [ANSWER] } });
  const machine: NodeUpdate = {
    ...asks.nodeUpdate,
    spec: { machineRef: { machineId: "m" }, group: "pool" },
  };
  const { answer: said } = await runner().look({ ...asks, nodeUpdate: machine, node: undefined }, signal);
  expect(said).toMatchObject({ kind: "failed", cause: expect.stringContaining("plain machine") });
});
