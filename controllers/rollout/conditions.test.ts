/** What a group says that serves machines without our agent: how many a stage lets in nobody knows. */
import { describe, expect, test } from "vitest";
import { NOBODY_LABEL } from "../../api/labels.ts";
import { Machines } from "../../api/machines.ts";
import type { UpdateGroupSpec } from "../../api/update-group.ts";
import { emptyTally } from "../../coordination/updates.ts";
import { Fleet, groupOf, MINUTE } from "./test-fleet.ts";

const FIRST = { name: "first", count: "1%", soak: "10m" };
const NOBODY = { name: "nobody", nodeSelector: { matchLabels: { [NOBODY_LABEL]: "" } }, soak: "10m" };
const NO_NODE = "No node matches spec.nodeSelector";
const EVIDENCE = "True WaitingForEvidence";

function fleetOf(spec: Partial<UpdateGroupSpec>, nodes = 0): Fleet {
  return new Fleet(groupOf("edge", { machines: Machines.parse({}), ...spec }), nodes);
}

function told(fleet: Fleet): string {
  const { conditions } = fleet.reconcile().groupStatus;
  const found = conditions?.find(({ type }) => type === "Progressing");
  return `${found?.status} ${found?.reason} ${found?.message}`;
}

describe("a group of machines and no Node", () => {
  test.each<[string, Partial<UpdateGroupSpec>, string]>([
    ["without stages", {}, `${EVIDENCE} ${NO_NODE}; stage rest waits until a machine came back with os-2.`],
    [
      "in a stage of a share",
      { stages: [FIRST] },
      `${EVIDENCE} ${NO_NODE}; stage first waits until a machine came back with os-2.`,
    ],
    [
      "in a stage of nobody",
      { stages: [NOBODY, FIRST] },
      `${EVIDENCE} ${NO_NODE}; stage nobody waits until a machine on which a person asked for it came back with os-2.`,
    ],
    ["paused", { stages: [FIRST], paused: true }, `False Paused ${NO_NODE}; spec.paused is true.`],
    ["of which nobody is offered a release", { machines: undefined }, `False NoNodes ${NO_NODE}.`],
    ["that only take slots", { driver: "sentinel" }, `False NoNodes ${NO_NODE}.`],
  ])("%s says what it waits for", (_, spec, sentence) => {
    expect(told(fleetOf(spec))).toBe(sentence);
  });

  test("says how its stage soaks, which one is next, and that all have passed", () => {
    const fleet = fleetOf({ stages: [NOBODY, FIRST] });
    fleet.reconcile();
    const tally = { ...emptyTally(), good: 1, lastGoodAt: fleet.now };
    fleet.tallies = new Map([["os-2", tally]]);
    expect(told(fleet)).toBe(`True StageSoaking ${NO_NODE}; stage nobody soaks until 2026-11-23T12:10:00Z.`);
    fleet.now += 10 * MINUTE;
    expect(told(fleet)).toBe(`True StageSoaking ${NO_NODE}; stage first soaks until 2026-11-23T12:20:00Z.`);
    fleet.now += 10 * MINUTE;
    expect(told(fleet)).toBe(
      `False NoNodes ${NO_NODE}; all stages have passed, and every machine is offered os-2.`,
    );
  });
});

test("a stage of nobody in a group that has Nodes too asks for no label", () => {
  expect(told(fleetOf({ stages: [NOBODY] }, 2))).toBe(
    `${EVIDENCE} 0 of 2 nodes run os-2; stage nobody has no node, and waits until a machine on which a person asked for it came back with os-2.`,
  );
});
