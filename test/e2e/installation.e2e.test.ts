/**
 * Slipway as its users have it: installed by Helm on real nodes, which it updates while their work
 * goes on, and watched by Prometheus. The tests are one story; each begins where the one before ended.
 */
import { randomBytes } from "node:crypto";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import type { KubeObject } from "../../api/meta.ts";
import type { NodeUpdate } from "../../api/node-update.ts";
import { FIRST_CHART, NAMESPACE } from "../../hack/chart/golden.ts";
import { observe } from "../../hack/cluster/observer.ts";
import { waitUntil } from "../../hack/plane/wait.ts";
import type { Node, Pod } from "../../runtime/core.ts";
import { record } from "../bench/record.ts";
import { agentDays } from "./agent-days.ts";
import { examples, GROUP } from "./examples.ts";
import { allRun, Fleet, NODES, runs, say } from "./fleet.ts";
import { residents } from "./memory.ts";
import { Prometheus } from "./prometheus.ts";
import { expectAllScraped, WAITS, watching } from "./watching.ts";

const KINDS = ["nodeupdates", "updategroups", "releases", "channels", "rebootbudgets", "rebootwindows"];
/** An agent has three minutes to end. */
const GONE_WITHIN = 4 * 60_000;

let fleet: Fleet;
let prometheus: Prometheus;
let memory: ReturnType<typeof residents> = {};

beforeAll(async () => {
  fleet = await Fleet.start();
});

afterEach(async ({ task }) => {
  if (task.result?.state === "fail") await fleet.tellAll();
});

afterAll(async () => {
  await prometheus?.stop();
  await fleet?.stop();
});

test("the chart's first version installs, `helm test` passes, and doctor finds nothing but that its CRDs are old", async () => {
  const { slipway } = fleet;
  await fleet.timed("install", () => slipway.install(FIRST_CHART));
  expect(await slipway.chart()).toBe("slipway-0.1.0");
  await fleet.timed("helmTest", async () => expect(await slipway.test()).toContain("a manager leads"));
  const doctor = await slipway.plugin("doctor");
  say(doctor.text);
  expect(doctor.code).toBe(1);
  const wrong = doctor.text.split("\n").filter((line) => line.startsWith("fail"));
  expect(wrong.filter((line) => !line.includes("is older than this build"))).toEqual([]);
  expect(doctor.text).toContain("no group has taken up a node yet");
  expect(doctor.text).toContain("3 of 3 members Ready");
  expect(await fleet.why("node-1")).toBe("node-1 is left alone by Slipway, because there is no UpdateGroup.");
  prometheus = await Prometheus.start(fleet.cluster, WAITS);
  await expectAllScraped(prometheus);
});

test("1.1.0 reaches all nodes one after the other, through an upgrade to the present chart, and no request fails", async () => {
  const { cluster, slipway, client } = fleet;
  const begin = performance.now();
  const release = await cluster.foundry.release("1.1.0");
  const all = examples(release.manifest);
  // The first version has no hooks.
  await fleet.apply(...all.filter(({ spec }) => spec["hooks"] === undefined));
  await fleet.follow("the canary runs 1.1.0", (nodes) => nodes.some((node) => runs(node, "1.1.0")));
  const nodes = await fleet.list<NodeUpdate>("nodeupdates");
  const names = (version: string): string[] =>
    nodes.filter(({ status }) => status?.running === version).map(({ metadata }) => metadata.name);
  const [canary = "", ...more] = names("1.1.0");
  const [waiting = ""] = names("1.0.0");
  expect(more).toEqual([]);
  expect(await fleet.why(waiting)).toContain(
    `${waiting} runs 1.0.0 and waits for its stage: canary soaks for 20s, until `,
  );
  expect(await fleet.why(canary)).toBe(`${canary} runs 1.1.0, as it should.`);
  const status = await slipway.plugin("status", GROUP);
  say(status.text);
  expect(status.text).toContain("group workers: target harbor-1.1.0, ");

  // Every Pod of ours is replaced while the others are updated.
  const podAnnotations = { "example.org/upgrade": "yes" };
  expect(allRun(await fleet.list<NodeUpdate>("nodeupdates"), "1.1.0")).toBe(false);
  await Promise.all([
    fleet.timed("upgrade", () =>
      slipway.upgrade({
        manager: { podAnnotations },
        gateway: { podAnnotations },
        agent: { podAnnotations },
        etcd: { podAnnotations },
      }),
    ),
    fleet.follow("all nodes run 1.1.0", (now) => allRun(now, "1.1.0")),
  ]);
  fleet.took["rollout"] = Math.round((performance.now() - begin) / 100) / 10;
  memory = residents();
  say(JSON.stringify(memory));
  expect(await slipway.chart()).toBe("slipway-0.2.0");
  await fleet.apply(...all.filter(({ spec }) => spec["hooks"] !== undefined));

  await fleet.expectNodesFree();
  const doctor = await slipway.plugin("doctor", "--wait", "2m");
  say(doctor.text);
  expect(doctor.code).toBe(0);
  expect(doctor.text).toContain("all 6 kinds are there, as this build knows them");
  expect(doctor.text).toContain("the agents of 3 nodes are connected");
  for (const node of NODES) expect(await fleet.why(node)).toBe(`${node} runs 1.1.0, as it should.`);
  const seen = observe(cluster.machines);
  expect(seen.mostDown).toBe(1);
  expect(Object.values(seen.boots)).toEqual(NODES.map(() => ["1.0.0", "1.1.0"]));
  say(`the client got ${client.answered} answers`);
  fleet.expectNoFailure();
  expect(client.answered).toBeGreaterThan(100);
  expect(Object.keys(memory).toSorted()).toEqual(["agent", "etcd", "gateway", "manager"]);
});

test("a release whose service fails its check falls back on one node, and the group halts", async () => {
  const { cluster, slipway } = fleet;
  await fleet.promote("1.2.0", "service");
  await fleet.timed("halt", () =>
    fleet.follow(
      "the group halts and all nodes run 1.1.0",
      async (nodes) => allRun(nodes, "1.1.0") && (await fleet.halted("harbor-1.2.0")),
    ),
  );
  const { boots } = observe(cluster.machines);
  const tried = NODES.filter((node) => boots[node]?.includes("1.2.0"));
  expect(tried.map((node) => boots[node])).toEqual([["1.0.0", "1.1.0", "1.2.0", "1.1.0"]]);
  await fleet.expectNodesFree();
  const [canary = ""] = tried;
  const [other = ""] = NODES.filter((node) => node !== canary);
  expect(await fleet.why(canary)).toBe(
    `${canary} keeps 1.1.0, because harbor-1.2.0 failed here (BootChecksFailed), and UpdateGroup workers stopped itself.`,
  );
  expect(await fleet.why(other)).toBe(
    `${other} keeps 1.1.0, because UpdateGroup workers stopped itself after ${canary} (BootChecksFailed) on harbor-1.2.0.`,
  );
  const status = await slipway.plugin("status", GROUP);
  expect(status.text).toContain("HALTED FailureThresholdReached");
  const doctor = await slipway.plugin("doctor");
  expect(doctor.text).toContain("UpdateGroup workers stopped itself");
  fleet.expectNoFailure();
});

agentDays(() => fleet);

watching(
  () => fleet,
  () => prometheus,
);

test("upgraded again, with the console, which `kubectl slipway machines` asks through a port-forward", async () => {
  const { cluster, slipway } = fleet;
  const keysSecret = "console-keys";
  await fleet.apply({
    ...{ apiVersion: "v1", kind: "Secret", metadata: { name: keysSecret, namespace: NAMESPACE } },
    stringData: { keys: randomBytes(32).toString("base64") },
  });
  const console = { enabled: true, keysSecret };
  await fleet.timed("secondUpgrade", () => slipway.upgrade({ gateway: { console } }));
  const token = await cluster.kubectl(["create", "token", "slipway-manager", "--namespace", NAMESPACE]);
  const machines = await slipway.plugin("machines", "--kind=foreign", "--token", token.trim());
  expect(machines).toEqual({ code: 0, text: "No machines found\n" });
  const nobody = await slipway.plugin("machines", "--kind=foreign", "--token=nobody");
  expect(nobody.code).toBe(1);
  expect(nobody.text).toContain("the console does not know the token");
});

test("uninstalled, it leaves no finalizer, no cordon and no Pod but that of `helm test`; its objects stay", async () => {
  const { slipway } = fleet;
  const before = await fleet.list<KubeObject>(KINDS.join(","));
  await fleet.timed("uninstall", () => slipway.uninstall());
  await fleet.expectNodesFree();
  await waitUntil(
    async () => {
      const pods = await fleet.list<Pod>("pods", "--namespace", NAMESPACE);
      return pods.every(({ metadata }) => metadata.name === "slipway-test");
    },
    { what: "the Pods are gone", deadline: GONE_WITHIN, interval: 1_000 },
  );
  const left = await fleet.list<KubeObject>(KINDS.join(","));
  expect(left.map(({ metadata }) => metadata.name)).toEqual(before.map(({ metadata }) => metadata.name));
  expect(left.flatMap(({ metadata }) => metadata.finalizers ?? [])).toEqual([]);
  const finalizers = (await fleet.list<Node>("nodes")).flatMap(({ metadata }) => metadata.finalizers ?? []);
  expect(finalizers).toEqual([]);
  fleet.expectNoFailure();
  say(JSON.stringify(fleet.took));
  if (process.env["RECORD"] === "1") record("e2e", { seconds: fleet.took, residentMiB: memory });
});
