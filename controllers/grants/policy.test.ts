import * as fc from "fast-check";
import { expect, test } from "vitest";
import { APPLY_ANNOTATION, HOLD_ANNOTATION, INFRASTRUCTURE_LABEL } from "../../api/labels.ts";
import { timestamp } from "../../api/meta.ts";
import type { NodeUpdate } from "../../api/node-update.ts";
import type { Reason } from "../../api/reasons.ts";
import type { RebootBudget } from "../../api/reboot-budget.ts";
import type { UpdateGroup } from "../../api/update-group.ts";
import { tabulate } from "../budget/policy.ts";
import { fleet, group, live, NOW, node, nodeUpdate, release, stagedSince } from "../fixtures.ts";
import { planSnapshot, taken } from "./fixtures.ts";
import { type PlanSnapshot, planGrants } from "./policy.ts";

const ZONE = "zone";
const target = release("1.1.0");

test("a group's blocker holds its nodes back, and a Pod the one that it runs on", () => {
  const blockers = [{ name: "backups", pods: { selector: { matchLabels: { app: "backup" } } } }];
  const since = NOW - 60_000;
  const pods = [{ namespace: "jobs", name: "backup-1", node: "b", since }];
  const readings = new Map([["pool", new Map([["backups", { kind: "pods" as const, pods }]])]]);
  const plan = planGrants(planSnapshot(["b", "a"], { groups: [group("pool", { blockers })], readings }), NOW);
  expect(taken(plan)).toEqual(["a"]);
  expect(plan.waiting.get("uid-b")).toEqual({
    reason: "Blocked",
    message: `Blocker backups of UpdateGroup pool: Pod jobs/backup-1 runs here since ${timestamp(since)}.`,
  });
});

test("the one that waited longest goes first, and the others are told behind whom they wait", () => {
  const plan = planGrants(planSnapshot(["b", "a"]), NOW);
  expect(taken(plan)).toEqual(["b"]);
  expect(plan.waiting.get("uid-a")).toEqual({
    reason: "WaitingForTurn",
    message: "Budget group/pool allows 1 down: b goes first.",
  });
});

test("a node that is down already goes before all others and takes nobody's place", () => {
  const world = planSnapshot(["a", "b", "c"], { nodes: [node("a"), node("b"), node("c", { ready: false })] });
  const plan = planGrants(world, NOW);
  expect(taken(plan)).toEqual(["c"]);
  expect(plan.take[0]?.why.message).toContain("is not Ready already");
  expect(plan.waiting.get("uid-a")?.message).toContain("c goes first");
});

test("when all nodes blink at once, no more are repaired than the budget allows", () => {
  const names = ["a", "b", "c", "d"];
  const blink = { nodes: names.map((name) => node(name, { ready: false })) };
  const plan = planGrants(planSnapshot(names, blink), NOW);
  expect(taken(plan)).toEqual(["a"]);
  expect(plan.waiting.get("uid-b")?.message).toContain("a goes first");
  const two = { ...blink, groups: [group("pool", { maxUnavailable: 2 })] };
  expect(taken(planGrants(planSnapshot(names, two), NOW))).toEqual(["a", "b"]);
  const none = { ...blink, groups: [group("pool", { maxUnavailable: 0 })] };
  expect(taken(planGrants(planSnapshot(names, none), NOW))).toEqual(["a"]);
});

test("a node that is down is not repaired beside one that holds the only place", () => {
  const grants = new Map([["uid-b", live("uid-b", { phase: "Committed" })]]);
  const budgets = new Map([["group/pool", { seq: 1, holders: new Map([["uid-b", NOW]]) }]]);
  const world = planSnapshot(["a", "b"], {
    nodes: [node("a", { ready: false }), node("b")],
    fleet: fleet(["uid-a", "uid-b"], { grants, budgets }),
  });
  expect(planGrants(world, NOW).waiting.get("uid-a")).toEqual({
    reason: "WaitingForBudget",
    message: "Budget group/pool allows 1 down: b holds a slot.",
  });
});

test("a slot counts in a budget that came after it", () => {
  const budget: RebootBudget = {
    apiVersion: "slipway.dev/v1alpha1",
    kind: "RebootBudget",
    metadata: { name: "new" },
    spec: { nodeSelector: {}, maxUnavailable: 1 },
  };
  const grants = new Map([["uid-a", live("uid-a", { phase: "Granted" }, { group: "other" })]]);
  const world = planSnapshot(["a", "b"], {
    groups: [group("pool", { maxUnavailable: 9 })],
    budgets: [budget],
    fleet: fleet(["uid-a", "uid-b"], { grants }),
  });
  expect(planGrants(world, NOW).short.get("uid-b")).toEqual(["budget/new"]);
});

test("priority beats the time of waiting, Immediate beats priority", () => {
  const groups = [
    group("pool", { maxUnavailable: 9 }),
    group("vip", { priority: 5 }),
    group("now", { strategy: "Immediate" }),
  ];
  const nodeUpdates = [
    nodeUpdate("a", "pool", "os-1.1.0", stagedSince(NOW - 9000)),
    nodeUpdate("b", "vip", "os-1.1.0", stagedSince(NOW - 100)),
    nodeUpdate("c", "now", "os-1.1.0", stagedSince(NOW - 10)),
  ];
  expect(taken(planGrants(planSnapshot(["a", "b", "c"], { groups, nodeUpdates }), NOW))).toEqual([
    "c",
    "b",
    "a",
  ]);
});

test("a full zone does not hold up the other zones", () => {
  const zones = { a: "east", b: "east", c: "west" } as const;
  const names = ["a", "b", "c"] as const;
  const world = planSnapshot(names, {
    groups: [group("pool", { maxUnavailable: 3, topology: [{ key: ZONE, maxUnavailable: 1 }] })],
    nodes: names.map((name) => node(name, { labels: { [ZONE]: zones[name] } })),
  });
  const plan = planGrants(world, NOW);
  expect(taken(plan)).toEqual(["a", "c"]);
  expect(plan.short.get("uid-b")).toEqual(["group/pool/zone=east"]);
});

test("whoever holds the slot is named", () => {
  const grants = new Map([["uid-a", live("uid-a", { phase: "Committed" })]]);
  const budgets = new Map([["group/pool", { seq: 1, holders: new Map([["uid-a", NOW]]) }]]);
  const world = planSnapshot(["a", "b"], { fleet: fleet(["uid-a", "uid-b"], { grants, budgets }) });
  expect(planGrants(world, NOW).waiting.get("uid-b")).toEqual({
    reason: "WaitingForBudget",
    message: "Budget group/pool allows 1 down: a holds a slot.",
  });
});

test("a slot that is being taken counts although nothing shows it", () => {
  expect(taken(planGrants(planSnapshot(["a", "b"], { claims: new Set(["uid-a"]) }), NOW))).toEqual([]);
});

test("what Slipway stands on loses one node at a time, whatever the groups allow", () => {
  const labels = { [INFRASTRUCTURE_LABEL]: "etcd" };
  const world = planSnapshot(["a", "b"], {
    groups: [group("pool", { maxUnavailable: 9 })],
    nodes: [node("a", { labels }), node("b", { labels })],
  });
  expect(taken(planGrants(world, NOW))).toEqual(["a"]);
});

test("of a group with strategy Off only the node flips that a person lets, and only to that release", () => {
  const world = planSnapshot(["a", "b"], { groups: [group("pool", { strategy: "Off" })] });
  const applied = (release: string): PlanSnapshot => ({
    ...world,
    nodeUpdates: world.nodeUpdates.map((each) =>
      each.metadata.name === "b"
        ? { ...each, metadata: { ...each.metadata, annotations: { [APPLY_ANNOTATION]: release } } }
        : each,
    ),
  });
  const wanted = world.nodeUpdates[0]?.spec.release ?? "";
  expect(taken(planGrants(applied(wanted), NOW))).toEqual(["b"]);
  expect(taken(planGrants(applied("another"), NOW))).toEqual([]);
});

const waits: [Reason, (world: PlanSnapshot) => Partial<PlanSnapshot>][] = [
  ["Paused", () => ({ groups: [group("pool", { paused: true })] })],
  ["StrategyOff", () => ({ groups: [group("pool", { strategy: "Off" })] })],
  ["FailureThresholdReached", () => ({ groups: [withCondition(group("pool"), "Halted")] })],
  ["Deleting", () => ({ groups: [deleting(group("pool"))] })],
  ["Held", ({ nodes }) => ({ nodes: nodes.map((each) => annotated(each, HOLD_ANNOTATION)) })],
  ["AgentLost", () => ({ fleet: fleet(["uid-a"], { present: new Set() }) })],
  ["WaitingForWindow", () => ({ groups: [group("pool", { windows: "OnlyInWindows" })] })],
  [
    "WaitingForSettle",
    ({ nodeUpdates }) => ({
      groups: [group("pool", { settle: "10m" })],
      nodeUpdates: nodeUpdates.map((each) => withStatus(each, { verifiedAt: timestamp(NOW - 60_000) })),
    }),
  ],
  [
    "WaitingForRate",
    () => ({
      groups: [group("pool", { maxUnavailable: 9, rate: { updates: 1, period: "1h" } })],
      claims: new Set(["uid-b"]),
    }),
  ],
  [
    "WaitingForEvidence",
    () => ({
      groups: [group("pool", { maxUnavailable: 9, failureThreshold: 1 })],
      claims: new Set(["uid-b"]),
    }),
  ],
  ["BackingOff", ({ nodeUpdates }) => ({ nodeUpdates: nodeUpdates.map(gaveBack) })],
];

test.each(waits)("waits because of %s", (reason, change) => {
  const world = planSnapshot(["a", "b"], {
    nodeUpdates: [
      nodeUpdate("a", "pool", "os-1.1.0", stagedSince(NOW - 5000)),
      nodeUpdate("b", "pool", "os-1.1.0"),
    ],
  });
  const changed = { ...world, ...change(world) };
  const plan = planGrants(changed, NOW);
  expect(taken(plan)).not.toContain("a");
  expect(plan.waiting.get("uid-a")?.reason).toBe(reason);
});

function annotated<T extends { metadata: object }>(object: T, key: string): T {
  return { ...object, metadata: { ...object.metadata, annotations: { [key]: "a person looks at it" } } };
}

function deleting(object: UpdateGroup): UpdateGroup {
  return { ...object, metadata: { ...object.metadata, deletionTimestamp: timestamp(NOW) } };
}

function withCondition(object: UpdateGroup, type: string): UpdateGroup {
  const condition = {
    type,
    status: "True" as const,
    reason: "x",
    message: "",
    lastTransitionTime: timestamp(NOW),
  };
  return { ...object, status: { conditions: [condition] } };
}

function withStatus(object: NodeUpdate, status: NodeUpdate["status"]): NodeUpdate {
  return { ...object, status: { ...object.status, ...status } };
}

function gaveBack(object: NodeUpdate): NodeUpdate {
  const time = timestamp(NOW - 5000);
  return withStatus(object, { givenBack: { times: 1, windowClosed: 0, time, reason: "DrainTimedOut" } });
}

const NAMES = ["a", "b", "c", "d", "e", "f", "g", "h"];

const worlds = fc
  .record({
    limits: fc.array(fc.oneof(fc.integer({ min: 0, max: 4 }), fc.constantFrom("10%", "25%", "50%")), {
      minLength: 2,
      maxLength: 2,
    }),
    zoneLimit: fc.integer({ min: 0, max: 2 }),
    shared: fc.integer({ min: 0, max: 4 }),
    nodes: fc.array(
      fc.record({
        member: fc.constantFrom("one", "two"),
        zone: fc.constantFrom("east", "west", undefined),
        ready: fc.boolean(),
        cordoned: fc.boolean(),
        holds: fc.boolean(),
        claimed: fc.boolean(),
        infrastructure: fc.boolean(),
      }),
      { minLength: NAMES.length, maxLength: NAMES.length },
    ),
  })
  .map(({ limits, zoneLimit, shared, nodes }): PlanSnapshot => {
    const uids = NAMES.map((name) => `uid-${name}`);
    const budget: RebootBudget = {
      apiVersion: "slipway.dev/v1alpha1",
      kind: "RebootBudget",
      metadata: { name: "all" },
      spec: { nodeSelector: {}, maxUnavailable: shared },
    };
    const groups = ["one", "two"].map((name, index) =>
      group(name, { maxUnavailable: limits[index], topology: [{ key: ZONE, maxUnavailable: zoneLimit }] }),
    );
    const world = {
      groups,
      budgets: [budget],
      windows: [],
      releases: [target],
      nodes: nodes.map(({ zone, ready, cordoned, infrastructure }, index) => {
        const labels = {
          ...(zone === undefined ? {} : { [ZONE]: zone }),
          ...(infrastructure ? { [INFRASTRUCTURE_LABEL]: "" } : {}),
        };
        return node(NAMES[index] ?? "", { ready, cordoned, labels });
      }),
      nodeUpdates: nodes.map(({ member }, index) =>
        nodeUpdate(NAMES[index] ?? "", member, "os-1.1.0", stagedSince(NOW - index)),
      ),
    };
    const table = tabulate(world, new Set(uids));
    const holding = uids.filter((_, index) => nodes[index]?.holds === true);
    const grants = new Map(
      holding.map((uid) => [
        uid,
        {
          ...live(uid, { phase: "Committed" }),
          grant: { ...live(uid, { phase: "Committed" }).grant, budgets: [...(table.of.get(uid) ?? [])] },
        },
      ]),
    );
    const budgets = new Map(
      [...table.budgets.keys()].map((name) => [
        name,
        {
          seq: 1,
          holders: new Map(
            holding.filter((uid) => table.of.get(uid)?.includes(name)).map((uid) => [uid, NOW]),
          ),
        },
      ]),
    );
    const claims = new Set(
      uids.filter((uid, index) => nodes[index]?.claimed === true && !holding.includes(uid)),
    );
    return {
      ...world,
      fleet: fleet(uids, { grants, budgets }),
      claims,
      blocked: new Map(),
      readings: new Map(),
    };
  });

test("a plan never brings a budget over its limit, whatever is down already (rule 1)", () => {
  fc.assert(
    fc.property(worlds, (world) => {
      const plan = planGrants(world, NOW);
      const table = tabulate(world, world.fleet.present);
      for (const { name, max, members } of table.budgets.values()) {
        const before = new Set([
          ...(world.fleet.budgets.get(name)?.holders.keys() ?? []),
          ...members.filter(({ down }) => down !== undefined).map(({ uid }) => uid),
          ...[...world.claims].filter((uid) => table.of.get(uid)?.includes(name)),
        ]);
        const after = new Set([
          ...before,
          ...plan.take.filter(({ budgets }) => budgets.includes(name)).map(({ uid }) => uid),
        ]);
        expect(after.size, name).toBeLessThanOrEqual(Math.max(max, before.size));
      }
    }),
    { numRuns: 500 },
  );
});

test("who is ready is either planned or told why not, and a plan leaves no place unused", () => {
  fc.assert(
    fc.property(worlds, (world) => {
      const plan = planGrants(world, NOW);
      const table = tabulate(world, world.fleet.present);
      const planned = new Set(plan.take.map(({ uid }) => uid));
      for (const uid of world.fleet.present) {
        const flies = world.fleet.grants.has(uid) || world.claims.has(uid);
        expect([flies, planned.has(uid), plan.waiting.has(uid)].filter(Boolean)).toHaveLength(1);
      }
      for (const [uid, names] of plan.short) {
        for (const name of names) {
          const held = [...(world.fleet.budgets.get(name)?.holders.keys() ?? [])];
          const members = table.budgets.get(name)?.members ?? [];
          const all = new Set([
            ...held,
            ...members
              .filter(
                (member) =>
                  member.down !== undefined || planned.has(member.uid) || world.claims.has(member.uid),
              )
              .map((member) => member.uid),
          ]);
          all.delete(uid);
          expect(all.size, `${uid} waits for ${name}`).toBeGreaterThanOrEqual(
            table.budgets.get(name)?.max ?? 0,
          );
        }
      }
    }),
  );
});
