/** What a run of the tests comes to. */

/** The parts of vitest's JSON report that count. */
export interface Report {
  testResults: {
    name: string;
    status: string;
    message?: string;
    assertionResults: { fullName: string; status: string; failureMessages?: string[] }[];
  }[];
}

export interface Summary {
  passed: number;
  failed: number;
  /** What the count can't say: which tests failed or were skipped, and files that failed to load. */
  lines: string[];
}

export interface SummaryOptions {
  exitCode: number;
  skippedIsFailed: boolean;
  /** A filter may leave one of several runs without files: whoever adds the runs up looks at the sum. */
  mayBeEmpty?: boolean;
}

/**
 * A file that failed without a failed test (it does not load, a hook threw) counts as one failure;
 * so does a run that ended badly with nothing else to blame.
 */
export function summarize(report: Report, options: SummaryOptions): Summary {
  const summary: Summary = { passed: 0, failed: 0, lines: [] };
  for (const file of report.testResults) {
    let blamed = false;
    for (const test of file.assertionResults) {
      if (test.status === "passed") {
        summary.passed++;
      } else if (test.status === "failed") {
        summary.failed++;
        blamed = true;
        const [message = ""] = (test.failureMessages?.[0] ?? "").split("\n");
        summary.lines.push(`failed: ${file.name}: ${test.fullName}${message === "" ? "" : `: ${message}`}`);
      } else {
        summary.lines.push(`skipped: ${file.name}: ${test.fullName}`);
        if (options.skippedIsFailed) {
          summary.failed++;
          blamed = true;
        }
      }
    }
    if (file.status === "failed" && !blamed) {
      summary.failed++;
      summary.lines.push(`failed as a whole: ${file.name}${file.message ? `: ${file.message}` : ""}`);
    }
  }
  if (summary.failed === 0 && options.exitCode !== 0) {
    summary.failed++;
    summary.lines.push(`vitest ended with exit code ${options.exitCode}, see above`);
  }
  if (summary.failed === 0 && summary.passed === 0 && options.mayBeEmpty !== true) {
    summary.failed++;
    summary.lines.push("no test ran");
  }
  return summary;
}
