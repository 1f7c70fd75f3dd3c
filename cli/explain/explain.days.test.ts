/**
 * `why` beside a living fleet: each situation is brought about, and the sentence has to come true.
 * With RECORD=1 the objects of that moment are written to cli/testdata/why/, which explain.test.ts reads.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { HOLD_ANNOTATION, STEAL_ANNOTATION } from "../../api/labels.ts";
import { API_VERSION } from "../../api/meta.ts";
import { systemClock } from "../../ports/clock.ts";
import { systemRandom } from "../../ports/random.ts";
import { loadKubeConfig } from "../../runtime/kubeconfig.ts";
import { createRestClient } from "../../runtime/rest-client.ts";
import { Berth } from "../../test/bad-days/berth.ts";
import { type Day, days, machines } from "../../test/bad-days/day.ts";
import { examine } from "../doctor/checks.ts";
import { readFacts } from "../doctor/facts.ts";
import { readSnapshot, type Snapshot } from "../snapshot.ts";
import { type Explanation, explain } from "./explain.ts";
import type { Situation } from "./finding.ts";

const start = days({
  machines: [
    ...machines(11),
    { name: "debian-1", zone: "east", driver: "sentinel" },
    { name: "quay-1", zone: "north", plainGroup: "stages" },
  ],
  limits: { total: 11, perZone: 11 },
});

const FOLDER = join(import.meta.dirname, "../testdata/why");
const record = process.env["RECORD"] === "1";

async function snapshotOf(day: Day): Promise<Snapshot> {
  const ports = { clock: systemClock, random: systemRandom };
  const client = createRestClient(loadKubeConfig(day.cluster.plane.kubeconfig), ports);
  try {
    return await readSnapshot(client, undefined);
  } finally {
    await client.close();
  }
}

/** Levels of what doctor finds, by check. */
async function doctor(day: Day): Promise<Record<string, string[]>> {
  const ports = { clock: systemClock, random: systemRandom };
  const client = createRestClient(loadKubeConfig(day.cluster.plane.kubeconfig), ports);
  try {
    const found = Map.groupBy(examine(await readFacts(client, undefined), Date.now()), ({ check }) => check);
    return Object.fromEntries([...found].map(([check, lines]) => [check, lines.map(({ level }) => level)]));
  } finally {
    await client.close();
  }
}

/** Waits until `why NODE` finds `situation`, and keeps what it was told as `file`. */
async function why(day: Day, node: string, situation: Situation, file?: string): Promise<Explanation> {
  let last: Explanation | undefined;
  let snapshot: Snapshot | undefined;
  try {
    await day.waitFor(`why ${node} says ${situation}`, async () => {
      snapshot = await snapshotOf(day);
      last = explain(snapshot, node, Date.now());
      return last?.situation === situation;
    });
  } catch (error) {
    throw new Error(`${String(error)}\n  it says: ${last?.situation}: ${last?.sentence}`, { cause: error });
  }
  if (last === undefined || snapshot === undefined) throw new Error("nothing was read");
  if (record && file !== undefined) keep(file, node, snapshot);
  expect(last.sentence).toMatch(/^(?:No manager |[a-z0-9-]+ ).*[^.]\.$/);
  expect(last.facts.length).toBeGreaterThan(0);
  return last;
}

/** Moment that recorded times are moved to. */
const NOON = Date.parse("2026-01-05T12:00:00Z");

function keep(file: string, node: string, snapshot: Snapshot): void {
  const text = JSON.stringify({ node, now: new Date(NOON).toISOString(), snapshot: pruned(snapshot, node) });
  const shift = NOON - Date.now();
  const moved = text
    .replaceAll(/\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d+)?Z/g, (time) =>
      time.startsWith("2026-01-05T12:00:00")
        ? time
        : new Date(Date.parse(time) + shift).toISOString().replace(/\.\d{3}Z$/, "Z"),
    )
    .replaceAll(/127\.0\.0\.1:\d+/g, "mirror.example")
    .replaceAll(/\/tmp\/[^"\s]*\//g, "/run/");
  // An object a line.
  writeFileSync(
    join(FOLDER, `${file}.json`),
    `${moved.replaceAll(/(?<=[,[])\{"(?:apiVersion|metadata)"/g, "\n$&").replaceAll(/"[a-zA-Z]+":\[\n/g, "\n$&")}\n`,
  );
}

/** What bears on `node`: the objects of its groups, without what nothing reads. */
function pruned(snapshot: Snapshot, node: string): Snapshot {
  const own = snapshot.nodeUpdates.find(({ metadata }) => metadata.name === node)?.spec.group;
  const group = snapshot.groups.find(({ metadata }) => metadata.name === own);
  const siblings = snapshot.nodeUpdates
    .filter(({ spec }) => spec.group === own)
    .map(({ metadata }) => metadata.name);
  const ofGroup = (name: string): boolean => name === (group?.spec.channel ?? own);
  const near = [...siblings, node];
  const claims = (values: readonly string[] | undefined): boolean => values?.includes(node) === true;
  return {
    nodes: snapshot.nodes
      .filter(({ metadata }) => near.includes(metadata.name))
      .map(({ apiVersion, kind, metadata, spec, status }) => ({
        apiVersion,
        kind,
        metadata: strip(metadata),
        ...(spec === undefined
          ? {}
          : { spec: { ...(spec.unschedulable === true ? { unschedulable: true } : {}) } }),
        ...(status === undefined
          ? {}
          : {
              status: {
                conditions: status.conditions ?? [],
                ...(status.nodeInfo === undefined ? {} : { nodeInfo: status.nodeInfo }),
              },
            }),
      })),
    nodeUpdates: snapshot.nodeUpdates.filter(({ metadata }) => near.includes(metadata.name)).map(bare),
    groups: snapshot.groups
      .filter(
        ({ metadata, spec }) =>
          own === undefined ||
          metadata.name === own ||
          claims(spec.nodeSelector.matchExpressions?.[0]?.values),
      )
      .map(bare),
    channels: snapshot.channels.filter(({ metadata }) => ofGroup(metadata.name)).map(bare),
    releases: snapshot.releases
      .filter(({ metadata }) => metadata.name === group?.status?.target || metadata.name.includes(`-${own}`))
      .map(bare),
    windows: snapshot.windows.map(bare),
    budgets: snapshot.budgets.map(bare),
    lease: typeof snapshot.lease === "string" ? snapshot.lease : bare(snapshot.lease),
  };
}

function bare<T extends { metadata: Snapshot["nodes"][number]["metadata"] }>(object: T): T {
  return { ...object, metadata: strip(object.metadata) };
}

function strip<M extends Snapshot["nodes"][number]["metadata"]>(metadata: M): M {
  const { managedFields: _fields, annotations = {}, ...rest } = metadata as M & { managedFields?: unknown };
  const kept = Object.entries(annotations).filter(([key]) => !key.startsWith("kubectl.kubernetes.io/"));
  return { ...rest, annotations: Object.fromEntries(kept) } as unknown as M;
}

function window(name: string, spec: Record<string, unknown>): object {
  return { apiVersion: API_VERSION, kind: "RebootWindow", metadata: { name }, spec };
}

/** `HH:MM` in UTC, `hours` from now. */
function clockTime(hours: number): string {
  return new Date(Date.now() + hours * 3_600_000).toISOString().slice(11, 16);
}

describe.concurrent("at the same time", () => {
  test("windows, freezes, holds, pauses and budgets", async () => {
    const day = start();
    const calm = new Berth(day, "calm", ["node-01", "node-02", "node-03"]);
    const tier = { tier: "calm" };
    const closed = {
      start: clockTime(6),
      duration: "2h",
      timeZone: "UTC",
      groupSelector: { matchLabels: tier },
    };
    await day.cluster.apply(window("calm", closed));
    await calm.declare({ paused: true }, tier);
    await calm.publish("1.1.0-calm");
    await why(day, "node-01", "Paused", "paused");
    await calm.patch({ paused: false });
    expect((await why(day, "node-01", "WaitingForWindow", "window-closed")).sentence).toMatch(
      /next one opens at \S+ \(in 5h/,
    );

    await day.cluster.apply(window("calm-freeze", { ...closed, start: clockTime(-1), mode: "Deny" }));
    expect((await why(day, "node-01", "ChangeFreeze", "change-freeze")).sentence).toContain("calm-freeze");
    await calm.kubectl("delete", "rebootwindow", "calm-freeze");
    await day.cluster.apply(window("calm", { ...closed, duration: "1m" }));
    await why(day, "node-01", "WindowTooShort", "window-too-short");

    for (const node of ["node-01", "node-02"])
      await calm.annotate("node", node, HOLD_ANNOTATION, "looking at its disk");
    expect((await why(day, "node-01", "Held", "held")).sentence).toContain("looking at its disk");
    await day.cordonByHand("node-02");
    await day.cluster.apply(window("calm", { ...closed, start: clockTime(-1), duration: "20h" }));
    expect((await why(day, "node-03", "WaitingForBudget", "budget-full")).sentence).toContain(
      "node-02 is cordoned",
    );
    await calm.patch({ strategy: "Off" });
    await why(day, "node-03", "StrategyOff", "strategy-off");
    await day.uncordonByHand("node-02");
  });

  test("stages, their soak, and a group that goes", async () => {
    const day = start();
    const stages = new Berth(day, "stages", ["node-04", "node-05", "quay-1"]);
    await stages.declare({
      stages: [
        {
          name: "canary",
          nodeSelector: { matchLabels: { "kubernetes.io/hostname": "node-04" } },
          soak: "30m",
        },
      ],
    });
    await stages.publish("1.1.0-stages");
    await why(day, "node-05", "WaitingForStage", "stage-not-reached");
    await why(day, "node-04", "Current", "current");
    expect((await why(day, "node-05", "StageSoaking", "stage-soaks")).sentence).toMatch(
      /soaks for 30m, until \S+ \(in/,
    );
    await why(day, stages.updateOf("quay-1"), "StageSoaking", "plain-machine-soaks");
    await stages.kubectl("delete", "updategroup", "stages");
    await why(day, "node-05", "NoGroup", "no-group");
  });

  test("a bad release halts one group and is quarantined for another", async () => {
    const day = start();
    const bad = new Berth(day, "bad", ["node-06", "node-07"]);
    const next = new Berth(day, "next", ["node-11"]);
    await bad.annotate("node", "node-07", HOLD_ANNOTATION, "node-06 goes first");
    await bad.declare({ failureThreshold: 1 });
    await bad.publish("1.1.0-bad", { defect: "service" });
    await why(day, "node-06", "Rebooting", "rebooting");
    await bad.annotate("node", "node-07", HOLD_ANNOTATION, undefined);
    await why(day, "node-07", "FailureThresholdReached", "halted");
    await bad.until("node-06", "has no slot", ({ status }) => status?.grant === undefined);
    await why(day, "node-06", "FailureThresholdReached", "halted-where-it-failed");
    await next.declare({ channel: "bad" });
    await why(day, "node-11", "ReleaseQuarantined", "quarantined");
    await next.publish("0.9.0-next");
    await next.patch({ channel: "next" });
    await why(day, "node-11", "DowngradeRefused", "downgrade-refused");
    await day.cluster.apply({
      apiVersion: API_VERSION,
      kind: "UpdateGroup",
      metadata: { name: "twice" },
      spec: {
        nodeSelector: {
          matchExpressions: [{ key: "kubernetes.io/hostname", operator: "In", values: ["node-11"] }],
        },
        channel: "next",
        windows: "Always",
      },
    });
    await why(day, "node-11", "SelectedTwice", "two-groups");
    await bad.kubectl("delete", "updategroup", "twice");
  });

  test("a drain that a PodDisruptionBudget blocks", async () => {
    const day = start();
    const drain = new Berth(day, "drain", ["node-08"]);
    await drain.block("node-08");
    await drain.declare({ drain: { timeout: "10m" } });
    await drain.publish("1.1.0-drain");
    expect((await why(day, "node-08", "BlockedByDisruptionBudget", "drain-blocked")).sentence).toContain(
      "PodDisruptionBudget kept-node-08",
    );
    await drain.annotate("node", "node-08", HOLD_ANNOTATION, "its Pod must not go");
    await drain.until("node-08", "gave its slot back", ({ status }) => status?.grant === undefined);
    await drain.unblock("node-08");
  });

  test("a machine that does not come back, and whose slot a person frees", async () => {
    const day = start();
    const lost = new Berth(day, "lost", ["node-09"]);
    await lost.machine("node-09").trap("reboot", "power-off");
    await lost.declare({ health: { bootDeadline: "5s", rebootTime: "5s", releaseDeadline: "60s" } });
    await lost.publish("1.1.0-lost");
    await why(day, "node-09", "Suspect", "suspect");
    await lost.annotate("nodeupdate", "node-09", STEAL_ANNOTATION, "its power supply burnt");
    const stolen = await why(day, "node-09", "AgentLost", "stolen");
    expect(stolen.sentence).toContain("freed by a person");
    await lost.machine("node-09").powerOn();
    await why(day, "node-09", "Current");
  });

  test("mirrors that have nothing", async () => {
    const day = start();
    const mirror = new Berth(day, "mirror", ["node-10"]);
    await mirror.declare();
    await mirror.publish("1.1.0-mirror", { urls: (good) => [good.replace(/[^/]+$/, "not-there")] });
    await why(day, "node-10", "StagingFailed", "mirrors-fail");
    await mirror.patch({ paused: true });
  });

  test("a machine that only reboots", async () => {
    const day = start();
    const debian = new Berth(day, "debian", ["debian-1"]);
    await debian.declare({
      driver: "sentinel",
      channel: undefined,
      health: { bootDeadline: "10s", rebootTime: "15s" },
    });
    await why(day, "debian-1", "NoRebootRequired", "no-reboot-required");
    debian.machine("debian-1").requireReboot({ stays: true });
    await debian.until(
      "debian-1",
      "came back",
      ({ status }) => status?.reason === "StillRequired" && status.grant === undefined,
    );
    await why(day, "debian-1", "StillRequired", "still-required");
  });
});

test("doctor finds the installation well, and then the managers away", async () => {
  const day = start();
  expect(await doctor(day)).toMatchObject({ leader: ["ok"], crds: ["ok"], etcd: ["ok"], others: ["ok"] });
  for (const manager of day.cluster.managers) await manager.kill();
  const away = await why(day, "node-08", "ManagerAway", "manager-away");
  expect(away.sentence).toContain("its Pod must not go");
  expect(await doctor(day)).toMatchObject({ leader: ["fail"], crds: ["ok"] });
});
