import { create } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { timestamp } from "../../api/meta.ts";
import type { NodeUpdateStatus } from "../../api/node-update.ts";
import { FailedReleaseSchema, type Observed } from "../../proto/gen/agent_pb.ts";
import { group, live, NOW, nodeUpdate, nodeView, observed, release } from "../fixtures.ts";
import { freeze } from "./deadlines.ts";
import type { NodeDecision, NodeView } from "./decision.ts";
import { withLostVerdict } from "./lost-verdict.ts";
import { decideNode } from "./policy.ts";

const MINUTE = 60_000;
const hash = observed("1.1.0", undefined).runningRootHash;
const withdrawn = { phase: "Withdrawn", reason: "InvalidSpec", message: "no driver" } as const;

/** What is decided of a node whose rebuilt grant was given back, and which shows `seen`. */
function decide(
  seen: Observed | undefined,
  options: { status?: NodeUpdateStatus; rebuilt?: boolean; committed?: boolean; release?: string } = {},
): NodeDecision {
  const { status, rebuilt = true, committed = true, release: name = "os-1.1.0" } = options;
  const { grant, phase, token } = live("uid-a", withdrawn, { at: NOW - 5 * MINUTE, release: name });
  const given = {
    token,
    phase: { ...phase, ...(committed ? { committedAt: grant.at } : {}) },
    grant: rebuilt
      ? { ...grant, target: null, supersedes: { incarnation: "old", revision: 3 } }
      : { ...grant, target: null },
  };
  const update = nodeUpdate("a", "pool", "os-1.1.0", {
    step: "Rebooting",
    architecture: "amd64",
    ...status,
    grant: {
      nonce: "nonce-7",
      budgets: ["group/pool"],
      phase: "Committed",
      since: timestamp(grant.at),
      policy: freeze(group("pool")),
    },
  });
  const shown: Pick<NodeView, "releases" | "observed" | "nodeUpdate"> = {
    releases: new Map([["os-1.1.0", release("1.1.0")]]),
    observed: seen,
    nodeUpdate: update,
  };
  return decideNode(
    nodeView({
      ...shown,
      live: withLostVerdict(shown, given),
      look: { askedFor: 0, heartbeat: true },
    }),
    NOW,
  );
}

function fell(at = NOW - MINUTE): Observed {
  const seen = observed("1.0.0", "1.1.0", "boot-2");
  seen.failed = [
    create(FailedReleaseSchema, {
      rootHash: hash,
      reason: "BootChecksFailed",
      message: "harbor",
      atMs: BigInt(at),
    }),
  ];
  return seen;
}

test("a machine that fell back before etcd was lost counts against the release", () => {
  const { act, status } = decide(fell());
  expect(act.do).toBe("finish");
  expect(status.failed).toMatchObject([
    { release: "os-1.1.0", version: "1.1.0", rootHash: hash, reason: "BootChecksFailed", message: "harbor" },
  ]);
});

test("so does one whose target's slot was tried, and which remembers nothing", () => {
  const seen = observed("1.0.0", "1.1.0", "boot-2");
  const slot = {
    $typeName: "slipway.agent.v1.Slot" as const,
    version: "1.1.0",
    rootHash: hash,
    running: false,
  };
  seen.slots = [{ ...slot, name: "B", priority: 2, tries: 0, successful: false }];
  expect(decide(seen).status.failed).toMatchObject([{ reason: "PowerLost" }]);
  seen.slots = [{ ...slot, name: "B", priority: 0, tries: 0, successful: false }];
  expect(decide(seen).status.failed).toBeUndefined();
});

test("a machine that runs the target is verified", () => {
  const { act, status } = decide(observed("1.1.0", undefined, "boot-2"));
  expect(act.do).toBe("finish");
  expect(status).toMatchObject({ verifiedRelease: "os-1.1.0" });
  expect(status.failed).toBeUndefined();
});

test("nothing is concluded before its agent has reported", () => {
  const { act, status } = decide(undefined);
  expect(act.do).toBe("none");
  expect(status).toMatchObject({ step: "Verifying", reason: "VerifyingRelease" });
});

test.each([
  ["an agent that withdrew before its reboot", observed("1.0.0", "1.1.0"), {}],
  ["a withdrawal that no rebuild came before", fell(), { rebuilt: false }],
  ["a grant that was never committed", fell(), { committed: false }],
] as const)("%s has failed nothing", (_what, seen, options) => {
  const { act, status } = decide(seen, options);
  expect(act.do).toBe("finish");
  expect(status.failed).toBeUndefined();
  expect(status.reason).toBe("InvalidSpec");
});

test("a failure from before the grant, which a person forgave, is not this grant's", () => {
  const before = NOW - 60 * MINUTE;
  const entry = {
    version: "1.1.0",
    rootHash: hash,
    reason: "BootChecksFailed",
    message: "",
    time: timestamp(before),
  };
  const status = { failed: [entry] };
  expect(decide(fell(before), { status }).status.failed).toEqual([entry]);
  expect(decide(fell(), { status }).status.failed).toHaveLength(2);
});

test("without a release only a marker that is still set has failed", () => {
  const seen = observed("1.0.0", undefined);
  expect(decide(seen, { release: "" }).status.failed).toBeUndefined();
  seen.reason = "StillRequired";
  expect(decide(seen, { release: "" }).status.failed).toMatchObject([{ reason: "StillRequired" }]);
});
