/**
 * Slipway as its users have it: installed by Helm on real nodes, which it updates while their work
 * goes on. The tests are one story; each begins where the one before ended.
 */
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import type { KubeObject } from "../../api/meta.ts";
import type { NodeUpdate } from "../../api/node-update.ts";
import type { UpdateGroup } from "../../api/update-group.ts";
import { NAMESPACE } from "../../hack/chart/golden.ts";
import { observe } from "../../hack/cluster/observer.ts";
import { channel } from "../../hack/demo/manifests.ts";
import { waitUntil } from "../../hack/plane/wait.ts";
import { RealCluster } from "../../hack/real/cluster.ts";
import type { Node, Pod } from "../../runtime/core.ts";
import { record } from "../bench/record.ts";
import { Client } from "./client.ts";
import { examples, GROUP, WORKER } from "./examples.ts";
import { Installation, localVolumes } from "./installation.ts";
import { disruptionBudget, service, webDeployment } from "./manifests.ts";
import { residents } from "./memory.ts";

const NODES = ["node-1", "node-2", "node-3"];
const KINDS = ["nodeupdates", "updategroups", "releases", "channels", "rebootbudgets", "rebootwindows"];
const ROLLOUT_WITHIN = 9 * 60_000;
/** An agent has three minutes to end. */
const GONE_WITHIN = 4 * 60_000;
const LOOK_EVERY = 1_000;

let cluster: RealCluster;
let slipway: Installation;
let client: Client;
/** Seconds that each part took. */
const took: Record<string, number> = {};

const say = (line: string): void => void process.stderr.write(`${new Date().toISOString()} ${line}\n`);

beforeAll(async () => {
  cluster = await RealCluster.start({
    machines: NODES.map((name, index) => ({ name, zone: ["east", "north", "west"][index] ?? "" })),
    onProgress: say,
  });
  slipway = new Installation(cluster);
  await apply(...localVolumes(NODES), webDeployment("web", 3), disruptionBudget("web"), service("web"));
  await cluster.kubectl(["label", "nodes", "--all", WORKER]);
  await cluster.kubectl(["rollout", "status", "deployment/web", "--timeout=150s"]);
  client = Client.start(cluster.plane.kubeconfig, "web");
});

afterEach(async ({ task }) => {
  if (task.result?.state !== "fail") return;
  const looks = [
    ["get", "pods", "--all-namespaces", "-o", "wide"],
    ["get", "nodeupdates,updategroups", "-o", "wide"],
    ...["manager", "gateway", "agent"].map((component) => [
      ...["logs", "--namespace", NAMESPACE, "--prefix", "--tail=30"],
      ...["-l", `app.kubernetes.io/component=${component}`],
    ]),
  ];
  for (const look of looks) say(await cluster.kubectl(look).catch(String));
});

afterAll(async () => {
  await client?.stop();
  await cluster?.stop();
});

async function timed(part: string, work: () => Promise<unknown>): Promise<void> {
  const begin = performance.now();
  await work();
  took[part] = Math.round((performance.now() - begin) / 100) / 10;
  say(`${part}: ${took[part]} s`);
}

async function apply(...items: readonly object[]): Promise<void> {
  await cluster.kubectl(["apply", "-f", "-"], JSON.stringify({ apiVersion: "v1", kind: "List", items }));
}

async function list<T>(...args: string[]): Promise<T[]> {
  const text = await cluster.kubectl(["get", ...args, "-o", "json"]);
  return (JSON.parse(text) as { items: T[] }).items;
}

/** Waits, and tells each step of each node once. */
async function follow(
  what: string,
  done: (nodes: readonly NodeUpdate[]) => boolean | Promise<boolean>,
): Promise<void> {
  const told = new Map<string, string>();
  await waitUntil(
    async () => {
      const nodes = await list<NodeUpdate>("nodeupdates");
      for (const { metadata, status } of nodes) {
        const line = `${status?.running} ${status?.step} ${status?.reason}`;
        if (told.get(metadata.name) !== line) say(`${metadata.name}: ${line}`);
        told.set(metadata.name, line);
      }
      return await done(nodes);
    },
    { what, deadline: ROLLOUT_WITHIN, interval: LOOK_EVERY },
  );
}

function runs({ status }: NodeUpdate, version: string): boolean {
  return status?.running === version && status.step === "Idle" && status.grant === undefined;
}

function allRun(nodes: readonly NodeUpdate[], version: string): boolean {
  return nodes.length === NODES.length && nodes.every((node) => runs(node, version));
}

async function halted(target: string): Promise<boolean> {
  const text = await cluster.kubectl(["get", "updategroup", GROUP, "-o", "json"]);
  const { status } = JSON.parse(text) as UpdateGroup;
  const condition = status?.conditions?.find(({ type }) => type === "Halted");
  return status?.target === target && condition?.status === "True";
}

/** Neither a cordon nor a taint is on any Node. */
async function expectNodesFree(): Promise<void> {
  const nodes = await list<Node>("nodes");
  expect(nodes.map(({ spec }) => [spec?.unschedulable ?? false, spec?.taints ?? []])).toEqual(
    NODES.map(() => [false, []]),
  );
}

/** The first sentence of `kubectl slipway why NODE`. */
async function why(node: string): Promise<string> {
  const { code, text } = await slipway.plugin("why", node);
  expect(code).toBe(0);
  const [sentence = ""] = text.split("\n", 1);
  say(sentence);
  return sentence;
}

function expectNoFailure(): void {
  expect(client.failures).toEqual([]);
}

test("the chart installs, `helm test` passes, and doctor finds nothing wrong", async () => {
  await timed("install", () => slipway.install());
  await timed("helmTest", async () => expect(await slipway.test()).toContain("a manager leads"));
  const doctor = await slipway.plugin("doctor", "--wait", "2m");
  say(doctor.text);
  expect(doctor.code).toBe(0);
  expect(doctor.text).toContain("no group has taken up a node yet");
  expect(doctor.text).toContain("3 of 3 members Ready");
  expect(await why("node-1")).toBe("node-1 is left alone by Slipway, because there is no UpdateGroup.");
});

test("1.1.0 reaches all nodes one after the other, through an upgrade of the chart, and no request fails", async () => {
  const begin = performance.now();
  const release = await cluster.foundry.release("1.1.0");
  await apply(...examples(release.manifest));
  await follow("the canary runs 1.1.0", (nodes) => nodes.some((node) => runs(node, "1.1.0")));
  const nodes = await list<NodeUpdate>("nodeupdates");
  const names = (version: string): string[] =>
    nodes.filter(({ status }) => status?.running === version).map(({ metadata }) => metadata.name);
  const [canary = "", ...more] = names("1.1.0");
  const [waiting = ""] = names("1.0.0");
  expect(more).toEqual([]);
  expect(await why(waiting)).toContain(
    `${waiting} runs 1.0.0 and waits for its stage: canary soaks for 20s, until `,
  );
  expect(await why(canary)).toBe(`${canary} runs 1.1.0, as it should.`);
  const status = await slipway.plugin("status", GROUP);
  say(status.text);
  expect(status.text).toContain("group workers: target harbor-1.1.0, ");

  // Every Pod of ours is replaced while the others are updated.
  const podAnnotations = { "example.org/upgrade": "yes" };
  await Promise.all([
    timed("upgrade", () =>
      slipway.upgrade({
        manager: { podAnnotations },
        gateway: { podAnnotations },
        agent: { podAnnotations },
        etcd: { podAnnotations },
      }),
    ),
    follow("all nodes run 1.1.0", (all) => allRun(all, "1.1.0")),
  ]);
  took["rollout"] = Math.round((performance.now() - begin) / 100) / 10;
  const memory = residents();
  say(JSON.stringify(memory));

  await expectNodesFree();
  const doctor = await slipway.plugin("doctor", "--wait", "2m");
  say(doctor.text);
  expect(doctor.code).toBe(0);
  expect(doctor.text).toContain("the agents of 3 nodes are connected");
  for (const node of NODES) expect(await why(node)).toBe(`${node} runs 1.1.0, as it should.`);
  const seen = observe(cluster.machines);
  expect(seen.mostDown).toBe(1);
  expect(Object.values(seen.boots)).toEqual(NODES.map(() => ["1.0.0", "1.1.0"]));
  say(`the client got ${client.answered} answers`);
  expectNoFailure();
  expect(client.answered).toBeGreaterThan(100);
  expect(Object.keys(memory).toSorted()).toEqual(["agent", "etcd", "gateway", "manager"]);
  if (process.env["RECORD"] === "1") record("e2e", { seconds: took, residentMiB: memory });
});

test("a release whose service fails its check falls back on one node, and the group halts", async () => {
  const { manifest } = await cluster.foundry.release("1.2.0", "service");
  await apply(manifest, channel(manifest.metadata.name));
  await timed("halt", () =>
    follow(
      "the group halts and all nodes run 1.1.0",
      async (nodes) => allRun(nodes, "1.1.0") && (await halted("harbor-1.2.0")),
    ),
  );
  const { boots } = observe(cluster.machines);
  const tried = NODES.filter((node) => boots[node]?.includes("1.2.0"));
  expect(tried.map((node) => boots[node])).toEqual([["1.0.0", "1.1.0", "1.2.0", "1.1.0"]]);
  await expectNodesFree();
  const [canary = ""] = tried;
  const [other = ""] = NODES.filter((node) => node !== canary);
  expect(await why(canary)).toBe(
    `${canary} keeps 1.1.0, because harbor-1.2.0 failed here (BootChecksFailed), and UpdateGroup workers stopped itself.`,
  );
  expect(await why(other)).toBe(
    `${other} keeps 1.1.0, because UpdateGroup workers stopped itself after ${canary} (BootChecksFailed) on harbor-1.2.0.`,
  );
  const status = await slipway.plugin("status", GROUP);
  expect(status.text).toContain("HALTED FailureThresholdReached");
  const doctor = await slipway.plugin("doctor");
  expect(doctor.text).toContain("UpdateGroup workers stopped itself");
  expectNoFailure();
});

test("uninstalled, it leaves no finalizer, no cordon and no Pod but that of `helm test`; its objects stay", async () => {
  const before = await list<KubeObject>(KINDS.join(","));
  await timed("uninstall", () => slipway.uninstall());
  await expectNodesFree();
  await waitUntil(
    async () => {
      const pods = await list<Pod>("pods", "--namespace", NAMESPACE);
      return pods.every(({ metadata }) => metadata.name === "slipway-test");
    },
    { what: "the Pods are gone", deadline: GONE_WITHIN, interval: LOOK_EVERY },
  );
  const left = await list<KubeObject>(KINDS.join(","));
  expect(left.map(({ metadata }) => metadata.name)).toEqual(before.map(({ metadata }) => metadata.name));
  expect(left.flatMap(({ metadata }) => metadata.finalizers ?? [])).toEqual([]);
  const finalizers = (await list<Node>("nodes")).flatMap(({ metadata }) => metadata.finalizers ?? []);
  expect(finalizers).toEqual([]);
  expectNoFailure();
});
