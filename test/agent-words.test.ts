/** What a gateway takes from an agent must fit where the manager writes it: one word too long, and no act of that node ever runs. */
import { create } from "@bufbuild/protobuf";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { NodeUpdateStatus } from "../api/node-update.ts";
import { node, nodeUpdate } from "../controllers/fixtures.ts";
import { describe as describeNode } from "../controllers/node-update/status.ts";
import { checkObserved, MalformedMessage } from "../gateway/agents/form.ts";
import { type Observed, ObservedSchema } from "../proto/gen/agent_pb.ts";

const UINT32 = 2 ** 32 - 1;
const MACHINE = "0123456789abcdef0123456789abcdef";

/** Mostly around the limits: 16, 64, and 128, which once was accepted. */
const word = fc.oneof(
  fc.stringMatching(/^[!-~]{0,20}$/),
  fc
    .constantFrom(15, 16, 17, 63, 64, 65, 128, 129, 5000)
    .chain((length) => fc.constantFrom("x", "é", "😀").map((letter) => letter.repeat(length))),
);
const number = fc.oneof(fc.nat({ max: 20 }), fc.integer({ min: 0, max: UINT32 }));
const slot = fc.record({
  name: fc.oneof(fc.constantFrom("A", "B"), word),
  version: word,
  rootHash: word,
  priority: number,
  tries: number,
  successful: fc.boolean(),
  running: fc.boolean(),
});

function reports(text: fc.Arbitrary<string>): fc.Arbitrary<Observed> {
  return fc
    .record({
      boot: fc.option(fc.record({ bootId: text, softReboots: number }), { nil: undefined }),
      slots: fc.array(slot, { maxLength: 3 }),
      architecture: text,
      machineId: text,
      runningVersion: text,
      runningRootHash: text,
      stagedVersion: text,
      message: text,
    })
    .map(({ boot, ...rest }) => create(ObservedSchema, boot === undefined ? rest : { ...rest, boot }));
}

function statusOf(observed: Observed): NodeUpdateStatus {
  const status = describeNode(nodeUpdate("a", "pool", undefined), node("a"), observed, true);
  expect(new Set(status.slots?.map(({ name }) => name)).size).toBe(status.slots?.length);
  return NodeUpdateStatus.parse(status);
}

test("whatever a gateway takes, the status takes unclipped", () => {
  const short = fc.stringMatching(/^[!-.0-~]{1,70}$/);
  let taken = 0;
  fc.assert(
    fc.property(reports(fc.oneof(short, word)), (observed) => {
      try {
        checkObserved(observed);
      } catch (error) {
        expect(error).toBeInstanceOf(MalformedMessage);
        return;
      }
      taken += 1;
      const { architecture, running, runningRootHash, machineId } = statusOf(observed);
      expect({ architecture, running, runningRootHash, machineId }).toEqual({
        architecture: observed.architecture,
        running: observed.runningVersion,
        runningRootHash: observed.runningRootHash,
        machineId: observed.machineId,
      });
    }),
    { numRuns: 1000 },
  );
  expect(taken).toBeGreaterThan(0);
});

test("a record in etcd that is out of form is clipped, and the status is written", () => {
  fc.assert(
    fc.property(reports(word), (observed) => void statusOf(observed)),
    { numRuns: 500 },
  );
});

test("the longest words there may be fit", () => {
  const long = "x".repeat(64);
  const report = create(ObservedSchema, {
    boot: { bootId: long, softReboots: UINT32 },
    slots: ["A", "B"].map((name) => ({
      name,
      version: long,
      rootHash: long,
      priority: UINT32,
      tries: UINT32,
      running: false,
    })),
    architecture: "x".repeat(16),
    machineId: MACHINE,
    runningVersion: long,
    runningRootHash: long,
    stagedVersion: long,
  });
  expect(statusOf(checkObserved(report))).toMatchObject({
    architecture: "x".repeat(16),
    staged: long,
    slotA: `${long} P15 15 tries`,
  });
});

test.each([
  ["observed.architecture", { architecture: "x".repeat(17) }],
  ["observed.running_version", { runningVersion: "1".repeat(65) }],
  ["observed.slots: each name once", { slots: [{ name: "A" }, { name: "A" }] }],
])("%s is refused", (name, body) => {
  expect(() => checkObserved(create(ObservedSchema, body))).toThrow(name);
});
