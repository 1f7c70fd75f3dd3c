import { expect, test } from "vitest";
import { CORDON_ANNOTATION } from "../../api/labels.ts";
import { INCARNATION, live, NOW, node, nodeView } from "../fixtures.ts";
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
  const view = nodeView({
    node: cordoned(),
    live: live("uid-a", phase),
    present: false,
    connected: 0,
    ...change,
  });
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
