import { expect, test } from "vitest";
import { GROUP_FINALIZER, SLOT_FINALIZER, UNINSTALL_ANNOTATION } from "../../api/labels.ts";
import type { NodeUpdate } from "../../api/node-update.ts";
import type { UpdateGroup } from "../../api/update-group.ts";
import { holdersOf, leaveGroup, leaveNodeUpdate, pause } from "./policy.ts";

const grant = { nonce: "n", budgets: [], phase: "Committed" as const, since: "2026-01-01T00:00:00Z" };

function nodeUpdate(name: string, status: NodeUpdate["status"] = {}, finalizers: string[] = []): NodeUpdate {
  const metadata = { name, resourceVersion: "7", finalizers };
  return { apiVersion: "slipway.dev/v1alpha1", kind: "NodeUpdate", metadata, spec: {}, status } as NodeUpdate;
}

function group(paused: boolean, metadata: Partial<UpdateGroup["metadata"]> = {}): UpdateGroup {
  const all = { name: "g", resourceVersion: "7", ...metadata };
  return {
    apiVersion: "slipway.dev/v1alpha1",
    kind: "UpdateGroup",
    metadata: all,
    spec: { paused },
  } as UpdateGroup;
}

test("a node with a slot is waited for, unless it is Suspect", () => {
  const suspect = { grant, suspectSince: "2026-01-01T00:10:00Z" };
  const nodes = [
    nodeUpdate("c", { grant }),
    nodeUpdate("a", { grant }),
    nodeUpdate("b", suspect),
    nodeUpdate("d"),
  ];
  expect(holdersOf(nodes)).toEqual({ under: ["a", "c"], suspect: ["b"] });
});

test("a group that its people paused stays paused, and one that we paused does not", () => {
  expect(pause(group(true))).toBeUndefined();
  expect(leaveGroup(group(true))).toBeUndefined();
  const paused = pause(group(false));
  expect(paused).toMatchObject({ metadata: { resourceVersion: "7" }, spec: { paused: true } });
  const left = leaveGroup(group(true, { annotations: { [UNINSTALL_ANNOTATION]: "true" } }));
  expect(left).toEqual({
    metadata: { resourceVersion: "7", annotations: { [UNINSTALL_ANNOTATION]: null } },
    spec: { paused: false },
  });
});

test("only our finalizers go", () => {
  const finalizers = ["example.org/other"];
  expect(leaveGroup(group(true, { finalizers: [...finalizers, GROUP_FINALIZER] }))).toEqual({
    metadata: { resourceVersion: "7", finalizers },
  });
  expect(leaveNodeUpdate(nodeUpdate("a", {}, [SLOT_FINALIZER, ...finalizers]))).toEqual({
    metadata: { resourceVersion: "7", finalizers },
  });
  expect(leaveNodeUpdate(nodeUpdate("a", {}, finalizers))).toBeUndefined();
});
