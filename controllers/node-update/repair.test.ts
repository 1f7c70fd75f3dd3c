import { expect, test } from "vitest";
import { CORDON_ANNOTATION } from "../../api/labels.ts";
import type { LiveGrant } from "../../coordination/coordination.ts";
import type { Node } from "../../runtime/core.ts";
import { INCARNATION, live, NOW, node, nodeUpdate, nodeView } from "../fixtures.ts";
import type { NodeView } from "./decision.ts";
import { decideNode } from "./policy.ts";

/** Cordoned under the grant; `before`: it was unschedulable before that. */
function cordoned(ready: boolean, before = false): Node {
  const made = node("a", { ready, cordoned: true });
  const cordon = { token: { incarnation: INCARNATION, revision: 7 }, unschedulable: before };
  made.metadata.annotations = { [CORDON_ANNOTATION]: JSON.stringify(cordon) };
  return made;
}

function slot(phase: "Granted" | "Drained" | "Committed", repair: boolean): LiveGrant {
  const grant = live("uid-a", { phase, at: NOW }, { at: NOW });
  return repair ? { ...grant, grant: { ...grant.grant, repair } } : grant;
}

function view(on: Node | undefined, grant: LiveGrant): NodeView {
  return nodeView({
    nodeUpdate: nodeUpdate("a", "pool", "os-1.1.0", { step: "Draining" }),
    node: on,
    live: grant,
  });
}

const recovered: [string, Node | undefined][] = [
  ["Ready before its cordon", node("a")],
  ["Ready, cordoned by us alone", cordoned(true)],
  ["a plain machine that is connected", undefined],
];

test.each(recovered)("a repair beyond the budget waits for its turn once the node recovered: %s", (_, on) => {
  for (const phase of ["Granted", "Drained"] as const) {
    expect(decideNode(view(on, slot(phase, true)), NOW).act).toMatchObject({
      do: "revoke",
      why: { reason: "WaitingForBudget" },
    });
    expect(decideNode(view(on, slot(phase, false)), NOW).act.do).not.toBe("revoke");
  }
});

test("after its commit a repair is not taken back: the machine may be rebooting", () => {
  expect(decideNode(view(cordoned(true), slot("Committed", true)), NOW).act.do).toBe("none");
});

test.each([
  ["not Ready", node("a", { ready: false })],
  ["not Ready, cordoned by us", cordoned(false)],
  ["cordoned by a person", node("a", { cordoned: true })],
  ["cordoned by a person before us", cordoned(true, true)],
])("a repair goes on while the node is %s", (_, on) => {
  for (const phase of ["Granted", "Drained"] as const) {
    expect(decideNode(view(on, slot(phase, true)), NOW).act.do).not.toBe("revoke");
  }
});
