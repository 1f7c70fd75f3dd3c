import { expect, test } from "vitest";
import { API_VERSION } from "../../api/meta.ts";
import type { NodeUpdate, NodeUpdateStatus } from "../../api/node-update.ts";
import type { Release } from "../../api/release.ts";
import { type UpdateGroup, UpdateGroupSpec } from "../../api/update-group.ts";
import { decideRelease } from "./policy.ts";

const NOW = Date.parse("2026-11-23T12:00:00Z");
const HASH = "a".repeat(64);
const blob = { urls: ["https://images.example/x"], size: 1, sha256: "0".repeat(64) };

const failure = { reason: "FellBack", message: "", time: "2026-11-23T11:00:00Z" };

function releaseOf(architectures: ("amd64" | "arm64")[]): Release {
  const payloads = architectures.map((architecture) => ({
    architecture,
    kind: "FastPatch" as const,
    image: blob,
    manifest: blob,
    rootHash: HASH,
    signatures: [],
  }));
  return {
    apiVersion: API_VERSION,
    kind: "Release",
    metadata: { name: "os-2", generation: 1 },
    spec: { version: "2.0.0", product: "os", steppingStone: false, payloads },
  };
}

function node(name: string, status: NodeUpdateStatus): NodeUpdate {
  return {
    apiVersion: API_VERSION,
    kind: "NodeUpdate",
    metadata: { name },
    spec: { nodeName: name, group: "web" },
    status,
  };
}

function groupOf(blamed: string, halted: boolean): UpdateGroup {
  const condition = {
    type: "Halted",
    status: halted ? ("True" as const) : ("False" as const),
    reason: "x",
    message: "",
    lastTransitionTime: "2026-11-23T12:00:00Z",
  };
  return {
    apiVersion: API_VERSION,
    kind: "UpdateGroup",
    metadata: { name: "web" },
    spec: UpdateGroupSpec.parse({ nodeSelector: {}, channel: "stable", windows: "Always" }),
    status: {
      target: "os-9",
      conditions: [condition],
      failures: [{ ...failure, node: "a", release: blamed }],
    },
  };
}

function conditions(release: Release, groups: UpdateGroup[]): Record<string, string> {
  const status = decideRelease(release, [], groups, NOW);
  return Object.fromEntries(
    (status.conditions ?? []).map(({ type, status: is, reason }) => [type, `${is} ${reason}`]),
  );
}

test("a release counts the nodes that run it and those on which it failed, by its images", () => {
  const nodes = [
    node("a", { runningRootHash: HASH }),
    node("b", {
      runningRootHash: "b".repeat(64),
      failed: [{ ...failure, version: "2.0.0", rootHash: HASH }],
    }),
    node("c", { failed: [{ ...failure, version: "2.0.0", rootHash: "c".repeat(64) }] }),
  ];
  expect(decideRelease(releaseOf(["amd64"]), nodes, [], NOW)).toMatchObject({ running: 1, failed: 1 });
});

test("a release is quarantined while a group is halted by failures on it, whatever the group's target is", () => {
  const release = releaseOf(["amd64"]);
  expect(conditions(release, [groupOf("os-2", false)])).toEqual({
    Accepted: "True Accepted",
    Available: "True Accepted",
    Quarantined: "False NotQuarantined",
  });
  expect(conditions(release, [groupOf("os-2", true)])).toEqual({
    Accepted: "True Accepted",
    Available: "False ReleaseQuarantined",
    Quarantined: "True ReleaseQuarantined",
  });
  expect(conditions(release, [groupOf("os-3", true)])["Quarantined"]).toBe("False NotQuarantined");
  const bystander = groupOf("os-3", true);
  bystander.status = { ...bystander.status, target: "os-2" };
  expect(conditions(release, [bystander])["Quarantined"]).toBe("False NotQuarantined");
});

test("a release with two payloads for one architecture is not accepted", () => {
  expect(conditions(releaseOf(["amd64", "amd64"]), [])).toMatchObject({
    Accepted: "False InvalidSpec",
    Available: "False InvalidSpec",
  });
});
