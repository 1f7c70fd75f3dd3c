/** Small objects for the tests of this room: valid, and with nothing that a test does not ask for. */
import { create } from "@bufbuild/protobuf";
import { GROUP_LABEL } from "../api/labels.ts";
import { API_VERSION, timestamp } from "../api/meta.ts";
import type { NodeUpdate, NodeUpdateStatus } from "../api/node-update.ts";
import { type Release, ReleaseSpec } from "../api/release.ts";
import { type UpdateGroup, UpdateGroupSpec } from "../api/update-group.ts";
import type { FleetSnapshot, LiveGrant } from "../coordination/coordination.ts";
import type { Phase } from "../coordination/records.ts";
import { DesiredSchema, type Observed, ObservedSchema } from "../proto/gen/agent_pb.ts";
import type { Node, Pod } from "../runtime/core.ts";
import type { NodeView } from "./node-update/decision.ts";

/** Wall clock of the tests, ms. */
export const NOW = Date.parse("2026-11-23T03:00:00Z");
export const INCARNATION = "first";

const hash = (version: string): string => version.replaceAll(/[^0-9]/g, "").padEnd(64, "0");

export function group(name: string, spec: Record<string, unknown> = {}): UpdateGroup {
  return {
    apiVersion: API_VERSION,
    kind: "UpdateGroup",
    metadata: { name, generation: 1, labels: { tier: name } },
    spec: UpdateGroupSpec.parse({ nodeSelector: {}, windows: "Always", failureThreshold: 1000, ...spec }),
  };
}

export function release(version: string): Release {
  const blob = { urls: ["https://images.test/x"], size: 1, sha256: hash(version) };
  const spec = ReleaseSpec.parse({
    version,
    product: "os",
    payloads: [{ architecture: "amd64", image: blob, manifest: blob, rootHash: hash(version) }],
  });
  return { apiVersion: API_VERSION, kind: "Release", metadata: { name: `os-${version}` }, spec };
}

export function node(
  name: string,
  options: { ready?: boolean; cordoned?: boolean; labels?: Record<string, string>; boot?: string } = {},
): Node {
  const { ready = true, cordoned = false, labels = {}, boot = "boot-1" } = options;
  return {
    apiVersion: "v1",
    kind: "Node",
    metadata: { name, uid: `uid-${name}`, resourceVersion: "1", labels },
    spec: cordoned ? { unschedulable: true } : {},
    status: {
      conditions: [{ type: "Ready", status: ready ? "True" : "Unknown" }],
      nodeInfo: { bootID: boot, machineID: name, osImage: "", architecture: "amd64" },
    },
  };
}

export function nodeUpdate(
  name: string,
  owner: string,
  releaseName: string | undefined,
  status: NodeUpdateStatus = {},
): NodeUpdate {
  return {
    apiVersion: API_VERSION,
    kind: "NodeUpdate",
    metadata: { name, uid: `nu-${name}`, resourceVersion: "1", labels: { [GROUP_LABEL]: owner } },
    spec: {
      nodeName: name,
      nodeUID: `uid-${name}`,
      group: owner,
      ...(releaseName === undefined ? {} : { release: releaseName }),
    },
    status,
  };
}

export function observed(running: string, staged: string | undefined, boot = "boot-1"): Observed {
  return create(ObservedSchema, {
    architecture: "amd64",
    runningVersion: running,
    runningRootHash: hash(running),
    stagedVersion: staged ?? "",
    stagedRootHash: staged === undefined ? "" : hash(staged),
    boot: { bootId: boot, softReboots: 0 },
    step: staged === undefined ? "Idle" : "Staged",
  });
}

export function pod(
  name: string,
  on: string,
  options: { labels?: Record<string, string>; ready?: boolean; namespace?: string } = {},
): Pod {
  const { labels = {}, ready = true, namespace = "default" } = options;
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name, namespace, uid: `pod-${name}`, labels },
    spec: { nodeName: on },
    status: { phase: "Running", conditions: [{ type: "Ready", status: ready ? "True" : "False" }] },
  };
}

export function live(
  uid: string,
  phase: Partial<Phase> & Pick<Phase, "phase">,
  options: { release?: string; version?: string; group?: string; revision?: number; at?: number } = {},
): LiveGrant {
  const {
    release: name = "os-1.1.0",
    version = "1.1.0",
    group: owner = "pool",
    revision = 7,
    at = NOW - 60_000,
  } = options;
  return {
    token: { incarnation: INCARNATION, revision },
    phase: { at, ...phase },
    grant: {
      uid,
      node: uid.replace("uid-", ""),
      group: owner,
      release: name,
      budgets: [`group/${owner}`],
      nonce: `nonce-${revision}`,
      epoch: 1,
      incarnation: INCARNATION,
      at,
      target: { version, rootHash: hash(version) },
      policy: {},
      bootNeeds: 600_000,
      supersedes: null,
      reason: "",
    },
  };
}

/** A fleet in which every one of `uids` runs 1.0.0, has staged 1.1.0 and is connected. */
export function fleet(uids: readonly string[], changes: Partial<FleetSnapshot> = {}): FleetSnapshot {
  const target = { release: "os-1.1.0", version: "1.1.0", rootHash: hash("1.1.0") };
  return {
    revision: 100,
    pulse: 100,
    incarnation: INCARNATION,
    epoch: 1,
    groupGates: new Map(),
    budgetGates: new Map(),
    offers: new Map(),
    tallies: new Map(),
    machineTotals: new Map(),
    budgets: new Map(),
    grants: new Map(),
    desired: new Map(uids.map((uid) => [uid, create(DesiredSchema, { target })])),
    observed: new Map(uids.map((uid) => [uid, observed("1.0.0", "1.1.0")])),
    sessions: new Map(),
    present: new Set(uids),
    ...changes,
  };
}

/** A status that has waited for its turn since `at`. */
export function stagedSince(at: number): NodeUpdateStatus {
  const time = timestamp(at);
  return { step: "Staged", transitions: [{ step: "Staged", time, reason: "WaitingForTurn", message: "" }] };
}

/** What is known of node `a`, which has 1.1.0 staged, is connected, and holds no slot. */
export function nodeView(changes: Partial<NodeView> = {}): NodeView {
  return {
    nodeUpdate: nodeUpdate("a", "pool", "os-1.1.0", {}),
    node: node("a"),
    nodeGone: false,
    group: group("pool"),
    releases: new Map([["os-1.1.0", release("1.1.0")]]),
    live: undefined,
    observed: observed("1.0.0", "1.1.0"),
    present: true,
    absentFor: 0,
    connectedFor: 3_600_000,
    connected: 1,
    take: undefined,
    waiting: undefined,
    mayStage: true,
    drain: undefined,
    closing: undefined,
    hook: undefined,
    look: undefined,
    othersVerified: false,
    nonce: "fresh",
    ...changes,
  };
}
