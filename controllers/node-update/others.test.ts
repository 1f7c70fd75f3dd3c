/** Nodes that somebody else takes away meanwhile: cluster-autoscaler, kured. */
import { expect, test } from "vitest";
import { CORDON_ANNOTATION, DOOMED_TAINT, KURED_ANNOTATION } from "../../api/labels.ts";
import type { Node } from "../../runtime/core.ts";
import { downBecause } from "../budget/policy.ts";
import { fleet, group, INCARNATION, live, NOW, node, nodeUpdate, nodeView, release } from "../fixtures.ts";
import { planGrants } from "../grants/policy.ts";
import { decideNode } from "./policy.ts";
import { bindsOthers, pruneNode } from "./watch.ts";

function doomed(name: string): Node {
  const made = node(name);
  return { ...made, spec: { taints: [{ key: DOOMED_TAINT, effect: "NoSchedule", value: "1766" }] } };
}

function kured(name: string): Node {
  const made = node(name);
  made.metadata.annotations = { [KURED_ANNOTATION]: "2026-11-23T02:58:00Z" };
  return made;
}

function plan(...nodes: Node[]) {
  const names = nodes.map(({ metadata }) => metadata.name);
  return planGrants(
    {
      groups: [group("pool")],
      budgets: [],
      windows: [],
      releases: [release("1.1.0")],
      nodes,
      nodeUpdates: names.map((name) => nodeUpdate(name, "pool", "os-1.1.0")),
      fleet: fleet(names.map((name) => `uid-${name}`)),
      claims: new Set(),
      blocked: new Map(),
      readings: new Map(),
    },
    NOW,
  );
}

/** As it stands under a slot of ours. */
function cordoned(made: Node): Node {
  const cordon = { token: { incarnation: INCARNATION, revision: 7 }, unschedulable: false };
  const annotations = { ...made.metadata.annotations, [CORDON_ANNOTATION]: JSON.stringify(cordon) };
  return {
    ...made,
    metadata: { ...made.metadata, annotations },
    spec: { ...made.spec, unschedulable: true },
  };
}

test("a Node that cluster-autoscaler is about to delete gets no slot, not even as a repair, and counts as unavailable", () => {
  const { take, waiting } = plan(doomed("a"), node("b"));
  expect(take).toEqual([]);
  expect(waiting.get("uid-a")).toEqual({
    reason: "BeingRemoved",
    message: "cluster-autoscaler is about to delete the Node.",
  });
  expect(waiting.get("uid-b")?.message).toBe(
    "Budget group/pool allows 1 down: a is about to be deleted by cluster-autoscaler.",
  );
});

test("it gives back a slot that is not committed, and keeps one that is", () => {
  const before = live("uid-a", { phase: "Drained" });
  const view = nodeView({ node: cordoned(doomed("a")), live: before });
  expect(decideNode(view, NOW).act).toMatchObject({ do: "revoke", why: { reason: "BeingRemoved" } });
  const after = live("uid-a", { phase: "Committed", committedAt: NOW - 1000, committedBoot: "boot-1/0" });
  expect(decideNode({ ...view, live: after }, NOW).act).toEqual({ do: "none" });
});

test("the copy of a Node keeps the taint, and its coming and going makes plan and gates anew", () => {
  const pruned = pruneNode(doomed("a"));
  expect(downBecause(pruned, undefined, true)).toBe("is about to be deleted by cluster-autoscaler");
  expect(bindsOthers({ type: "updated", before: pruneNode(node("a")), object: pruned })).toBe(true);
});

test("a Node that kured reboots gets no slot from us, and one that holds a slot keeps it: its cordon may be kured's by now", () => {
  const { take, waiting } = plan(kured("a"), node("b"));
  expect(take.map(({ node: name }) => name)).toEqual(["b"]);
  expect(waiting.get("uid-a")).toEqual({
    reason: "OtherCoordinator",
    message: "kured is rebooting the node.",
  });
  const view = nodeView({ node: cordoned(kured("a")), live: live("uid-a", { phase: "Drained" }) });
  expect(decideNode(view, NOW).act.do).toBe("none");
});
