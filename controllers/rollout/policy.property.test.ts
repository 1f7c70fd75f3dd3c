import * as fc from "fast-check";
import { expect, test } from "vitest";
import { RESUME_ANNOTATION } from "../../api/labels.ts";
import type { StageStatus, UpdateGroupSpec } from "../../api/update-group.ts";
import { failuresOn } from "../release/policy.ts";
import { inFlight } from "./member.ts";
import { channelOf, Fleet, groupOf, MINUTE, releaseOf, rootHashOf } from "./test-fleet.ts";

type Action =
  | { kind: "grant" | "succeed" | "fail" | "lose" | "find" | "move" | "vanish"; node: number }
  | { kind: "wait"; minutes: number }
  | { kind: "target"; release: number }
  | { kind: "join" | "pause" | "overlap" | "resume" };

const RELEASES = ["os-2", "os-3", "os-4"];
const NODES = 6;

const stageLists: UpdateGroupSpec["stages"][] = [
  [],
  [{ name: "one", count: 1, soak: "0s" }],
  [
    { name: "one", count: 1, soak: "5m" },
    { name: "half", count: 3, soak: "1m" },
  ],
  [
    { name: "picked", nodeSelector: { matchLabels: { canary: "yes" } }, soak: "2m" },
    { name: "half", count: "50%", soak: "0s" },
  ],
];

const node = fc.nat(NODES + 3);
const action: fc.Arbitrary<Action> = fc.oneof(
  {
    weight: 12,
    arbitrary: fc.record({ kind: fc.constantFrom("grant", "succeed", "fail"), node } as const),
  },
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constantFrom("lose", "find", "move", "vanish"), node } as const),
  },
  {
    weight: 5,
    arbitrary: fc.record({ kind: fc.constant("wait" as const), minutes: fc.integer({ min: 1, max: 10 }) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant("target" as const), release: fc.nat(RELEASES.length - 1) }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constantFrom("join", "pause", "overlap", "resume") } as const),
  },
);

function act(fleet: Fleet, step: Action, index: number): void {
  fleet.now += 1000;
  const name = "node" in step ? `n${step.node}` : "";
  const update = fleet.nodeUpdates.find((candidate) => candidate.metadata.name === name);
  switch (step.kind) {
    case "grant":
      if (update !== undefined && fleet.mayGrant(name)) fleet.grant(name);
      break;
    case "succeed":
      if (inFlight(update)) fleet.succeed(name);
      break;
    case "fail":
      if (inFlight(update)) fleet.fail(name);
      break;
    case "lose":
    case "find":
      if (update !== undefined) fleet.setStatus(name, { connected: step.kind === "find" });
      break;
    case "move":
      fleet.nodes = fleet.nodes.map((candidate) =>
        candidate.name === name
          ? { ...candidate, labels: { pool: candidate.labels["pool"] === "web" ? "db" : "web" } }
          : candidate,
      );
      break;
    case "vanish":
      fleet.nodes = fleet.nodes.filter((candidate) => candidate.name !== name);
      break;
    case "wait":
      fleet.now += step.minutes * MINUTE;
      break;
    case "target":
      fleet.channels = [channelOf(RELEASES[step.release] ?? "os-2")];
      break;
    case "join":
      fleet.addNode(`late${index}`, "web");
      break;
    case "pause":
      fleet.edit("web", { paused: !fleet.group("web").spec.paused });
      break;
    case "overlap":
      fleet.groups = fleet.groups.some((group) => group.metadata.name === "both")
        ? fleet.groups.filter((group) => group.metadata.name !== "both")
        : [...fleet.groups, groupOf("both", { nodeSelector: { matchLabels: { canary: "yes" } } })];
      break;
    case "resume":
      fleet.edit("web", {}, { annotations: { [RESUME_ANNOTATION]: `word ${index}` } });
      break;
  }
}

function isHalted(fleet: Fleet, name: string): boolean {
  return (
    fleet.group(name).status?.conditions?.find((condition) => condition.type === "Halted")?.status === "True"
  );
}

test("whatever happens: a halted release is given to nobody, a failed one not again, a contested node is left alone, and stages never shrink", () => {
  fc.assert(
    fc.property(
      fc.constantFrom(...stageLists),
      fc.integer({ min: 1, max: 3 }),
      fc.array(action, { minLength: 20, maxLength: 90 }),
      fc.boolean(),
      (stages, failureThreshold, actions, steppingStone) => {
        const fleet = new Fleet(groupOf("web", { stages, failureThreshold }), 0);
        fleet.groups.push(groupOf("db", { failureThreshold }));
        fleet.releases.push(releaseOf("os-3", "3.0.0", { steppingStone }), releaseOf("os-4", "4.0.0"));
        for (let index = 0; index < NODES; index++) {
          fleet.addNode(`n${index}`, "web", index % 3 === 0 ? { canary: "yes" } : {});
        }
        for (const [index, step] of actions.entries()) {
          act(fleet, step, index);
          const before = new Map(fleet.nodeUpdates.map((update) => [update.metadata.name, update]));
          const stagesBefore = stagesOf(fleet);
          fleet.reconcile();
          expectStagesToStand(stagesBefore, stagesOf(fleet));
          for (const update of fleet.nodeUpdates) {
            const { name } = update.metadata;
            const was = before.get(name);
            if (inFlight(update)) {
              expect(update.spec, `${name} is in flight`).toEqual(was?.spec);
              continue;
            }
            const { release } = update.spec;
            if (release === undefined) continue;
            const runs = update.status?.runningRootHash === rootHashOf(release);
            const claimants = fleet.groups.filter((group) =>
              Object.entries(group.spec.nodeSelector.matchLabels ?? {}).every(
                ([key, value]) =>
                  fleet.nodes.find((candidate) => candidate.name === name)?.labels[key] === value,
              ),
            );
            expect(claimants, `${name} has a release`).toHaveLength(1);
            if (runs) continue;
            const owner = update.spec.group;
            expect(isHalted(fleet, owner), `${name} of a halted group`).toBe(false);
            const target = fleet.releases.find((candidate) => candidate.metadata.name === release);
            if (target === undefined) throw new Error(`no release ${release}`);
            const failed = failuresOn(target, update.status)[0];
            const verified =
              update.status?.verifiedRelease === release ? update.status.verifiedAt : undefined;
            const failedSince = failed !== undefined && (verified === undefined || verified < failed.time);
            expect(failedSince, `${name} failed on ${release}`).toBe(false);
          }
        }
      },
    ),
    { numRuns: 150 },
  );
});

function stagesOf(fleet: Fleet): { target: string | undefined; stages: readonly StageStatus[] } {
  const { status } = fleet.group("web");
  return { target: status?.target, stages: status?.stages ?? [] };
}

function expectStagesToStand(before: ReturnType<typeof stagesOf>, after: ReturnType<typeof stagesOf>): void {
  if (before.target !== after.target) return;
  for (const stage of before.stages) {
    const now = after.stages.find((candidate) => candidate.name === stage.name);
    // The implicit last stage goes when it has no nodes left.
    if (now === undefined) {
      expect(stage.name).toBe("rest");
      continue;
    }
    if (stage.openedAt !== undefined) expect(now.openedAt).toBe(stage.openedAt);
    if (stage.passedAt !== undefined) expect(now.passedAt).toBe(stage.passedAt);
  }
}

test("a release that fails everywhere fails on no more nodes than the threshold, in the first stage on one", () => {
  fc.assert(
    fc.property(
      fc.constantFrom(...stageLists),
      fc.integer({ min: 1, max: 4 }),
      fc.array(fc.nat(11), { minLength: 30, maxLength: 60 }),
      (stages, failureThreshold, order) => {
        const fleet = new Fleet(groupOf("web", { stages, failureThreshold }), 0);
        for (let index = 0; index < 12; index++) {
          fleet.addNode(`n${index}`, "web", index % 5 === 0 ? { canary: "yes" } : {});
        }
        fleet.reconcile();
        // Grants run ahead of verdicts as far as the planner's limit lets them.
        for (const [turn, index] of order.entries()) {
          fleet.now += MINUTE;
          const name = `n${index}`;
          if (inFlight(fleet.update(name)) && turn % 2 === 0) fleet.fail(name);
          else if (fleet.mayGrant(name)) fleet.grant(name);
          if (turn % 3 === 0) fleet.reconcile();
        }
        for (const update of fleet.nodeUpdates) if (inFlight(update)) fleet.fail(update.metadata.name);
        const failed = fleet.nodeUpdates.filter((update) => update.status?.failed !== undefined);
        expect(failed.length).toBeLessThanOrEqual(stages.length > 0 ? 1 : failureThreshold);
      },
    ),
    { numRuns: 150 },
  );
});

test("a good release reaches every node, whatever the stages", () => {
  fc.assert(
    fc.property(
      fc.constantFrom(...stageLists),
      fc.integer({ min: 1, max: 3 }),
      (stages, failureThreshold) => {
        const fleet = new Fleet(groupOf("web", { stages, failureThreshold }), 0);
        for (let index = 0; index < 9; index++)
          fleet.addNode(`n${index}`, "web", { canary: index < 2 ? "yes" : "no" });
        for (let round = 0; round < 8; round++) {
          fleet.run();
          fleet.now += 10 * MINUTE;
        }
        expect(fleet.reconcile().groupStatus).toMatchObject({ updated: 9, failed: 0 });
      },
    ),
  );
});
