import { create } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { RETRY_ANNOTATION } from "../../api/labels.ts";
import { timestamp } from "../../api/meta.ts";
import type { NodeUpdate } from "../../api/node-update.ts";
import { FailedReleaseSchema, type Observed } from "../../proto/gen/agent_pb.ts";
import { NOW, nodeUpdate, observed } from "../fixtures.ts";
import { failuresOf } from "../rollout/failure.ts";
import type { Member } from "../rollout/member.ts";
import { under, view, withGrant } from "./fixtures.ts";
import { decideNode } from "./policy.ts";

const MINUTE = 60_000;
const NAME = "os-1.1.0";
const hash = observed("1.1.0", undefined).runningRootHash;
const idle = nodeUpdate("a", "pool", NAME, { step: "Idle", reason: "Stolen" });

function fell(reason = "BootChecksFailed", at = NOW - MINUTE): Observed {
  const seen = observed("1.0.0", "1.1.0", "boot-2");
  const failure = {
    rootHash: hash,
    version: "1.1.0",
    reason,
    message: "sshd did not start",
    atMs: BigInt(at),
  };
  seen.failed = [create(FailedReleaseSchema, failure)];
  return seen;
}
const entry = { release: NAME, version: "1.1.0", rootHash: hash, message: "sshd did not start" };
const decide = (update: NodeUpdate, seen: Observed, now = NOW) =>
  decideNode(view({ nodeUpdate: update, observed: seen }), now).status;

/** Nodes that count against the release. */
function counted(update: NodeUpdate): number {
  const releases = [...(view().releases as Map<string, never>).values()];
  const member = { name: "a", uid: "uid-a", update } as Member;
  const none = { resumed: undefined, at: undefined, fresh: false };
  return failuresOf([member], releases, [], 0, [], none).count;
}

test("a failure of which only the agent tells, since its slot was taken while it booted, counts, and once", () => {
  const first = decide(idle, fell());
  expect(first.failed).toEqual([{ ...entry, reason: "BootChecksFailed", time: timestamp(NOW - MINUTE) }]);
  expect(first).toMatchObject({ step: "Failed", reason: "NeverAgain" });
  const after = { ...idle, status: first };
  expect(decide(after, fell(), NOW + MINUTE).failed).toEqual(first.failed);
  expect([counted(idle), counted(after)]).toEqual([0, 1]);
});

test("its time is no later than now", () => {
  expect(decide(idle, fell("FellBack", NOW + MINUTE)).failed).toMatchObject([{ time: timestamp(NOW) }]);
  expect(decide(idle, fell("FellBack", 0)).failed).toMatchObject([{ time: timestamp(NOW) }]);
});

test("it does not count where the manager judged it, under a slot, or where a person lets it be tried again", () => {
  const known = { ...entry, reason: "FellBack", time: timestamp(NOW - 2 * MINUTE) };
  const judged = { ...idle, status: { ...idle.status, failed: [known] } };
  expect(decide(judged, fell()).failed).toEqual([known]);
  const step = { step: "Verifying" as const, time: timestamp(NOW), reason: "PowerLost", message: "" };
  const forgiven = { ...idle, status: { ...idle.status, transitions: [step] } };
  expect(decide(forgiven, fell("PowerLost")).failed).toBeUndefined();
  const retried = { ...idle, metadata: { ...idle.metadata, annotations: { [RETRY_ANNOTATION]: NAME } } };
  expect(decide(retried, fell()).failed).toBeUndefined();
  const held = under({ phase: "Committed" }, { observed: fell() });
  expect(decideNode(held, NOW).status.failed).toBeUndefined();
  expect(decide(withGrant(undefined), observed("1.0.0", "1.1.0")).failed).toBeUndefined();
});
