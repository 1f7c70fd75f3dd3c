import { create } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import type { FleetSnapshot } from "../../coordination/coordination.ts";
import { DesiredSchema } from "../../proto/gen/agent_pb.ts";
import { fleet, live, NOW, node, nodeUpdate } from "../fixtures.ts";
import { vanished } from "./vanished.ts";

const HOUR = 3_600_000;
const none = { nodes: [], nodeUpdates: [] };

function session(at: number): FleetSnapshot["sessions"] {
  return new Map([["uid-a", { session: at, gateway: "g", at }]]);
}

/** Node `a` reported once and is away. */
function away(changes: Partial<FleetSnapshot> = {}): FleetSnapshot {
  return fleet(["uid-a"], { present: new Set(), sessions: session(NOW - 2 * HOUR), ...changes });
}

test("the records of a machine that nothing stands for are found, whichever are left", () => {
  expect(vanished(none, away(), NOW)).toEqual(["uid-a"]);
  const empty = { desired: new Map(), observed: new Map(), sessions: new Map() };
  const left: Partial<FleetSnapshot>[] = [
    { sessions: session(NOW - 2 * HOUR) },
    { observed: away().observed },
    { desired: new Map([["uid-a", create(DesiredSchema)]]) },
  ];
  for (const only of left) expect(vanished(none, away({ ...empty, ...only }), NOW)).toEqual(["uid-a"]);
});

test.each<[string, Parameters<typeof vanished>[0], FleetSnapshot]>([
  ["a Node", { ...none, nodes: [node("a")] }, away()],
  ["a NodeUpdate", { ...none, nodeUpdates: [nodeUpdate("a", "pool", undefined)] }, away()],
  ["a living session", none, away({ present: new Set(["uid-a"]) })],
  ["a grant", none, away({ grants: new Map([["uid-a", live("uid-a", { phase: "Committed" })]]) })],
  ["a session of this hour", none, away({ sessions: session(NOW - HOUR + 1) })],
])("a machine with %s is kept", (_what, world, seen) => {
  expect(vanished(world, seen, NOW)).toEqual([]);
});
