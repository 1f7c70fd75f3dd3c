import { expect, test } from "vitest";
import { type Report, summarize } from "./summary.ts";

function report(status: string, ...tests: string[]): Report {
  return {
    testResults: [
      {
        name: "a.test.ts",
        status,
        assertionResults: tests.map((state, i) => ({ fullName: `t${i}`, status: state })),
      },
    ],
  };
}

const green = { exitCode: 0, skippedIsFailed: false };

test("counts passed and failed tests", () => {
  expect(summarize(report("failed", "passed", "failed"), { ...green, exitCode: 1 })).toMatchObject({
    passed: 1,
    failed: 1,
  });
});

test("a failed test is named, with the first line of what it said", () => {
  const failed = report("failed", "passed", "failed");
  failed.testResults[0]!.assertionResults[1]!.failureMessages = ["Error: 2 down\n    at a.test.ts:3"];
  expect(summarize(failed, { ...green, exitCode: 1 }).lines).toEqual([
    "failed: a.test.ts: t1: Error: 2 down",
  ]);
  expect(summarize(report("failed", "failed"), green).lines).toEqual(["failed: a.test.ts: t0"]);
});

test("a skipped test is named, and fails where nobody looks", () => {
  expect(summarize(report("passed", "passed", "skipped"), green)).toEqual({
    passed: 1,
    failed: 0,
    lines: ["skipped: a.test.ts: t1"],
  });
  for (const status of ["skipped", "pending", "todo"]) {
    const summary = summarize(report("passed", "passed", status), { exitCode: 0, skippedIsFailed: true });
    expect(summary.failed).toBe(1);
  }
});

test("no failure gets lost: a file that does not load, a bad end, nothing run", () => {
  expect(summarize(report("failed"), { ...green, exitCode: 1 }).failed).toBe(1);
  expect(summarize(report("passed", "passed"), { ...green, exitCode: 1 }).failed).toBe(1);
  expect(summarize({ testResults: [] }, green).failed).toBe(1);
});

test("a filter may leave one of several runs empty, but not broken", () => {
  const empty = { testResults: [] };
  expect(summarize(empty, { ...green, mayBeEmpty: true })).toEqual({ passed: 0, failed: 0, lines: [] });
  expect(summarize(empty, { ...green, exitCode: 1, mayBeEmpty: true }).failed).toBe(1);
});
