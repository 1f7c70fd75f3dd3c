/**
 * What others do to nodes and agents: a person who drains, cluster-autoscaler, kured, somebody's admission webhook, a
 * namespace that does not end, a Pod that is deleted. Then: what Slipway itself stands on does not fit.
 */
import { afterAll, describe, expect, test } from "vitest";
import { DOOMED_TAINT, KURED_ANNOTATION } from "../../../api/labels.ts";
import type { KubeObject } from "../../../api/meta.ts";
import type { Node, Pod } from "../../../runtime/core.ts";
import { Berth } from "../berth.ts";
import { days, machines } from "../day.ts";
import { pinned } from "../pods.ts";
import { type GuardWebhook, guardEvictions, REASON } from "../webhook.ts";
import { cutOffInADrain, endedBeforeTheReboot, endedInAWrite } from "./agents.ts";
import { crdsOfAnotherVersion, etcdOutOfReach } from "./ground.ts";

// Each test holds its own group to its own limit.
const start = days({
  machines: machines(17),
  limits: { total: 13, perZone: 13 },
  etcdTls: true,
  roads: true,
});

/** For machines whose power stays off a while: the dead man's switch, armed before, outlasts it. */
const health = { rebootTime: "30s", bootDeadline: "60s", releaseDeadline: "60s" };

let guard: GuardWebhook | undefined;

afterAll(async () => {
  await guard?.close();
});

describe.concurrent("at the same time", () => {
  test("a person drains nodes that wait, drain and reboot; none of these cordons is undone", async () => {
    const day = start();
    const berth = new Berth(day, "drained", ["node-01", "node-02"]);
    const [first, second] = ["node-01", "node-02"] as const;
    await berth.hold(second, "node-01 goes first");
    await day.cluster.apply(pinned("app-01", first), pinned("app-02", second));
    await day.cordonByHand(first);
    await berth.machine(first).trap("reboot", "power-off");
    await berth.declare({ health });
    await berth.publish("1.1.0-drained");
    await day.waitFor("node-01 is off after its commit", async () => {
      return (await berth.machine(first).status()).power === "off";
    });
    // While the machine is away the person cordons the other one, which waits, and drains it.
    await day.cordonByHand(second);
    await berth.kubectl("drain", second, "--ignore-daemonsets", "--timeout=60s");
    await berth.hold(second, undefined);
    await berth.machine(first).powerOn();
    await berth.done("1.1.0-drained");
    expect(berth.nodes.map((node) => day.boots(node))).toEqual([1, 1]);
    for (const node of berth.nodes) await day.uncordonByHand(node);
  });

  test("cluster-autoscaler takes a node that waits, one that drains and one that reboots; each slot gets free, nobody is blamed", async () => {
    const day = start();
    const berth = new Berth(day, "scaled", ["node-03", "node-04", "node-05"]);
    const [waits, drains, reboots] = ["node-03", "node-04", "node-05"] as const;
    for (const node of [waits, reboots]) {
      await berth.hold(node, "node-04 goes first");
    }
    await berth.block(drains);
    await berth.declare({ maxUnavailable: 3, failureThreshold: 3, health });
    await berth.publish("1.1.0-scaled");
    const draining = await berth.until(drains, "drains", ({ status }) => {
      return status?.reason === "BlockedByDisruptionBudget" && status.grant !== undefined;
    });
    await scaleDown(drains);
    const given = await berth.until(
      drains,
      "gave its slot back",
      ({ status }) => status?.grant === undefined,
    );
    expect(given.status?.transitions?.map(({ reason }) => reason)).toContain("BeingRemoved");
    expect(day.boots(drains)).toBe(0);

    await scaleDown(waits);
    await berth.hold(waits, undefined);
    await berth.until(waits, "is given no slot", ({ status }) => status?.reason === "BeingRemoved");

    await berth.machine(reboots).trap("reboot", "power-off");
    await berth.hold(reboots, undefined);
    const committed = await berth.until(reboots, "commits", ({ status }) => {
      return status?.grant?.phase === "Committed";
    });
    await day.waitFor(`${reboots} is off`, async () => {
      return (await berth.machine(reboots).status()).power === "off";
    });
    await scaleDown(reboots);
    for (const node of berth.nodes) {
      const found = await day.cluster.get<Node>("nodes", node);
      const keys = found?.spec?.taints?.map(({ key }) => key) ?? [];
      expect(keys, `the taint of cluster-autoscaler on ${node}`).toContain(DOOMED_TAINT);
    }
    for (const node of [drains, waits]) await berth.machine(node).powerOff();
    for (const node of berth.nodes) await berth.kubectl("delete", "node", node);
    await day.waitFor("every slot is free, and the NodeUpdates are gone", async () => {
      const uids = [draining, committed].map(({ spec }) => spec.nodeUID);
      const held = await day.holders("group/scaled");
      return (
        held.length === 0 && (await berth.nodeUpdates()).every(({ spec }) => !uids.includes(spec.nodeUID))
      );
    });
    expect((await berth.group())?.status?.failures).toEqual([]);

    // The autoscaler brings machines back under the same names.
    await berth.unblock(drains);
    for (const node of berth.nodes) await berth.machine(node).powerOn();
    await berth.done("1.1.0-scaled");
    expect((await berth.group())?.status?.failures).toEqual([]);
    expect(berth.breaches({ total: 3, perZone: 3 })).toEqual([]);

    async function scaleDown(node: string): Promise<void> {
      await berth.kubectl("taint", "node", node, `${DOOMED_TAINT}=1766:NoSchedule`);
    }
  });

  test("kured runs beside us: the group says so, what it reboots gets no slot, and its cordon stays", async () => {
    const day = start();
    const berth = new Berth(day, "kured", ["node-06", "node-07"]);
    await day.cluster.apply(kured(berth.nodes));
    await berth.annotate("node", "node-06", KURED_ANNOTATION, new Date().toISOString());
    await day.cordonByHand("node-06");
    await berth.declare({ maxUnavailable: 2, failureThreshold: 2 });
    await berth.publish("1.1.0-kured");
    await berth.done("1.1.0-kured", ["node-06"]);
    const waiting = await berth.until(
      "node-06",
      "waits",
      ({ status }) => status?.reason === "OtherCoordinator",
    );
    expect(waiting.status?.message).toBe("kured is rebooting the node.");
    await day.waitFor("the group and an event name kured", async () => {
      const told = (await berth.group())?.status?.conditions?.find(({ type }) => type === "OtherCoordinator");
      const events = await day.events("kured");
      return (
        told?.status === "True" &&
        told.message.startsWith("kured runs on node-06, node-07 too") &&
        events.some(({ reason }) => reason === "OtherCoordinator")
      );
    });
    expect(day.boots("node-06")).toBe(0);
    await day.uncordonByHand("node-06");
    await berth.annotate("node", "node-06", KURED_ANNOTATION, undefined);
    await berth.done("1.1.0-kured");
  });

  test("a webhook that refuses evictions, or never answers, costs a node its place and nobody else's", async () => {
    const day = start();
    const berth = new Berth(day, "guarded", ["node-08", "node-09"]);
    const [guarded, free] = ["node-08", "node-09"] as const;
    guard = await guardEvictions(day.cluster.plane, "guard");
    await namespace("guarded", { guard: "guard" });
    await day.cluster.apply(pinned("kept", guarded, {}, "guarded"), pinned("loose", guarded));
    await berth.kubectl("rollout", "status", "--timeout=60s", "--namespace=guarded", "deployment/kept");
    await berth.kubectl("rollout", "status", "--timeout=60s", "deployment/loose");
    await berth.hold(free, "node-08 goes first");
    await berth.declare({ drain: { timeout: "25s" } });
    await berth.publish("1.1.0-guarded");
    const refused = await berth.until(guarded, "is refused an eviction", ({ status }) => {
      return status?.step === "Draining" && status.reason === "EvictionRefused";
    });
    expect(refused.status?.message).toMatch(
      new RegExp(
        `^\\d Pods? had not left, and guarded/kept-\\S+ may not be evicted: .*guard\\.example\\.com.*${REASON}`,
      ),
    );
    guard.verdict = "hang";
    await berth.until(guarded, "is not answered either", ({ status }) => {
      return status?.reason === "EvictionRefused" && /failed calling webhook/.test(status.message ?? "");
    });
    await berth.hold(free, undefined);
    const late = await berth.until(
      guarded,
      "gave its slot back",
      ({ status }) => status?.grant === undefined,
    );
    const told = late.status?.transitions?.find(({ reason }) => reason === "DrainTimedOut")?.message;
    expect(told).toMatch(
      /^After 25s \d Pods? had not left, and guarded\/kept-\S+ may not be evicted: .*guard\.example\.com/,
    );
    await berth.done("1.1.0-guarded", [guarded]);
    expect(day.boots(guarded)).toBe(0);

    guard.verdict = "allow";
    await berth.done("1.1.0-guarded");
    expect(berth.breaches({ total: 1, perZone: 1 })).toEqual([]);

    async function namespace(name: string, labels: Record<string, string>): Promise<void> {
      await day.cluster.apply({ apiVersion: "v1", kind: "Namespace", metadata: { name, labels } });
    }
  });

  test("a namespace that does not end keeps a Pod by its finalizer: the drain names both and gives up in time", async () => {
    const day = start();
    const berth = new Berth(day, "ending", ["node-10"]);
    const metadata = { name: "ending" };
    await day.cluster.apply({ apiVersion: "v1", kind: "Namespace", metadata });
    const pod = pinned("kept", "node-10", {}, "ending");
    await day.cluster.apply(withFinalizer(pod, "example.com/keep"));
    await berth.kubectl("rollout", "status", "--timeout=60s", "--namespace=ending", "deployment/kept");
    await berth.kubectl("delete", "namespace", "ending", "--wait=false");
    await day.waitFor(
      "the Pod is told to go",
      async () => (await kept())?.metadata.deletionTimestamp !== undefined,
    );
    await berth.declare({ drain: { timeout: "25s" } });
    await berth.publish("1.1.0-ending");
    const stuck = await berth.until("node-10", "names what does not end", ({ status }) => {
      return status?.step === "Draining" && status.reason === "PodsNotEnding";
    });
    expect(stuck.status?.message).toMatch(
      /ending\/kept-\S+ should have ended at \S+, but its finalizer example\.com\/keep keeps it\.$/,
    );
    const given = await berth.until(
      "node-10",
      "gave its slot back",
      ({ status }) => status?.grant === undefined,
    );
    const late = given.status?.transitions?.find(({ reason }) => reason === "DrainTimedOut");
    expect(late?.message).toContain("its finalizer example.com/keep keeps it");
    expect(day.boots("node-10")).toBe(0);
    const { metadata: left } = (await kept()) ?? {};
    const body = JSON.stringify({ metadata: { finalizers: null } });
    await berth.kubectl("patch", "pod", left?.name ?? "", "--namespace=ending", "--type=merge", "-p", body);
    await berth.done("1.1.0-ending");
    expect(day.boots("node-10")).toBe(1);

    async function kept(): Promise<Pod | undefined> {
      const pods = await day.cluster.list<Pod>("pods");
      return pods.find(({ metadata: found }) => found.namespace === "ending");
    }
  });

  test("an agent that is killed, or whose Pod is deleted, in the midst of a write goes on with what is written", async () => {
    const day = start();
    await endedInAWrite(day, new Berth(day, "written", ["node-12", "node-13"]), "1.1.0-written");
  });

  test("an agent that is killed, or whose Pod is deleted, after its commit leaves one reboot and a machine that boots", async () => {
    const day = start();
    await endedBeforeTheReboot(day, new Berth(day, "parting", ["node-14", "node-15"]), "1.1.0-parting");
  });

  test("an agent that loses its gateway while the node drains loses its slot after a minute, and no more", async () => {
    const day = start();
    await cutOffInADrain(day, new Berth(day, "cut", ["node-16", "node-17"]), "1.1.0-cut");
  });
});

// One after the other: they concern all of the cluster.
describe("what Slipway stands on", () => {
  const shelf = (): Berth => new Berth(start(), "shelf", ["node-11"]);

  test("CRDs that are older than the manager stop it before anything is half done; newer ones don't", async () => {
    await crdsOfAnotherVersion(start(), shelf(), "1.1.0-shelf");
    expect(shelf().breaches({ total: 1, perZone: 1 })).toEqual([]);
  });

  test("an etcd that can't be reached is told in one sentence, harms no node, and all goes on once it is mended", async () => {
    await etcdOutOfReach(start(), shelf(), "1.2.0-shelf");
    expect(shelf().breaches({ total: 1, perZone: 1 })).toEqual([]);
  });
});

test("nothing is left of it", async () => {
  await start().rest();
});

/** As kured's own manifest labels it; what plays it does nothing. */
function kured(nodes: readonly string[]): KubeObject & { spec: object } {
  const labels = { name: "kured" };
  const hostname = { key: "kubernetes.io/hostname", operator: "In", values: nodes };
  const required = { nodeSelectorTerms: [{ matchExpressions: [hostname] }] };
  return {
    apiVersion: "apps/v1",
    kind: "DaemonSet",
    metadata: { name: "kured", namespace: "kube-system" },
    spec: {
      selector: { matchLabels: labels },
      template: {
        metadata: { labels },
        spec: {
          affinity: { nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: required } },
          containers: [{ name: "kured", image: "ghcr.io/kubereboot/kured:1.20.0" }],
        },
      },
    },
  };
}

function withFinalizer<T extends { spec: object }>(deployment: T, finalizer: string): T {
  const made = structuredClone(deployment) as T & { spec: { template: { metadata: object } } };
  made.spec.template.metadata = { ...made.spec.template.metadata, finalizers: [finalizer] };
  return made;
}
