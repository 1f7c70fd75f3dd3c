import { describe, expect, test } from "vitest";
import {
  GROUP_LABEL,
  RESUME_ANNOTATION,
  RETRIED_ANNOTATION,
  RETRY_ANNOTATION,
  WITHHELD_ANNOTATION,
} from "../../api/labels.ts";
import type { UpdateGroupStatus } from "../../api/update-group.ts";
import { channelOf, Fleet, groupOf, MINUTE, releaseOf } from "./test-fleet.ts";

const CANARY = {
  stages: [
    { name: "canary", count: 1, soak: "10m" },
    { name: "half", count: 3, soak: "0s" },
  ],
};

function condition(status: UpdateGroupStatus | undefined, type: string): string {
  const found = status?.conditions?.find((candidate) => candidate.type === type);
  return `${found?.status ?? "none"} ${found?.reason ?? ""}`;
}

function message(status: UpdateGroupStatus | undefined, type: string): string {
  return status?.conditions?.find((candidate) => candidate.type === type)?.message ?? "";
}

describe("a group without stages", () => {
  test("gives every node the release that its channel points at", () => {
    const fleet = new Fleet(groupOf("web"), 3);
    expect(condition(fleet.reconcile().groupStatus, "Progressing")).toBe("False WaitingForAgent");
    const { groupStatus } = fleet.reconcile();
    expect(fleet.given("os-2")).toEqual(["n1", "n2", "n3"]);
    expect(fleet.update("n1")).toMatchObject({
      metadata: { labels: { [GROUP_LABEL]: "web" } },
      spec: { nodeName: "n1", nodeUID: "uid-n1", group: "web" },
    });
    expect(groupStatus).toMatchObject({
      target: "os-2",
      version: "2.0.0",
      stage: "rest",
      nodes: 3,
      updated: 0,
    });
    expect(condition(groupStatus, "Progressing")).toBe("True RollingOut");
    expect(condition(groupStatus, "Ready")).toBe("False RollingOut");
  });

  test("is up to date when every node was verified on it", () => {
    const fleet = new Fleet(groupOf("web"), 3);
    fleet.run();
    const { groupStatus, events } = fleet.reconcile();
    expect(groupStatus).toMatchObject({ updated: 3, inFlight: 0, unavailable: 0, limit: 1 });
    expect(condition(groupStatus, "Ready")).toBe("True UpToDate");
    expect(events).toEqual([]);
  });

  test("halts when as many nodes failed as its threshold, and gives the release to no further one", () => {
    const fleet = new Fleet(groupOf("web", { failureThreshold: 2 }), 6);
    fleet.run(() => "fail");
    const { status } = fleet.group("web");
    expect(condition(status, "Halted")).toBe("True FailureThresholdReached");
    expect(message(status, "Halted")).toContain("FellBack, unit kubelet.service is failed");
    expect(message(status, "Halted")).toContain(RESUME_ANNOTATION);
    expect(status?.failures).toHaveLength(2);
    expect(fleet.given("os-2")).toEqual([]);
  });

  test("has a node that failed count once, however often it failed", () => {
    const fleet = new Fleet(groupOf("web", { failureThreshold: 2 }), 3);
    fleet.reconcile();
    fleet.grant("n1");
    fleet.fail("n1");
    fleet.fail("n1", "BootChecksFailed");
    expect(condition(fleet.reconcile().groupStatus, "Halted")).toBe("False NotHalted");
  });

  test("remembers the failure of a node that is gone", () => {
    const fleet = new Fleet(groupOf("web", { failureThreshold: 1 }), 3);
    fleet.reconcile();
    fleet.grant("n1");
    fleet.fail("n1");
    fleet.reconcile();
    fleet.nodes = fleet.nodes.filter((node) => node.name !== "n1");
    fleet.reconcile();
    const { groupStatus } = fleet.reconcile();
    expect(fleet.nodeUpdates.map((update) => update.metadata.name)).toEqual(["n2", "n3"]);
    expect(condition(groupStatus, "Halted")).toBe("True FailureThresholdReached");
  });
});

describe("a halt", () => {
  function halted(): Fleet {
    const fleet = new Fleet(groupOf("web", CANARY), 5);
    fleet.run(() => "fail");
    expect(condition(fleet.group("web").status, "Halted")).toBe("True FailureThresholdReached");
    return fleet;
  }

  test("needs one failure in the first stage", () => {
    expect(halted().group("web").status?.failures).toHaveLength(1);
  });

  test("belongs to the release: the next one starts at the first stage, unhalted", () => {
    const fleet = halted();
    fleet.releases.push(releaseOf("os-3", "3.0.0"));
    fleet.channels = [channelOf("os-3")];
    const { groupStatus } = fleet.reconcile();
    expect(condition(groupStatus, "Halted")).toBe("False NotHalted");
    expect(groupStatus).toMatchObject({ target: "os-3", stage: "canary", failures: [] });
    expect(fleet.given("os-3")).toHaveLength(1);
  });

  test("is lifted by a new word, once, and the node that failed is not tried again", () => {
    const fleet = halted();
    fleet.now += MINUTE;
    fleet.edit("web", {}, { annotations: { [RESUME_ANNOTATION]: "kubelet config corrected" } });
    const { groupStatus, events } = fleet.reconcile();
    expect(condition(groupStatus, "Halted")).toBe("False NotHalted");
    expect(groupStatus).toMatchObject({ resumed: "kubelet config corrected", failures: [] });
    expect(events.map((event) => event.action)).toContain("Resume");
    expect(fleet.given("os-2")).toEqual([]);
    const failed = fleet.nodeUpdates.find((update) => update.status?.failed !== undefined);
    expect(failed?.metadata.annotations?.[WITHHELD_ANNOTATION]).toContain("NeverAgain");
    expect(message(groupStatus, "Progressing")).toContain("can't move");
    expect(fleet.reconcile().events.map((event) => event.action)).not.toContain("Resume");
  });

  test("is lifted, and a retry of the node that failed carries the rollout on", () => {
    const fleet = halted();
    const failed =
      fleet.nodeUpdates.find((update) => update.status?.failed !== undefined)?.metadata.name ?? "";
    fleet.now += MINUTE;
    fleet.edit("web", {}, { annotations: { [RESUME_ANNOTATION]: "again" } });
    fleet.reconcile();
    fleet.annotate(failed, { [RETRY_ANNOTATION]: "os-2" });
    fleet.reconcile();
    expect(fleet.given("os-2")).toEqual([failed]);
    fleet.run();
    fleet.now += 10 * MINUTE;
    fleet.run();
    expect(condition(fleet.group("web").status, "Ready")).toBe("True UpToDate");
  });

  test("comes back with a failure of the retry, which the same annotation doesn't repeat", () => {
    const fleet = halted();
    const failed =
      fleet.nodeUpdates.find((update) => update.status?.failed !== undefined)?.metadata.name ?? "";
    fleet.now += MINUTE;
    fleet.edit("web", {}, { annotations: { [RESUME_ANNOTATION]: "again" } });
    fleet.annotate(failed, { [RETRY_ANNOTATION]: "os-2" });
    fleet.run(() => "fail");
    expect(condition(fleet.group("web").status, "Halted")).toBe("True FailureThresholdReached");
    fleet.now += MINUTE;
    fleet.edit("web", {}, { annotations: { [RESUME_ANNOTATION]: "once more" } });
    fleet.reconcile();
    expect(fleet.given("os-2")).toEqual([]);
  });

  test("has a retry noted with the release it gives back, also while the group is paused", () => {
    const fleet = new Fleet(groupOf("web"), 1);
    fleet.reconcile();
    fleet.grant("n1");
    fleet.fail("n1");
    const [failure] = fleet.update("n1").status?.failed ?? [];
    for (const paused of [true, false]) {
      fleet.edit("web", { paused });
      fleet.annotate("n1", { [RETRY_ANNOTATION]: "os-2" });
      fleet.reconcile();
      const { metadata } = fleet.update("n1");
      expect(metadata.annotations?.[RETRIED_ANNOTATION]).toBe(`os-2 ${failure?.time}`);
    }
    expect(fleet.given("os-2")).toEqual(["n1"]);
  });

  test("quarantines the release for every other group", () => {
    const fleet = halted();
    fleet.groups.push(groupOf("db"));
    fleet.addNode("db1", "db");
    fleet.reconcile();
    fleet.reconcile();
    const { status } = fleet.group("db");
    expect(condition(status, "Progressing")).toBe("False ReleaseQuarantined");
    expect(message(status, "Progressing")).toContain("failed in web");
    expect(fleet.update("db1").spec.release).toBeUndefined();
  });
});

test("a node whose architecture has a release of its own waits if that is quarantined", () => {
  const fleet = new Fleet(groupOf("web"), 2);
  fleet.releases.push(releaseOf("os-3", "3.0.0"));
  fleet.channels = [channelOf("os-3", { architectures: [{ architecture: "amd64", release: "os-2" }] })];
  fleet.groups.push(groupOf("db", { release: "os-2", failureThreshold: 1 }));
  fleet.addNode("db1", "db");
  fleet.reconcile();
  fleet.grant("db1");
  fleet.fail("db1");
  fleet.reconcile();
  fleet.reconcile();
  expect(condition(fleet.group("db").status, "Halted")).toBe("True FailureThresholdReached");
  expect(fleet.given("os-2")).toEqual([]);
  expect(fleet.update("n1").metadata.annotations?.[WITHHELD_ANNOTATION]).toContain("ReleaseQuarantined");
});

describe("stages", () => {
  test("open one after the other, each when the one before was verified and has soaked", () => {
    const fleet = new Fleet(groupOf("web", CANARY), 5);
    fleet.run();
    expect(fleet.given("os-2")).toHaveLength(1);
    const soaking = fleet.reconcile();
    expect(condition(soaking.groupStatus, "Progressing")).toBe("True StageSoaking");
    expect(soaking.nextLook).toBe(fleet.now + 10 * MINUTE);
    fleet.now += 10 * MINUTE;
    const { groupStatus, events } = fleet.reconcile();
    expect(groupStatus.stage).toBe("half");
    expect(groupStatus.stages?.map(({ name, size }) => [name, size])).toEqual([
      ["canary", 1],
      ["half", 3],
      ["rest", 5],
    ]);
    expect(events.map((event) => event.action)).toContain("OpenStage");
    expect(fleet.given("os-2")).toHaveLength(3);
    fleet.run();
    expect(fleet.group("web").status).toMatchObject({ stage: "rest", updated: 5 });
  });

  test("are chosen by label where a person picks the canaries", () => {
    const stages = [{ name: "picked", nodeSelector: { matchLabels: { canary: "yes" } }, soak: "0s" }];
    const fleet = new Fleet(groupOf("web", { stages }), 3);
    fleet.addNode("special", "web", { canary: "yes" });
    fleet.reconcile();
    expect(fleet.given("os-2")).toEqual(["special"]);
  });

  test("without a node don't pass, and the group says so", () => {
    const stages = [{ name: "picked", nodeSelector: { matchLabels: { canary: "yes" } }, soak: "0s" }];
    const fleet = new Fleet(groupOf("web", { stages }), 3);
    const { groupStatus } = fleet.reconcile();
    expect(condition(groupStatus, "Progressing")).toBe("False NoNodes");
    expect(message(groupStatus, "Progressing")).toContain("stage picked has no node");
    expect(fleet.given("os-2")).toEqual([]);
  });

  test("don't pass while their only node is away", () => {
    const fleet = new Fleet(groupOf("web", CANARY), 5);
    fleet.reconcile();
    const [canary = ""] = fleet.given("os-2");
    fleet.setStatus(canary, { connected: false });
    fleet.now += 60 * MINUTE;
    const { groupStatus } = fleet.reconcile();
    expect(groupStatus.stage).toBe("canary");
    expect(condition(groupStatus, "Progressing")).toBe("False AgentLost");
  });

  test("count their soak from the last verified return, and need a node that is well at its end", () => {
    const fleet = new Fleet(groupOf("web", CANARY), 5);
    fleet.run();
    const [canary = ""] = fleet.given("os-2");
    fleet.now += 10 * MINUTE;
    fleet.nodes = fleet.nodes.map((node) => (node.name === canary ? { ...node, available: false } : node));
    expect(fleet.reconcile().groupStatus.stage).toBe("canary");
    fleet.nodes = fleet.nodes.map((node) => ({ ...node, available: true }));
    expect(fleet.reconcile().groupStatus.stage).toBe("half");
  });

  test("that passed are not reopened by a newcomer, which joins the last open one", () => {
    const fleet = new Fleet(groupOf("web", CANARY), 5);
    fleet.run();
    fleet.now += 10 * MINUTE;
    fleet.run();
    for (let index = 10; index < 20; index++) fleet.addNode(`n${index}`, "web");
    const { groupStatus } = fleet.reconcile();
    expect(groupStatus.stages?.slice(0, 2).every((stage) => stage.passedAt !== undefined)).toBe(true);
    expect(groupStatus.stage).toBe("rest");
    expect(fleet.given("os-2")).toHaveLength(15);
  });

  test("leave out a node that a person holds", () => {
    const fleet = new Fleet(groupOf("web", CANARY), 5);
    fleet.run();
    fleet.now += 10 * MINUTE;
    fleet.reconcile();
    const waiting = fleet.given("os-2").find((name) => fleet.update(name).status?.running === "1.0.0");
    fleet.nodes = fleet.nodes.map((node) => (node.name === waiting ? { ...node, held: true } : node));
    for (const name of fleet.given("os-2").filter((given) => given !== waiting)) fleet.succeed(name);
    expect(fleet.reconcile().groupStatus.stage).toBe("rest");
  });

  test("whose percentages fall are refused", () => {
    const stages = [
      { name: "a", count: "50%", soak: "0s" },
      { name: "b", count: "10%", soak: "0s" },
    ];
    const fleet = new Fleet(groupOf("web", { stages }), 3);
    expect(condition(fleet.reconcile().groupStatus, "Accepted")).toBe("False InvalidSpec");
    expect(fleet.given("os-2")).toEqual([]);
  });
});

describe("nothing new is given", () => {
  test("while the group is paused; what was given stays", () => {
    const fleet = new Fleet(groupOf("web", CANARY), 5);
    fleet.reconcile();
    const given = fleet.given("os-2");
    fleet.edit("web", { paused: true });
    fleet.run();
    fleet.now += 60 * MINUTE;
    const { groupStatus } = fleet.reconcile();
    expect(fleet.given("os-2")).toEqual(given);
    expect(condition(groupStatus, "Progressing")).toBe("False Paused");
  });

  test("where the release is gone: what is in flight goes on, the others keep what they run", () => {
    const fleet = new Fleet(groupOf("web"), 3);
    fleet.reconcile();
    fleet.grant("n1");
    fleet.releases = fleet.releases.filter((release) => release.metadata.name !== "os-2");
    const { groupStatus } = fleet.reconcile();
    expect(condition(groupStatus, "Progressing")).toBe("False ReleaseNotFound");
    expect(fleet.given("os-2")).toEqual(["n1"]);
  });

  test("to a node whose architecture the release lacks, and the node says so", () => {
    const fleet = new Fleet(groupOf("web"), 1);
    fleet.nodes = fleet.nodes.map((node) => ({ ...node, architecture: "arm64" }));
    const { groupStatus } = fleet.reconcile();
    expect(fleet.update("n1").metadata.annotations?.[WITHHELD_ANNOTATION]).toContain("NoPayload");
    expect(groupStatus.updated).toBe(0);
  });

  test("to a node that can't reach the release", () => {
    const fleet = new Fleet(groupOf("web"), 2);
    fleet.releases[1] = releaseOf("os-2", "2.0.0", { updatesFrom: "1.5.0" });
    fleet.reconcile();
    const { groupStatus } = fleet.reconcile();
    expect(condition(groupStatus, "Progressing")).toBe("False UpdateNotReachable");
    expect(fleet.given("os-2")).toEqual([]);
  });
});

test("a stepping stone is given first, then the target", () => {
  const fleet = new Fleet(groupOf("web", CANARY), 3);
  fleet.releases.push(releaseOf("os-1.5", "1.5.0", { steppingStone: true }));
  fleet.reconcile();
  fleet.reconcile();
  const [canary = ""] = fleet.given("os-1.5");
  expect(fleet.given("os-2")).toEqual([]);
  fleet.grant(canary);
  fleet.succeed(canary);
  fleet.reconcile();
  expect(fleet.given("os-2")).toEqual([canary]);
});

test("a failure on the stepping stone halts the group", () => {
  const fleet = new Fleet(groupOf("web", CANARY), 3);
  fleet.releases.push(releaseOf("os-1.5", "1.5.0", { steppingStone: true }));
  fleet.reconcile();
  fleet.run(() => "fail");
  expect(condition(fleet.group("web").status, "Halted")).toBe("True FailureThresholdReached");
});

test("a group of driver sentinel has NodeUpdates without a release, and counts reboots that are asked for", () => {
  const fleet = new Fleet(groupOf("web", { driver: "sentinel" }), 2);
  fleet.reconcile();
  fleet.setStatus("n1", { rebootRequired: true });
  const { groupStatus } = fleet.reconcile();
  expect(fleet.nodeUpdates.map((update) => update.spec.release)).toEqual([undefined, undefined]);
  expect(condition(groupStatus, "Progressing")).toBe("True RollingOut");
  expect(message(groupStatus, "Progressing")).toContain("1 of 2 nodes ask for a reboot");
  fleet.setStatus("n1", { rebootRequired: false });
  expect(condition(fleet.reconcile().groupStatus, "Ready")).toBe("True UpToDate");
});

test("a group that waits for its window says when the next one opens", () => {
  const fleet = new Fleet(groupOf("web", { windows: "OnlyInWindows" }), 2);
  fleet.windows.push({
    apiVersion: "slipway.dev/v1alpha1",
    kind: "RebootWindow",
    metadata: { name: "nights" },
    spec: {
      start: "02:00",
      duration: "1h",
      timeZone: "UTC",
      exclude: [],
      mode: "Allow",
      groupSelector: {},
    },
  });
  fleet.reconcile();
  const { groupStatus, nextLook } = fleet.reconcile();
  expect(condition(groupStatus, "Progressing")).toBe("True WaitingForWindow");
  expect(groupStatus.nextOpening).toBe("2026-11-24T02:00:00Z");
  expect(nextLook).toBe(Date.parse("2026-11-24T02:00:00Z"));
});
