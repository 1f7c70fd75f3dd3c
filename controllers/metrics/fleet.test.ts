import { Registry } from "prom-client";
import { expect, test } from "vitest";
import { timestamp } from "../../api/meta.ts";
import type { NodeUpdate } from "../../api/node-update.ts";
import type { FleetSnapshot } from "../../coordination/coordination.ts";
import { VirtualClock } from "../../runtime/virtual-clock.ts";
import { fleet, group, live, NOW, nodeUpdate, release } from "../fixtures.ts";
import { createFleetMetrics, type FleetSources } from "./fleet.ts";

interface Scene {
  nodeUpdates: readonly NodeUpdate[];
  snapshot?: FleetSnapshot;
  short?: ReadonlyMap<string, readonly string[]>;
}

async function scrape({ nodeUpdates, snapshot, short = new Map() }: Scene): Promise<string[]> {
  const registry = new Registry();
  const condition = (type: string, reason: string) => ({
    type,
    status: "True" as const,
    reason,
    message: "",
    lastTransitionTime: timestamp(NOW),
  });
  const sources: FleetSources = {
    clock: new VirtualClock(NOW),
    nodeUpdates: { list: () => [...nodeUpdates] },
    groups: {
      list: () => [
        {
          ...group("pool"),
          status: {
            nodes: 4,
            updated: 1,
            failed: 1,
            conditions: [
              condition("Progressing", "RollingOut"),
              condition("Halted", "FailureThresholdReached"),
            ],
          },
        },
      ],
    },
    releases: {
      list: () => [
        { ...release("1.1.0"), status: { conditions: [condition("Quarantined", "ReleaseQuarantined")] } },
        release("1.2.0"),
      ],
    },
    fleet: () => snapshot,
    plan: () => ({ take: [], waiting: new Map(), short }),
    gatesRenewedAt: () => (snapshot === undefined ? undefined : NOW - 4000),
    fleetReadAt: () => (snapshot === undefined ? undefined : NOW - 1000),
  };
  createFleetMetrics(registry, sources);
  const text = await registry.metrics();
  return text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
}

const at = (seconds: number): string => timestamp(NOW - seconds * 1000);

test("a Suspect, a drain and a halted group are told, with how long", async () => {
  const transition = (step: "Draining" | "Granting", seconds: number) => ({
    step,
    time: at(seconds),
    reason: "Draining",
    message: "",
  });
  const lines = await scrape({
    nodeUpdates: [
      nodeUpdate("a", "pool", "os-1.1.0", { step: "Suspect", reason: "Suspect", suspectSince: at(120) }),
      nodeUpdate("b", "pool", "os-1.1.0", {
        step: "Draining",
        reason: "BlockedByDisruptionBudget",
        since: at(5),
        transitions: [transition("Draining", 5), transition("Draining", 300), transition("Granting", 301)],
      }),
    ],
  });
  expect(lines).toContain('slipway_nodes{group="pool",step="Suspect",reason="Suspect"} 1');
  expect(lines).toContain('slipway_oldest_step_seconds{group="pool",step="Draining"} 300');
  expect(lines).toContain("slipway_oldest_suspect_seconds 120");
  expect(lines).toContain('slipway_group_halted{group="pool"} 1');
  expect(lines).toContain('slipway_group_updated_ratio{group="pool"} 0.25');
  expect(lines).toContain('slipway_group_progress{group="pool",reason="RollingOut"} 1');
  expect(lines).toContain('slipway_release_quarantined{release="os-1.1.0"} 1');
  expect(lines.filter((line) => line.includes("os-1.2.0"))).toEqual([]);
});

test("what only the leader knows is told by the leader alone", async () => {
  const nodeUpdates = [nodeUpdate("a", "pool", undefined), nodeUpdate("b", "pool", undefined)];
  const standby = await scrape({ nodeUpdates });
  expect(standby.filter((line) => /agents_|gates_age|fleet_age|group_open/.test(line))).toEqual([]);
  const leader = await scrape({ nodeUpdates, snapshot: fleet(["uid-a"]) });
  expect(leader).toContain('slipway_agents_connected{group="pool"} 1');
  expect(leader).toContain('slipway_agents_missing{group="pool"} 1');
  expect(leader).toContain("slipway_gates_age_seconds 4");
  expect(leader).toContain("slipway_fleet_age_seconds 1");
});

test("an agent that is away because its machine reboots is not missing", async () => {
  const nodeUpdates = [nodeUpdate("a", "pool", "os-1.1.0", { step: "Rebooting" })];
  expect(await scrape({ nodeUpdates, snapshot: fleet([]) })).toContain(
    'slipway_agents_missing{group="pool"} 0',
  );
});

test("neither nodes, nor domains, nor words that an agent invents make series", async () => {
  const scene = (count: number): Scene => {
    const names = Array.from({ length: count }, (_, index) => `n${index}`);
    const budgets = new Map(
      names.map((name) => [
        `budget/host/kubernetes.io/hostname=${name}`,
        { seq: 1, holders: new Map([[`uid-${name}`, NOW]]) },
      ]),
    );
    const budgetGates = new Map(
      [...budgets.keys()].map((budget) => [
        budget,
        { budget, max: 1, unavailable: [], granted: [], validUntil: NOW + 30_000 },
      ]),
    );
    return {
      nodeUpdates: names.map((name) =>
        nodeUpdate(name, "pool", "os-1.1.0", { step: "Staging", reason: `Invented-${name}`, since: at(1) }),
      ),
      snapshot: fleet(
        names.map((name) => `uid-${name}`),
        {
          budgets,
          budgetGates,
          grants: new Map(names.map((name) => [`uid-${name}`, live(`uid-${name}`, { phase: "Granted" })])),
        },
      ),
      short: new Map(names.map((name) => [`uid-${name}`, [...budgets.keys()]])),
    };
  };
  const [few, many] = [await scrape(scene(2)), await scrape(scene(200))];
  expect(many).toContain('slipway_nodes{group="pool",step="Staging",reason="Other"} 200');
  expect(many).toContain('slipway_budget_full_domains{budget="budget/host/kubernetes.io/hostname"} 200');
  expect(many).toContain('slipway_budget_waiting{budget="budget/host/kubernetes.io/hostname"} 200');
  expect(many.length).toBe(few.length);
});
