import { expect, test } from "vitest";
import { CORDON_ANNOTATION } from "../../api/labels.ts";
import { group, INCARNATION, live, NOW, node, nodeUpdate, observed } from "../fixtures.ts";
import type { NodeView } from "./decision.ts";
import { decideNode } from "./policy.ts";

const MINUTE = 60_000;

function cordoned() {
  const made = node("a", { cordoned: true });
  const cordon = { token: { incarnation: INCARNATION, revision: 7 }, unschedulable: false };
  made.metadata.annotations = { [CORDON_ANNOTATION]: JSON.stringify(cordon) };
  return made;
}

const gone = { phase: "Committed", committedAt: NOW - 3 * MINUTE, committedBoot: "boot-0/0" } as const;

function act(change: Partial<NodeView>, phase: Parameters<typeof live>[1] = gone): string {
  const view: NodeView = {
    nodeUpdate: nodeUpdate("a", "pool", "os-1.1.0", {}),
    node: cordoned(),
    nodeGone: false,
    group: group("pool"),
    releases: new Map(),
    live: live("uid-a", phase),
    observed: observed("1.0.0", "1.1.0"),
    present: false,
    absentFor: 0,
    connected: 0,
    take: undefined,
    waiting: undefined,
    mayStage: true,
    drain: undefined,
    look: undefined,
    othersVerified: false,
    nonce: "fresh",
    ...change,
  };
  return decideNode(view, NOW).act.do;
}

// Where every node left is cordoned for its reboot, no gateway finds a place, and nobody could ever report.
test("the cordon is undone early where no agent at all is connected and the node is up again", () => {
  expect(act({})).toBe("reopen");
});

test("not while an agent is connected, in the first minute, before the reboot, or twice", () => {
  const same = cordoned().status?.nodeInfo?.bootID ?? "";
  expect(act({ connected: 1 })).toBe("none");
  expect(act({}, { ...gone, committedAt: NOW - 1000 })).toBe("none");
  expect(act({}, { ...gone, committedBoot: `${same}/0` })).toBe("none");
  expect(act({ node: node("a") })).toBe("none");
});
