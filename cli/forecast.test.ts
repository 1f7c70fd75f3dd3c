import { describe, expect, test } from "vitest";
import type { UpdateGroup } from "../api/update-group.ts";
import { recorded } from "./explain/cases.ts";
import { type Forecast, forecast } from "./forecast.ts";

/** Twelve connected nodes in three zones, all on 1.0.0, and the release that the recorded group moves to. */
function fleet(spec: Partial<UpdateGroup["spec"]> = {}) {
  const { snapshot, now } = recorded("window-closed");
  const [group] = snapshot.groups;
  const [release] = snapshot.releases;
  const [update] = snapshot.nodeUpdates;
  const [node] = snapshot.nodes;
  if (group === undefined || release === undefined || update === undefined || node === undefined)
    throw new Error("nothing was recorded");
  const names = Array.from({ length: 12 }, (_, index) => `n${String(index).padStart(2, "0")}`);
  const zone = (index: number): string => ["east", "north", "west"][index % 3] ?? "";
  snapshot.nodes = names.map((name, index) => ({
    ...node,
    metadata: {
      name,
      uid: `uid-${name}`,
      labels: { "topology.kubernetes.io/zone": zone(index), canary: String(index === 7) },
    },
  }));
  snapshot.nodeUpdates = names.map((name) => ({
    ...update,
    metadata: { name },
    spec: { nodeName: name, nodeUID: `uid-${name}`, group: group.metadata.name },
    status: { ...update.status, connected: true, transitions: [], failed: [] },
  }));
  group.spec = {
    ...group.spec,
    nodeSelector: {},
    windows: "Always",
    drain: { enabled: true, timeout: "10m", onTimeout: "Abort", onWindowClose: "Abort" },
    health: { bootChecks: [], bootDeadline: "4m", rebootTime: "1m", releaseDeadline: "10m" },
    ...spec,
  };
  const look = (): Forecast => forecast(snapshot, group, release, now);
  return { snapshot, group, release, now, look };
}

/** Minutes from now, by node, of those that would move; undefined where no opening is known. */
function minutes({ steps }: Forecast, now: number): (number | undefined)[] {
  return steps
    .filter(({ fate }) => fate === "would")
    .map(({ at }) => (at === undefined ? undefined : (at - now) / 60_000));
}

describe("when", () => {
  test("one after another, by the deadlines where nothing was seen yet", () => {
    const { look, now } = fleet();
    const found = look();
    expect(found).toMatchObject({
      atMost: 20 * 60_000,
      perNode: 20 * 60_000,
      basis: expect.stringContaining("deadlines"),
    });
    expect(minutes(found, now)).toEqual([0, 20, 40, 60, 80, 100, 120, 140, 160, 180, 200, 220]);
  });

  test("as fast as the last nodes were", () => {
    const { look, snapshot, now } = fleet({ maxUnavailable: 2, settle: "1m" });
    const [first] = snapshot.nodeUpdates;
    if (first?.status === undefined) throw new Error("no status");
    first.status.transitions = [
      ["Idle", "11:04:00"],
      ["Verifying", "11:03:00"],
      ["Rebooting", "11:01:00"],
      ["Granting", "11:00:00"],
      ["Staged", "10:00:00"],
    ].map(([step, time]) => ({ step: step as "Idle", time: `2026-01-05T${time}Z`, reason: "", message: "" }));
    const found = look();
    expect(found).toMatchObject({ perNode: 4 * 60_000, basis: "the median of the last 1 updates" });
    expect(minutes(found, now)).toEqual([0, 0, 5, 5, 10, 10, 15, 15, 20, 20, 25, 25]);
  });

  test("no more in a zone than its limit", () => {
    const { look, now, snapshot } = fleet({
      maxUnavailable: 3,
      topology: [{ key: "topology.kubernetes.io/zone", maxUnavailable: 1 }],
    });
    const found = look();
    const zoneOf = (name: string): string | undefined =>
      snapshot.nodes.find(({ metadata }) => metadata.name === name)?.metadata.labels?.[
        "topology.kubernetes.io/zone"
      ];
    for (const at of new Set(minutes(found, now))) {
      const wave = found.steps
        .filter((step) => step.at === now + (at ?? 0) * 60_000)
        .map(({ node }) => zoneOf(node));
      expect(new Set(wave).size).toBe(wave.length);
    }
    expect(new Set(minutes(found, now)).size).toBeGreaterThanOrEqual(4);
  });

  test("the canary first, then its soak, then the others", () => {
    const { look, now } = fleet({
      maxUnavailable: "100%",
      stages: [{ name: "canary", nodeSelector: { matchLabels: { canary: "true" } }, soak: "1h" }],
    });
    const { steps } = look();
    expect(steps[0]).toMatchObject({ stage: "canary", node: "n07", at: now });
    expect(new Set(steps.slice(1).map(({ stage, at }) => `${stage} ${((at ?? 0) - now) / 60_000}`))).toEqual(
      new Set(["rest 80"]),
    );
  });

  test("at most so many a period", () => {
    const { look, now } = fleet({ maxUnavailable: 12, rate: { updates: 5, period: "2h" } });
    expect(minutes(look(), now)).toEqual([0, 0, 0, 0, 0, 120, 120, 120, 120, 120, 240, 240]);
  });

  test("only where it fits into an opening, and without a time where none is known", () => {
    const { look, now, snapshot, group } = fleet({ windows: "OnlyInWindows", maxUnavailable: 3 });
    const at = (minute: number): string =>
      new Date(now + minute * 60_000).toISOString().replace(".000Z", "Z");
    const [window] = snapshot.windows.filter(
      ({ spec }) => JSON.stringify(spec.groupSelector.matchLabels) === JSON.stringify(group.metadata.labels),
    );
    if (window === undefined) throw new Error("the group's window was not recorded");
    window.status = { open: true, closesAt: at(30), nextOpenings: [{ start: at(600), end: at(645) }] };
    if (group.status !== undefined) delete group.status.nextOpening;
    expect(minutes(look(), now)).toEqual([
      0,
      0,
      0,
      600,
      600,
      600,
      620,
      620,
      620,
      undefined,
      undefined,
      undefined,
    ]);
  });
});

describe("what becomes of a node", () => {
  test.each<
    [
      string,
      (
        world: ReturnType<typeof fleet>,
        update: ReturnType<typeof fleet>["snapshot"]["nodeUpdates"][number],
      ) => void,
      object,
    ]
  >([
    [
      "runs it",
      ({ release }, { status }) =>
        void (status !== undefined && (status.runningRootHash = release.spec.payloads[0]?.rootHash)),
      { fate: "done" },
    ],
    [
      "holds a slot",
      (_, { status }) =>
        void (
          status !== undefined &&
          (status.grant = { nonce: "n", budgets: [], phase: "Drained", since: "2026-01-05T11:00:00Z" })
        ),
      { fate: "now", why: "holds a slot (Drained)" },
    ],
    [
      "held",
      ({ snapshot }) =>
        void (
          snapshot.nodes[0] !== undefined &&
          (snapshot.nodes[0].metadata.annotations = { "slipway.dev/hold": "its disk" })
        ),
      { fate: "stays", why: "held: its disk" },
    ],
    [
      "agent away",
      (_, { status }) => void (status !== undefined && (status.connected = false)),
      { fate: "stays", why: "its agent is away" },
    ],
    [
      "no payload",
      (_, { status }) => void (status !== undefined && (status.architecture = "arm64")),
      { fate: "stays", why: "the release has no payload for arm64" },
    ],
    [
      "newer",
      (_, { status }) => void (status !== undefined && (status.running = "9.0.0")),
      { fate: "stays", why: expect.stringContaining("older than 9.0.0") },
    ],
    [
      "too old",
      ({ release }) => void (release.spec.updatesFrom = "1.0.5"),
      { fate: "stays", why: "the release updates from 1.0.5 on" },
    ],
    [
      "by way of a stepping stone",
      ({ release, snapshot }) => {
        release.spec.updatesFrom = "1.0.5";
        snapshot.releases.push({
          ...release,
          metadata: { name: "stone" },
          spec: { ...release.spec, version: "1.0.5", steppingStone: true },
        });
      },
      { fate: "would", why: "by way of stone" },
    ],
    [
      "failed there",
      ({ release }, { status }) =>
        void (
          status !== undefined &&
          (status.failed = [
            {
              version: "x",
              rootHash: release.spec.payloads[0]?.rootHash ?? "",
              reason: "FellBack",
              message: "",
              time: "2026-01-05T11:00:00Z",
            },
          ])
        ),
      { fate: "stays", why: "it failed there before (FellBack)" },
    ],
  ])("%s", (_name, change, expected) => {
    const world = fleet();
    const [update] = world.snapshot.nodeUpdates;
    if (update === undefined) throw new Error("no node");
    change(world, update);
    expect(world.look().steps.find(({ node }) => node === "n00")).toMatchObject(expected);
  });

  test("what stands in the way of all", () => {
    const { look, group, release } = fleet({ paused: true, strategy: "Off" });
    release.status = {
      conditions: [
        {
          type: "Quarantined",
          status: "True",
          reason: "ReleaseQuarantined",
          message: "",
          lastTransitionTime: "2026-01-05T11:00:00Z",
        },
      ],
    };
    expect(look().obstacles).toEqual([
      `UpdateGroup ${group.metadata.name} is paused: nothing begins before it is resumed.`,
      `Release ${release.metadata.name} is quarantined: nothing moves to it.`,
      "The group's strategy is Off: images are staged, and no node reboots.",
    ]);
  });
});
