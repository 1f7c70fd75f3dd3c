import { describe, expect, test } from "vitest";
import { WITHHELD_ANNOTATION } from "../../api/labels.ts";
import type { UpdateGroupStatus } from "../../api/update-group.ts";
import { decideOrphans } from "./policy.ts";
import { Fleet, groupOf } from "./test-fleet.ts";

function condition(status: UpdateGroupStatus | undefined, type: string): string {
  const found = status?.conditions?.find((candidate) => candidate.type === type);
  return `${found?.status ?? "none"} ${found?.reason ?? ""}`;
}

function message(status: UpdateGroupStatus | undefined, type: string): string {
  return status?.conditions?.find((candidate) => candidate.type === type)?.message ?? "";
}

describe("a node that two groups select", () => {
  test("is acted on by neither, and both say so", () => {
    const fleet = new Fleet(groupOf("web"), 2);
    fleet.reconcile();
    fleet.groups.push(
      groupOf("all", { nodeSelector: { matchExpressions: [{ key: "pool", operator: "Exists" }] } }),
    );
    fleet.reconcile();
    fleet.reconcile();
    expect(condition(fleet.group("web").status, "Conflict")).toBe("True SelectedTwice");
    expect(condition(fleet.group("all").status, "Conflict")).toBe("True SelectedTwice");
    expect(message(fleet.group("all").status, "Conflict")).toContain("all, web all select n1, n2");
    expect(fleet.given("os-2")).toEqual([]);
    expect(fleet.update("n1").metadata.annotations?.[WITHHELD_ANNOTATION]).toContain("SelectedTwice");
    fleet.groups.pop();
    fleet.reconcile();
    expect(fleet.given("os-2")).toEqual(["n1", "n2"]);
    expect(fleet.update("n1").metadata.annotations).toEqual({});
  });

  test("gets no NodeUpdate if it has none", () => {
    const fleet = new Fleet(groupOf("web"), 1);
    fleet.groups.push(groupOf("other", { nodeSelector: { matchLabels: { pool: "web" } } }));
    fleet.reconcile();
    expect(fleet.nodeUpdates).toEqual([]);
    expect(condition(fleet.group("web").status, "Progressing")).toBe("False SelectedTwice");
  });
});

describe("a node that moves to another group", () => {
  test("moves at once, with what it remembers", () => {
    const fleet = new Fleet(groupOf("web"), 1);
    fleet.groups.push(groupOf("db"));
    fleet.reconcile();
    fleet.grant("n1");
    fleet.fail("n1");
    fleet.nodes = fleet.nodes.map((node) => ({ ...node, labels: { pool: "db" } }));
    fleet.reconcile();
    expect(fleet.update("n1").spec.group).toBe("db");
    expect(fleet.update("n1").status?.failed).toHaveLength(1);
  });

  test("stays until what is in flight has ended", () => {
    const fleet = new Fleet(groupOf("web"), 1);
    fleet.groups.push(groupOf("db"));
    fleet.reconcile();
    fleet.grant("n1");
    fleet.nodes = fleet.nodes.map((node) => ({ ...node, labels: { pool: "db" } }));
    fleet.reconcile();
    expect(fleet.update("n1").spec).toMatchObject({ group: "web", release: "os-2" });
    fleet.succeed("n1");
    fleet.reconcile();
    expect(fleet.update("n1").spec.group).toBe("db");
  });
});

describe("a node that is gone", () => {
  test("takes its NodeUpdate with it", () => {
    const fleet = new Fleet(groupOf("web"), 2);
    fleet.reconcile();
    fleet.nodes.pop();
    expect(fleet.decide("web").removals).toEqual([{ name: "n2", uid: "nu-n2" }]);
  });

  test("and came back with another UID gets a new one, once the old is gone", () => {
    const fleet = new Fleet(groupOf("web"), 1);
    fleet.reconcile();
    fleet.nodes = fleet.nodes.map((node) => ({ ...node, uid: "another" }));
    const { removals, nodeSpecs } = fleet.decide("web");
    expect(removals).toEqual([{ name: "n1", uid: "nu-n1" }]);
    expect(nodeSpecs).toEqual([]);
    fleet.reconcile();
    fleet.reconcile();
    expect(fleet.update("n1").spec.nodeUID).toBe("another");
  });
});

describe("a plain machine", () => {
  const machine = {
    id: "4F5Aabcdef0123456789",
    group: "web",
    labels: { rack: "7" },
    joinedAt: "2026-11-23T03:00:00Z",
  };

  test("gets a NodeUpdate by the group of its join token", () => {
    const fleet = new Fleet(groupOf("web"), 0);
    fleet.machines = [machine];
    fleet.reconcile();
    expect(fleet.update("machine-4f5aabcdef01").spec).toEqual({
      group: "web",
      machineRef: { machineId: machine.id, labels: { rack: "7" }, joinedAt: machine.joinedAt },
      release: "os-2",
    });
  });

  test("has its whole id as name where another one's begins the same", () => {
    const fleet = new Fleet(groupOf("web"), 0);
    fleet.machines = [machine, { ...machine, id: `${machine.id}0` }];
    fleet.reconcile();
    expect(fleet.nodeUpdates.map((update) => update.metadata.name).toSorted()).toEqual([
      "machine-4f5aabcdef01",
      "machine-4f5aabcdef01234567890",
    ]);
    fleet.reconcile();
    expect(fleet.nodeUpdates).toHaveLength(2);
  });

  test("stays as it is while machines can't be read, and where etcd has lost it", () => {
    const fleet = new Fleet(groupOf("web"), 0);
    fleet.machines = [machine];
    fleet.reconcile();
    fleet.machines = undefined;
    expect(fleet.decide("web").removals).toEqual([]);
    fleet.machines = [];
    expect(fleet.decide("web").removals).toEqual([]);
    fleet.reconcile();
    expect(fleet.update("machine-4f5aabcdef01").spec.machineRef?.joinedAt).toBe(machine.joinedAt);
  });
});

describe("a group that is deleted", () => {
  test("goes when nothing of it is in flight any more", () => {
    const fleet = new Fleet(groupOf("web"), 2);
    fleet.reconcile();
    fleet.grant("n1");
    fleet.edit("web", {}, { deletionTimestamp: "2026-11-23T12:00:00Z" });
    const first = fleet.reconcile();
    expect(condition(first.groupStatus, "Progressing")).toBe("False Deleting");
    expect(first.finished).toBe(false);
    expect(fleet.nodeUpdates.map((update) => update.metadata.name)).toEqual(["n1"]);
    expect(fleet.update("n1").spec.release).toBe("os-2");
    fleet.succeed("n1");
    fleet.reconcile();
    expect(fleet.nodeUpdates).toEqual([]);
    expect(fleet.decide("web").finished).toBe(true);
  });

  test("does not wait for a machine that is Suspect, and lets its NodeUpdate keep the slot", () => {
    const fleet = new Fleet(groupOf("web"), 2);
    fleet.reconcile();
    fleet.grant("n1");
    fleet.edit("web", {}, { deletionTimestamp: "2026-11-23T12:00:00Z" });
    expect(fleet.reconcile().finished).toBe(false);
    fleet.setStatus("n1", { suspectSince: "2026-11-23T12:10:00Z" });
    expect(fleet.decide("web").finished).toBe(true);
    fleet.groups = [];
    expect(decideOrphans("web", fleet)).toEqual([]);
    fleet.setStatus("n1", { grant: undefined });
    expect(decideOrphans("web", fleet)).toEqual([{ name: "n1", uid: "nu-n1" }]);
  });

  test("leaves its nodes to a group that selects them too", () => {
    const fleet = new Fleet(groupOf("web"), 1);
    fleet.reconcile();
    fleet.groups.push(groupOf("next", { nodeSelector: { matchLabels: { pool: "web" } } }));
    fleet.edit("web", {}, { deletionTimestamp: "2026-11-23T12:00:00Z" });
    fleet.reconcile();
    expect(fleet.update("n1").spec.group).toBe("next");
    expect(fleet.decide("web").finished).toBe(true);
  });

  test("and is gone without its finalizer leaves no orphan", () => {
    const fleet = new Fleet(groupOf("web"), 2);
    fleet.reconcile();
    fleet.grant("n1");
    fleet.groups = [];
    expect(decideOrphans("web", fleet)).toEqual([{ name: "n2", uid: "nu-n2" }]);
  });
});
