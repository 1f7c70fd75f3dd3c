import { create } from "@bufbuild/protobuf";
import { describe, expect, test } from "vitest";
import { RETRIED_ANNOTATION, RETRY_ANNOTATION } from "../../api/labels.ts";
import { timestamp } from "../../api/meta.ts";
import type { NodeUpdate, NodeUpdateStatus } from "../../api/node-update.ts";
import { FailedReleaseSchema } from "../../proto/gen/agent_pb.ts";
import { group, NOW, nodeUpdate, observed, release } from "../fixtures.ts";
import { allows, type Wanted, wantedOf } from "./target.ts";

const MINUTE = 60_000;
const NAME = "os-1.1.0";
const target = release("1.1.0");
const rootHash = target.spec.payloads[0]?.rootHash ?? "";

/** The agent remembers every failure until the release is good. */
function seen() {
  const report = observed("1.0.0", "1.1.0");
  report.failed = [create(FailedReleaseSchema, { rootHash, version: "1.1.0", reason: "FellBack" })];
  return report;
}

function failure(at: number): NonNullable<NodeUpdateStatus["failed"]>[number] {
  const why = { reason: "FellBack", message: "The machine came back on 1.0.0." };
  return { release: NAME, version: "1.1.0", rootHash, ...why, time: timestamp(at) };
}

function update(annotations: Record<string, string>, status: NodeUpdateStatus): NodeUpdate {
  const made = nodeUpdate("a", "pool", NAME, status);
  return { ...made, metadata: { ...made.metadata, annotations } };
}

function wanted(of: NodeUpdate): Wanted {
  return wantedOf(of, group("pool"), new Map([[NAME, target]]), seen());
}

function licence(of: NodeUpdate): boolean {
  const [payload] = target.spec.payloads;
  if (payload === undefined) throw new Error("no payload");
  return allows(of, { kind: "image", release: target, payload }, seen()).retry;
}

describe("a release that failed here", () => {
  const first = failure(NOW - 10 * MINUTE);
  const second = failure(NOW - MINUTE);
  const spent = { [RETRY_ANNOTATION]: NAME, [RETRIED_ANNOTATION]: `${NAME} ${first.time}` };

  test("is tried again where the rollout forgave that very failure", () => {
    const forgiven = update(spent, { failed: [first] });
    expect(wanted(forgiven).kind).toBe("image");
    expect(licence(forgiven)).toBe(true);
  });

  test("is not tried a third time by a retry that was used", () => {
    for (const failed of [
      [second, first],
      [first, second],
    ]) {
      const again = update(spent, { failed });
      expect(wanted(again)).toMatchObject({ kind: "nothing", step: "Failed", why: { reason: "NeverAgain" } });
      expect(licence(again)).toBe(false);
    }
  });

  test("waits for the rollout to note the retry", () => {
    const asked = update({ [RETRY_ANNOTATION]: NAME }, { failed: [first] });
    expect(wanted(asked)).toMatchObject({ why: { reason: "NeverAgain" } });
    expect(licence(asked)).toBe(false);
  });

  test("is tried again by a retry alone where only the agent knows of the failure", () => {
    const asked = update({ [RETRY_ANNOTATION]: NAME }, {});
    expect(wanted(asked).kind).toBe("image");
    expect(licence(asked)).toBe(true);
    expect(wanted(update({}, {}))).toMatchObject({ why: { reason: "NeverAgain" } });
  });

  test("is tried again by a retry alone where it was verified since", () => {
    const cured = { failed: [first], verifiedRelease: NAME, verifiedAt: timestamp(NOW - 5 * MINUTE) };
    expect(wanted(update({ [RETRY_ANNOTATION]: NAME }, cured)).kind).toBe("image");
  });

  test("is not tried again by a retry of another release", () => {
    const other = update({ ...spent, [RETRY_ANNOTATION]: "os-1.2.0" }, { failed: [first] });
    expect(wanted(other)).toMatchObject({ why: { reason: "NeverAgain" } });
  });
});
