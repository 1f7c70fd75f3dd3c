/** What is shown of objects, from the recorded moments of `kubectl slipway why`, and of made ones. */
import { readdirSync } from "node:fs";
import { basename, join } from "node:path";
import { describe, expect, test } from "vitest";
import { locksOf } from "../../api/locks.ts";
import { API_VERSION } from "../../api/meta.ts";
import { type UpdateGroup, UpdateGroupSpec } from "../../api/update-group.ts";
import { recorded } from "../../cli/explain/cases.ts";
import { Group, Machine, Release, Story, Window } from "../../console/contract.ts";
import { viewMachine } from "../../console/machine.ts";
import { planLabels } from "./assign.ts";
import { countFleet } from "./fleet-count.ts";
import { viewGroup, viewRelease } from "./group-view.ts";
import { foreignStoryOf, storyOf, toldOf } from "./machine-view.ts";
import { sampleOf, seriesOf } from "./versions.ts";
import { viewBudget, viewOpenings, viewWindow } from "./window-view.ts";

const MOMENTS = readdirSync(join(import.meta.dirname, "../../cli/testdata/why")).map((file) =>
  basename(file, ".json"),
);

describe.each(MOMENTS)("at the moment %s", (name) => {
  const { snapshot, now } = recorded(name);

  test("every view is as the contract says", () => {
    for (const group of snapshot.groups) Group.parse(viewGroup(group, snapshot));
    for (const release of snapshot.releases) Release.parse(viewRelease(release, snapshot, false));
    for (const window of snapshot.windows) Window.parse(viewWindow(window, snapshot.groups));
    for (const update of snapshot.nodeUpdates) {
      Machine.parse(viewMachine(update));
      Story.parse({ ...storyOf(update, []), asOf: new Date(now).toISOString() });
    }
  });

  test("the fleet's numbers add up", () => {
    const machines = snapshot.nodeUpdates.map(viewMachine);
    const fleet = countFleet(machines);
    const sum = (counts: readonly number[]): number => counts.reduce((all, one) => all + one, 0);
    expect(fleet.total).toBe(machines.length);
    expect(sum(Object.values(fleet.states))).toBe(fleet.total);
    expect(sum(fleet.zones.map(({ total }) => total))).toBe(fleet.total);
    expect(sum(fleet.versions.map(({ count }) => count))).toBe(fleet.total);
  });
});

test("a holder is shown with its phase, and who waits with since when", () => {
  const { snapshot } = recorded("drain-blocked");
  const byName = new Map(snapshot.nodeUpdates.map((update) => [update.metadata.name, update]));
  const budgets = locksOf(snapshot.groups, snapshot.budgets, snapshot.nodeUpdates).map((lock) =>
    viewBudget(lock, byName, new Map()),
  );
  const held = budgets.find(({ holders }) => holders.length > 0);
  expect(held?.holders[0]).toMatchObject({ phase: "Granted", suspect: false });
  expect(held?.holders[0]?.uid).toBeDefined();
});

test("a group says when it may reboot, and why not now", () => {
  const { snapshot, now } = recorded("window-closed");
  const [group] = snapshot.groups;
  if (group === undefined) throw new Error("the moment has no group");
  const { openings } = viewOpenings(group, snapshot.windows, now);
  expect(Date.parse(openings[0]?.start ?? "")).toBeGreaterThan(now);
});

function group(name: string, matchLabels: Record<string, string>, more: object = {}): UpdateGroup {
  const nodeSelector = { matchLabels, ...more };
  return {
    ...{ apiVersion: API_VERSION, kind: "UpdateGroup", metadata: { name } },
    spec: UpdateGroupSpec.parse({ nodeSelector, driver: "sentinel", windows: "Always" }),
  };
}

describe("labels that put a Node into a group", () => {
  const [web, db] = [group("web", { pool: "web" }), group("db", { tier: "db" })];
  const workers = group("workers", { "node-role.kubernetes.io/worker": "" });

  test("are set, and those of the group that it leaves are taken off", () => {
    expect(planLabels({ pool: "web" }, db, [web, db])).toEqual({ tier: "db", pool: null });
    expect(planLabels({ pool: "old" }, web, [web, db])).toEqual({ pool: "web" });
    expect(planLabels({ pool: "web" }, web, [web, db])).toEqual({});
  });

  test("are not guessed where labels alone don't say it", () => {
    expect(planLabels({ "node-role.kubernetes.io/worker": "" }, web, [web, workers])).toContain(
      "can't be taken off",
    );
    const odd = group("odd", {}, { matchExpressions: [{ key: "pool", operator: "Exists" }] });
    expect(planLabels({}, odd, [odd])).toContain("selects by expressions");
    expect(planLabels({}, web, [web, odd])).toContain("UpdateGroup odd selects by expressions");
  });
});

test("a graph has as many points as a page can show, and the newest is one of them", () => {
  const samples = Array.from({ length: 1000 }, (_, at) => ({
    at: at * 1000,
    counts: [
      { group: "a", version: "1", count: 1000 - at },
      { group: "b", version: "2", count: at },
    ],
  }));
  const { times, series } = seriesOf(samples, "");
  expect(times).toHaveLength(200);
  expect(times.at(-1)).toBe("1970-01-01T00:16:39Z");
  expect(series.map(({ version, counts }) => [version, counts.at(-1)])).toEqual([
    ["2", 999],
    ["1", 1],
  ]);
  expect(seriesOf(samples, "b").series.map(({ version }) => version)).toEqual(["2"]);
  const many = Array.from({ length: 30 }, (_, n) => ({ group: "a", version: `v${n}`, count: 1 }));
  expect(seriesOf([{ at: 0, counts: many }], "").series.at(-1)).toEqual({ version: "other", counts: [18] });
});

test("a sample counts machines by group and version", () => {
  const { snapshot } = recorded("drain-blocked");
  const { counts } = sampleOf(snapshot.nodeUpdates.map(viewMachine), 1);
  expect(counts.reduce((sum, { count }) => sum + count, 0)).toBe(snapshot.nodeUpdates.length);
});

test("the story of a machine without our agent says who gives its slot back", () => {
  const story = foreignStoryOf(
    {
      ...{ uid: "u", name: "edge-1", group: "edge", version: "", target: "", state: "Rebooting" },
      ...{ reason: "", message: "It holds a slot.", since: 0, lastSeen: undefined, slot: true },
      ...{ budgets: ["group/edge"], protocol: "FleetLock", failed: [] },
    },
    [
      {
        ...{ id: "1", time: "1970-01-01T00:00:01Z", uid: "u", machine: "edge-1", group: "edge" },
        ...{ what: "slot", reason: "x", message: "m" },
      },
    ],
  );
  expect(Story.parse({ ...story, asOf: "2026-11-27T07:00:00Z" })).toMatchObject({
    next: expect.stringContaining("It gives its slot back itself") as string,
    transitions: [{ step: "slot", time: "1970-01-01T00:00:01Z" }],
    kubectl: "kubectl slipway why u",
  });
});

test("what a machine told stands in its story between what others did, newest first", () => {
  const event = { type: 3, result: 1, code: 0, version: "1.0.0", onDemand: false };
  const told = toldOf([
    { ...event, at: 4000, result: 0, code: 44 },
    { ...event, at: 2000, onDemand: true },
    { ...event, at: 0, result: 2, version: "" },
  ]);
  const story = foreignStoryOf(
    {
      ...{
        uid: "foreign/--all",
        name: "till-7",
        group: "tills",
        version: "1.0.0",
        target: "",
        state: "Idle",
      },
      ...{ reason: "", message: "", since: undefined, lastSeen: 0, slot: false },
      ...{ budgets: [], protocol: "Omaha", failed: [] },
    },
    [
      {
        ...{ id: "1", time: "1970-01-01T00:00:03Z", uid: "u", machine: "till-7", group: "tills" },
        ...{ what: "slot", reason: "x", message: "m" },
      },
    ],
    told,
  );
  expect(story.transitions.map(({ step, message }) => [step, message])).toEqual([
    ["RolledBack", "It told the event 3:0 with the code 44 of Omaha while it ran 1.0.0."],
    ["slot", "m"],
    ["Staged", "It told the event 3:1 while it ran 1.0.0; a person on the machine had it ask."],
    ["Completed", "It told the event 3:2 while it ran an unknown version."],
  ]);
  expect(story.kubectl).toBe("kubectl slipway why -- --all");
});
